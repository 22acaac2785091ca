#include "daemon/wire/frame.hpp"

#include "daemon/wire/checksum.hpp"
#include "daemon/wire/ip.hpp"

namespace overlay::wire {

namespace {

constexpr std::uint16_t type_ipv4 = 0x0800, type_ipv6 = 0x86dd;
constexpr std::uint16_t type_vlan = 0x8100, type_service_vlan = 0x88a8;
constexpr std::size_t vlan_tag_bytes = 4;
constexpr std::size_t tcp_size_bytes = 20, udp_size_bytes = 8;

/// Version, protocol and extent of the IP header; transport_at and end_at are checked against the frame.
std::optional<FrameHeaders> parse_ipv4(Bytes frame, std::size_t at) {
    if (frame.size() < at + ipv4_size_bytes) return std::nullopt;
    const std::size_t header_bytes = std::size_t{load8(frame, at) & 0x0fU} * 4;
    const std::size_t total_bytes = load16(frame, at + 2);
    const bool is_fragment = (load16(frame, at + 6) & 0x3fffU) != 0;
    const bool fits = header_bytes >= ipv4_size_bytes && total_bytes >= header_bytes &&
                      frame.size() - at >= total_bytes;
    if (!fits || is_fragment) return std::nullopt;
    FrameHeaders out;
    out.network_at = static_cast<std::uint16_t>(at);
    out.transport_at = static_cast<std::uint16_t>(at + header_bytes);
    out.end_at = static_cast<std::uint32_t>(at + total_bytes);
    out.protocol = load8(frame, at + 9);
    return out;
}

std::optional<FrameHeaders> parse_ipv6(Bytes frame, std::size_t at) {
    if (frame.size() < at + ipv6_size_bytes) return std::nullopt;
    const std::size_t payload_bytes = load16(frame, at + 4);
    if (frame.size() - at - ipv6_size_bytes < payload_bytes) return std::nullopt;
    FrameHeaders out;
    out.network_at = static_cast<std::uint16_t>(at);
    out.transport_at = static_cast<std::uint16_t>(at + ipv6_size_bytes);
    out.end_at = static_cast<std::uint32_t>(at + ipv6_size_bytes + payload_bytes);
    out.is_ipv6 = true;
    out.protocol = load8(frame, at + 6);
    return out;
}

}  // namespace

std::optional<std::size_t> network_offset(Bytes frame, Inner inner) {
    if (inner == Inner::Ip) return frame.empty() ? std::nullopt : std::optional<std::size_t>{0};
    std::size_t type_at = ethernet_size_bytes - 2;
    for (int tags = 0; tags <= 2; ++tags) {
        if (frame.size() < type_at + 2) return std::nullopt;
        const std::uint16_t type = load16(frame, type_at);
        if (type == type_ipv4 || type == type_ipv6) {
            const std::size_t at = type_at + 2;
            const std::uint8_t version = type == type_ipv4 ? 4 : 6;
            if (frame.size() <= at || load8(frame, at) >> 4 != version) return std::nullopt;
            return at;
        }
        if (type != type_vlan && type != type_service_vlan) return std::nullopt;
        type_at += vlan_tag_bytes;
    }
    return std::nullopt;
}

std::optional<FrameHeaders> find_headers(Bytes frame, Inner inner) {
    const auto at = network_offset(frame, inner);
    if (!at) return std::nullopt;
    const std::uint8_t version = load8(frame, *at) >> 4;
    if (version != 4 && version != 6) return std::nullopt;
    auto out = version == 4 ? parse_ipv4(frame, *at) : parse_ipv6(frame, *at);
    if (!out) return std::nullopt;
    std::size_t header_bytes = 0;
    if (out->protocol == protocol_tcp) {
        if (out->end_at < out->transport_at + tcp_size_bytes) return std::nullopt;
        header_bytes = std::size_t{load8(frame, std::size_t{out->transport_at} + 12) & 0xf0U} / 4;
        if (header_bytes < tcp_size_bytes) return std::nullopt;
    } else if (out->protocol == protocol_udp) {
        header_bytes = udp_size_bytes;
    } else {
        return std::nullopt;
    }
    if (out->end_at < out->transport_at + header_bytes) return std::nullopt;
    out->payload_at = static_cast<std::uint16_t>(out->transport_at + header_bytes);
    return out;
}

std::optional<std::uint8_t> traffic_class(Bytes frame, Inner inner) {
    const auto at = network_offset(frame, inner);
    if (!at || frame.size() < *at + ipv4_size_bytes) return std::nullopt;
    if (load8(frame, *at) >> 4 == 4) return load8(frame, *at + 1);
    return static_cast<std::uint8_t>(load16(frame, *at) >> 4);
}

void set_ecn(MutableBytes frame, Inner inner, Ecn ecn) {
    const std::size_t at = *network_offset(frame, inner);
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
