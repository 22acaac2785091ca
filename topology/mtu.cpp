// The sum of a stack of headers, from the wire inwards. Overheads: RFC 791, 8200, 768, 2784, 2890,
// draft-ietf-intarea-gue-09 §3.1, the WireGuard paper §5.4.6 (16 bytes of header, 16 of tag), IEEE
// 802.3.
//
// A WireGuard packet is padded to 16 bytes, but never beyond the device's MTU (Linux
// drivers/net/wireguard/send.c, calculate_skb_padding), so the figure for WireGuard is exact, too.

#include "topology/mtu.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

namespace {

constexpr std::int32_t ethernet_bytes = 14;
constexpr std::int32_t gre_bytes = 4;
constexpr std::int32_t gre_key_bytes = 4;
constexpr std::int32_t gue_bytes = 4;
constexpr std::int32_t udp_bytes = 8;
constexpr std::int32_t wireguard_header_bytes = 16;
constexpr std::int32_t wireguard_tag_bytes = 16;

std::int32_t ip_bytes(Family family) { return family == Family::Ipv4 ? 20 : 40; }

Mtu underlay_mtu(const Topology& topology, const Node& spoke) {
    return std::min(topology.hub.underlay.mtu.value, spoke.underlay.mtu.value);
}

/// What fits into WireGuard on the way between this spoke and the hub.
Mtu wireguard_fit(const Topology& topology, const Node& spoke, const LinkSpec& link) {
    const std::int32_t overhead = ip_bytes(underlay_family(topology, link)) + udp_bytes +
                                  wireguard_header_bytes + wireguard_tag_bytes;
    return Mtu{underlay_mtu(topology, spoke).bytes() - static_cast<std::uint32_t>(overhead)};
}

bool uses_wireguard(const LinkSpec& link) { return link.type.value != LinkType::GretapGue; }

/// The family of the gretap's own outer packets when they travel inside WireGuard; the larger header
/// while the two ends have none in common, which validate() refuses.
Family tunnel_family(const Topology& topology, const Node& spoke, const LinkSpec& link) {
    const auto ends = tunnel_ends(topology, spoke, link);
    return ends ? ends->hub.family() : Family::Ipv6;
}

class Sum {
  public:
    explicit Sum(MtuBreakdown& out) : out_{out} {}
    void start(Mtu underlay) { add("underlay MTU", static_cast<std::int32_t>(underlay.bytes())); }
    void outer(Family family) {
        add(family == Family::Ipv4 ? "outer IPv4 header" : "outer IPv6 header", -ip_bytes(family));
        add("UDP header", -udp_bytes);
    }
    void gre(bool keyed) {
        add("GRE header", -gre_bytes);
        if (keyed) add("GRE key", -gre_key_bytes);
        add("inner Ethernet header", -ethernet_bytes);
    }
    void wireguard() {
        add("WireGuard header", -wireguard_header_bytes);
        add("WireGuard authentication tag", -wireguard_tag_bytes);
    }
    /// A smaller figure that somebody stated or another device imposes.
    void limit(std::string why, Mtu mtu) {
        const auto bytes = static_cast<std::int32_t>(mtu.bytes());
        if (bytes < total_) add(std::move(why), bytes - total_);
    }
    void add(std::string label, std::int32_t bytes) {
        total_ += bytes;
        out_.lines.push_back({std::move(label), bytes});
    }
    [[nodiscard]] Mtu total() const { return Mtu{static_cast<std::uint32_t>(std::max(total_, 0))}; }

