#pragma once
// Where unpredictable bytes come from. Virtual because there are two bodies at run time: the
// machine's generator, and in tests and fuzzers a seeded one that makes a run repeatable.

#include "daemon/wire/bytes.hpp"

#include <array>
#include <cstdint>

namespace overlay::wireguard {

class Random {
  public:
    Random() = default;
    Random(const Random&) = delete;
    Random& operator=(const Random&) = delete;
    virtual ~Random() = default;
    virtual void fill(wire::MutableBytes out) = 0;

    [[nodiscard]] std::uint32_t number() {
        std::array<std::byte, 4> bytes{};
        fill(bytes);
        return wire::load32(bytes, 0);
    }
};

}  // namespace overlay::wireguard
