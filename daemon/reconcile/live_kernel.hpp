#pragma once
// The real kernel as the executor sees it: netlink::Kernel, with what overlayd carries in its place, and the
// secrets that steps name.

#include "daemon/control/overlayd.hpp"
#include "netlink/kernel.hpp"

namespace overlay {

class LiveKernel {
  public:
    LiveKernel(netlink::Kernel& kernel, control::Overlayd& overlayd, Secrets& secrets)
        : kernel_{kernel}, overlayd_{overlayd}, secrets_{secrets} {}
    [[nodiscard]] Result<KernelState> snapshot();
    [[nodiscard]] Result<void> execute(const Step& step);

  private:
    Result<void> create(const CreateLink& step);
    Result<void> change(const ChangeLink& step);
    Result<void> rename(const RenameLink& step);
    Result<void> remove(const DeleteLink& step);

    netlink::Kernel& kernel_;
    control::Overlayd& overlayd_;
    Secrets& secrets_;
};

}  // namespace overlay
