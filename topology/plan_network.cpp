// What hangs on links: addresses, routes, WireGuard devices and their peers. A link that is made
// anew has none of them, whatever was found; a link that goes takes them along.

#include "topology/planner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <ranges>

namespace overlay {

Route connected(const Address& address) {
    const bool ipv6 = address.prefix.family() == Family::Ipv6;
    return {.destination = address.prefix.network(),
            .gateway = {},
            .device = address.link,
            .metric = address.details.metric == 0 && ipv6 ? 256 : address.details.metric,
            .protocol = protocol_kernel};
}

/// What came last goes first, a secondary address before its primary one: so the way back adds them as they came.
std::vector<Address> Planner::secondaries_first(const std::set<Address>& addresses) const {
    std::vector<Address> out{addresses.begin(), addresses.end()};
    std::ranges::stable_sort(out, std::greater{}, [&](const Address& address) {
        const auto found = found_.addresses.find(address);
        return found == found_.addresses.end() ? std::pair{false, std::int64_t{0}} : turn_of(*found);
    });
    return out;
}

void Planner::addresses() {
    Ledger& after = plan_.ledger_after;
    std::set<Address> replaced;
    promote_secondaries();
    for (const Address& desired : as_listed(desired_.addresses)) {
        const Address* found = found_address(desired);
        const bool shared = neighbour([&](const Ledger& l) { return l.addresses.contains(desired); });
        if (found == nullptr) {
            const auto holds = [&](const Address& ours) {   // see replace_address()
                return ours.link == desired.link && is_going(ours) && leaves_early(ours) &&
                       desired.prefix == IpPrefix::host(ours.prefix.address());
            };
            const bool first = std::any_of(made_.addresses.begin(), made_.addresses.end(), holds);
            add(first ? Phase::FreeNames : Phase::Addresses, AddAddress{desired}, Action::Add,
                Impact::Live);
            after.addresses.insert(desired);
            continue;
        }
        if (shared) after.addresses.insert(desired);
        if (*found == desired) {
            connect(desired);
            continue;
        }
        const bool ours = after.addresses.contains(desired) || made_.addresses.contains(*found) ||
                          !intent_.borrowed.contains(desired.link);
        if (ours) {
            after.addresses.insert(desired);
            replaced.insert(*found);
            replace_address(*found, desired);
        } else if (found->prefix != desired.prefix) {
            refuse(AddAddress{desired},
                   fmt::format("{} has it as {} already, and that is not ours", desired.link.str(),
                               text(found->prefix)),
                   "state the same length in the file, or remove the address");
        }   // else a borrowed link's own address will do as it is
    }
    link_locals();
    gone_addresses(replaced);
    moved_addresses();
}

/// Router advertisements leave from a link-local address and nothing else (RFC 4861, 6.1.2). The kernel gives a
/// bridge one when it begins to run; who flushes the bridge's addresses takes it away for good.
void Planner::link_locals() {
    for (const auto& [name, desired] : desired_.links) {
        const Link* bridge = found_link(name);
        if (!survives(name) || intent_.borrowed.contains(name) || !bridge->link_local) continue;
        const auto off = found_.sysctls.find(conf_sysctl(Family::Ipv6, name.str(), "disable_ipv6"));
        if (off == found_.sysctls.end() || off->second != "0") continue;
        const Address automatic{
            .link = name, .prefix = IpPrefix::of(*bridge->link_local, 64), .details = {.by_kernel = true}};
        const auto is_it = [&](const Address& address) {
            return address.link == name && automatic.prefix.network().contains(address.prefix.address());
        };
        const auto found = std::find_if(found_.addresses.begin(), found_.addresses.end(), is_it);
        if (found != found_.addresses.end()) {
            connect(*found);
            continue;
        }
        add(Phase::Addresses, AddAddress{automatic}, Action::Add, Impact::Live, "the kernel's own, which was removed");
        plan_.steps.back().origin = origin_of(object_of(CreateLink{*bridge}));
    }
}

/// The route to an address's network comes and goes with it, where there is one; somebody can remove it alone.
void Planner::connect(const Address& address) {
    if (address.no_prefix_route) return;
    Route missing = connected(address);
    const bool none = missing.destination.length() >= (address.prefix.family() == Family::Ipv4 ? 32 : 128);
    const Link* link = found_link(address.link);
    if (none || link == nullptr || !link->up.value_or(false)) return;
    const bool stands = std::any_of(found_.routes.begin(), found_.routes.end(), [&](const Route& route) {
        return route.destination == missing.destination && uses(route, address.link) && !route.gateway;
    });
    const bool each_has_it = address.prefix.family() == Family::Ipv6 && address.prefix.address().is_link_local();
    const auto is_it = [&](const Route& route) { return is_same_route(route, missing) && !each_has_it; };
    if (stands || std::any_of(found_.routes.begin(), found_.routes.end(), is_it)) return;
    const bool planned = std::any_of(plan_.steps.begin(), plan_.steps.end(), [&](const PlannedStep& step) {
        const auto* added = std::get_if<AddRoute>(&step.step);   // by another address of the network
        return added != nullptr && is_it(added->route);
    });
    if (planned) return;
    if (address.prefix.family() == Family::Ipv4) missing.source = address.prefix.address();
    add(Phase::Routes, AddRoute{missing}, Action::Add, Impact::Live, "comes with the address");
    plan_.steps.back().origin = origin_of(object_of(AddAddress{address}));
}

const Address* Planner::found_address(const Address& desired) const {
    if (!survives(desired.link)) return nullptr;
    auto found = found_.addresses.find(desired);
    if (found == found_.addresses.end()) {
        found = std::find_if(found_.addresses.begin(), found_.addresses.end(),
                             [&](const Address& a) { return is_same_address(a, desired); });
    }
    return found == found_.addresses.end() ? nullptr : &*found;
}

/// One of ours on a link that stays, which the file does not want any more.
bool Planner::is_going(const Address& ours) const {
    if (desired_.addresses.contains(ours) || !found_.addresses.contains(ours)) return false;
    if (neighbour([&](const Ledger& l) { return l.addresses.contains(ours); })) return false;
    return survives(ours.link);
}

/// The route to its network is in the way of one that the file wants.
bool Planner::leaves_early(const Address& ours) const {
    if (ours.prefix.family() != Family::Ipv4) return false;   // its route has a metric of its own: 256
    const Route its = connected(ours);
    return std::any_of(desired_.routes.begin(), desired_.routes.end(),
                       [&](const Route& wanted) { return is_same_route(wanted, its); });
}

bool Planner::leaves_early(const Route& found) const {
    if (found.protocol != protocol_kernel) return false;
    return std::any_of(made_.addresses.begin(), made_.addresses.end(), [&](const Address& ours) {
        return ours.link == found.device && ours.prefix.network() == found.destination &&
               is_going(ours);
    });
}

/// With its last IPv4 address an interface loses every route (Linux net/ipv4/fib_frontend.c, fib_disable_ip).
bool Planner::needs_one_that_leaves_early(const Route& found) const {
    return found.destination.family() == Family::Ipv4 &&
           std::any_of(made_.addresses.begin(), made_.addresses.end(), [&](const Address& ours) {
               return uses(found, ours.link) && is_going(ours) && leaves_early(ours);
           });
}

void Planner::gone_addresses(const std::set<Address>& replaced) {
    Ledger& after = plan_.ledger_after;
    for (const Address& ours : secondaries_first(made_.addresses)) {
        if (desired_.addresses.contains(ours)) continue;
        after.addresses.erase(ours);
        if (!is_going(ours) || replaced.contains(ours)) continue;
        const Phase phase = leaves_early(ours) ? Phase::FreeAddresses : Phase::RemoveAddresses;
        remove_address(phase, ours, {Action::Remove, Impact::SessionLoss, {}});
    }
    for (const IfName& link : promoting_) {
        const std::string key = conf_sysctl(Family::Ipv4, link.str(), "promote_secondaries");
        add(Phase::RemoveAddresses, SetSysctl{key, "1", "0", {}}, Action::Change, Impact::Live);
    }
}

/// The uplink's addresses live on the bridge now, or come back from it.
void Planner::moved_addresses() {
    const std::set<Address>& all = plan_.ledger_after.moved_addresses;
    for (const Address& moved : intent_.uplink_move ? secondaries_first(all) : as_listed(all)) {
        const bool here = found_.addresses.contains(moved);
        const bool autoconf = !is_for_ever(moved) && moved.prefix.family() == Family::Ipv6;
        if (intent_.uplink_move && here) {
            remove_address(Phase::Addresses, moved,
                           {Action::Remove, Impact::Flap, "moves to the bridge"});
        } else if (!intent_.uplink_move && !here && !autoconf && survives(moved.link)) {
            add(Phase::RestoreSysctls, AddAddress{moved}, Action::Add, Impact::Flap,
                "back from the bridge");
        }
    }
    if (!intent_.uplink_move) plan_.ledger_after.moved_addresses.clear();
}

/// Not by removing and adding alone: with its last IPv4 address, an interface loses every route,
/// foreign ones too (Linux net/ipv4/fib_frontend.c, fib_disable_ip). The same address as a /32
/// stays meanwhile.
void Planner::replace_address(const Address& found, const Address& desired) {
    const std::size_t first = plan_.steps.size();
    const Address held{desired.link, IpPrefix::host(desired.prefix.address()), true, false};
    const bool hold = desired.prefix.family() == Family::Ipv4 && held.prefix != desired.prefix &&
                      !found_.addresses.contains(held);
    if (hold) add(Phase::FreeNames, AddAddress{held}, Action::Change, Impact::Flap);
    remove_address(Phase::FreeNames, found, {Action::Change, Impact::Flap, {}});
    add(Phase::Addresses, AddAddress{desired}, Action::Change, Impact::Flap);
    if (hold) add(Phase::RemoveAddresses, RemoveAddress{held}, Action::Change, Impact::Flap);
    for (std::size_t i = first; i < plan_.steps.size(); ++i) {  // one object to the reader
        plan_.steps[i].object = object_of(AddAddress{desired});
    }
}

bool Planner::is_off(const std::string& interface) const {
    const auto found =
        found_.sysctls.find(conf_sysctl(Family::Ipv4, interface, "promote_secondaries"));
    return found != found_.sysctls.end() && found->second == "0";
}

namespace {

bool are_siblings(const Address& a, const Address& b) {
    return a.link == b.link && a.prefix != b.prefix && a.prefix.family() == Family::Ipv4 &&
           b.prefix.family() == Family::Ipv4 && a.prefix.network() == b.prefix.network();
}

}  // namespace

/// An address in the place of another of its subnet comes before that one goes. The kernel would remove
/// it along, and on the way back the other way round: so from before the first until after the second,
/// it is told to promote (see remove_address).
void Planner::promote_secondaries() {
    for (const Address& ours : made_.addresses) {
        if (!is_going(ours)) continue;
        const bool has_heir = std::any_of(
            desired_.addresses.begin(), desired_.addresses.end(), [&](const Address& desired) {
                return are_siblings(ours, desired) && !found_.addresses.contains(desired);
            });
        const bool needed = has_heir && is_off("all") && is_off(ours.link.str());
        if (!needed || !promoting_.insert(ours.link).second) continue;
        const std::string key = conf_sysctl(Family::Ipv4, ours.link.str(), "promote_secondaries");
        add(Phase::Masters, SetSysctl{key, "0", "1", {}}, Action::Change, Impact::Live,
            "for the addresses that stay");
    }
}

/// The kernel removes the other addresses of a subnet along with the first one, unless it is told to
/// promote them (Linux net/ipv4/devinet.c, __inet_del_ifa).
void Planner::remove_address(Phase phase, const Address& address, const StepTraits& traits) {
    const bool has_siblings =
        std::any_of(found_.addresses.begin(), found_.addresses.end(),
                    [&](const Address& other) { return are_siblings(address, other); });
    const bool told = promoting_.contains(address.link) && phase >= Phase::Masters;
    const bool promote = has_siblings && !told && is_off("all") && is_off(address.link.str());
    const std::string setting =
        conf_sysctl(Family::Ipv4, address.link.str(), "promote_secondaries");
    const std::size_t first = plan_.steps.size();
    const auto& [action, impact, why] = traits;
    if (promote) add(phase, SetSysctl{setting, "0", "1", {}}, action, impact, why);
    add(phase, RemoveAddress{address}, action, impact, why);
    if (promote) add(phase, SetSysctl{setting, "1", "0", {}}, action, impact, why);
    for (std::size_t i = first; i < plan_.steps.size(); ++i) {
        plan_.steps[i].object = object_of(RemoveAddress{address});
    }
}

void Planner::routes() {
    Ledger& after = plan_.ledger_after;
    for (const Route& desired : in_order_of_need(desired_.routes)) {
        const bool stands = survives(desired) && found_.routes.contains(desired);
        if (!stands && (is_refused(desired) || !make_way(desired))) continue;
        if (!stands) add(Phase::Routes, AddRoute{desired}, Action::Add, Impact::Live);
        if (desired.protocol == route_protocol) after.routes.insert(desired);
    }
    gone_routes();
    moved_routes();
}

/// A bridge of somebody else's is his to set up.
bool Planner::is_refused(const Route& desired) {
    const Link* found = found_link(desired.device);
    const bool is_his = found != nullptr && intent_.borrowed.contains(desired.device);
    if (!is_his || found->up.value_or(true) || desired_.links.at(desired.device).up) return false;
    refuse(AddRoute{desired}, fmt::format("{} is down, and is not ours", desired.device.str()),
           fmt::format("ip link set {} up", desired.device.str()));
    return true;
}

/// What the kernel takes for the same route goes first, if it is ours to remove.
bool Planner::make_way(const Route& desired) {
    const auto is_its = [&](const Route& r) { return is_same_route(r, desired); };
    const bool ours_stands =
        std::any_of(found_.routes.begin(), found_.routes.end(),
                    [&](const Route& r) { return r.protocol == route_protocol && is_its(r); });
    // One that somebody put in the place of ours is a change of ours; one beside ours is somebody's own.
    const bool ours_is_replaced =
        !ours_stands && std::any_of(ledger_.routes.begin(), ledger_.routes.end(), is_its);
    bool taken = false;
    for (const Route& found : found_.routes) {
        if (!is_its(found) || is_lost(found) || leaves_early(found)) continue;
        const bool moved = plan_.ledger_after.moved_routes.contains(found);
        const Ledger* other = neighbour([&](const Ledger& l) { return l.routes.contains(found); });
        if (other != nullptr) {
            refuse(AddRoute{desired},
                   fmt::format("network {} has another route to {}, dev {}", other->network,
                               text(found.destination), found.device.str()),
                   "take the network out of one of the two files");
            taken = true;
        } else if (found.protocol == route_protocol || ours_is_replaced) {
            add(Phase::FreeNames, RemoveRoute{found}, Action::Change, Impact::Flap);
        } else if (desired.protocol == route_protocol && !moved) {
            refuse(AddRoute{desired},
                   fmt::format("a route to {} dev {} (proto {}) exists and is not ours",
                               text(found.destination), ways_of(found).front().device.str(),
                               found.protocol),
                   "remove it, or take the network out of the file");
            taken = true;
        }
    }
    return !taken;
}

/// By a route of the new file, or by one that a new address brings along: either way, it must go first,
/// and come back last.
bool Planner::is_taken_over(const Route& found) const {
    const auto& routes = desired_.routes;
    const auto& addresses = desired_.addresses;
    return std::any_of(routes.begin(), routes.end(),
                       [&](const Route& wanted) {
                           return is_same_route(wanted, found) && wanted != found;
                       }) ||
           std::any_of(addresses.begin(), addresses.end(), [&](const Address& wanted) {
               return wanted.prefix.family() == Family::Ipv4 &&
                      found.protocol != protocol_kernel && is_same_route(connected(wanted), found) &&
                      !found_.addresses.contains(wanted);
           });
}

void Planner::gone_routes() {
    std::set<Route> unwanted;
    std::ranges::copy_if(found_.routes, std::inserter(unwanted, unwanted.end()), [&](const Route& found) {
        return found.protocol == route_protocol && !desired_.routes.contains(found);
    });
    for (const Route& found : std::views::reverse(in_order_of_need(unwanted))) {
        const auto ways = ways_of(found);
        const bool ours = ledger_.routes.contains(found) ||
                          std::any_of(ways.begin(), ways.end(), [&](const NextHop& way) {
                              const Link* device = found_link(way.device);
                              return device != nullptr && is_ours(*device);
                          });
        const bool replaced = std::any_of(desired_.routes.begin(), desired_.routes.end(), [&](const Route& r) {
            return is_same_route(r, found) && !found_.routes.contains(r);   // else it stands beside ours
        });
        if (!ours || replaced || is_lost(found)) continue;
        if (neighbour([&](const Ledger& l) { return l.routes.contains(found); })) continue;
        const bool early = is_taken_over(found) || needs_one_that_leaves_early(found);
        add(early ? Phase::FreeNames : Phase::RemoveRoutes, RemoveRoute{found}, Action::Remove,
            Impact::SessionLoss);
    }
    std::erase_if(plan_.ledger_after.routes,
                  [&](const Route& r) { return !desired_.routes.contains(r); });
}

/// The uplink's routes lead through the bridge now, or come back from it. A bridge that stays gives
/// its copies back; one that goes takes them along.
void Planner::moved_routes() {
    const std::vector<Route> all = in_order_of_need(plan_.ledger_after.moved_routes);
    if (intent_.uplink_move) {
        for (const Route& moved : std::views::reverse(all)) {
            if (found_.routes.contains(moved))
                add(Phase::FreeNames, RemoveRoute{moved}, Action::Remove, Impact::Flap, "moves to the bridge");
        }
        return;
    }
    for (const Route& moved : std::views::reverse(all)) {
        if (found_.routes.contains(moved) || !survives(moved)) continue;
        for (const Route& copy : found_.routes) {
            const Link* bridge = found_link(ways_of(copy).front().device);
            const bool ours = bridge != nullptr && is_ours(*bridge) && !is_lost(copy);
            if (!is_same_route(copy, moved) || !ours || desired_.routes.contains(copy)) continue;
            add(Phase::RemoveRoutes, RemoveRoute{copy}, Action::Remove, Impact::Flap, "goes back to the uplink");
        }
    }
    for (const Route& moved : all) {
        if (found_.routes.contains(moved) || !survives(moved)) continue;
        add(Phase::RestoreAcceptRa, AddRoute{moved}, Action::Add, Impact::Flap, "back from the bridge");
    }
    plan_.ledger_after.moved_routes.clear();
}

void Planner::wireguard() {
    for (const auto& [name, desired] : desired_.wireguard) {
        const auto known = found_.wireguard.find(name);
        const bool kept = survives(name) && known != found_.wireguard.end();
        const WireguardDevice found = kept ? known->second : WireguardDevice{.listen_port = 0};
        WireguardDevice from = found, to = desired;
        from.peers.clear();
        to.peers.clear();
        if (kept && found.listen_port && found.listen_port != desired.listen_port &&
            port_is_wanted(*found.listen_port, name)) {   // two may swap theirs
            WireguardDevice free = from;
            free.listen_port = 0;
            add(Phase::FreeNames, SetWireguard{name, from, free}, Action::Change, Impact::Flap);
            from = free;
        }
        if (!to.public_key.is_zero()) plan_.ledger_after.wireguard_keys[name] = to.public_key;
        if (!to.listen_port) from.listen_port.reset();
        const Link* link = kept ? found_link(name) : nullptr;
        const bool is_bound = link != nullptr && holds_its_port(*link);
        const bool binds = to.listen_port && (!is_bound || from.listen_port != to.listen_port);
        const auto taken = [&](Family family) {  // WireGuard binds the port in both
            return udp_port_taken(family, *to.listen_port, SetWireguard{name, from, to});
        };
        if (binds && (taken(Family::Ipv4) || taken(Family::Ipv6))) continue;
        if (from != to) {
            const bool new_key = kept && from.public_key != to.public_key;
            const Action action = kept ? Action::Change : Action::Add;
            add(Phase::Attributes, SetWireguard{name, from, to}, action,
                new_key ? Impact::SessionLoss
                : kept  ? Impact::Flap
                        : Impact::Live);
        }
        peers(name, desired, found);
    }
    std::erase_if(plan_.ledger_after.wireguard_keys, [&](const auto& entry) {
        return !desired_.wireguard.contains(entry.first);
    });
}

void Planner::peers(const IfName& name, const WireguardDevice& desired,
                    const WireguardDevice& found) {
    for (const auto& [key, wanted] : desired.peers) {
        const auto known = found.peers.find(key);
        if (known == found.peers.end()) {
            add(Phase::Peers, SetPeer{name, key, std::nullopt, wanted}, Action::Add, Impact::Live);
            continue;
        }
        WireguardPeer from = known->second;
        // Without a stated endpoint the peer tells us where it is; what is known stays known.
        WireguardPeer to = wanted;
        if (!to.endpoint) to.endpoint = from.endpoint;
        if (from == to) continue;
        const bool new_secret = from.preshared_key != to.preshared_key;
        add(Phase::Peers, SetPeer{name, key, std::move(from), std::move(to)}, Action::Change,
            new_secret ? Impact::SessionLoss : Impact::Live);
    }
    for (const auto& [key, gone] : found.peers) {
        if (desired.peers.contains(key)) continue;
        add(Phase::RemovePeers, SetPeer{name, key, gone, std::nullopt}, Action::Remove,
            Impact::SessionLoss);
    }
}

}  // namespace overlay
