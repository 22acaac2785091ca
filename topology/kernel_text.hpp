#pragma once
// Any bytes as UTF-8 and back. An interface's name or alias is whatever somebody once sent to the
// kernel; JSON must be UTF-8. Bytes that are no UTF-8 travel as U+EF80…U+EFFF, and so do the bytes
// of a character that lies there itself, so that decoding is exact for every input.

#include "topology/utf8.hpp"

#include <string>
#include <string_view>

namespace overlay {

inline constexpr std::uint32_t raw_byte_base = 0xef00;  ///< Unicode's private use area; + the byte

[[nodiscard]] inline std::string bytes_to_utf8(std::string_view bytes) {
    std::string out;
    for (std::size_t at = 0; at < bytes.size();) {
        const CodePoint found = decode_utf8(bytes, at);
        const bool reserved =
            found.value >= raw_byte_base + 0x80 && found.value <= raw_byte_base + 0xff;
        if (found.size_bytes > 0 && !reserved) {
            out.append(bytes, at, found.size_bytes);
            at += found.size_bytes;
            continue;
        }
        const auto byte = static_cast<std::uint8_t>(bytes[at++]);  // ≥ 0x80: smaller ones are UTF-8
        out += "\xee";
        out += static_cast<char>(0xbcU | (byte >> 6U));
        out += static_cast<char>(0x80U | (byte & 0x3fU));
    }
    return out;
}

/// `utf8` must be UTF-8.
[[nodiscard]] inline std::string utf8_to_bytes(std::string_view utf8) {
    std::string out;
    for (std::size_t at = 0; at < utf8.size();) {
        const CodePoint found = next_code_point(utf8, at);
        if (found.value >= raw_byte_base + 0x80 && found.value <= raw_byte_base + 0xff) {
            out += static_cast<char>(found.value - raw_byte_base);
        } else {
            out.append(utf8, at, found.size_bytes);
        }
        at += found.size_bytes;
    }
    return out;
}

}  // namespace overlay
