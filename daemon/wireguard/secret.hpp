#pragma once
// Bytes that must not stay in memory when they are no longer needed: every copy wipes itself.

#include "daemon/wire/bytes.hpp"

#include <algorithm>
#include <array>

namespace overlay::wireguard {

/// Overwrites in a way that no compiler takes out.
void cleanse(wire::MutableBytes bytes);

template <std::size_t Size>
class Secret {
  public:
    Secret() = default;  ///< all zero
    explicit Secret(wire::Bytes bytes) { std::copy_n(bytes.begin(), Size, bytes_.begin()); }
    Secret(const Secret&) = default;
    Secret& operator=(const Secret&) = default;
    ~Secret() { cleanse(bytes_); }

    [[nodiscard]] wire::Bytes bytes() const { return bytes_; }
    [[nodiscard]] wire::MutableBytes bytes() { return bytes_; }

  private:
    std::array<std::byte, Size> bytes_{};
};

using Secret32 = Secret<32>;

}  // namespace overlay::wireguard
