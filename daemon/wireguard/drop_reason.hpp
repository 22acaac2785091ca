#pragma once
// Why bytes do not go on. Whoever can send us a datagram can cause most of these, so they are
// counted and never logged one by one.

#include <tl/expected.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace overlay::wireguard {

enum class DropReason : std::uint8_t {
    NotWireGuard,        ///< no known type, reserved bytes not zero, or not that type's length
    Mac1,                ///< the sender does not know our public key, or the message is damaged
    CookieAsked,         ///< under load: answered with a cookie, the message itself is forgotten
    RateLimited,         ///< under load: its source proved itself, and sends too often
    UnknownPeer,         ///< a well-made initiation of somebody who is not configured
    Handshake,           ///< a handshake message that does not authenticate
    OldTimestamp,        ///< an initiation no younger than the last one of this peer: a replay
    TooManyInitiations,  ///< a peer's initiations come faster than 50 a second
    UnknownIndex,        ///< the receiver index is of no session and no handshake of ours
    CookieReply,         ///< a cookie reply that does not open, or that we did not provoke
    KeyExpired,          ///< older than 180 s, or its counter is used up
    Data,                ///< a data message that does not authenticate
    Replay,              ///< authentic, but seen before, or too old to know
    InnerPacket,         ///< neither a whole IPv4 nor a whole IPv6 header inside
    SourceNotAllowed,    ///< the inner source address is not one of the peer's allowed IPs
    NoPeer,              ///< outgoing: no peer has this destination, or the peer is gone
    NoEndpoint,          ///< outgoing: we do not know where the peer is
    QueueFull,           ///< outgoing: waited for a handshake, and younger packets took its place
    GivenUp,             ///< outgoing: waited for a handshake that did not come within 90 s
    Stopped,             ///< the device is down
    Count                ///< of reasons; not one
};
inline constexpr std::size_t drop_reason_count = static_cast<std::size_t>(DropReason::Count);

/// Stable: the name of a counter in `status --json`, such as "source_not_allowed".
[[nodiscard]] constexpr std::string_view text(DropReason reason) {
    constexpr std::array<std::string_view, drop_reason_count> names{
        "not_wireguard", "mac1",         "cookie_asked",       "rate_limited",
        "unknown_peer",  "handshake",    "old_timestamp",      "too_many_initiations",
        "unknown_index", "cookie_reply", "key_expired",        "data",
        "replay",        "inner_packet", "source_not_allowed", "no_peer",
        "no_endpoint",   "queue_full",   "given_up",           "stopped"};
    return names[static_cast<std::size_t>(reason)];
}

template <class T>
using Parsed = tl::expected<T, DropReason>;

[[nodiscard]] inline tl::unexpected<DropReason> drop(DropReason reason) {
    return tl::unexpected<DropReason>{reason};
}

}  // namespace overlay::wireguard
