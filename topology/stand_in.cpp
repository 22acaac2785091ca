// Bytes come from the place in the file and the number of the guess, mixed so that a person would
// hardly have written the same.

#include "topology/stand_in.hpp"

#include "topology/topology.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace overlay {
namespace {

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
std::uint64_t mixed(std::uint64_t value) {
    value += 0x9e3779b97f4a7c15U;
    value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27U)) * 0x94d049bb133111ebU;
    return value ^ (value >> 31U);
}

std::array<std::uint8_t, 32> bytes_of(std::size_t guess, const Span& at) {
    const std::uint64_t place = (std::uint64_t{at.line} << 32U) | at.column;
    std::uint64_t word = mixed(place ^ mixed(guess + 1));
    std::array<std::uint8_t, 32> out{};
    for (std::size_t i = 0; i < out.size(); ++i) {
        if (i % 8 == 0) word = mixed(word);
        out[i] = static_cast<std::uint8_t>(word >> (i % 8 * 8));
    }
    return out;
}

}  // namespace

template <>
bool stand_in(std::size_t guess, const Span&) {
    return guess % 2 == 1;
}

template <>
std::string stand_in(std::size_t guess, const Span& at) {
    return fmt::format("refused-{}-{}-{}", guess, at.line, at.column);
}

template <>
Family stand_in(std::size_t guess, const Span&) {
    return guess % 2 == 0 ? Family::Ipv4 : Family::Ipv6;
}

template <>
LinkType stand_in(std::size_t guess, const Span&) {
    constexpr std::array<LinkType, Reading::guesses> types{
        LinkType::GretapGue, LinkType::GretapWireguard, LinkType::Wireguard, LinkType::GretapGue};
    return types.at(guess);
}

template <>
DatapathChoice stand_in(std::size_t guess, const Span&) {
    constexpr std::array<DatapathChoice, Reading::guesses> choices{
        DatapathChoice::Auto, DatapathChoice::Kernel, DatapathChoice::Userspace,
        DatapathChoice::Auto};
    return choices.at(guess);
}

template <>
IpAddress stand_in(std::size_t guess, const Span& at) {
    std::array<std::uint8_t, 32> bytes = bytes_of(guess, at);
    const auto family = stand_in<Family>(guess, at);
    const bool is_public = guess < 2;
    if (family == Family::Ipv4)
        bytes[0] = is_public ? 185 : 10;
    else
        bytes[0] = is_public ? 0x2a : 0xfd;
    return IpAddress::from_bytes(family, bytes.data());
}

template <>
IpPrefix stand_in(std::size_t guess, const Span& at) {
    const auto address = stand_in<IpAddress>(guess, at);
    return IpPrefix::of(address, address.family() == Family::Ipv4 ? 24 : 64);
}

IpPrefix stand_in_that_reaches(std::size_t guess, const Span& at) {
    const auto narrow = stand_in<IpPrefix>(guess, at);
    return guess < 2 ? narrow : IpPrefix::of(narrow.address(), 0);
}

template <>
MacAddress stand_in(std::size_t guess, const Span& at) {
    std::array<std::uint8_t, 32> bytes = bytes_of(guess, at);
    bytes[0] = 0x02;  // one receiver, locally administered
    return MacAddress::from_bytes(bytes.data());
}

template <>
IfName stand_in(std::size_t guess, const Span& at) {
    const std::array<std::uint8_t, 32> bytes = bytes_of(guess, at);
    return IfName::from_kernel(
        fmt::format("x{:02x}{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2], bytes[3]));
}

template <>
PublicKey stand_in(std::size_t guess, const Span& at) {
    return PublicKey::from_bytes(bytes_of(guess, at).data());
}

template <>
Endpoint stand_in(std::size_t guess, const Span& at) {
    const auto port = stand_in(guess, at, Range{1024, 65535});
    return Endpoint{stand_in<IpAddress>(guess, at), static_cast<std::uint16_t>(port)};
}

std::int64_t stand_in(std::size_t guess, const Span& at, Range range) {
    const std::array<std::uint8_t, 32> bytes = bytes_of(guess, at);
    const std::int64_t width = range.most - range.least;
    const std::int64_t near = std::min<std::int64_t>(bytes[0], width / 4);
    switch (guess) {
        case 0: return range.least + near;
        case 1: return range.most - near;
        case 2: return range.least + width / 3 + near;
        default: return range.least + width / 2 + near;
    }
}

}  // namespace overlay
