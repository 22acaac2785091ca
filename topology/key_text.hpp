#pragma once
// Keys in text that somebody will read: found wherever they stand, however they are wrapped, and
// starred out. A public key in a wrong place looks like a private one and is not shown either.

#include <string>
#include <string_view>

namespace overlay {

/// Whether a WireGuard key stands anywhere in the text: 44 characters of base64, the same without
/// its '=', or 64 hexadecimal digits.
[[nodiscard]] bool holds_a_key(std::string_view text);

/// The same text with stars over the keys in it.
[[nodiscard]] std::string without_keys(std::string text);

/// A file with stars over what may be secret: keys that are not called public ones, and the values
/// of "private_key", "psk" and the like in whatever quotes. Lines and columns stay.
[[nodiscard]] std::string without_secrets(std::string_view source);

}  // namespace overlay
