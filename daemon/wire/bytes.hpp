#pragma once
// Numbers in packets. Every field is read and written byte by byte, so that neither alignment nor the
// machine's own byte order matters; compilers make one instruction of it.

#include <cstddef>
#include <cstdint>
#include <span>

namespace overlay::wire {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

[[nodiscard]] constexpr std::uint8_t load8(Bytes bytes, std::size_t at) {
    return std::to_integer<std::uint8_t>(bytes[at]);
}
[[nodiscard]] constexpr std::uint16_t load16(Bytes bytes, std::size_t at) {
    return static_cast<std::uint16_t>(load8(bytes, at) << 8 | load8(bytes, at + 1));
}
[[nodiscard]] constexpr std::uint32_t load32(Bytes bytes, std::size_t at) {
    return std::uint32_t{load16(bytes, at)} << 16 | load16(bytes, at + 2);
}

constexpr void store8(MutableBytes bytes, std::size_t at, std::uint8_t value) {
    bytes[at] = std::byte{value};
}
constexpr void store16(MutableBytes bytes, std::size_t at, std::uint16_t value) {
    bytes[at] = static_cast<std::byte>(value >> 8);
    bytes[at + 1] = static_cast<std::byte>(value);
}
constexpr void store32(MutableBytes bytes, std::size_t at, std::uint32_t value) {
    store16(bytes, at, static_cast<std::uint16_t>(value >> 16));
    store16(bytes, at + 2, static_cast<std::uint16_t>(value));
}

}  // namespace overlay::wire
