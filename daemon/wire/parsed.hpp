#pragma once
// The verdict on bytes from the network: a value, or the reason why they are dropped. Reasons are
// counted, never logged one by one: whoever can send a packet must not be able to fill a disk.

#include <tl/expected.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace overlay::wire {

enum class DropReason : std::uint8_t {
    TooShort,          ///< ends inside a header
    GueVersion,        ///< neither 0 nor 1 (or 1 without an IP packet behind it)
    GueControl,        ///< C bit: not data
    GueFlags,          ///< a flag that we do not know, or flags that need more than hlen has
    GueProtocol,       ///< carries something else than GRE
    GreVersion,        ///< low seven bits of the second byte are not zero
    GreRouting,        ///< R bit: RFC 1701's source routes
    GreProtocol,       ///< not Transparent Ethernet Bridging
    GreChecksum,       ///< wrong, or there though the link has none, or missing though it has
    NoLink,            ///< no link has this pair of outer addresses and this key, or none
    Ecn,               ///< congestion was signalled to a packet that cannot know (RFC 6040)
    InnerTooShort,     ///< no whole Ethernet or IP header inside
    RemoteChecksum,    ///< start or offset lie outside the packet
    IpChecksum,        ///< the header of an IPv4 packet around GRE is damaged
    Fragment,          ///< overlaps another one of its packet, or does not fit what they say together
    FragmentLost,      ///< the others did not come in time, or more packets were in pieces than we keep
    Flood,             ///< more handshakes in a row from one place than any peer sends
    NoPeer,            ///< no WireGuard peer has the link's remote address
    TooLong,           ///< larger than a WireGuard packet can be
    DeviceFull,        ///< the device did not take it
    Count              ///< of reasons; not one
};
inline constexpr std::size_t drop_reason_count = static_cast<std::size_t>(DropReason::Count);

/// Stable: the name of a counter in `status --json`, such as "gue_flags".
[[nodiscard]] constexpr std::string_view text(DropReason reason) {
    constexpr std::array<std::string_view, drop_reason_count> names{
        "too_short",    "gue_version",  "gue_control", "gue_flags", "gue_protocol",
        "gre_version",  "gre_routing",  "gre_protocol", "gre_checksum", "no_link",
        "ecn",          "inner_too_short", "remote_checksum",
        "ip_checksum",  "fragment",     "fragment_lost", "flood", "no_peer",
        "too_long",     "device_full"};
    return names[static_cast<std::size_t>(reason)];
}

template <class T>
using Parsed = tl::expected<T, DropReason>;

[[nodiscard]] inline tl::unexpected<DropReason> drop(DropReason reason) {
    return tl::unexpected<DropReason>{reason};
}

}  // namespace overlay::wire
