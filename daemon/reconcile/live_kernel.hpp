#pragma once
// The real kernel as the executor sees it: netlink::Kernel with the secrets that its steps name.

#include "netlink/kernel.hpp"

namespace overlay {

class LiveKernel {
  public:
    LiveKernel(netlink::Kernel& kernel, Secrets& secrets) : kernel_{kernel}, secrets_{secrets} {}
    [[nodiscard]] Result<KernelState> snapshot() { return kernel_.snapshot(secrets_); }
    [[nodiscard]] Result<void> execute(const Step& step) { return kernel_.execute(step, secrets_); }

  private:
    netlink::Kernel& kernel_;
    Secrets& secrets_;
};

}  // namespace overlay
