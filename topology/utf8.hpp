#pragma once
// UTF-8 one code point at a time (RFC 3629): enough to refuse bad bytes, to count columns as
// editors do, and to keep what a file says from steering the terminal that shows it.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace overlay {

struct CodePoint {
    std::uint32_t value = 0;
    std::size_t size_bytes = 0;  ///< 0: the bytes here are not UTF-8
};

/// The code point that begins at `offset`, which must be inside `text`. Overlong forms, surrogates
/// and values beyond U+10FFFF are not UTF-8 (RFC 3629 §3).
[[nodiscard]] constexpr CodePoint decode_utf8(std::string_view text, std::size_t offset) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[offset + i]); };
    const std::uint8_t first = byte(0);
    if (first < 0x80) return {first, 1};
    const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() - offset < size) return {};
    std::uint32_t value = first & (0xffU >> (size + 1));
    for (std::size_t i = 1; i < size; ++i) {
        if ((byte(i) & 0xc0U) != 0x80) return {};
        value = (value << 6U) | (byte(i) & 0x3fU);
    }
    const bool overlong = (size == 3 && value < 0x800) || (size == 4 && value < 0x10000);
    if (overlong || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return {};
    return {value, size};
}

/// The next code point; a byte that is none counts as one, so that every text can be walked to its
/// end.
[[nodiscard]] constexpr CodePoint next_code_point(std::string_view text, std::size_t offset) {
    const CodePoint found = decode_utf8(text, offset);
    return found.size_bytes > 0 ? found : CodePoint{0xfffd, 1};
}

[[nodiscard]] constexpr std::size_t count_code_points(std::string_view text) {
    std::size_t count = 0;
    for (std::size_t at = 0; at < text.size(); ++count) at += next_code_point(text, at).size_bytes;
    return count;
}

/// What a terminal would obey or reorder instead of showing: C0, DEL, C1, line separators, and the
/// marks that change the direction of writing (the "Trojan Source" class, CVE-2021-42574).
[[nodiscard]] constexpr bool is_unprintable(std::uint32_t code_point) {
    return code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0) || code_point == 0x61c ||
           (code_point >= 0x200b && code_point <= 0x200f) ||
           (code_point >= 0x2028 && code_point <= 0x202e) ||
           (code_point >= 0x2060 && code_point <= 0x206f) || code_point == 0xfeff;
}

}  // namespace overlay
