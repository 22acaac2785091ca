// A node's WireGuard devices and peers, and the files that hold their secrets. The hub has one
// device for all its spokes; a spoke has one per link.

#include "topology/compiler.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

void Compiler::hub_wireguard() {
    const auto& spec = topology_.hub.wireguard;
    const bool used = std::any_of(ends_.begin(), ends_.end(), [](const End& end) {
        return end.link.type.value != LinkType::GretapGue;
    });
    if (!spec || !used) return;
    const IfName name = spec->interface.value;
    Link link{.name = name, .kind = LinkKind::Wireguard, .alias = mark(".wireguard")};
    link.mtu = mtus_.hub_wireguard();
    link.master = IfName{};
    own_link(link, spec->at, "hub.wireguard");
    WireguardDevice device{.public_key = spec->public_key.value,
                           .listen_port = spec->listen_port.value};
    for (const End& end : ends_) {
        if (end.link.type.value == LinkType::GretapGue) continue;
        device.peers.emplace(end.link.public_key->value, peer_at_hub(end));
        preshared_file(name, end.link.public_key->value, end.link);
        origin(SetPeer{name, end.link.public_key->value, {}, {}}, end.link.at,
               link_path(end.spoke, end.link));
    }
    wireguard_device(name, std::move(device), spec->private_key_file);
    (void)carried_by_wireguard(name, nullptr);
    const Span at = spec->addresses.empty() ? spec->at : spec->addresses.front().at;
    for (const IpPrefix& prefix : hub_tunnel_addresses(topology_)) {
        address(name, {prefix, at}, "hub.wireguard.address");
    }
}

void Compiler::spoke_wireguard() {
    for (const End& end : ends_) {
        if (end.link.type.value == LinkType::GretapGue) continue;
        const IfName name = spoke_wireguard_interface(topology_, node_, end.link);
        const std::string path = link_path(node_, end.link);
        Link link{.name = name, .kind = LinkKind::Wireguard};
        link.alias = mark(link_id(node_, end.link) + ".wireguard");
        link.mtu = mtus_.spoke_wireguard(node_, end.link);
        link.master = IfName{};
        own_link(link, end.link.at, path);
        WireguardDevice device{.public_key = end.link.public_key->value};
        if (end.link.listen_port) device.listen_port = end.link.listen_port->value;
        const PublicKey hub = topology_.hub.wireguard->public_key.value;
        device.peers.emplace(hub, hub_at_spoke(end));
        preshared_file(name, hub, end.link);
        origin(SetPeer{name, hub, {}, {}}, end.link.at, path);
        wireguard_device(name, std::move(device),
                         {private_key_file(topology_, end.link), end.link.at});
        (void)carried_by_wireguard(name, &end.link);
        spoke_tunnel(end, name);
    }
}

/// Beside a routed link the tunnel's device must not bring the network inside WireGuard a second
/// time: the kernel would take one of the two for both, and the hub takes from the tunnel's peer
/// nothing but the tunnel. An IPv4 tunnel is bound to its device (gretap()) and needs no route at all:
/// Linux takes any destination for a neighbour on the device that was asked for (net/ipv4/route.c,
/// ip_route_output_key_hash_rcu). To IPv6 the device is a mere preference where the source is given
/// (net/ipv6/route.c, ip6_route_output_flags_noref), so there the tunnel keeps a route to the hub.
void Compiler::spoke_tunnel(const End& end, const IfName& device) {
    const std::string path = link_path(node_, end.link) + ".address";
    const Span at = end.link.addresses.empty() ? end.link.at : end.link.addresses.front().at;
    const LinkSpec* routed = routed_link(node_);
    const bool alone = routed == nullptr || routed == &end.link;
    const auto ends = alone ? std::nullopt : tunnel_ends(topology_, end.spoke, end.link);
    for (const IpPrefix& prefix : spoke_tunnel_addresses(topology_, node_, end.link)) {
        address(device, {alone ? prefix : IpPrefix::host(prefix.address()), at}, path);
    }
    if (!ends || ends->hub.family() != Family::Ipv6) return;
    route({.destination = IpPrefix::host(ends->hub), .gateway = {}, .device = device}, at, path);
}

void Compiler::wireguard_device(const IfName& name, WireguardDevice device,
                                const Located<std::string>& key) {
    out_.private_key_files[name] = key.value;
    origin(SetWireguard{name, {}, {}}, key.at, here("private_key_file"));
    out_.desired.wireguard.emplace(name, std::move(device));
}

