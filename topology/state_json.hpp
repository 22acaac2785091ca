#pragma once
// Kernel state as JSON and back: what `snapshot` prints and `diff --against` and bug reports take.
// The names are those of the diff. A key that is absent says "not known" or "not ours to decide";
// null says "none".
//
// Holds no secrets, because the state has none: a private key is named by its public key, a
// preshared key by its fingerprint. Names from the kernel may be any bytes: those that are not
// UTF-8 are written as U+EF80…U+EFFF, one for each byte 0x80…0xff, and read back from there
// (tests/topology/state_json_test.cpp).

#include "topology/state.hpp"

#include <exception>
#include <string>
#include <string_view>

namespace overlay {

/// Indented by two, in a fixed order, ends in a newline. Equal states, equal text.
[[nodiscard]] std::string to_json(const KernelState& state);

/// Strict: unknown, missing and repeated keys, wrong types and values out of range are errors. The
/// error names the first bad value by its place: "links.wg0.mtu: not a number from 0 to
/// 4294967295".
[[nodiscard]] Result<KernelState> state_from_json(std::string_view source);

/// What nlohmann's library says of a text, without its own number: "parse error at line 1, column 1: …".
[[nodiscard]] std::string fault_of_json(const std::exception& fault);

}  // namespace overlay
