// From the network's file to one node's kernel state. Reads from the outside in: the underlay, the
// bridge, each link's end on this node, WireGuard, routes, then what the kernel must be told as a
// whole (forwarding, firewall, modules). The hub's end and the spoke's end of a link are derived
// from the same lines by the same functions, so that they cannot disagree.

#include "topology/compiler.hpp"
#include "topology/firewall_intent.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

NodeIntent compile(const Topology& topology, const Node& node, const PresharedKeys& keys) {
    return Compiler{topology, node, keys}.run();
}

Compiler::Compiler(const Topology& topology, const Node& node, const PresharedKeys& keys)
    : topology_{topology}, node_{node}, keys_{keys}, mtus_{topology} {
    out_.network = topology.network;
    out_.node = node.name;
}

NodeIntent Compiler::run() {
    for (const Node& spoke : topology_.spokes) {
        if (!node_.is_hub && spoke.name != node_.name) continue;
        for (const LinkSpec& link : spoke.links) ends_.push_back({spoke, link});
    }
    bridge();
    for (const End& end : ends_) tunnel(end);
    node_.is_hub ? hub_wireguard() : spoke_wireguard();
    underlay();
    routed_networks();
    if (node_.exit && node_.exit->value) exit_through_hub();
    else
        keep_way_to_bridged_hub();
    sysctls();
    add_firewall(topology_, node_, out_);
    modules();
    return std::move(out_);
}

std::string Compiler::here(std::string_view key) const {
    return node_.is_hub ? fmt::format("hub.{}", key) : fmt::format("spokes.{}.{}", node_.name, key);
}

std::string Compiler::mark(std::string_view id) const {
    return ownership_mark(topology_.network, id);
}

Link& Compiler::own_link(Link link, Span at, std::string path) {
    link.up = true;
    origin(CreateLink{link}, at, std::move(path));
    return out_.desired.links.insert_or_assign(link.name, std::move(link)).first->second;
}

void Compiler::address(const IfName& link, const Located<IpPrefix>& prefix, std::string path) {
    const Address value{link, prefix.value, true, false};
    out_.desired.addresses.insert(value);
    origin(AddAddress{value}, prefix.at, std::move(path));
}

void Compiler::route(Route value, Span at, std::string path) {
    if (value.destination.family() == Family::Ipv6) value.metric = 1024;
    out_.desired.routes.insert(value);
    origin(AddRoute{value}, at, std::move(path));
}

// ---- underlay ---------------------------------------------------------------------------------

/// A spoke's own addresses count where a tunnel starts from them. Those of a hub are where others reach
/// it, too.
void Compiler::underlay() {
    UnderlayIntent& out = out_.underlay;
    if (node_.underlay.interface) out.interface = node_.underlay.interface->value;
    for (const End& end : ends_) {
        if (end.link.type.value != LinkType::GretapGue) continue;
        const auto local = node_.is_hub ? hub_underlay_address(topology_, end.link)
                                        : spoke_underlay_address(topology_, end.spoke, end.link);
        if (local) out.starts.insert(*local);
    }
    if (!node_.is_hub) return;
    for (const auto& address : node_.underlay.addresses) {
        if (!out.starts.contains(address.value)) out.called.insert(address.value);
    }
}

// ---- bridge -----------------------------------------------------------------------------------

void Compiler::bridge() {
    if (!node_.bridge) return;
    const BridgeSpec& spec = *node_.bridge;
    Link link{.name = spec.name.value, .kind = LinkKind::Bridge};
    link.mtu = mtus_.bridge(node_);
    if (spec.existing.value) {
        out_.borrowed.insert(link.name);
        origin(CreateLink{link}, spec.at, here("bridge"));
        out_.desired.links.emplace(link.name, link);
    } else {
        link.alias = mark(".bridge");
        link.mac = bridge_mac(topology_, node_);
        link.master = IfName{};
        link.arp = true;
        // With VLAN filtering, untagged frames of a port without a PVID would vanish: never wanted.
        link.bridge = BridgeAttributes{spec.stp.value, spec.multicast_snooping.value, false};
        own_link(link, spec.at, here("bridge"));
    }
    for (const auto& prefix : spec.addresses) address(link.name, prefix, here("bridge.addresses"));
    for (const auto& port : spec.ports) borrow_port(port.value, port.at, here("bridge.ports"));
    if (node_.underlay.in_bridge.value) {
        const auto& uplink = *node_.underlay.interface;
        borrow_port(uplink.value, uplink.at, here("underlay.interface"));
        out_.uplink_move = UplinkMove{uplink.value, link.name};
        origin(SetSysctl{conf_sysctl(Family::Ipv6, uplink.value.str(), "disable_ipv6"), {}, {}, {}},
               node_.underlay.in_bridge.at, here("underlay.in_bridge"));
    }
}

void Compiler::borrow_port(const IfName& name, Span at, std::string path) {
    Link link{.name = name};
    link.master = node_.bridge->name.value;
    link.up = true;
    out_.borrowed.insert(name);
    origin(CreateLink{link}, at, std::move(path));
    out_.desired.links.insert_or_assign(name, link);
}

// ---- the Ethernet tunnels ---------------------------------------------------------------------

