#pragma once
// Which counters of a session were seen: a bit each for the youngest 8192, in a ring of words that
// is cleared as it turns, so that moving ahead by any distance costs at most one turn (RFC 6479).
// One word of the ring is always being entered, so 8128 counters are told apart, as in the kernel.

#include <array>
#include <cstddef>
#include <cstdint>

namespace overlay::wireguard {

/// A counter from here on is neither sent nor accepted (whitepaper §6.1: 2^64 - 2^13 - 1).
inline constexpr std::uint64_t reject_after_messages = ~std::uint64_t{0} - (1U << 13);
/// A session that sent this many asks for its successor.
inline constexpr std::uint64_t rekey_after_messages = std::uint64_t{1} << 60;

class ReplayWindow {
  public:
    static constexpr std::uint64_t size = 8128;

    /// Whether the counter is new, and marks it as seen. Only for messages that authenticated: one
    /// forged high counter would otherwise push every honest one out of the window.
    [[nodiscard]] bool accept(std::uint64_t counter);
    /// One above the highest counter accepted; 0 before the first.
    [[nodiscard]] std::uint64_t ahead() const { return ahead_; }

  private:
    static constexpr std::size_t words = 8192 / 64;
    std::array<std::uint64_t, words> seen_{};
    std::uint64_t ahead_ = 0;
};

}  // namespace overlay::wireguard
