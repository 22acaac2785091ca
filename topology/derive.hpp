#pragma once
// What follows from names: every default that must be the same on both ends and stay the same when
// the order of the file changes. Each value is cut from SHA-256 over "overlay", the network, and
// what it is for, so that adding a spoke never changes another's.

#include "topology/topology.hpp"

namespace overlay {

/// "spokes.office.link" or "spokes.office.links.backup": how diagnostics and marks name a link.
[[nodiscard]] std::string link_path(const Node& spoke, const LinkSpec& link);
/// "office" or "office.backup": the id in `overlay:<network>:<id>` and in commands (`explain mtu
/// office`).
[[nodiscard]] std::string link_id(const Node& spoke, const LinkSpec& link);

/// The stated name, else "gt-<spoke>[-<link>]" (hub end), "gt-<hub>[-<link>]" (spoke end), cut to
/// 15 bytes with five hash characters when too long. `wireguard` links: the WireGuard device
/// instead, "wg-<hub>[-<link>]" at the spoke.
[[nodiscard]] IfName hub_interface(const Topology& topology, const Node& spoke,
                                   const LinkSpec& link);
[[nodiscard]] IfName spoke_interface(const Topology& topology, const Node& spoke,
                                     const LinkSpec& link);
/// The spoke's WireGuard device of a gretap-wireguard or wireguard link.
[[nodiscard]] IfName spoke_wireguard_interface(const Topology& topology, const Node& spoke,
                                               const LinkSpec& link);

/// As it is, or cut to 15 bytes with five hash characters at the end when it is longer.
[[nodiscard]] IfName short_interface_name(std::string_view wanted);

/// Where a node keeps its private key unless the file says otherwise: "/etc/overlay/<network>.key".
[[nodiscard]] std::string default_key_file(std::string_view network);
/// Where the spoke keeps the private key of this link. Of one of several links, each with a key pair
/// of its own, "/etc/overlay/<network>.<link>.key" unless stated.
[[nodiscard]] std::string private_key_file(const Topology& topology, const LinkSpec& link);

/// nullopt: no key on the wire ("none").
[[nodiscard]] std::optional<std::uint32_t> gre_key(const Topology& topology, const Node& spoke,
                                                   const LinkSpec& link);

/// nullopt: the kernel chooses. Locally administered unicast.
[[nodiscard]] std::optional<MacAddress> link_mac(const Topology& topology, const Node& spoke,
                                                 const LinkSpec& link, bool hub_end);
[[nodiscard]] std::optional<MacAddress> bridge_mac(const Topology& topology, const Node& node);

/// The family a link's outer packets use.
[[nodiscard]] Family underlay_family(const Topology& topology, const LinkSpec& link);
/// The hub's underlay address of that family; nullopt when it has none (a validation error).
[[nodiscard]] std::optional<IpAddress> hub_underlay_address(const Topology& topology,
                                                            const LinkSpec& link);

/// Addresses inside WireGuard. The hub's default is the first of a /16 out of 100.64.0.0/10 picked
/// by the network's name; a spoke's is a host of the hub's subnets picked by its name.
[[nodiscard]] std::vector<IpPrefix> hub_tunnel_addresses(const Topology& topology);
[[nodiscard]] std::vector<IpPrefix> spoke_tunnel_addresses(const Topology& topology,
                                                           const Node& spoke, const LinkSpec& link);

struct TunnelEnds {
    IpAddress hub, spoke;
};
/// The Ethernet tunnel's ends inside WireGuard: of IPv4 where both nodes have it. nullopt: no family in
/// common (a validation error).
[[nodiscard]] std::optional<TunnelEnds> tunnel_ends(const Topology& topology, const Node& spoke,
                                                    const LinkSpec& link);

/// The link that routes a layer-3 spoke; nullptr: it has none.
[[nodiscard]] const LinkSpec* routed_link(const Node& spoke);
/// Whether packets of this family find an address inside WireGuard at the spoke's end of the link.
[[nodiscard]] bool has_family_inside(const Topology& topology, const Node& spoke,
                                     const LinkSpec& link, Family family);
/// The LANs behind a layer-3 spoke that are routed: those of a family that its tunnel has.
[[nodiscard]] std::vector<Located<IpPrefix>> routed_lans(const Topology& topology,
                                                         const Node& spoke);
/// Whether what comes from this address of a spoke can enter the Internet at the hub: IPv4 is
/// masqueraded there, IPv6 must be forwarded and come from an address that others can answer.
[[nodiscard]] bool can_exit(const Topology& topology, const IpAddress& source);

/// The spoke's FOU port: stated, or the hub's.
[[nodiscard]] std::uint16_t spoke_gue_port(const Topology& topology, const LinkSpec& link);
/// Where the hub sends GUE: the NAT's address and port, else the spoke's own; nullopt: unknown (an
/// error).
[[nodiscard]] std::optional<Endpoint> spoke_gue_endpoint(const Topology& topology,
                                                         const Node& spoke, const LinkSpec& link);

/// The spoke's own underlay address for a GUE link: `local`, else underlay.addresses of the family.
[[nodiscard]] std::optional<IpAddress> spoke_underlay_address(const Topology& topology,
                                                              const Node& spoke,
                                                              const LinkSpec& link);

/// `overlay:<network>:<id>`. The id of a link is link_id(); what a node has besides links has one that
/// begins with a dot, as no name of a spoke does.
[[nodiscard]] std::string ownership_mark(std::string_view network, std::string_view id);

/// Whether the spoke's end of the link is a port of the spoke's bridge, and the hub's of the hub's.
[[nodiscard]] bool spoke_end_is_bridged(const Node& spoke, const LinkSpec& link);
[[nodiscard]] bool hub_end_is_bridged(const Topology& topology, const LinkSpec& link);

}  // namespace overlay
