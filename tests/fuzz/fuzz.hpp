#pragma once
// What every fuzzer gives, and one main program for all of them (fuzz_main.cpp):
//
//   cmake --preset fuzz && cmake --build --preset fuzz    libFuzzer targets; run.sh runs them
//   NAME_fuzz FILE|FOLDER…            replays inputs; a file ending in ".hex" has one in each line
//   NAME_fuzz --random COUNT SEED     makes inputs up

#include "support/wireguard_bytes.hpp"
#include "topology/result.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace overlay::fuzz {

/// Aborts when it has found a bug.
void run(wire::Bytes input);
/// An input that is not lost at the first byte.
[[nodiscard]] std::vector<std::byte> make_up(wireguard::SeededRandom& random);

/// What must hold whatever the input says.
inline void demand(bool holds, const char* what) {
    if (!holds) OVERLAY_UNREACHABLE(what);
}

[[nodiscard]] inline std::string_view text_of(wire::Bytes input) {
    return {static_cast<const char*>(static_cast<const void*>(input.data())), input.size()};
}

/// Makes up a text: pieces of one that is taken, some of them missing, said twice or with another byte in them.
[[nodiscard]] std::string worn(std::string text, wireguard::SeededRandom& random);
[[nodiscard]] std::vector<std::byte> bytes_of(std::string_view text);

}  // namespace overlay::fuzz
