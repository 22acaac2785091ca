#include "daemon/wire/ip.hpp"

#include "daemon/wire/checksum.hpp"

namespace overlay::wire {

namespace {

constexpr std::uint16_t flag_more_fragments = 0x2000;
constexpr std::uint16_t fragment_offset_mask = 0x1fff;   // in units of eight bytes
constexpr std::uint8_t next_is_destination_options = 60;

Parsed<IpHeader> parse_ipv4(Bytes packet) {
    if (packet.size() < ipv4_size_bytes) return drop(DropReason::InnerTooShort);
    const std::uint16_t fragment = load16(packet, 6);
    const IpHeader header{.protocol = load8(packet, 9),
                          .traffic_class = load8(packet, 1),
                          .payload_at = std::size_t{load8(packet, 0) & 0x0fU} * 4,
                          .end_at = load16(packet, 2),
                          .identification = load16(packet, 4),
                          .fragment_at = (fragment & fragment_offset_mask) * std::size_t{8},
                          .has_more_fragments = (fragment & flag_more_fragments) != 0};
    const bool fits = header.payload_at >= ipv4_size_bytes && header.end_at >= header.payload_at &&
                      header.end_at <= packet.size();
    if (!fits) return drop(DropReason::InnerTooShort);
    return header;
}

/// Whether a host that knows none of the options would go on: their two highest bits say so (RFC 8200 §4.2).
bool may_skip_options(Bytes options) {
    constexpr std::uint8_t one_byte_of_padding = 0;
    for (std::size_t at = 0; at < options.size();) {
        const std::uint8_t type = load8(options, at);
        if ((type & 0xc0U) != 0) return false;
        if (type == one_byte_of_padding) {
            ++at;
            continue;
        }
        if (options.size() - at < 2) return false;
        at += 2U + load8(options, at + 1);
        if (at > options.size()) return false;
    }
    return true;
}

Parsed<IpHeader> parse_ipv6(Bytes packet) {
    if (packet.size() < ipv6_size_bytes) return drop(DropReason::InnerTooShort);
    IpHeader header{.is_ipv6 = true,
                    .protocol = load8(packet, 6),
                    .traffic_class = static_cast<std::uint8_t>(load16(packet, 0) >> 4),
                    .payload_at = ipv6_size_bytes,
                    .end_at = ipv6_size_bytes + load16(packet, 4)};
    if (header.end_at > packet.size()) return drop(DropReason::InnerTooShort);
    if (header.protocol != next_is_destination_options) return header;
    if (header.end_at < ipv6_size_bytes + 8) return header;
    const std::size_t size_bytes = (std::size_t{load8(packet, ipv6_size_bytes + 1)} + 1) * 8;
    if (header.end_at < ipv6_size_bytes + size_bytes) return header;
    if (!may_skip_options(packet.subspan(ipv6_size_bytes + 2, size_bytes - 2))) return header;
    header.protocol = load8(packet, ipv6_size_bytes);
    header.payload_at += size_bytes;
    return header;
}

}  // namespace

Parsed<IpHeader> parse_ip(Bytes packet) {
    if (packet.empty()) return drop(DropReason::InnerTooShort);
    switch (load8(packet, 0) >> 4) {
        case 4: return parse_ipv4(packet);
        case 6: return parse_ipv6(packet);
        default: return drop(DropReason::InnerTooShort);
    }
}

bool is_header_intact(Bytes packet, const IpHeader& header) {
    return header.is_ipv6 || fold(sum_of(packet.first(header.payload_at))) == 0xffff;
}

}  // namespace overlay::wire
