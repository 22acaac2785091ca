#pragma once
// The Internet checksum (RFC 1071): a one's complement sum of 16-bit words, added up here as an
// unfinished sum that can be continued at an even offset, and folded at the end.

#include "daemon/wire/bytes.hpp"

namespace overlay::wire {

/// Unfinished: any sum whose folded value is meant. Adding two of them is allowed when the bytes of the
/// second start at an even offset from those of the first.
using Sum = std::uint64_t;

/// Of the bytes as big-endian words; an odd last byte is followed by a zero. Sums of up to 2^32 bytes fit.
[[nodiscard]] Sum sum_of(Bytes bytes, Sum start = 0);

[[nodiscard]] constexpr std::uint16_t fold(Sum sum) {
    sum = (sum & 0xffffffffU) + (sum >> 32);
    sum = (sum & 0xffffffffU) + (sum >> 32);
    auto half = static_cast<std::uint32_t>((sum & 0xffffU) + (sum >> 16));
    half = (half & 0xffffU) + (half >> 16);
    half = (half & 0xffffU) + (half >> 16);
    return static_cast<std::uint16_t>(half);
}

/// What goes into the field of the header, whose own value was summed as zero.
[[nodiscard]] constexpr std::uint16_t checksum_of(Sum sum) {
    return static_cast<std::uint16_t>(~fold(sum));
}

/// Of TCP, UDP and ICMPv6 (RFC 9293 §3.1, RFC 8200 §8.1). `addresses`: source and destination as they
/// stand in the IP header, 8 or 32 bytes. `length_bytes`: of the header above IP and what it carries.
[[nodiscard]] inline Sum pseudo_header_sum(Bytes addresses, std::uint8_t protocol,
                                           std::size_t length_bytes) {
    return sum_of(addresses) + protocol + length_bytes;
}

/// The field after one 16-bit word of what it covers changed (RFC 1624, equation 3).
[[nodiscard]] constexpr std::uint16_t adjusted_checksum(std::uint16_t checksum, std::uint16_t from,
                                                        std::uint16_t to) {
    const Sum sum = Sum{static_cast<std::uint16_t>(~checksum)} +
                    static_cast<std::uint16_t>(~from) + to;
    return checksum_of(sum);
}

}  // namespace overlay::wire
