#include "daemon/wire/frame.hpp"

#include "daemon/wire/checksum.hpp"

#include <limits>

namespace overlay::wire {

namespace {

constexpr std::uint16_t type_ipv4 = 0x0800, type_ipv6 = 0x86dd;
constexpr std::uint16_t type_vlan = 0x8100, type_service_vlan = 0x88a8;
constexpr std::size_t vlan_tag_bytes = 4, max_vlan_tags = 8;   // Linux include/linux/if_vlan.h, VLAN_MAX_DEPTH
constexpr std::size_t tcp_size_bytes = 20, udp_size_bytes = 8;

constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

/// Where the network header is, behind Ethernet and its VLAN tags (802.1Q, 802.1ad); `nowhere`: not IP, or cut short.
std::size_t find_network(Bytes frame, Inner inner) {
    if (inner == Inner::Ip) return frame.empty() ? nowhere : 0;
    std::size_t type_at = ethernet_size_bytes - 2;
    for (std::size_t tags = 0; tags <= max_vlan_tags; ++tags) {
        if (frame.size() < type_at + 2) return nowhere;
        const std::uint16_t type = load16(frame, type_at);
        if (type == type_ipv4 || type == type_ipv6) {
            const std::size_t at = type_at + 2;
            const std::uint8_t version = type == type_ipv4 ? 4 : 6;
            return frame.size() > at && load8(frame, at) >> 4 == version ? at : nowhere;
        }
        if (type != type_vlan && type != type_service_vlan) return nowhere;
        type_at += vlan_tag_bytes;
    }
    return nowhere;
}

/// Steps over what each segment repeats, a header at a time: it says what follows it, and its own length.
bool skip_extension_headers(Bytes frame, FrameHeaders& out) {
    constexpr std::uint8_t hop_by_hop = 0, routing = 43, destination_options = 60;
    constexpr std::size_t unit_bytes = 8, most_bytes = 2048;   // every segment repeats them: more is nobody's need
    const std::size_t last_at = out.transport_at + most_bytes;
    while (out.protocol == hop_by_hop || out.protocol == routing || out.protocol == destination_options) {
        const std::size_t at = out.transport_at;
        if (out.end_at < at + unit_bytes) return false;
        const std::size_t next_at = at + (std::size_t{load8(frame, at + 1)} + 1) * unit_bytes;
        if (next_at > last_at) return false;
        out.protocol = load8(frame, at);
        out.transport_at = static_cast<std::uint16_t>(next_at);
    }
    return true;
}

/// Protocol and extent of the IP header. False: a fragment, or it does not fit into the frame; `out` says nothing then.
bool parse_ipv4(Bytes frame, std::size_t at, FrameHeaders& out) {
    if (frame.size() < at + ipv4_size_bytes) return false;
    const std::size_t header_bytes = std::size_t{load8(frame, at) & 0x0fU} * 4;
    const std::size_t total_bytes = load16(frame, at + 2);
    out.network_at = static_cast<std::uint16_t>(at);
    out.transport_at = static_cast<std::uint16_t>(at + header_bytes);
    out.end_at = static_cast<std::uint32_t>(at + total_bytes);
    out.protocol = load8(frame, at + 9);
    const bool is_fragment = (load16(frame, at + 6) & 0x3fffU) != 0;
    return !is_fragment && header_bytes >= ipv4_size_bytes && total_bytes >= header_bytes &&
           frame.size() - at >= total_bytes;
}

bool parse_ipv6(Bytes frame, std::size_t at, FrameHeaders& out) {
    if (frame.size() < at + ipv6_size_bytes) return false;
    const std::size_t payload_bytes = load16(frame, at + 4);
    out.network_at = static_cast<std::uint16_t>(at);
    out.transport_at = static_cast<std::uint16_t>(at + ipv6_size_bytes);
    out.end_at = static_cast<std::uint32_t>(at + ipv6_size_bytes + payload_bytes);
    out.is_ipv6 = true;
    out.protocol = load8(frame, at + 6);
    return frame.size() - at - ipv6_size_bytes >= payload_bytes && skip_extension_headers(frame, out);
}

/// Of TCP or UDP, behind the IP header in `out`.
bool parse_transport(Bytes frame, FrameHeaders& out) {
    std::size_t header_bytes = udp_size_bytes;
    if (out.protocol == protocol_tcp) {
        if (out.end_at < out.transport_at + tcp_size_bytes) return false;
        header_bytes = std::size_t{load8(frame, std::size_t{out.transport_at} + 12) & 0xf0U} / 4;
        if (header_bytes < tcp_size_bytes) return false;
    } else if (out.protocol != protocol_udp) {
        return false;
    }
    out.payload_at = static_cast<std::uint16_t>(out.transport_at + header_bytes);
    return out.end_at >= out.transport_at + header_bytes;
}

bool parse_headers(Bytes frame, Inner inner, FrameHeaders& out) {
    const std::size_t at = find_network(frame, inner);
    if (at == nowhere) return false;
    switch (load8(frame, at) >> 4) {
        case 4: return parse_ipv4(frame, at, out) && parse_transport(frame, out);
        case 6: return parse_ipv6(frame, at, out) && parse_transport(frame, out);
        default: return false;
    }
}

}  // namespace

/// Filled in place: a copy would be one wide load of what narrow stores have just written, which a processor cannot
/// forward, and waits for; that took as long as the parsing.
std::optional<FrameHeaders> find_headers(Bytes frame, Inner inner) {
    std::optional<FrameHeaders> out{std::in_place};
    if (!parse_headers(frame, inner, *out)) out.reset();
    return out;
}

std::optional<std::uint8_t> traffic_class(Bytes frame, Inner inner) {
    const std::size_t at = find_network(frame, inner);
    if (at == nowhere || frame.size() < at + ipv4_size_bytes) return std::nullopt;
    if (load8(frame, at) >> 4 == 4) return load8(frame, at + 1);
    return static_cast<std::uint8_t>(load16(frame, at) >> 4);
}

void set_ecn(MutableBytes frame, Inner inner, Ecn ecn) {
    const std::size_t at = find_network(frame, inner);
    const std::uint16_t before = load16(frame, at);
    const auto bits = static_cast<std::uint8_t>(ecn);
    if (before >> 12 == 4) {
        store16(frame, at, static_cast<std::uint16_t>((before & ~3U) | bits));
        const std::uint16_t checksum = load16(frame, at + 10);
        store16(frame, at + 10, adjusted_checksum(checksum, before, load16(frame, at)));
    } else {
        store16(frame, at, static_cast<std::uint16_t>((before & ~0x30U) | static_cast<unsigned>(bits) << 4U));
    }
}

}  // namespace overlay::wire
