// A link of ours under another name than it should have: somebody renamed it by hand, or the name in the
// file has changed. It is known by its mark, or, should that be lost, by what the ledger remembers of it.
// It gets its name first of all, so that everything else can be planned as if it had never had another.

#include "topology/planner.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

namespace {

struct Rename {
    IfName from, to;
    IfName wanted;   ///< `to`, or where it will be after a detour
};

/// The name is free when its turn comes: nobody has it, or who has it gives it up.
void keep_possible(std::vector<Rename>& renames, const KernelState& found) {
    const auto is_impossible = [&](const Rename& rename) {
        if (found.alternative_names.contains(rename.to)) return true;
        return found.links.contains(rename.to) &&
               std::none_of(renames.begin(), renames.end(),
                            [&](const Rename& other) { return other.from == rename.to; });
    };
    for (;;) {
        const auto bad = std::find_if(renames.begin(), renames.end(), is_impossible);
        if (bad == renames.end()) return;
        renames.erase(bad);
    }
}

IfName free_name(const KernelState& found, const KernelState& desired) {
    for (int n = 0;; ++n) {
        const IfName name = IfName::from_kernel(fmt::format("overlay{}", n));
        const bool taken = found.links.contains(name) || desired.links.contains(name) ||
                           found.alternative_names.contains(name);
        if (!taken) return name;
    }
}

/// Who gives a name up goes before who gets it. Two that swap names need a third one.
std::vector<Rename> in_order(std::vector<Rename> renames, const IfName& spare) {
    std::vector<Rename> out;
    while (!renames.empty()) {
        const auto possible = std::find_if(renames.begin(), renames.end(), [&](const Rename& one) {
            return std::none_of(renames.begin(), renames.end(),
                                [&](const Rename& other) { return other.from == one.to; });
        });
        if (possible != renames.end()) {
            out.push_back(*possible);
            renames.erase(possible);
        } else {
            out.push_back({renames.front().from, spare, renames.front().wanted});
            renames.front().from = spare;
        }
    }
    return out;
}

/// The state once the link is down: its routes, neighbours and IPv6 addresses are gone (Linux net/core/neighbour.c
/// neigh_ifdown, net/ipv4/fib_frontend.c fib_disable_ip, net/ipv6/addrconf.c addrconf_ifdown).
void take_down(KernelState& state, const IfName& name) {
    Link& link = state.links.at(name);
    if (!link.up.value_or(false)) return;
    link.up = false;
    link.link_local.reset();   // the kernel makes it anew
    if (const auto device = state.wireguard.find(name); device != state.wireguard.end()) {
        std::erase_if(state.udp_sockets, [&](const UdpSocket& socket) {   // a device that is down has none
            return link.kind == LinkKind::Wireguard && socket.port == device->second.listen_port;
        });
    }
    std::erase_if(state.routes, [&](const Route& route) { return uses(route, name); });
    std::erase_if(state.neighbours, [&](const Neighbour& neighbour) { return neighbour.link == name; });
    std::erase_if(state.addresses, [&](const Address& address) {
        return address.link == name && address.prefix.family() == Family::Ipv6;
    });
}

/// The state once `from`, which is down, is called `to`.
void rename(KernelState& state, const IfName& from, const IfName& to) {
    auto node = state.links.extract(from);
    node.key() = node.mapped().name = to;
    state.links.insert(std::move(node));
    for (auto& [name, link] : state.links) {
        if (link.master == from) link.master = to;
        if (link.gretap && link.gretap->device == from) link.gretap->device = to;
    }
    std::set<Address> addresses;
    for (Address address : state.addresses) {
        if (address.link == from) address.link = to;
        addresses.insert(std::move(address));
    }
    state.addresses = std::move(addresses);
    std::set<Neighbour> neighbours;   // of one that was down before
    for (Neighbour neighbour : state.neighbours) {
        if (neighbour.link == from) neighbour.link = to;
        neighbours.insert(std::move(neighbour));
    }
    state.neighbours = std::move(neighbours);
    if (auto device = state.wireguard.extract(from)) {
        device.key() = to;
        state.wireguard.insert(std::move(device));
    }
    std::map<OffloadKey, bool> offloads;
    for (const auto& [key, value] : state.offloads)
        offloads.emplace(OffloadKey{key.link == from ? to : key.link, key.feature}, value);
    state.offloads = std::move(offloads);
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        const std::string old = conf_sysctl(family, from.str(), "");
        std::map<std::string, std::string> moved;
        for (auto value = state.sysctls.lower_bound(old);
             value != state.sysctls.end() && value->first.starts_with(old);) {
            moved.emplace(conf_sysctl(family, to.str(), value->first.substr(old.size())),
                          value->second);
            value = state.sysctls.erase(value);
        }
        state.sysctls.merge(moved);
    }
}

}  // namespace

