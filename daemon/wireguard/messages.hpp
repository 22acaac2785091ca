#pragma once
// The four datagrams of WireGuard: where each field lies and how long each message is. Integers are
// little-endian, unlike anywhere else in this project. What the fields mean is noise.hpp's,
// cookie.hpp's and device.hpp's business.
//
// Sources: WireGuard whitepaper §5.4.2-5.4.7; Linux drivers/net/wireguard/messages.h.

#include "daemon/wire/bytes.hpp"
#include "daemon/wireguard/drop_reason.hpp"

namespace overlay::wireguard {

using wire::Bytes;
using wire::MutableBytes;

enum class MessageType : std::uint8_t { Initiation = 1, Response = 2, CookieReply = 3, Data = 4 };

struct Field {
    std::size_t at;
    std::size_t size_bytes;
    [[nodiscard]] constexpr Bytes in(Bytes message) const {
        return message.subspan(at, size_bytes);
    }
    [[nodiscard]] constexpr MutableBytes in(MutableBytes message) const {
        return message.subspan(at, size_bytes);
    }
};

//  0        4        8                    40                88             116    132    148
//  | type   | sender | ephemeral          | static, sealed  | time, sealed | mac1 | mac2 |
namespace initiation {
inline constexpr Field ephemeral{8, 32}, sealed_static{40, 48}, sealed_timestamp{88, 28};
inline constexpr std::size_t size_bytes = 148;
}  // namespace initiation

//  0        4        8          12                   44              60     76     92
//  | type   | sender | receiver | ephemeral          | empty, sealed | mac1 | mac2 |
namespace response {
inline constexpr Field ephemeral{12, 32}, sealed_empty{44, 16};
inline constexpr std::size_t size_bytes = 92;
}  // namespace response

//  0        4          8                32               64
//  | type   | receiver | nonce          | cookie, sealed |
namespace cookie_reply {
inline constexpr Field nonce{8, 24}, sealed_cookie{32, 32};
inline constexpr std::size_t size_bytes = 64;
}  // namespace cookie_reply

//  0        4          8         16
//  | type   | receiver | counter | packet, padded and sealed … | tag (16) |
namespace data {
inline constexpr std::byte first_octet{static_cast<std::uint8_t>(MessageType::Data)};
inline constexpr Field counter{8, 8};
inline constexpr std::size_t header_bytes = 16;
inline constexpr std::size_t overhead_bytes = 32;  ///< header and tag: a keepalive's size
}  // namespace data

[[nodiscard]] constexpr std::uint32_t load32_le(Bytes bytes, std::size_t at) {
    const std::uint32_t big = wire::load32(bytes, at);
    return big >> 24 | (big >> 8 & 0xff00U) | (big << 8 & 0xff0000U) | big << 24;
}
constexpr void store32_le(MutableBytes bytes, std::size_t at, std::uint32_t value) {
    for (std::size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<std::byte>(value >> (8 * i));
}
[[nodiscard]] constexpr std::uint64_t load64_le(Bytes bytes, std::size_t at) {
    return std::uint64_t{load32_le(bytes, at + 4)} << 32 | load32_le(bytes, at);
}
constexpr void store64_le(MutableBytes bytes, std::size_t at, std::uint64_t value) {
    store32_le(bytes, at, static_cast<std::uint32_t>(value));
    store32_le(bytes, at + 4, static_cast<std::uint32_t>(value >> 32));
}

/// The type of a datagram whose length is right for it and whose three reserved bytes are zero.
[[nodiscard]] constexpr Parsed<MessageType> parse_type(Bytes datagram) {
    if (datagram.size() < 4) return drop(DropReason::NotWireGuard);
    const std::size_t size = datagram.size();
    switch (load32_le(datagram, 0)) {
        case 1:
            if (size == initiation::size_bytes) return MessageType::Initiation;
            break;
        case 2:
            if (size == response::size_bytes) return MessageType::Response;
            break;
        case 3:
            if (size == cookie_reply::size_bytes) return MessageType::CookieReply;
            break;
        case 4:
            if (size >= data::overhead_bytes) return MessageType::Data;
            break;
        default: break;
    }
    return drop(DropReason::NotWireGuard);
}

/// Type and reserved bytes.
constexpr void store_type(MutableBytes message, MessageType type) {
    store32_le(message, 0, static_cast<std::uint32_t>(type));
}

/// Of initiation and response: who speaks, and what to name when answering.
[[nodiscard]] constexpr std::uint32_t sender_of(Bytes handshake) { return load32_le(handshake, 4); }

/// Of the three others: which session or handshake of ours is meant.
[[nodiscard]] constexpr std::uint32_t receiver_of(Bytes message, MessageType type) {
    return load32_le(message, type == MessageType::Response ? 8 : 4);
}

/// The last two fields of initiation and response: what is before them, mac1, and mac2.
struct MacFields {
    explicit constexpr MacFields(std::size_t message_bytes) : message_bytes_{message_bytes} {}
    [[nodiscard]] constexpr Field before_mac1() const { return {0, message_bytes_ - 32}; }
    [[nodiscard]] constexpr Field mac1() const { return {message_bytes_ - 32, 16}; }
    [[nodiscard]] constexpr Field before_mac2() const { return {0, message_bytes_ - 16}; }
    [[nodiscard]] constexpr Field mac2() const { return {message_bytes_ - 16, 16}; }

  private:
    std::size_t message_bytes_;
};

/// Of a packet before sealing: up to a multiple of 16, which hides its length a little, but never
/// above the device's MTU, which the path was measured for. A packet above the MTU, as a GSO frame
/// is, is padded like its last segment (Linux drivers/net/wireguard/send.c, calculate_skb_padding).
/// `mtu_bytes`: 0 when there is none.
[[nodiscard]] constexpr std::size_t padded_bytes(std::size_t packet_bytes, std::size_t mtu_bytes) {
    const auto rounded = [](std::size_t bytes) { return (bytes + 15) / 16 * 16; };
    if (mtu_bytes == 0) return rounded(packet_bytes);
    const std::size_t last = packet_bytes > mtu_bytes ? packet_bytes % mtu_bytes : packet_bytes;
    return packet_bytes - last + (rounded(last) < mtu_bytes ? rounded(last) : mtu_bytes);
}

}  // namespace overlay::wireguard
