#pragma once
// Frames for stories, made and judged by other arithmetic than the code under test has: a checksum is
// added up word by word, as RFC 1071 tells it.

#include "daemon/wire/bytes.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace overlay::test {

using Packet = std::vector<std::byte>;

/// "00 2f 0000": hexadecimal digits, spaces are skipped.
[[nodiscard]] Packet bytes_of(std::string_view hex);
[[nodiscard]] std::string hex_of(wire::Bytes bytes);

struct TcpFrame {
    bool ipv6 = false;
    std::size_t vlan_tags = 0;
    std::uint16_t source_port = 40000, target_port = 443;
    std::uint32_t sequence = 1000, acknowledgement = 77;
    std::uint8_t flags = 0x10;           ///< ACK
    std::uint16_t window = 502;
    std::uint16_t identification = 1;
    bool dont_fragment = true;
    std::uint8_t ttl = 64;
    std::uint8_t traffic_class = 0;
    bool timestamps = true;              ///< twelve bytes of options
    std::size_t extension_headers = 0;   ///< of IPv6: destination options, at two hop-by-hop ones before them
    std::size_t payload_bytes = 0;
    std::uint8_t payload_seed = 0;       ///< byte n of the payload is this plus the low byte of sequence + n
};

/// An Ethernet frame with correct lengths and checksums.
[[nodiscard]] Packet frame_of(const TcpFrame& what);
struct UdpFrame {
    bool ipv6 = false;
    std::size_t vlan_tags = 0;
    std::uint16_t source_port = 5000, target_port = 5001;
    std::uint16_t identification = 0;
    bool dont_fragment = true;
    std::uint8_t ttl = 64;
    std::uint8_t traffic_class = 0;
    bool has_checksum = true;
    std::size_t payload_bytes = 0;
};
[[nodiscard]] Packet frame_of(const UdpFrame& what);
[[nodiscard]] Packet udp_frame(std::size_t payload_bytes, bool ipv6 = false);

/// What is wrong with the checksums and lengths of a TCP or UDP frame; "" when nothing is.
[[nodiscard]] std::string fault_in(wire::Bytes frame);

/// The one's complement sum of 16-bit words, not complemented.
[[nodiscard]] std::uint16_t plain_sum(wire::Bytes bytes, std::uint32_t start = 0);

}  // namespace overlay::test
