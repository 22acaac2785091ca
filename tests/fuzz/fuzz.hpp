#pragma once
// What every fuzzer gives, and one main program for all of them (fuzz_main.cpp):
//
//   clang++ -fsanitize=fuzzer,address,undefined -DOVERLAY_LIBFUZZER …    a libFuzzer target
//   NAME_fuzz FILE|FOLDER…            replays inputs; a file ending in ".hex" has one in each line
//   NAME_fuzz --random COUNT SEED     makes inputs up

#include "support/wireguard_bytes.hpp"

#include <vector>

namespace overlay::fuzz {

/// Aborts when it has found a bug.
void run(wire::Bytes input);
/// An input that is not lost at the first byte.
[[nodiscard]] std::vector<std::byte> make_up(wireguard::SeededRandom& random);

}  // namespace overlay::fuzz
