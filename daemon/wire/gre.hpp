#pragma once
// Generic Routing Encapsulation with an Ethernet frame inside ("gretap"): RFC 2784, RFC 2890.
//
//     |C|R|K|S| Reserved      | Ver |         Protocol 0x6558       |
//     |      Checksum (C)           |        Reserved (C)           |
//     |                          Key (K)                            |
//     |                    Sequence number (S)                      |
//
// We write no checksum and no sequence number: the UDP or WireGuard around it does better.

#include "daemon/wire/bytes.hpp"
#include "daemon/wire/parsed.hpp"

#include <optional>

namespace overlay::wire {

struct GreHeader {
    static constexpr std::size_t min_size_bytes = 4;
    static constexpr std::uint16_t protocol_ethernet = 0x6558;

    std::optional<std::uint32_t> key;
    std::size_t size_bytes = min_size_bytes;
};

/// The header of a packet for a gretap without checksums and sequence numbers.
///
/// Units:   `packet` begins with the GRE header and ends with the frame.
/// Errors:  TooShort, GreVersion, GreRouting, GreProtocol, GreChecksum.
/// Sources: Linux 6.1 net/ipv4/gre_demux.c (gre_rcv: low seven bits are the version; gre_parse_header),
///          net/ipv4/ip_tunnel.c (ip_tunnel_rcv: a checksum on a link that has none is dropped).
[[nodiscard]] Parsed<GreHeader> parse_gre(Bytes packet);

/// Whether a packet's key opens a link (Linux 6.1 net/ipv4/ip_tunnel.c, ip_tunnel_key_match).
[[nodiscard]] constexpr bool is_key_of_link(const std::optional<std::uint32_t>& packet,
                                            const std::optional<std::uint32_t>& link) {
    return packet == link;
}

[[nodiscard]] constexpr std::size_t gre_size_bytes(const std::optional<std::uint32_t>& key) {
    return GreHeader::min_size_bytes + (key ? 4 : 0);
}

/// `to`: gre_size_bytes(key) bytes.
constexpr void write_gre(MutableBytes to, const std::optional<std::uint32_t>& key) {
    store16(to, 0, key ? 0x2000 : 0);
    store16(to, 2, GreHeader::protocol_ethernet);
    if (key) store32(to, 4, *key);
}

}  // namespace overlay::wire
