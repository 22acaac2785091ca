#pragma once
// An IP header around a tunnel's packets: how long the packet is, what it carries, and whether it is a
// piece of one. What the packets inside a tunnel are to each other is frame.hpp's.

#include "daemon/wire/bytes.hpp"
#include "daemon/wire/parsed.hpp"

namespace overlay::wire {

inline constexpr std::size_t ipv4_size_bytes = 20;   ///< without options
inline constexpr std::size_t ipv6_size_bytes = 40;   ///< without extension headers
inline constexpr std::uint8_t protocol_gre = 47;

struct IpHeader {
    bool is_ipv6 = false;
    std::uint8_t protocol = 0;      ///< of the payload; behind IPv6 destination options
    std::uint8_t traffic_class = 0;
    std::size_t payload_at = 0;
    std::size_t end_at = 0;         ///< behind it lies WireGuard's padding
    std::uint16_t identification = 0;     ///< IPv4, and so are the two below
    std::size_t fragment_at = 0;          ///< of the payload in the whole one
    bool has_more_fragments = false;

    [[nodiscard]] bool is_fragment() const { return fragment_at != 0 || has_more_fragments; }
    /// Source and destination as they stand there.
    [[nodiscard]] Bytes addresses(Bytes packet) const {
        return is_ipv6 ? packet.subspan(8, 32) : packet.subspan(12, 8);
    }
};

/// Lengths are checked, the IPv4 checksum is not.
///
/// Errors:  InnerTooShort: neither IPv4 nor IPv6, or it says that it is longer than it is.
/// Sources: RFC 791 §3.1, RFC 8200 §3 and §4.6, RFC 2473 §4.1.1 (the option that Linux's ip6gretap adds).
/// Safety:  bytes are hostile; every read is preceded by a size check.
[[nodiscard]] Parsed<IpHeader> parse_ip(Bytes packet);

/// Whether the header's own checksum is right; IPv6 has none.
[[nodiscard]] bool is_header_intact(Bytes packet, const IpHeader& header);

}  // namespace overlay::wire
