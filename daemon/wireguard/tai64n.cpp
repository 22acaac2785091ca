#include "daemon/wireguard/tai64n.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace overlay::wireguard {

namespace {

/// 1970-01-01 in TAI64: 2^62, and the ten seconds by which TAI was ahead then.
constexpr std::uint64_t epoch = (std::uint64_t{1} << 62) + 10;
constexpr std::uint64_t last_second = std::numeric_limits<std::uint64_t>::max() / 2;
constexpr std::uint64_t billion = 1'000'000'000;

}  // namespace

Tai64n Tai64n::from_bytes(Bytes twelve) {
    return {.seconds = std::uint64_t{wire::load32(twelve, 0)} << 32 | wire::load32(twelve, 4),
            .nanoseconds = wire::load32(twelve, 8)};
}

std::array<std::byte, Tai64n::size_bytes> Tai64n::bytes() const {
    std::array<std::byte, size_bytes> out{};
    wire::store32(out, 0, static_cast<std::uint32_t>(seconds >> 32));
    wire::store32(out, 4, static_cast<std::uint32_t>(seconds));
    wire::store32(out, 8, nanoseconds);
    return out;
}

Tai64n Tai64n::of(WallClock::time_point wall) {
    const auto since =
        std::max(std::chrono::nanoseconds{0}, std::chrono::nanoseconds{wall.time_since_epoch()});
    const auto all = static_cast<std::uint64_t>(since.count());
    return {.seconds = epoch + all / billion,
            .nanoseconds = static_cast<std::uint32_t>(all % billion)};
}

Tai64n Tai64n::plus(std::chrono::nanoseconds step) const {
    const std::uint64_t sum = nanoseconds + static_cast<std::uint64_t>(step.count());
    return {.seconds = std::min(seconds, last_second) + sum / billion,
            .nanoseconds = static_cast<std::uint32_t>(sum % billion)};
}

std::chrono::seconds Tai64n::ahead_of(WallClock::time_point wall) const {
    const std::uint64_t theirs = std::min(seconds, last_second);
    return std::chrono::seconds{static_cast<std::int64_t>(theirs) -
                                static_cast<std::int64_t>(of(wall).seconds)};
}

Tai64n TimestampSource::next(WallClock::time_point wall, const Tai64n& last) {
    Tai64n stamp = Tai64n::of(wall);
    stamp.nanoseconds -= stamp.nanoseconds % static_cast<std::uint32_t>(quantum.count());
    stamp = std::max(stamp, floor_);
    if (stamp <= last) stamp = last.plus(quantum);
    highest_ = std::max(highest_, stamp);
    if (stamp >= reserved_) {
        // From the clock, not from a stamp that a crash has pushed ahead of it: else each one would cost a block
        // more, and whoever comes in our place with nothing but the clock would not be heard for as long.
        reserved_ = std::max(Tai64n::of(wall).plus(block), stamp.plus(ahead));
        unsaved_ = reserved_;
    }
    return stamp;
}

void TimestampSource::forget(const Tai64n& last) {
    if (last >= floor_ && last != Tai64n{}) floor_ = last.plus(quantum);
}

std::optional<Tai64n> TimestampSource::take_reservation() {
    return std::exchange(unsaved_, std::nullopt);
}

}  // namespace overlay::wireguard
