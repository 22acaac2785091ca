#pragma once
// What a refused value is taken for while the rest of the file is judged. Nobody knows what should
// have stood there, so the file is read several times, each time with other values in those places:
// a finding that stays the same whatever stands there does not depend on them. No two places of one
// reading have the same value, and nobody will see any of them.

#include "topology/diagnostic.hpp"
#include "topology/values.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace overlay {

enum class LinkType;
enum class DatapathChoice;

/// One way to read a file in which something is refused or said twice.
struct Reading {
    static constexpr std::size_t guesses = 4;      ///< enough for each family, word and mode
    static constexpr std::size_t occurrences = 3;  ///< of a repeated key: the first two and the last

    std::size_t guess = 0;       ///< also: 0 takes what may have been meant for absent
    std::size_t occurrence = 0;  ///< the member that counts where a key is repeated
};

/// Both ends belong to the range.
struct Range {
    std::int64_t least = 0;
    std::int64_t most = 0;
};

/// Addresses and prefixes are of IPv4 and IPv6 in turn, public and private. Words take all their
/// values.
template <class T>
[[nodiscard]] T stand_in(std::size_t guess, const Span& at);
template <>
bool stand_in(std::size_t guess, const Span& at);
template <>
std::string stand_in(std::size_t guess, const Span& at);
template <>
IpAddress stand_in(std::size_t guess, const Span& at);
template <>
IpPrefix stand_in(std::size_t guess, const Span& at);
template <>
MacAddress stand_in(std::size_t guess, const Span& at);
template <>
IfName stand_in(std::size_t guess, const Span& at);
template <>
PublicKey stand_in(std::size_t guess, const Span& at);
template <>
Endpoint stand_in(std::size_t guess, const Span& at);
template <>
Family stand_in(std::size_t guess, const Span& at);
template <>
LinkType stand_in(std::size_t guess, const Span& at);
template <>
DatapathChoice stand_in(std::size_t guess, const Span& at);

/// As a prefix, but in half of the guesses it contains every address of its family.
[[nodiscard]] IpPrefix stand_in_that_reaches(std::size_t guess, const Span& at);

/// From the lower end of the range, its upper end and between.
[[nodiscard]] std::int64_t stand_in(std::size_t guess, const Span& at, Range range);

}  // namespace overlay