WireguardPeer Compiler::peer_at_hub(const End& end) {
    WireguardPeer peer{.preshared_key = preshared(end.link)};
    if (end.link.endpoint) peer.endpoint = end.link.endpoint->value;
    for (const IpPrefix& prefix : spoke_tunnel_addresses(topology_, end.spoke, end.link)) {
        peer.allowed_ips.insert(IpPrefix::host(prefix.address()));
    }
    if (end.link.type.value == LinkType::Wireguard) {
        for (const auto& lan : routed_lans(topology_, end.spoke))
            peer.allowed_ips.insert(lan.value);
    }
    // A routed spoke that calls it by its address in the Ethernet is answered through WireGuard,
    // since that is where the caller's address lies: by the routed link of a spoke that has both.
    const LinkSpec* routed = routed_link(end.spoke);
    if (routed != nullptr && routed != &end.link) return peer;
    const auto& own = end.spoke.bridge ? end.spoke.bridge->addresses : end.spoke.addresses;
    for (const auto& prefix : own) {
        if (!calls_routed_spokes(end.spoke, prefix.value.family())) continue;
        peer.allowed_ips.insert(IpPrefix::host(prefix.value.address()));
    }
    return peer;
}

/// Whether a spoke of the Ethernet meets others inside WireGuard: routed spokes, if the hub
/// forwards. They expect to call each other by their addresses inside WireGuard, so the hub may
/// speak to it for that whole network. What it may say to the hub stays its own: peer_at_hub().
bool Compiler::calls_routed_spokes(const Node& spoke, Family family) const {
    const auto& forwarding = topology_.hub.forwarding;
    const bool forwards = std::any_of(forwarding.begin(), forwarding.end(),
                                      [&](const auto& each) { return each.value == family; });
    const auto is_there = [&](const Node& other) {
        const LinkSpec* link = other.name == spoke.name ? nullptr : routed_link(other);
        if (link == nullptr) return false;
        const auto addresses = spoke_tunnel_addresses(topology_, other, *link);
        return std::any_of(addresses.begin(), addresses.end(),
                           [&](const IpPrefix& each) { return each.family() == family; });
    };
    const auto& spokes = topology_.spokes;
    return forwards && std::any_of(spokes.begin(), spokes.end(), is_there);
}

WireguardPeer Compiler::hub_at_spoke(const End& end) {
    const auto hub = hub_underlay_address(topology_, end.link);
    OVERLAY_ASSERT(hub);
    WireguardPeer peer{.preshared_key = preshared(end.link)};
    peer.endpoint = Endpoint{*hub, topology_.hub.wireguard->listen_port.value};
    peer.keepalive_seconds = end.link.keepalive_seconds.value;
    for (const auto& prefix : end.link.allowed_ips) peer.allowed_ips.insert(prefix.value.network());
    if (!end.link.allowed_ips.empty()) return peer;
    for (const IpPrefix& prefix : hub_tunnel_addresses(topology_)) {
        const bool is_routed = end.link.type.value == LinkType::Wireguard;
        const bool speaks_for_all = is_routed || (routed_link(node_) == nullptr &&
                                                  calls_routed_spokes(node_, prefix.family()));
        peer.allowed_ips.insert(speaks_for_all ? prefix.network()
                                               : IpPrefix::host(prefix.address()));
    }
    if (end.link.type.value != LinkType::Wireguard) return peer;
    for (const auto& prefix : behind_hub(end.link)) peer.allowed_ips.insert(prefix.value);
    if (node_.exit && node_.exit->value) {
        for (const IpPrefix& prefix : spoke_tunnel_addresses(topology_, node_, end.link)) {
            if (!can_exit(topology_, prefix.address())) continue;
            const auto any = prefix.family() == Family::Ipv4 ? "0.0.0.0/0" : "::/0";
            peer.allowed_ips.insert(*IpPrefix::parse(any));
        }
    }
    return peer;
}

void Compiler::preshared_file(const IfName& device, const PublicKey& peer, const LinkSpec& link) {
    if (!link.preshared_key_file) return;
    out_.preshared_key_files[{device, peer}] = link.preshared_key_file->value;
}

Fingerprint Compiler::preshared(const LinkSpec& link) {
    if (!link.preshared_key_file) return {};
    const auto known = keys_.find(link.preshared_key_file->value);
    return known == keys_.end() ? Fingerprint{} : known->second;
}

SecretFiles secret_files(const Topology& topology, const Node& node) {
    SecretFiles out;
    if (node.is_hub && node.wireguard) {
        out.private_keys.push_back(
            {node.wireguard->private_key_file, "hub.wireguard.private_key_file"});
    }
    for (const Node& spoke : topology.spokes) {
        if (!node.is_hub && spoke.name != node.name) continue;
        for (const LinkSpec& link : spoke.links) {
            if (link.type.value == LinkType::GretapGue) continue;
            const std::string path = "spokes." + spoke.name +
                                     (link.id.empty() ? ".link" : ".links." + link.id);
            if (!node.is_hub) {
                const Span at = link.private_key_file ? link.private_key_file->at : link.at;
                out.private_keys.push_back(
                    {{private_key_file(topology, link), at}, path + ".private_key_file"});
            }
            if (link.preshared_key_file) {
                out.preshared_keys.push_back(
                    {*link.preshared_key_file, path + ".preshared_key_file"});
            }
        }
    }
    return out;
}

}  // namespace overlay