void Compiler::tunnel(const End& end) {
    const LinkSpec& spec = end.link;
    if (spec.type.value == LinkType::Wireguard) return;
    Link link{.name = node_.is_hub ? hub_interface(topology_, end.spoke, spec)
                                   : spoke_interface(topology_, end.spoke, spec)};
    link.arp = true;
    link.gretap = gretap(end);
    if (spec.type.value == LinkType::GretapWireguard) {
        const IfName device = node_.is_hub ? topology_.hub.wireguard->interface.value
                                           : spoke_wireguard_interface(topology_, node_, spec);
        carried_by_wireguard(device, node_.is_hub ? nullptr : &spec).gretaps.insert(link.name);
    } else {
        const FouPort port{.family = link.gretap->local.family(),
                           .port = link.gretap->encap.source_port};
        carried_by_port(link.name, port, end);
    }
    link.kind =
        link.gretap->local.family() == Family::Ipv4 ? LinkKind::Gretap : LinkKind::Ip6gretap;
    link.alias = mark(link_id(end.spoke, spec));
    link.mtu = mtus_.tunnel(end.spoke, spec);
    link.mac = link_mac(topology_, end.spoke, spec, node_.is_hub);
    const bool bridged =
        node_.is_hub ? hub_end_is_bridged(topology_, spec) : spoke_end_is_bridged(end.spoke, spec);
    link.master = bridged ? node_.bridge->name.value : IfName{};
    if (bridged) link.port = BridgePort{};
    const std::string path = link_path(end.spoke, spec);
    own_link(link, spec.at, path);
    const Offload& offload = node_.is_hub ? spec.hub_offload : spec.offload;
    for (const auto& [feature, value] : offload.features) {
        out_.desired.offloads[{link.name, feature}] = value.value;
        origin(SetOffload{{link.name, feature}}, value.at, path + ".offload." + feature);
    }
    if (!node_.is_hub && !bridged) {
        for (const auto& prefix : node_.addresses) address(link.name, prefix, here("addresses"));
    }
}

GretapAttributes Compiler::gretap(const End& end) {
    const LinkSpec& spec = end.link;
    GretapAttributes out;
    out.ttl = spec.ttl.value;
    out.input.key = out.output.key = gre_key(topology_, end.spoke, spec);
    if (spec.type.value == LinkType::GretapGue) {
        gue(end, out);
        return out;
    }
    const auto ends = tunnel_ends(topology_, end.spoke, spec);
    OVERLAY_ASSERT(ends);  // validate() demands a common family
    out.local = node_.is_hub ? ends->hub : ends->spoke;
    out.remote = node_.is_hub ? ends->spoke : ends->hub;
    // The way to the hub by address is the routed link's: see spoke_tunnel().
    if (!node_.is_hub && routed_link(node_) != nullptr)
        out.device = spoke_wireguard_interface(topology_, node_, spec);
    return out;
}

void Compiler::gue(const End& end, GretapAttributes& out) {
    const LinkSpec& spec = end.link;
    const Family family = underlay_family(topology_, spec);
    const auto hub = hub_underlay_address(topology_, spec);
    const std::uint16_t hub_port = topology_.hub.gue->port.value;
    const std::uint16_t spoke_port = spoke_gue_port(topology_, spec);
    const auto seen = spoke_gue_endpoint(topology_, end.spoke, spec);
    OVERLAY_ASSERT(hub && seen);  // validate() demands both
    out.local = node_.is_hub ? *hub : *spoke_underlay_address(topology_, end.spoke, spec);
    out.remote = node_.is_hub ? seen->address : *hub;
    out.encap.type = GreEncap::Type::Gue;
    // Pinned, so that a NAT sees one mapping and replies come back on it.
    out.encap.source_port = node_.is_hub ? hub_port : spoke_port;
    out.encap.destination_port = node_.is_hub ? seen->port : hub_port;
    (family == Family::Ipv4 ? out.encap.checksum : out.encap.checksum6) = spec.udp_checksum.value;
    const FouPort port{.family = family, .port = out.encap.source_port};
    out_.desired.fou_ports.insert(port);
    origin(AddFouPort{port}, node_.is_hub ? topology_.hub.gue->at : spec.at,
           node_.is_hub ? "hub.gue" : link_path(end.spoke, spec));
}

// ---- what carries what ------------------------------------------------------------------------

void Compiler::carried_by_port(const IfName& gretap, const FouPort& port, const End& end) {
    const auto& choice = node_.is_hub ? topology_.hub.gue->datapath : end.link.datapath;
    const std::string path = node_.is_hub ? "hub.gue" : link_path(end.spoke, end.link);
    auto& all = out_.endpoints;
    auto found = std::find_if(all.begin(), all.end(),
                              [&](const EndpointIntent& each) { return each.port == port; });
    if (found == all.end())
        found = all.insert(all.end(), {port, {}, choice.value, {}, {choice.at, path}});
    if (found->choice == DatapathChoice::Auto) found->choice = choice.value;
    found->gretaps.insert(gretap);
}

/// `link`: the spoke's; nullptr at the hub.
EndpointIntent& Compiler::carried_by_wireguard(const IfName& device, const LinkSpec* link) {
    auto& all = out_.endpoints;
    const auto found = std::find_if(all.begin(), all.end(), [&](const EndpointIntent& each) {
        return each.wireguard == device;
    });
    if (found != all.end()) return *found;
    const auto& choice = link == nullptr ? topology_.hub.wireguard->datapath : link->datapath;
    const std::string path = link == nullptr ? "hub.wireguard" : link_path(node_, *link);
    return all.emplace_back(
        EndpointIntent{std::nullopt, device, choice.value, {}, {choice.at, path}});
}

}  // namespace overlay
