// Routes of ours: to LANs behind layer-3 spokes, from bridged sites to those, and half-defaults
// when a site leaves through the hub.

#include "topology/compiler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace overlay {

/// Networks that a layer-3 spoke reaches through the hub: the hub's LANs and bridge, and the
/// LANs of the other layer-3 spokes. Not of a family without an address inside WireGuard: the hub
/// would find the spoke's packets outside its allowed IPs.
std::vector<Located<IpPrefix>> Compiler::behind_hub(const LinkSpec& link) const {
    std::vector<Located<IpPrefix>> out;
    for (const auto& lan : topology_.hub.lan) out.push_back({lan.value.network(), lan.at});
    if (topology_.hub.bridge) {
        for (const auto& prefix : topology_.hub.bridge->addresses) {
            out.push_back({prefix.value.network(), prefix.at});
        }
    }
    for (const Node& other : topology_.spokes) {
        if (other.name == node_.name) continue;
        for (const auto& lan : routed_lans(topology_, other)) out.push_back(lan);
    }
    const bool has4 = has_family_inside(topology_, node_, link, Family::Ipv4);
    const bool has6 = has_family_inside(topology_, node_, link, Family::Ipv6);
    std::erase_if(out, [&](const auto& prefix) {
        return prefix.value.family() == Family::Ipv4 ? !has4 : !has6;
    });
    return out;
}

void Compiler::routed_networks() {
    if (node_.is_hub) {
        for (const Node& spoke : topology_.spokes) {
            for (const auto& lan : routed_lans(topology_, spoke)) {
                route({.destination = lan.value,
                       .gateway = {},
                       .device = topology_.hub.wireguard->interface.value},
                      lan.at, fmt::format("spokes.{}.lan", spoke.name));
            }
        }
        return;
    }
    if (const LinkSpec* link = routed_link(node_)) {
        const IfName device = spoke_wireguard_interface(topology_, node_, *link);
        std::vector<Located<IpPrefix>> targets = behind_hub(*link);
        for (const auto& inside : cut_off_inside(*link)) targets.push_back(inside);
        for (const auto& prefix : targets) {
            // Its other link may be a port of the common Ethernet, which is nearer.
            if (is_connected(prefix.value)) continue;
            route({.destination = prefix.value, .gateway = {}, .device = device}, prefix.at,
                  link_path(node_, *link));
        }
    } else {
        routes_to_routed_spokes();
    }
}

/// The network inside WireGuard, where our own address there is stated narrower: whoever is beyond it would be
/// answered by the default route, in clear.
std::vector<Located<IpPrefix>> Compiler::cut_off_inside(const LinkSpec& link) const {
    std::vector<Located<IpPrefix>> out;
    for (const auto& own : link.addresses) {
        for (const IpPrefix& hub : hub_tunnel_addresses(topology_)) {
            const bool narrower = own.value.length() > hub.length() && hub.contains(own.value.address());
            if (narrower) out.push_back({hub.network(), own.at});
        }
    }
    return out;
}

/// An address of ours brings the route to this network by itself.
bool Compiler::is_connected(const IpPrefix& network) const {
    return std::any_of(out_.desired.addresses.begin(), out_.desired.addresses.end(),
                       [&](const Address& own) { return own.prefix.network() == network; });
}

/// A bridged site reaches the layer-3 spokes through the hub's address in the bridge.
void Compiler::routes_to_routed_spokes() {
    std::vector<Located<IpPrefix>> targets;
    for (const Node& other : topology_.spokes) {
        if (!routed_link(other)) continue;
        for (const auto& lan : routed_lans(topology_, other)) targets.push_back(lan);
        for (const IpPrefix& prefix : hub_tunnel_addresses(topology_)) {
            targets.push_back({prefix.network(), other.at});
        }
    }
    for (const auto& target : targets) {
        const auto via = hub_on_our_ethernet(target.value.family());
        if (!via || is_connected(target.value)) continue;
        route({.destination = target.value, .gateway = via->first, .device = via->second},
              target.at, here("link"));
    }
}

