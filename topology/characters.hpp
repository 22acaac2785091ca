#pragma once
// Kinds of bytes, as JSON (RFC 8259) and keys have them; none depends on a locale.

#include <string_view>

namespace overlay {

inline constexpr std::string_view blanks = " \t\r\n";

[[nodiscard]] constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace overlay
