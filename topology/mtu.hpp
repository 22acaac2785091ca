#pragma once
// How many bytes fit: from the underlay's MTU through every header to the tunnel's MTU and the TCP MSS,
// as a sum that can be shown line by line. compile() uses exactly these figures; `explain mtu` prints them.

#include "topology/derive.hpp"

#include <string>
#include <vector>

namespace overlay {

struct MtuLine {
    std::string label;          ///< "outer IPv4 header (RFC 791)"
    std::int32_t bytes = 0;     ///< negative: taken away
};

struct MtuBreakdown {
    std::vector<MtuLine> lines;     ///< sums to `link`, the first line being the underlay's MTU
    Mtu underlay;                   ///< min of both ends
    std::optional<Mtu> wireguard_hub, wireguard_spoke;   ///< MTUs of the two WireGuard devices
    Mtu link;                       ///< of the tunnel device (both ends): gretap, or the WireGuard device
    std::uint16_t mss4 = 0, mss6 = 0;
    std::vector<std::string> notes;
};

[[nodiscard]] MtuBreakdown explain_mtu(const Topology& topology, const Node& spoke, const LinkSpec& link);

/// The hub's WireGuard device serves all its links: the smallest of theirs. nullopt: left to the kernel.
[[nodiscard]] std::optional<Mtu> hub_wireguard_mtu(const Topology& topology);
[[nodiscard]] std::optional<Mtu> spoke_wireguard_mtu(const Topology& topology, const Node& spoke, const LinkSpec& link);
/// nullopt: left to the kernel.
[[nodiscard]] std::optional<Mtu> link_mtu(const Topology& topology, const Node& spoke, const LinkSpec& link);
/// Of a bridge that we make: the smallest of its tunnels. Of a borrowed one that carries the node's own
/// underlay: the underlay's, since the kernel would lower it to the tunnel's. nullopt: left alone.
[[nodiscard]] std::optional<Mtu> bridge_mtu(const Topology& topology, const Node& node);

}  // namespace overlay