/// The hub's bridge address on our segment, and our interface there; needs an address of our
/// own in it.
std::optional<std::pair<IpAddress, IfName>> Compiler::hub_on_our_ethernet(Family family) const {
    if (!topology_.hub.bridge) return std::nullopt;
    for (const auto& hub : topology_.hub.bridge->addresses) {
        if (hub.value.family() != family) continue;
        for (const Address& own : out_.desired.addresses) {
            const auto link = out_.desired.links.find(own.link);
            const bool ethernet =
                link != out_.desired.links.end() && link->second.kind != LinkKind::Wireguard;
            if (ethernet && own.prefix.contains(hub.value.address())) {
                return std::pair{hub.value.address(), own.link};
            }
        }
    }
    return std::nullopt;
}

/// Half-default routes through the hub, so that the foreign default route is never touched, and
/// the hub's own underlay address kept on the old gateway.
void Compiler::exit_through_hub() {
    const Span at = node_.exit->at;
    const LinkSpec* link = routed_link(node_);
    std::set<Family> leaving;
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        const auto via = link ? exit_by_wireguard(*link, family) : hub_on_our_ethernet(family);
        if (!via || !can_exit(topology_, source_towards(*via))) continue;
        leaving.insert(family);
        const auto halves = family == Family::Ipv4 ? std::array{"0.0.0.0/1", "128.0.0.0/1"}
                                                   : std::array{"::/1", "8000::/1"};
        for (const char* half : halves) {
            Route value{
                .destination = *IpPrefix::parse(half), .gateway = {}, .device = via->second};
            if (!link) value.gateway = via->first;
            route(value, at, here("exit"));
        }
    }
    for (const LinkSpec& each : node_.links) {
        if (leaving.contains(underlay_family(topology_, each))) pin_hub(each, at, here("exit"));
    }
}

/// Our own address beside the hub's, or, inside WireGuard, the only one.
IpAddress Compiler::source_towards(const std::pair<IpAddress, IfName>& via) const {
    for (const Address& own : out_.desired.addresses) {
        if (own.link == via.second && own.prefix.contains(via.first)) return own.prefix.address();
    }
    return via.first;
}

/// Where the hub's uplink is in the bridge, the provider's router advertises the hub's own network
/// to all: a spoke would take the hub's underlay address for a neighbour behind the tunnel.
void Compiler::keep_way_to_bridged_hub() {
    if (node_.is_hub || !topology_.hub.underlay.in_bridge.value) return;
    for (const LinkSpec& link : node_.links) {
        const bool is_ethernet = link.type.value != LinkType::Wireguard;
        if (!is_ethernet || underlay_family(topology_, link) != Family::Ipv6) continue;
        pin_hub(link, link.at, link_path(node_, link));
    }
}

/// The hub's underlay address stays on the way that it is on without us.
void Compiler::pin_hub(const LinkSpec& link, Span at, std::string path) {
    const auto hub = hub_underlay_address(topology_, link);
    OVERLAY_ASSERT(hub);
    PinnedHost pin{*hub, {}, {}, {at, std::move(path)}};
    if (node_.underlay.interface) pin.device = node_.underlay.interface->value;
    for (const auto& gateway : node_.underlay.gateways) {
        if (gateway.value.family() == hub->family()) pin.gateway = gateway.value;
    }
    out_.pinned.push_back(pin);
}

std::optional<std::pair<IpAddress, IfName>> Compiler::exit_by_wireguard(const LinkSpec& link,
                                                                        Family family) const {
    for (const IpPrefix& prefix : spoke_tunnel_addresses(topology_, node_, link)) {
        if (prefix.family() != family) continue;
        return std::pair{prefix.address(), spoke_wireguard_interface(topology_, node_, link)};
    }
    return std::nullopt;
}

}  // namespace overlay
