#include "daemon/datapath/stamp_store.hpp"

#include "daemon/io/files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace overlay::datapath {

namespace {

constexpr std::size_t digits_of_seconds = 16, digits_of_nanoseconds = 8;

/// The whole text must be the number.
template <class Number>
std::optional<Number> hex(std::string_view text) {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

}  // namespace

Result<wireguard::Tai64n> StampStore::load() const {
    if (path_.empty()) return wireguard::Tai64n{};
    const auto content = io::read_file(path_, 4096);
    if (!content && content.error().kind == Error::Kind::NotFound) return wireguard::Tai64n{};
    if (!content) return pass_on(content);
    const std::string_view line = *content;
    constexpr std::size_t size = digits_of_seconds + 1 + digits_of_nanoseconds + 1;
    if (line.size() == size && line[digits_of_seconds] == '.' && line.back() == '\n') {
        const auto seconds = hex<std::uint64_t>(line.substr(0, digits_of_seconds));
        const auto nanoseconds =
            hex<std::uint32_t>(line.substr(digits_of_seconds + 1, digits_of_nanoseconds));
        if (seconds && nanoseconds && *nanoseconds < 1'000'000'000)
            return wireguard::Tai64n{.seconds = *seconds, .nanoseconds = *nanoseconds};
    }
    return fail(Error::Kind::Invalid, "read " + path_, "not a time that we have written");
}

Result<void> StampStore::keep(const wireguard::Tai64n& bound) const {
    if (path_.empty()) return {};
    if (auto made = io::make_directories(io::directory_of(path_), 0700); !made) return made;
    return io::replace_file(
        path_, fmt::format("{:016x}.{:08x}\n", bound.seconds, bound.nanoseconds), 0600);
}

}  // namespace overlay::datapath
