// What belongs to the host rather than to a link: modules, firewall tables, sysctls, offloads, FOU
// ports.

#include "topology/firewall_intent.hpp"
#include "topology/planner.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

void Planner::modules() {
    for (const std::string& module : desired_.modules) {
        if (found_.modules.contains(module)) continue;
        if (found_.missing_modules.contains(module)) {
            refuse(LoadModule{module}, "this kernel has no such module",
                   "overlayctl doctor tells what this kernel can do");
            continue;
        }
        add(Phase::Modules, LoadModule{module}, Action::Add, Impact::Live);
    }
}

/// One that ran before us, or that another network needs, is not ours to end.
void Planner::overlayd() {
    Ledger& after = plan_.ledger_after;
    const auto uses = [](const Ledger& other) { return other.overlayd; };
    RunOverlayd kept{found_.overlayd, false, desired_.fou_ports, {}};
    for (const auto& [name, link] : desired_.links) kept.links.insert(name);
    for (const Ledger& other : neighbours_) {
        kept.ports.insert(other.fou_ports.begin(), other.fou_ports.end());
        for (const auto& [name, link] : other.links) kept.links.insert(name);
    }
    if (desired_.overlayd && !found_.overlayd) {
        after.overlayd = kept.to = true;
        add(Phase::StartOverlayd, kept, Action::Add, Impact::Live);
    } else if (desired_.overlayd && neighbour(uses) != nullptr) {
        after.overlayd = true;   // another network has started it; the last one that needs it ends it
    }
    if (desired_.overlayd || !ledger_.overlayd) return;
    after.overlayd = false;
    if (!found_.overlayd || neighbour(uses) == nullptr)
        add(Phase::StopOverlayd, kept, Action::Remove, Impact::Live, found_.overlayd ? "" : "what it has kept");
}

// ---- firewall -----------------------------------------------------------------------------------

void Planner::tables() {
    const auto id = [](const FirewallTable& t) {
        return FoundTable{std::string{text(t.family)}, t.name};
    };
    const std::string mark = table_mark(intent_.network);
    const auto is_our_table = [&](const FirewallTable& t) {
        return t.mark == mark || ledger_.tables.contains(id(t));
    };
    for (const FirewallTable& desired : desired_.tables) {
        const auto found =
            std::find_if(found_.tables.begin(), found_.tables.end(),
                         [&](const FirewallTable& t) { return id(t) == id(desired); });
        if (found == found_.tables.end()) {
            add(Phase::Guards, ReplaceTable{std::nullopt, desired}, Action::Add, Impact::Live);
        } else if (!is_our_table(*found)) {
            refuse(ReplaceTable{std::nullopt, desired},
                   fmt::format("nft table {} {} exists and is not ours", text(desired.family),
                               desired.name),
                   "remove it with nft, if nobody needs it");
            continue;
        } else if (*found != desired) {
            add(Phase::Guards, ReplaceTable{*found, desired}, Action::Change, Impact::Live);
        }
        plan_.ledger_after.tables.insert(id(desired));
    }
    for (const FirewallTable& found : found_.tables) {
        const bool wanted = std::any_of(desired_.tables.begin(), desired_.tables.end(),
                                        [&](const FirewallTable& t) { return id(t) == id(found); });
        if (wanted || found.name != table_name(intent_.network) || !is_our_table(found)) continue;
        add(Phase::RemoveGuards, ReplaceTable{found, std::nullopt}, Action::Remove,
            Impact::SessionLoss);
        plan_.ledger_after.tables.erase(id(found));
    }
    std::erase_if(plan_.ledger_after.tables, [&](const FoundTable& t) {
        return std::none_of(desired_.tables.begin(), desired_.tables.end(),
                            [&](const FirewallTable& d) { return id(d) == t; });
    });
}

// ---- sysctls ------------------------------------------------------------------------------------

namespace {

struct ConfKey {
    std::string prefix;     ///< "net.ipv4.conf."
    std::string interface;  ///< with its dots, which the key spells as slashes
    std::string suffix;     ///< ".forwarding"
};

std::optional<ConfKey> parse_conf(const std::string& key) {
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        const std::string prefix = fmt::format("net.{}.conf.", text(family));
        const auto dot = key.rfind('.');
        if (!key.starts_with(prefix) || dot < prefix.size()) continue;
        std::string interface = key.substr(prefix.size(), dot - prefix.size());
        std::replace(interface.begin(), interface.end(), '/', '.');
        return ConfKey{prefix, std::move(interface), key.substr(dot)};
    }
    return std::nullopt;
}