  private:
    MtuBreakdown& out_;
    std::int32_t total_ = 0;
};

/// What a device with an MTU "left to the kernel" will have: WireGuard's own default.
constexpr Mtu kernel_wireguard_mtu{1420};  // Linux drivers/net/wireguard/device.c, wg_setup

Mtu effective(const Setting<Mtu>& setting, Mtu derived) {
    switch (setting.mode) {
        case Setting<Mtu>::Mode::Stated: return setting.value;
        case Setting<Mtu>::Mode::Kernel: return kernel_wireguard_mtu;
        case Setting<Mtu>::Mode::Derived: return derived;
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

Mtu hub_device_mtu(const Topology& topology) {
    std::optional<Mtu> smallest;
    for (const Node& spoke : topology.spokes) {
        for (const LinkSpec& link : spoke.links) {
            if (!uses_wireguard(link)) continue;
            const Mtu fit = wireguard_fit(topology, spoke, link);
            smallest = smallest ? std::min(*smallest, fit) : fit;
        }
    }
    const Mtu derived = smallest.value_or(kernel_wireguard_mtu);
    return topology.hub.wireguard ? effective(topology.hub.wireguard->mtu, derived) : derived;
}

Mtu spoke_device_mtu(const Topology& topology, const Node& spoke, const LinkSpec& link) {
    return effective(link.wireguard_mtu, wireguard_fit(topology, spoke, link));
}

bool clamps_bridged_tcp(const Topology& topology, const Node& spoke, const LinkSpec& link) {
    return (topology.hub.guards.mss.value && hub_end_is_bridged(topology, link)) ||
           (spoke.guards.mss.value && spoke_end_is_bridged(spoke, link));
}

bool advertises_mtu(const Topology& topology) {
    const auto& advertised = topology.hub.router_advertisement;
    return advertised && advertised->mtu.mode != Setting<Mtu>::Mode::Kernel;
}

void add_notes(MtuBreakdown& out, const Topology& topology, const Node& spoke, const LinkSpec& link) {
    if (link.type.value == LinkType::Wireguard) {
        out.notes.push_back("routed: a larger packet is answered with ICMP \"packet too big\"");
        return;
    }
    out.notes.push_back(fmt::format("bridged: a frame that carries more than {} bytes of IP is dropped without ICMP",
                                    out.link.bytes()));
    out.notes.push_back(clamps_bridged_tcp(topology, spoke, link)
                            ? "TCP is kept below by the MSS clamp"
                            : "\"guards\": {\"mss\": false}: TCP is not kept below, and may stall");
    out.notes.push_back(advertises_mtu(topology)
                            ? "IPv6 hosts learn the bridge's MTU from the router advertisement"
                            : "no router advertisement tells IPv6 hosts an MTU: set theirs, or leave UDP small");
    out.notes.push_back("an 802.1Q tag inside the tunnel costs 4 bytes more");
}

}  // namespace

MtuEngine::MtuEngine(const Topology& topology)
    : topology_{topology}, hub_device_{hub_device_mtu(topology)} {}

MtuBreakdown MtuEngine::explain(const Node& spoke, const LinkSpec& link) const {
    MtuBreakdown out;
    out.underlay = underlay_mtu(topology_, spoke);
    Sum sum{out};
    sum.start(out.underlay);
    sum.outer(underlay_family(topology_, link));
    const bool keyed = gre_key(topology_, spoke, link).has_value();
    if (link.type.value == LinkType::GretapGue) {
        sum.add("GUE header", -gue_bytes);
        sum.gre(keyed);
    } else {
        out.wireguard_hub = hub_device_;
        out.wireguard_spoke = spoke_device_mtu(topology_, spoke, link);
        sum.wireguard();
        sum.limit("WireGuard device of the hub", *out.wireguard_hub);
        sum.limit("WireGuard device of the spoke", *out.wireguard_spoke);
        if (link.type.value == LinkType::GretapWireguard) {
            const Family inner = tunnel_family(topology_, spoke, link);
            sum.add(inner == Family::Ipv4 ? "tunnel IPv4 header" : "tunnel IPv6 header",
                    -ip_bytes(inner));
            sum.gre(keyed);
        }
    }
    if (link.mtu.mode == Setting<Mtu>::Mode::Stated)
        sum.limit("stated in the file", link.mtu.value);
    out.link = sum.total();
    const std::uint32_t bytes = out.link.bytes();
    out.mss4 = static_cast<std::uint16_t>(bytes > 40 ? bytes - 40 : 0);  // IPv4 20 + TCP 20
    out.mss6 = static_cast<std::uint16_t>(bytes > 60 ? bytes - 60 : 0);  // IPv6 40 + TCP 20
    add_notes(out, topology_, spoke, link);
    return out;
}

std::optional<Mtu> MtuEngine::hub_wireguard() const {
    const auto& device = topology_.hub.wireguard;
    if (!device || device->mtu.mode == Setting<Mtu>::Mode::Kernel) return std::nullopt;
    return hub_device_;
}

std::optional<Mtu> MtuEngine::spoke_wireguard(const Node& spoke, const LinkSpec& link) const {
    using Mode = Setting<Mtu>::Mode;
    if (!uses_wireguard(link) || link.wireguard_mtu.mode == Mode::Kernel) return std::nullopt;
    // The device is the link itself: what the hub's device does not send, the spoke's need not.
    const bool is_link = link.type.value == LinkType::Wireguard;
    if (is_link && link.wireguard_mtu.mode == Mode::Derived) return explain(spoke, link).link;
    return spoke_device_mtu(topology_, spoke, link);
}

std::optional<Mtu> MtuEngine::tunnel(const Node& spoke, const LinkSpec& link) const {
    if (link.type.value == LinkType::Wireguard) return std::nullopt;
    // Inside WireGuard, "kernel" is the figure that the kernel finds once WireGuard has its address.
    // It looks only while it makes the tunnel, which we do earlier: it would take the uplink's (Linux
    // 6.1 net/ipv4/ip_tunnel.c, ip_tunnel_bind_dev).
    const bool kernel_knows = link.type.value == LinkType::GretapGue;
    if (link.mtu.mode == Setting<Mtu>::Mode::Kernel && kernel_knows) return std::nullopt;
    return explain(spoke, link).link;
}

/// A router's LAN bridge may be its own uplink (the blog's home). A narrower MTU there would take
/// the encapsulation away a second time.
static bool carries_underlay(const Topology& topology, const Node& node) {
    const BridgeSpec& bridge = *node.bridge;
    if (node.underlay.interface && node.underlay.interface->value == bridge.name.value) return true;
    for (const LinkSpec& link : node.links) {
        const auto own = spoke_underlay_address(topology, node, link);
        for (const auto& address : bridge.addresses) {
            if (own && address.value.address() == *own) return true;
        }
    }
    return false;
}

std::optional<Mtu> MtuEngine::bridge(const Node& node) const {
    if (!node.bridge) return std::nullopt;
    const BridgeSpec& bridge = *node.bridge;
    if (bridge.mtu.mode == Setting<Mtu>::Mode::Stated) return bridge.mtu.value;
    if (bridge.mtu.mode == Setting<Mtu>::Mode::Kernel) return std::nullopt;
    if (bridge.existing.value) {
        return carries_underlay(topology_, node) ? std::optional{node.underlay.mtu.value}
                                                : std::nullopt;
    }
    Mtu smallest = node.underlay.in_bridge.value ? node.underlay.mtu.value : Mtu{1500};
    for (const Node& spoke : topology_.spokes) {
        if (!node.is_hub && spoke.name != node.name) continue;
        for (const LinkSpec& link : spoke.links) {
            const bool is_port = node.is_hub ? hub_end_is_bridged(topology_, link)
                                             : spoke_end_is_bridged(spoke, link);
            if (!is_port) continue;
            const auto mtu = tunnel(spoke, link);
            if (!mtu) return std::nullopt;
            smallest = std::min(smallest, *mtu);
        }
    }
    return smallest;
}

std::optional<Mtu> MtuEngine::advertised() const {
    const auto& advert = topology_.hub.router_advertisement;
    if (!advert || advert->mtu.mode == Setting<Mtu>::Mode::Kernel) return std::nullopt;
    if (advert->mtu.mode == Setting<Mtu>::Mode::Stated) return advert->mtu.value;
    return bridge(topology_.hub);
}

}  // namespace overlay