void Planner::renames() {
    std::vector<Rename> wanted;
    for (const auto& [name, desired] : desired_.links) {
        if (intent_.borrowed.contains(name)) continue;
        const Link* at_home = found_link(name);
        if (at_home != nullptr && is_ours(*at_home) && at_home->alias == desired.alias) continue;
        const auto made = ledger_.links.find(name);
        const auto is_it = [&](const Link& link) {
            if (link.kind != desired.kind || link.name == name) return false;
            if (link.alias == desired.alias) return true;
            const bool remembered = made != ledger_.links.end() && made->second.mac;
            return remembered && !desired_.links.contains(link.name) &&
                   is_remembered(link, made->second);
        };
        const auto away = std::find_if(found_.links.begin(), found_.links.end(),
                                       [&](const auto& entry) { return is_it(entry.second); });
        if (away != found_.links.end()) wanted.push_back({away->first, name, name});
    }
    keep_possible(wanted, found_);
    if (wanted.empty()) return;
    std::map<IfName, IfName> renamed;
    for (const Rename& each : wanted) {   // by the file; who renames by hand changes no ledger
        const auto made = ledger_.links.find(each.from);
        if (made == ledger_.links.end() || !is_the_one_made(found_.links.at(each.from), made->second)) continue;
        const auto key = ledger_.wireguard_keys.find(each.from);   // WireGuard has no MAC
        const bool same_key = key != ledger_.wireguard_keys.end() && found_.wireguard.contains(each.from) &&
                              found_.wireguard.at(each.from).public_key == key->second;
        const bool same_mark = made->second.alias && made->second.alias == found_.links.at(each.from).alias;
        if (same_mark || made->second.mac || same_key || !desired_.links.contains(each.from))
            renamed.emplace(each.from, each.to);
    }
    rename_in_ledger(renamed);
    for (const Rename& each : wanted) {
        goes_down(found_.links.at(each.from), each.to);
        new_names_.emplace(each.from, each.to);
        take_down(found_, each.from);
    }
    for (const auto& [from, to, finally] : in_order(wanted, free_name(found_, desired_))) {
        add(Phase::FreeNames, RenameLink{from, to}, Action::Change, Impact::Flap);
        plan_.steps.back().object = object_of(RenameLink{from, finally});
        rename(found_, from, to);
    }
}

/// Else what the old file asked for would stay for ever on a link that gets another name in the new one.
void Planner::rename_in_ledger(const std::map<IfName, IfName>& renamed) {
    const auto new_name = [&](const IfName& name) {
        const auto to = renamed.find(name);
        return to == renamed.end() ? name : to->second;
    };
    const auto new_key = [&](const std::string& key) {
        for (const auto& [from, to] : renamed) {
            for (const Family family : {Family::Ipv4, Family::Ipv6}) {
                const std::string old = conf_sysctl(family, from.str(), "");
                if (key.starts_with(old)) return conf_sysctl(family, to.str(), key.substr(old.size()));
            }
        }
        return key;
    };
    made_.addresses.clear();
    made_.offloads.clear();
    made_.sysctls.clear();
    for (Address address : ledger_.addresses) {
        address.link = new_name(address.link);
        made_.addresses.insert(std::move(address));
    }
    for (const auto& [key, former] : ledger_.offloads) {
        made_.offloads.emplace(OffloadKey{new_name(key.link), key.feature},
                               Former<bool>{former.before, former.ours, new_key(former.cause)});
    }
    for (const auto& [key, former] : ledger_.sysctls) made_.sysctls.emplace(new_key(key), former);
    plan_.ledger_after.addresses = made_.addresses;
    plan_.ledger_after.offloads = made_.offloads;
    plan_.ledger_after.sysctls = made_.sysctls;
}

/// Who puts a device into a VRF, a bond or a team changes more than its master, and so does who takes it out:
/// routes and IPv6 addresses go (Linux drivers/net/vrf.c, cycle_netdev), or the device goes down
/// (drivers/net/bonding/bond_main.c, __bond_release_one). So ours leaves down and before all else, and is
/// planned as if it had never been there.
void Planner::leave_strange_masters() {
    for (const auto& [name, desired] : desired_.links) {
        if (intent_.borrowed.contains(name) || !desired.master) continue;
        const Link* found = found_link(name);
        if (found == nullptr || found->kind != desired.kind || !is_ours(*found)) continue;
        if (!found->master || found->master->empty() || found->master == desired.master) continue;
        const Link* master = found_link(*found->master);
        if (master == nullptr || master->kind == LinkKind::Bridge) continue;
        goes_down(*found, name);
        Link from{.name = name, .kind = found->kind}, to = from;
        from.master = found->master;
        to.master = IfName{};
        add(Phase::FreeNames, ChangeLink{from, to}, Action::Change, Impact::Flap);
        take_down(found_, name);
        found_.links.at(name).master = IfName{};
    }
}

/// Down first. What hangs on it and is somebody else's comes back by itself (plan_bystanders.cpp), what is ours is
/// planned anyway.
void Planner::goes_down(const Link& link, const IfName& wanted) {
    if (!link.up.value_or(false)) return;
    for (const Route& route : found_.routes) {
        if (!uses(route, link.name) || route.beyond_us.empty() || route.protocol == protocol_ra) continue;
        refuse(RemoveRoute{route},
               fmt::format("it has {}, and would be lost when {} gets its name", route.beyond_us, link.name.str()),
               "remove the route, or rename the interface by hand");
    }
    Link from{.name = link.name, .kind = link.kind}, to = from;
    from.up = true;
    to.up = false;
    add(Phase::FreeNames, ChangeLink{from, to}, Action::Change, Impact::Flap);
    plan_.steps.back().object = object_of(RenameLink{link.name, wanted});   // one object to the reader
}

}  // namespace overlay
