#pragma once
// How many bytes fit: from the underlay's MTU through every header to the tunnel's MTU and the TCP MSS,
// as a sum that can be shown line by line. compile() uses exactly these figures; `explain mtu` prints
// them.

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

/// The figures of one file. The file must outlive it and stay as it is.
class MtuEngine {
  public:
    explicit MtuEngine(const Topology& topology);

    [[nodiscard]] MtuBreakdown explain(const Node& spoke, const LinkSpec& link) const;

    // What a device is to be given. nullopt: left to the kernel.

    /// The hub's WireGuard device serves all its links: the smallest of theirs.
    [[nodiscard]] std::optional<Mtu> hub_wireguard() const;
    [[nodiscard]] std::optional<Mtu> spoke_wireguard(const Node& spoke, const LinkSpec& link) const;
    /// The Ethernet tunnel, both ends.
    [[nodiscard]] std::optional<Mtu> tunnel(const Node& spoke, const LinkSpec& link) const;
    /// Of a bridge that we make: the smallest of its tunnels. Of a borrowed one that carries the
    /// node's own underlay: the underlay's, since the kernel would lower it to the tunnel's.
    [[nodiscard]] std::optional<Mtu> bridge(const Node& node) const;
    /// What the hub's router advertisement says. nullopt: nothing.
    [[nodiscard]] std::optional<Mtu> advertised() const;

  private:
    const Topology& topology_;
    Mtu hub_device_;   ///< once, since it depends on every spoke
};

}  // namespace overlay
