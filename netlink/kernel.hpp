#pragma once
// The kernel of one network namespace: read as typed values, changed by typed steps. This is all that
// `daemon/` knows of netlink. No global sockets: a Kernel owns its own, opened in the namespace that the
// calling thread is in at open().

#include "netlink/activity.hpp"
#include "netlink/secrets.hpp"
#include "topology/state.hpp"
#include "topology/step.hpp"

#include <cstdint>
#include <memory>

namespace overlay::netlink {

class Kernel {
  public:
    /// Opens rtnetlink and generic netlink. Errors: NotPermitted, Unsupported.
    [[nodiscard]] static Result<Kernel> open();
    Kernel(Kernel&&) noexcept;
    Kernel& operator=(Kernel&&) noexcept;
    ~Kernel();

    /// Everything in KernelState, read anew. Loads no module and writes nothing: generic-netlink families
    /// are found by a dump, nft is asked only when nf_tables is loaded. An interrupted dump
    /// (NLM_F_DUMP_INTR) is repeated. Private keys of WireGuard devices go into `secrets`, nowhere else.
    [[nodiscard]] Result<KernelState> snapshot(Secrets& secrets);

    /// Counters and handshakes of every link and WireGuard peer. Writes nothing, loads nothing.
    [[nodiscard]] Result<Activity> activity();

    /// Carries out one step and decides nothing. The error says what we were doing, and its reason ends
    /// with the kernel's extended-ACK text where there is one.
    [[nodiscard]] Result<void> execute(const Step& step, const Secrets& secrets);

    /// State-changing requests sent so far: netlink messages, sysctl writes, module loads, nft commits.
    [[nodiscard]] std::uint64_t writes() const;

  private:
    struct Parts;
    explicit Kernel(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

}  // namespace overlay::netlink
