// When is a step undone? When the state shows what was before it. Everything here reads; nothing
// changes.

#include "daemon/reconcile/execute.hpp"

#include "topology/attributes.hpp"

#include <algorithm>

namespace overlay {

namespace {

template <class Map, class Key>
const typename Map::mapped_type* find(const Map& map, const Key& key) {
    const auto found = map.find(key);
    return found == map.end() ? nullptr : &found->second;
}

WireguardPeer roamed(WireguardPeer wanted, const WireguardPeer& found) {
    if (wanted.endpoint && found.endpoint) wanted.endpoint = found.endpoint;
    return wanted;
}

bool table_is(const KernelState& state, const std::optional<FirewallTable>& wanted,
              const FirewallTable& named) {
    const auto found = std::find_if(
        state.tables.begin(), state.tables.end(),
        [&](const FirewallTable& t) { return t.family == named.family && t.name == named.name; });
    return wanted ? found != state.tables.end() && *found == *wanted : found == state.tables.end();
}

bool peer_is(const KernelState& state, const SetPeer& step) {
    const WireguardDevice* device = find(state.wireguard, step.link);
    if (device == nullptr) return true;  // the device goes, and its peers with it
    const WireguardPeer* peer = find(device->peers, step.peer);
    if (!step.from || peer == nullptr) return !step.from && peer == nullptr;
    return roamed(*step.from, *peer) == *peer;
}

bool wireguard_is(const KernelState& state, const SetWireguard& step) {
    const WireguardDevice* device = find(state.wireguard, step.link);
    if (device == nullptr) return true;
    const bool port = !step.from.listen_port || device->listen_port == step.from.listen_port;
    return device->public_key == step.from.public_key && port && device->fwmark == step.from.fwmark;
}

bool sysctl_is(const KernelState& state, const SetSysctl& step) {
    const auto holds = [&](const std::string& key, const std::string& value) {
        const std::string* now = find(state.sysctls, key);
        return now == nullptr || *now == value;
    };
    return holds(step.key, step.from) &&
           std::all_of(step.cascade.begin(), step.cascade.end(),
                       [&](const SysctlValue& v) { return holds(v.key, v.from); });
}

}  // namespace

bool is_undone(const Step& step, const KernelState& found) {
    return std::visit(
        Overloaded{
            [](const LoadModule&) { return true; },
            [](const KeepModule&) { return true; },
            [&](const ReplaceTable& s) {
                return table_is(found, s.from, s.from ? *s.from : *s.to);
            },
            [&](const SetSysctl& s) { return sysctl_is(found, s); },
            [&](const AddFouPort& s) { return !found.fou_ports.contains(s.port); },
            [&](const RemoveFouPort& s) { return found.fou_ports.contains(s.port); },
            [&](const CreateLink& s) { return !found.links.contains(s.link.name); },
            [&](const DeleteLink& s) {
                const Link* link = find(found.links, s.link.name);
                Link wanted = s.link;  // master and up come back by steps of their own
                wanted.master.reset();
                wanted.port.reset();
                wanted.up.reset();
                return link != nullptr && difference(wanted, *link).is_empty();
            },
            [&](const RenameLink& s) {
                return found.links.contains(s.from) && !found.links.contains(s.to);
            },
            [&](const ChangeLink& s) {
                const Link* link = find(found.links, s.from.name);
                return link == nullptr || difference(s.from, *link).is_empty();
            },
            [&](const AddAddress& s) { return !found.addresses.contains(s.address); },
            [&](const RemoveAddress& s) { return found.addresses.contains(s.address); },
            [&](const AddRoute& s) { return !found.routes.contains(s.route); },
            [&](const RemoveRoute& s) { return found.routes.contains(s.route); },
            [&](const AddNeighbour& s) { return !found.neighbours.contains(s.neighbour); },
            [&](const RemoveNeighbour& s) { return found.neighbours.contains(s.neighbour); },
            [&](const SetWireguard& s) { return wireguard_is(found, s); },
            [&](const SetPeer& s) { return peer_is(found, s); },
            [&](const SetOffload& s) {
                const bool* now = find(found.offloads, s.key);
                return now == nullptr || *now == s.from;
            },
            [&](const RunOverlayd& s) { return found.overlayd == s.from; },
        },
        step);
}

Missing missing_of(const Bystanders& wanted, const KernelState& found) {
    Missing out;
    const auto has_ipv6 = [&](const IfName& link) {
        const std::string* off = find(found.sysctls, conf_sysctl(Family::Ipv6, link.str(), "disable_ipv6"));
        return off != nullptr && *off == "0";
    };
    const auto want = [&](const IfName& link, Family family, Step step) {
        if (family == Family::Ipv4 || has_ipv6(link)) out.steps.push_back(std::move(step));
        else add_lost(step, out.lost);
    };
    for (const Address& each : as_listed(wanted.addresses)) {
        if (!found.addresses.contains(each)) want(each.link, each.prefix.family(), AddAddress{each});
    }
    for (const Route& each : in_order_of_need(wanted.routes)) {
        if (found.routes.contains(each)) continue;
        const IfName device = ways_of(each).front().device;
        if (const Route* narrowed = with_other_mtu(each, found.routes)) {
            const Link* link = find(found.links, device);
            if (link == nullptr || !link->mtu || each.metrics.at("mtu") > link->mtu->bytes()) {
                out.lost.routes.insert(each);   // until the device is as wide again
                continue;
            }
            out.steps.push_back(RemoveRoute{*narrowed});
        }
        want(device, each.destination.family(), AddRoute{each});
    }
    for (const Neighbour& each : wanted.neighbours) {
        const bool stands = std::any_of(found.neighbours.begin(), found.neighbours.end(),
                                        [&](const Neighbour& other) { return is_same_neighbour(other, each); });
        if (!stands) want(each.link, each.address.family(), AddNeighbour{each});
    }
    return out;
}

void add_lost(const Step& step, Bystanders& lost) {
    if (const auto* address = std::get_if<AddAddress>(&step)) lost.addresses.insert(address->address);
    if (const auto* route = std::get_if<AddRoute>(&step)) lost.routes.insert(route->route);
    if (const auto* neighbour = std::get_if<AddNeighbour>(&step)) lost.neighbours.insert(neighbour->neighbour);
}

KernelState with_roamed_endpoints(KernelState desired, const KernelState& found) {
    for (auto& [name, device] : desired.wireguard) {
        const WireguardDevice* now = find(found.wireguard, name);
        if (now == nullptr) continue;
        for (auto& [key, peer] : device.peers) {
            if (const WireguardPeer* known = find(now->peers, key)) peer = roamed(peer, *known);
        }
    }
    return desired;
}

}  // namespace overlay
