// What hangs on links: addresses, routes, WireGuard devices and their peers. A link that is made
// anew has none of them, whatever was found; a link that goes takes them along.

#include "topology/planner.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

namespace {

/// The route that keeps the hub outside the tunnel stands before those that lead everything into
/// it, and goes after them: else the tunnel's own packets enter the tunnel for a moment, and the
/// kernel remembers the MTU of that way for ten minutes (net.ipv4.route.mtu_expires).
std::vector<Route> narrowest_first(const std::set<Route>& routes) {
    std::vector<Route> out{routes.begin(), routes.end()};
    std::stable_sort(out.begin(), out.end(), [](const Route& a, const Route& b) {
        return a.destination.length() > b.destination.length();
    });
    return out;
}

}  // namespace

void Planner::addresses() {
    Ledger& after = plan_.ledger_after;
    for (const Address& desired : desired_.addresses) {
        const auto same_prefix = [&](const Address& a) {
            return a.link == desired.link && a.prefix == desired.prefix;
        };
        const auto found =
            survives(desired.link)
                ? std::find_if(found_.addresses.begin(), found_.addresses.end(), same_prefix)
                : found_.addresses.end();
        if (found == found_.addresses.end()) {
            add(Phase::Addresses, AddAddress{desired}, Action::Add, Impact::Live);
            after.addresses.insert(desired);
        } else if (*found != desired) {
            const bool ours =
                ledger_.addresses.contains(desired) || !intent_.borrowed.contains(desired.link);
            if (!ours) continue;  // a borrowed link's own address will do as it is
            replace_address(*found, desired);
        }
    }
    for (const Address& ours : ledger_.addresses) {
        if (desired_.addresses.contains(ours)) continue;
        after.addresses.erase(ours);
        if (!found_.addresses.contains(ours) || !survives(ours.link)) continue;
        remove_address(Phase::RemoveAddresses, ours, {Action::Remove, Impact::SessionLoss, {}});
    }
    // The uplink's addresses live on the bridge now, or come back from it.
    for (const Address& moved : plan_.ledger_after.moved_addresses) {
        const bool here = found_.addresses.contains(moved);
        if (intent_.uplink_move && here) {
            remove_address(Phase::Addresses, moved,
                           {Action::Remove, Impact::Flap, "moves to the bridge"});
        } else if (!intent_.uplink_move && !here && moved.permanent && survives(moved.link)) {
            add(Phase::RestoreSysctls, AddAddress{moved}, Action::Add, Impact::Flap,
                "back from the bridge");
        }
    }
    if (!intent_.uplink_move) after.moved_addresses.clear();
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

/// The kernel removes the other addresses of a subnet along with the first one, unless it is told to
/// promote them (Linux net/ipv4/devinet.c, __inet_del_ifa).
void Planner::remove_address(Phase phase, const Address& address, const StepTraits& traits) {
    const auto key = [](std::string_view interface) {
        return conf_sysctl(Family::Ipv4, interface, "promote_secondaries");
    };
    const auto is_off = [&](std::string_view interface) {
        const auto found = found_.sysctls.find(key(interface));
        return found != found_.sysctls.end() && found->second == "0";
    };
    const bool has_siblings =
        address.prefix.family() == Family::Ipv4 &&
        std::any_of(found_.addresses.begin(), found_.addresses.end(), [&](const Address& a) {
            return a.link == address.link && a.prefix != address.prefix &&
                   a.prefix.network() == address.prefix.network();
        });
    const bool promote = has_siblings && is_off("all") && is_off(address.link.str());
    const std::string setting = key(address.link.str());
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
    const auto same_key = [](const Route& a,
                             const Route& b) {  // what the kernel takes for one route
        return a.destination == b.destination && a.table == b.table && a.metric == b.metric;
    };
    for (const Route& desired : narrowest_first(desired_.routes)) {
        const bool device_stays = survives(desired.device);
        if (device_stays && found_.routes.contains(desired)) {
            if (desired.protocol == route_protocol) after.routes.insert(desired);
            continue;
        }
        bool taken = false;
        for (const Route& found : found_.routes) {
            if (!same_key(found, desired) || deleted_.contains(found.device)) continue;
            const bool moved = plan_.ledger_after.moved_routes.contains(found);
            if (found.protocol == route_protocol) {
                add(Phase::FreeNames, RemoveRoute{found}, Action::Change, Impact::Flap);
            } else if (desired.protocol == route_protocol && !moved) {
                refuse(AddRoute{desired},
                       fmt::format("a route to {} dev {} (proto {}) exists and is not ours",
                                   text(found.destination), found.device.str(), found.protocol),
                       "remove it, or take the network out of the file");
                taken = true;
            }
        }
        if (taken) continue;
        add(Phase::Routes, AddRoute{desired}, Action::Add, Impact::Live);
        if (desired.protocol == route_protocol) after.routes.insert(desired);
    }
    const std::vector<Route> narrow_to_wide = narrowest_first(found_.routes);
    for (auto each = narrow_to_wide.rbegin(); each != narrow_to_wide.rend(); ++each) {
        const Route& found = *each;
        if (found.protocol != route_protocol || desired_.routes.contains(found)) continue;
        const Link* device = found_link(found.device);
        const bool ours = ledger_.routes.contains(found) || (device != nullptr && is_ours(*device));
        const bool replaced = std::any_of(desired_.routes.begin(), desired_.routes.end(),
                                          [&](const Route& r) { return same_key(r, found); });
        if (!ours || replaced || deleted_.contains(found.device)) continue;
        add(Phase::RemoveRoutes, RemoveRoute{found}, Action::Remove, Impact::SessionLoss);
    }
    std::erase_if(after.routes, [&](const Route& r) { return !desired_.routes.contains(r); });
    for (const Route& moved : plan_.ledger_after.moved_routes) {
        const bool here = found_.routes.contains(moved);
        if (intent_.uplink_move && here) {
            add(Phase::FreeNames, RemoveRoute{moved}, Action::Remove, Impact::Flap,
                "moves to the bridge");
        } else if (!intent_.uplink_move && !here && survives(moved.device)) {
            add(Phase::RestoreAcceptRa, AddRoute{moved}, Action::Add, Impact::Flap,
                "back from the bridge");
        }
    }
    if (!intent_.uplink_move) after.moved_routes.clear();
}

void Planner::wireguard() {
    for (const auto& [name, desired] : desired_.wireguard) {
        const auto known = found_.wireguard.find(name);
        const bool kept = survives(name) && known != found_.wireguard.end();
        const WireguardDevice found = kept ? known->second : WireguardDevice{.listen_port = 0};
        WireguardDevice from = found, to = desired;
        from.peers.clear();
        to.peers.clear();
        if (!to.listen_port) from.listen_port.reset();
        if (from != to) {
            const bool new_key = kept && from.public_key != to.public_key;
            const Action action = kept ? Action::Change : Action::Add;
            const bool port_moves = to.listen_port && from.listen_port != to.listen_port;
            const auto taken = [&](Family family) {  // WireGuard binds the port in both
                return udp_port_taken(family, *to.listen_port, SetWireguard{name, from, to});
            };
            if (port_moves && (taken(Family::Ipv4) || taken(Family::Ipv6))) continue;
            add(Phase::Attributes, SetWireguard{name, from, to}, action,
                new_key ? Impact::SessionLoss
                : kept  ? Impact::Flap
                        : Impact::Live);
        }
        peers(name, desired, found);
    }
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