constexpr const char* accept_redirects = "net.ipv4.conf.all.accept_redirects";

bool is_accept_ra(const std::string& key) { return key.ends_with(".accept_ra"); }
bool is_no_ipv6(const std::string& key) { return key.ends_with(".disable_ipv6"); }

}  // namespace

void Planner::sysctls() {
    // The whole first: its cascade decides what single interfaces still need.
    for (const auto& [key, value] : desired_.sysctls) {
        if (key.ends_with(".conf.all.forwarding")) set_sysctl(key, value);
    }
    for (const auto& [key, value] : desired_.sysctls) {
        if (!key.ends_with(".conf.all.forwarding")) set_sysctl(key, value);
    }
    restore_sysctls();
}

void Planner::set_sysctl(const std::string& key, const std::string& value) {
    const auto conf = parse_conf(key);
    const IfName interface = conf ? IfName::from_kernel(conf->interface) : IfName{};
    const bool fresh = conf && created_.contains(interface);
    const auto found = found_.sysctls.find(key);
    std::string now = fresh ? inherited(key) : found == found_.sysctls.end() ? "" : found->second;
    if (now.empty()) {
        refuse(SetSysctl{key, "", value, {}}, "this kernel has no such setting",
               "is IPv6 switched off, or the interface missing?");
        return;
    }
    std::vector<SysctlValue> cascade = cascade_of(key, value);
    for (const PlannedStep& earlier :
         plan_.steps) {  // a cascade planned before has set this one already
        if (const auto* set = std::get_if<SetSysctl>(&earlier.step)) {
            for (const SysctlValue& value_set : set->cascade) {
                if (value_set.key == key) now = value_set.to;
            }
        }
    }
    if (!fresh) share_sysctl(key, value);
    if (now == value) return;
    auto& formers = plan_.ledger_after.sysctls;
    formers.try_emplace(key, Former<std::string>{now, value, ""}).first->second.ours = value;
    for (const SysctlValue& side : cascade)
        formers.try_emplace(side.key, Former<std::string>{side.from, side.to, key});
    const bool speaks_again = is_no_ipv6(key) && value == "0";   // addresses wait for that
    const Phase phase = fresh || speaks_again ? Phase::Attributes
                        : is_accept_ra(key)   ? Phase::AcceptRa
                        : is_no_ipv6(key)     ? Phase::Up  // its addresses have moved by then
                                              : Phase::Sysctls;
    if (conf && conf->prefix == "net.ipv4.conf." && conf->suffix == ".forwarding" && value != "0")
        lro_goes_with_forwarding(key, conf->interface);
    add(phase, SetSysctl{key, now, value, std::move(cascade)}, Action::Change, Impact::Live);
}

/// What another network on this node has set already is ours, too, with the former values that it
/// remembers: the last of us to go puts them back.
void Planner::share_sysctl(const std::string& key, const std::string& value) {
    for (const Ledger& other : neighbours_) {
        const auto theirs = other.sysctls.find(key);
        if (theirs == other.sysctls.end()) continue;
        if (theirs->second.ours != value) {
            refuse(SetSysctl{key, theirs->second.ours, value, {}},
                   fmt::format("network {} has set it to {}", other.network, theirs->second.ours),
                   "both networks cannot have their way on one node");
            continue;
        }
        auto& formers = plan_.ledger_after.sysctls;
        formers.try_emplace(key, Former<std::string>{theirs->second.before, value, ""});
        for (const auto& [side, former] : other.sysctls) {
            if (former.cause == key) formers.try_emplace(side, former);
        }
        for (const auto& [side, former] : other.offloads) {
            if (former.cause == key) plan_.ledger_after.offloads.try_emplace(side, former);
        }
    }
}

/// What writing conf.all.forwarding does to every other interface and to `default` (see SetSysctl).
std::vector<SysctlValue> Planner::cascade_of(const std::string& key, const std::string& to) const {
    std::vector<SysctlValue> out;
    const auto conf = parse_conf(key);
    if (!conf || conf->interface != "all" || conf->suffix != ".forwarding") return out;
    for (const auto& [other, value] : found_.sysctls) {
        const bool sibling =
            other.starts_with(conf->prefix) && other.ends_with(conf->suffix) && other != key;
        if (sibling)
            out.push_back({other, value, to});  // equal ones, too: the way back writes them
    }
    // A router ignores redirects: the kernel sees to it (Linux net/ipv4/devinet.c,
    // inet_forward_change).
    const auto redirects = found_.sysctls.find(accept_redirects);
    if (conf->prefix == "net.ipv4.conf." && redirects != found_.sysctls.end())
        out.push_back({redirects->first, redirects->second, to == "0" ? "1" : "0"});
    return out;
}

