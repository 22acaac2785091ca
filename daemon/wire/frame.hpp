#pragma once
// Where the headers of a frame are: Ethernet (with VLAN tags), IPv4 or IPv6, TCP or UDP. Enough to cut a
// super-frame into frames and to put frames together again. A frame of which this is not known passes whole; a
// super-frame cannot, and is dropped.

#include "daemon/wire/bytes.hpp"
#include "daemon/wire/ecn.hpp"
#include "daemon/wire/ip.hpp"

#include <cstdint>
#include <optional>

namespace overlay::wire {

inline constexpr std::size_t ethernet_size_bytes = 14;

enum class Inner : std::uint8_t {
    Ethernet,   ///< TAP: the bytes begin with an Ethernet header
    Ip,         ///< TUN: they begin with an IP header
};

/// Of a frame whose transport header is known. Offsets in bytes from the first byte of the frame.
struct FrameHeaders {
    std::uint16_t network_at = 0;     ///< IPv4 or IPv6 header
    std::uint16_t transport_at = 0;   ///< TCP or UDP header
    std::uint16_t payload_at = 0;     ///< what they carry
    std::uint32_t end_at = 0;         ///< where the IP packet ends; Ethernet may pad behind it
    bool is_ipv6 = false;
    std::uint8_t protocol = 0;        ///< 6: TCP, 17: UDP

    /// IPv4 options or IPv6 extension headers are between the IP header and the transport's.
    [[nodiscard]] bool has_options() const {
        return std::size_t{transport_at} - network_at != (is_ipv6 ? ipv6_size_bytes : ipv4_size_bytes);
    }
    /// Source and destination as they stand in the IP header.
    [[nodiscard]] Bytes addresses(Bytes frame) const {
        return is_ipv6 ? frame.subspan(network_at + std::size_t{8}, 32)
                       : frame.subspan(network_at + std::size_t{12}, 8);
    }
};

inline constexpr std::uint8_t protocol_tcp = 6;
inline constexpr std::uint8_t protocol_udp = 17;

/// nullopt: not TCP or UDP, a fragment, an IPv6 extension header that no segment of TCP or UDP can repeat (Linux
/// net/ipv6/ip6_offload.c: hop-by-hop, routing and destination options can be), or a length that does not fit.
/// Errors:  none; never allocates, logs or throws.
/// Sources: RFC 791 §3.1, RFC 8200 §3 and §4, RFC 9293 §3.1, RFC 768.
/// Safety:  bytes are hostile; every read is preceded by a size check.
[[nodiscard]] std::optional<FrameHeaders> find_headers(Bytes frame, Inner inner);

/// The traffic class or TOS byte of the packet inside; nullopt: it is not IP.
[[nodiscard]] std::optional<std::uint8_t> traffic_class(Bytes frame, Inner inner);

/// Replaces the two ECN bits of the packet inside, with the IPv4 checksum in step. The frame must have a
/// traffic_class().
void set_ecn(MutableBytes frame, Inner inner, Ecn ecn);

}  // namespace overlay::wire
