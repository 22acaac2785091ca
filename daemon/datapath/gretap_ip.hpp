#pragma once
// One gretap link over IP, as it goes through WireGuard: which bytes go before a frame, and what a packet
// must look like to be one of the link's.
//
//     IPv4 or IPv6: protocol 47, TTL 64, DF | GRE 20 00 65 58, key | Ethernet …

#include "daemon/wire/gre.hpp"
#include "daemon/wire/ip.hpp"
#include "topology/values.hpp"

#include <array>

namespace overlay::datapath {

/// What tells one link's packets from another's: addresses as our own end sees them, and the key.
struct LinkAddress {
    IpAddress local;   ///< unspecified where the socket has it
    IpAddress remote;
    std::optional<std::uint32_t> key;
    friend bool operator==(const LinkAddress&, const LinkAddress&) = default;
};

struct LinkAddressHash {
    [[nodiscard]] std::size_t operator()(const LinkAddress& address) const;
};

/// Bytes before each frame: made once, but for lengths, the traffic class and what counts up.
class GretapIpHeader {
  public:
    static constexpr std::size_t max_size_bytes = wire::ipv6_size_bytes + 8;

    explicit GretapIpHeader(const LinkAddress& link, std::uint8_t ttl = 64);

    /// An IP header with the link's addresses, for whoever looks up a route.
    [[nodiscard]] wire::Bytes bytes() const { return {bytes_.data(), size_bytes_}; }
    [[nodiscard]] std::size_t size_bytes() const { return size_bytes_; }
    /// `to`: size_bytes() bytes, before a frame of `frame_bytes`.
    ///
    /// Sources: RFC 791 §3.1, RFC 8200 §3; Linux 6.1 net/ipv4/ip_tunnel_core.c (iptunnel_xmit). The
    ///          identification counts up although DF is set (RFC 6864 would allow 0), because a Linux peer
    ///          merges what counts up or stands still, whichever it is, and a router that clears DF must
    ///          not meet one number twice.
    void write(wire::MutableBytes to, std::size_t frame_bytes, std::uint8_t traffic_class);

  private:
    std::array<std::byte, max_size_bytes> bytes_{};
    std::size_t size_bytes_ = 0;
    bool is_ipv6_;
    std::uint64_t fixed_sum_ = 0;   ///< of what is the same in the checksum of every header
    std::uint16_t identification_ = 0;
};

struct GrePacket {
    wire::MutableBytes frame;           ///< begins with the Ethernet header
    std::optional<std::uint32_t> key;
};

/// Removes GRE. `payload`: of an IP packet with protocol 47, whole.
/// Errors:  those of parse_gre; InnerTooShort.
/// Safety:  bytes are hostile.
[[nodiscard]] wire::Parsed<GrePacket> open_gre(wire::MutableBytes payload);

}  // namespace overlay::datapath