/// A new interface starts with the values of `default` (inetdev_init, ipv6_add_dev).
std::string Planner::inherited(const std::string& key) const {
    const auto conf = parse_conf(key);
    const std::string default_key = conf->prefix + "default" + conf->suffix;
    for (const PlannedStep& earlier : plan_.steps) {
        const auto* set = std::get_if<SetSysctl>(&earlier.step);
        if (set == nullptr) continue;
        for (const SysctlValue& side : set->cascade) {
            if (side.key == default_key) return side.to;
        }
    }
    const auto found = found_.sysctls.find(default_key);
    return found == found_.sysctls.end() ? "" : found->second;
}

/// Puts former values back: each only while it still is ours, and together with what it had
/// changed.
void Planner::restore_sysctls() {
    for (const auto& [key, former] : made_.sysctls) {
        if (desired_.sysctls.contains(key)) continue;
        if (!former.cause.empty()) {
            if (desired_.sysctls.contains(former.cause)) continue;
            plan_.ledger_after.sysctls.erase(key);
            continue;  // its cause restores it
        }
        plan_.ledger_after.sysctls.erase(key);
        if (neighbour([&](const Ledger& other) { return other.sysctls.contains(key); })) continue;
        const auto conf = parse_conf(key);
        if (conf && deleted_.contains(IfName::from_kernel(conf->interface))) continue;
        const auto found = found_.sysctls.find(key);
        if (found == found_.sysctls.end()) continue;
        if (found->second != former.ours) {
            plan_.notes.push_back(
                fmt::format("{} is left at {}: somebody changed it after us", key, found->second));
            continue;
        }
        SetSysctl step{key, found->second, former.before, {}};
        for (const auto& [other, side] : made_.sysctls) {
            const auto now = found_.sysctls.find(other);
            if (side.cause != key || now == found_.sysctls.end()) continue;
            step.cascade.push_back({other, now->second, side.before});
        }
        const Phase phase = is_accept_ra(key) ? Phase::RestoreAcceptRa
                            : is_no_ipv6(key) ? Phase::RemoveLinks  // before addresses come back
                                              : Phase::RestoreSysctls;
        add(phase, std::move(step), Action::Change, Impact::Flap, "former value");
    }
}

// ---- UDP ports ----------------------------------------------------------------------------------

void Planner::fou_ports() {
    const auto identity = [](FouPort port) {  // type and protocol are not part of it
        port.type = GreEncap::Type::None;
        port.ip_protocol = 0;
        port.datapath = Datapath::Kernel;
        return port;
    };
    for (const FouPort& desired : desired_.fou_ports) {
        plan_.ledger_after.fou_ports.insert(desired);
        const auto knows = [&](const Ledger& ledger) {
            return std::any_of(ledger.fou_ports.begin(), ledger.fou_ports.end(),
                               [&](const FouPort& p) { return identity(p) == identity(desired); });
        };
        const bool ours = knows(ledger_) || neighbour(knows) != nullptr;
        const auto find_port = [&](auto is_it) {
            return std::find_if(found_.fou_ports.begin(), found_.fou_ports.end(), is_it);
        };
        auto found = find_port([&](const FouPort& p) { return identity(p) == identity(desired); });
        if (found == found_.fou_ports.end() && ours) {
            // Bound to one address or device, it stands where ours was: a UDP port has one owner.
            found = find_port([&](const FouPort& p) {
                return p.family == desired.family && p.port == desired.port;
            });
        }
        if (found == found_.fou_ports.end()) {
            if (!udp_port_taken(desired.family, desired.port, AddFouPort{desired})) {
                add(Phase::EncapPorts, AddFouPort{desired}, Action::Add, Impact::Live);
            }
            continue;
        }
        if (!ours && !is_left_of_a_lost_ledger(*found)) {
            refuse(AddFouPort{desired},
                   fmt::format("FOU port {} ({}) exists and is not ours", desired.port,
                               text(desired.family)),
                   found->datapath == Datapath::Userspace
                       ? "another network's links go through it: give hub.gue another port; or, where its ledger is "
                         "lost, end overlayd and apply both networks"
                       : fmt::format("remove it (ip fou del port {}), or give hub.gue another port", desired.port));
        } else if (*found != desired) {
            add(Phase::FreeNames, RemoveFouPort{*found}, Action::Recreate, Impact::Recreate);
            add(Phase::EncapPorts, AddFouPort{desired}, Action::Recreate, Impact::Recreate,
                found->datapath != desired.datapath       ? "carried otherwise"
                : identity(*found) == identity(desired) ? "its type differs"
                                                        : "bound otherwise");
        }
    }
    for (const FouPort& ours : ledger_.fou_ports) {
        if (desired_.fou_ports.contains(ours)) continue;
        plan_.ledger_after.fou_ports.erase(ours);
        const bool made_anew = std::any_of(
            desired_.fou_ports.begin(), desired_.fou_ports.end(),
            [&](const FouPort& p) { return identity(p) == identity(ours); });
        if (made_anew || !found_.fou_ports.contains(ours) || is_shared(ours)) continue;
        add(port_is_wanted(ours) ? Phase::FreeNames : Phase::RemoveEncapPorts, RemoveFouPort{ours},
            Action::Remove, Impact::SessionLoss);
    }
}

