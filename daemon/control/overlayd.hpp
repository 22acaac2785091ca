#pragma once
// overlayd as a part of the kernel's state: what it carries is added to a snapshot in the same types, and the steps
// that concern it are carried out by asking it. A TAP without overlayd has no attributes, a TUN no device.

#include "daemon/control/client.hpp"
#include "daemon/control/uapi_text.hpp"

#include <map>
#include <optional>
#include <set>

namespace overlay::control {

class Overlayd {
  public:
    Overlayd(std::string run_directory, std::string state_directory)
        : run_directory_{std::move(run_directory)}, state_directory_{std::move(state_directory)} {}

    /// One that does not run adds nothing. Errors: one that runs and does not answer.
    [[nodiscard]] Result<void> add_to(KernelState& state, Secrets& secrets);
    [[nodiscard]] Result<void> add_to(netlink::Activity& activity);
    /// By reason (text(DropReason) of wire/parsed.hpp and wireguard/drop_reason.hpp), and as "lost_datagrams" what a
    /// socket did not take.
    using Drops = std::map<std::string, std::uint64_t>;
    struct LinkReport {
        Drops drops;   ///< of a WireGuard device: with what was of no link or no peer
        std::map<std::string, std::string> offloads;   ///< io/offloads.hpp: a name, and what became of it
    };
    struct Reports {
        std::map<IfName, LinkReport> links;
        std::map<std::string, Drops> ports;   ///< "fou port 5555/ipv4": what came there and was of no link
    };
    /// Nothing where it does not run.
    [[nodiscard]] Result<Reports> reports();

    /// Whether this step, or a part of it, is overlayd's.
    [[nodiscard]] bool carries(const Step& step) const;
    /// Its part of a step that it carries.
    [[nodiscard]] Result<void> carry_out(const Step& step, const Secrets& secrets);
    /// What it carries under this name, let go, so that the device can get another; put_down() takes it up again.
    struct Lifted {
        Link link;
        std::vector<Link> inside;   ///< TAPs whose packets a WireGuard device carries
        std::string settings;   ///< of a WireGuard device: the request that makes it, with its keys
    };
    [[nodiscard]] Result<Lifted> lift(const IfName& name);
    [[nodiscard]] Result<void> put_down(const IfName& name, Lifted lifted);

    [[nodiscard]] std::uint64_t writes() const { return writes_; }

  private:
    Result<Client*> client();
    Result<void> add_strays_to(Reports& out);
    Result<void> change(Request request);
    Result<void> run(const RunOverlayd& step);
    Result<void> take(const Link& link);
    Result<void> set_link(const Link& link);
    Result<void> forget(const IfName& name);
    Result<void> configure(const IfName& device, Result<std::string> text, std::string_view doing);

    std::string run_directory_, state_directory_;
    std::optional<Client> client_;
    std::set<IfName> devices_;   ///< TUNs, which are WireGuard devices of ours
    std::map<IfName, Link> links_;   ///< what it carries, as last read or set
    std::uint64_t writes_ = 0;
};

}  // namespace overlay::control
