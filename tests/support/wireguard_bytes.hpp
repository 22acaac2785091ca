#pragma once
// Random numbers that repeat, and bytes as text and as packets, for tests and fuzzers of the core.

#include "daemon/wireguard/crypto.hpp"

#include <string>
#include <vector>

namespace overlay::wireguard {

/// SplitMix64: good enough to spread tests, and good for nothing else.
class SeededRandom final : public Random {
  public:
    explicit SeededRandom(std::uint64_t seed) : state_{seed} {}
    void fill(MutableBytes out) override;
    [[nodiscard]] std::uint64_t next();
    [[nodiscard]] bool chance(double probability);

  private:
    std::uint64_t state_;
};

[[nodiscard]] std::vector<std::byte> from_hex(std::string_view hex);
[[nodiscard]] std::string to_hex(Bytes bytes);
/// An IP packet with nothing in it but addresses and a number. Sizes from 24 (IPv4) and 44 (IPv6).
[[nodiscard]] std::vector<std::byte> packet(std::string_view from, std::string_view to,
                                            std::uint32_t number, std::size_t size_bytes = 64);
[[nodiscard]] std::uint32_t number_of(Bytes packet);

}  // namespace overlay::wireguard