/// overlayd carries it, and nobody but us tells overlayd what to carry; but for another network's links.
bool Planner::is_left_of_a_lost_ledger(const FouPort& port) const {
    const auto needs_it = [&](const auto& entry) {
        const auto& gretap = entry.second.gretap;
        return gretap && gretap->encap.type == port.type && gretap->encap.source_port == port.port &&
               gretap->local.family() == port.family && !is_ours(entry.second);
    };
    return port.datapath == Datapath::Userspace && std::ranges::none_of(found_.links, needs_it);
}

/// GRE tells tunnels apart by key, not by port: networks can receive on the same one.
bool Planner::is_shared(const FouPort& port) const {
    return neighbour([&](const Ledger& other) { return other.fou_ports.contains(port); });
}

/// By whom the new file gives it to: another port of the family, or WireGuard, which has both.
bool Planner::port_is_wanted(const FouPort& port) const {
    const auto& ports = desired_.fou_ports;
    return std::any_of(ports.begin(), ports.end(), [&](const FouPort& wanted) {
        return wanted.port == port.port && wanted.family == port.family;
    }) || wireguard_wants(port.port, IfName{});
}

/// The same of a WireGuard device's.
bool Planner::port_is_wanted(std::uint16_t port, const IfName& device) const {
    const auto& ports = desired_.fou_ports;
    return port != 0 && (std::any_of(ports.begin(), ports.end(),
                                     [&](const FouPort& wanted) { return wanted.port == port; }) ||
                         wireguard_wants(port, device));
}

bool Planner::wireguard_wants(std::uint16_t port, const IfName& except) const {
    const auto& devices = desired_.wireguard;
    return std::any_of(devices.begin(), devices.end(), [&](const auto& entry) {
        return entry.first != except && entry.second.listen_port == port;
    });
}

/// A kernel's WireGuard device has sockets while it is up (Linux drivers/net/wireguard/device.c, wg_open); overlayd's
/// has them all the time.
bool Planner::holds_its_port(const Link& device) {
    return device.kind == LinkKind::Tun || device.up.value_or(false);
}

bool Planner::udp_port_taken(Family family, std::uint16_t port, const Step& for_step) {
    const auto freed = [&](const FouPort& p) {
        return p.port == port && p.family == family && !desired_.fou_ports.contains(p) &&
               !is_shared(p);
    };
    if (std::any_of(ledger_.fou_ports.begin(), ledger_.fou_ports.end(), freed)) return false;
    for (const auto& [name, device] : found_.wireguard) {
        const Link* link = found_link(name);
        // Without a link: overlayd has it still, and somebody has deleted the TUN.
        const bool ours = link == nullptr ? ledger_.links.contains(name)
                                          : is_ours(*link) && holds_its_port(*link);
        if (ours && device.listen_port == port) return false;
    }
    for (const UdpSocket& socket : found_.udp_sockets) {
        if (socket.family != family || socket.port != port) continue;
        refuse(for_step,
               fmt::format("UDP port {} ({}) is already bound{}", port, text(family),
                           socket.owner.empty() ? "" : " by " + socket.owner),
               "stop its owner, or state another port in the file");
        return true;
    }
    return false;
}

}  // namespace overlay
