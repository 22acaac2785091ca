#pragma once
// What overlayd carries, in the words of the control plane, and the engine that does it: ports with their
// gretaps, WireGuard devices with theirs. A change that the engine refuses leaves both as they were.

#include "daemon/datapath/engine.hpp"
#include "topology/state.hpp"

#include <map>
#include <set>
#include <string>

namespace overlay::overlayd {

class Carried {
  public:
    /// `state_directory`: where WireGuard's time stamps are kept.
    Carried(datapath::Engine& engine, std::string state_directory)
        : engine_{engine}, state_directory_{std::move(state_directory)} {}

    /// With the links that go through it. One that is there stays: an overlayd that was started again may have it
    /// already.
    /// Errors: Conflict (the port is taken), Unsupported (not GUE, or bound), Failed.
    [[nodiscard]] Result<void> add_port(const FouPort& port);
    /// Links that went through it stay, as with a kernel's, and carry nothing until they change or it comes back.
    /// Errors: NotFound.
    [[nodiscard]] Result<void> remove_port(const FouPort& port);
    /// Opens the TAP when it is new, else changes how it is carried. Without its GUE port it carries nothing until
    /// that comes.
    /// Errors: Unsupported, naming the attribute that only a kernel can have; NotFound (no such WireGuard device, no
    /// such TAP); those of the engine.
    [[nodiscard]] Result<void> set_link(const IfName& name, const GretapAttributes& gretap);
    /// A TUN becomes a WireGuard device without key and peers. One that is there keeps them.
    [[nodiscard]] Result<void> add_device(const IfName& name);
    /// A TAP or a TUN, together with what hangs on it. Errors: NotFound.
    [[nodiscard]] Result<void> remove(const IfName& name);
    /// Nothing, where there is none.
    [[nodiscard]] datapath::Engine::Wireguard device(const IfName& name) { return engine_.wireguard(name.str()); }

    using Links = std::map<IfName, GretapAttributes>;
    /// Whose devices somebody has deleted: TAPs, which are forgotten. WireGuard devices keep their sessions, and
    /// have no TUN until retake_tuns() finds it again.
    [[nodiscard]] Links let_go_of_broken();
    void retake_tuns();

    /// WireGuard pads packets up to the device's MTU, which anybody can change at any time.
    void follow_mtus();

    /// TAPs with their attributes, ports; of WireGuard devices the names.
    [[nodiscard]] KernelState state() const;
    [[nodiscard]] bool is_empty() const { return ports_.empty() && links_.empty() && devices_.empty(); }

  private:
    Result<void> carry(const FouPort& port, const Links& links);
    Result<void> carry(const IfName& device, const Links& links);
    Result<void> retake_tun(const IfName& name);
    Result<void> carry_where(const GretapAttributes& where, const Links& links);
    [[nodiscard]] const FouPort* port_of(const GretapAttributes& gretap) const;

    datapath::Engine& engine_;
    std::string state_directory_;
    std::set<FouPort> ports_;
    Links links_;
    std::set<IfName> devices_;
    std::set<IfName> without_tun_;   ///< of those
};

}  // namespace overlay::overlayd
