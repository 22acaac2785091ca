#include "daemon/wireguard/tai64n.hpp"

#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

using namespace overlay::wireguard;
using namespace std::chrono_literals;

namespace {

WallClock::time_point at(std::chrono::nanoseconds since_1970) {
    return WallClock::time_point{std::chrono::duration_cast<WallClock::duration>(since_1970)};
}
constexpr auto year = 365 * 24h;

}  // namespace

TEST_SUITE("wireguard timestamps") {

    TEST_CASE("TAI64N is that of cr.yp.to: ten seconds ahead of 1970, big-endian") {
        CHECK(to_hex(Tai64n::of(at(0s)).bytes()) == "400000000000000a00000000");
        CHECK(to_hex(Tai64n::of(at(1s + 1ns)).bytes()) == "400000000000000b00000001");
        CHECK(Tai64n::from_bytes(from_hex("400000000000000b00000001")) == Tai64n::of(at(1s + 1ns)));
        CHECK(Tai64n::of(at(-5s)) == Tai64n::of(at(0s)));
    }

    TEST_CASE("a stamp tells the time no finer than a sixtieth of a second") {
        TimestampSource source;

        const Tai64n stamp = source.next(at(50 * year + 123456789ns), {});
        CHECK(stamp.nanoseconds % 16777216 == 0);
        CHECK(stamp.seconds == Tai64n::of(at(50 * year)).seconds);
    }

    TEST_CASE("stamps to one peer grow, whatever the clock does") {
        TimestampSource source;
        SeededRandom random{4};
        Tai64n last;

        for (int i = 0; i < 10000; ++i) {
            const auto wall =
                std::chrono::nanoseconds{static_cast<std::int64_t>(random.next() >> 1)};
            const Tai64n stamp = source.next(at(wall), last);
            REQUIRE(stamp > last);
            last = stamp;
        }
    }

    TEST_CASE("a clock that stands still does not run away: 500 stamps take 8.4 s of the numbers") {
        TimestampSource source;
        const WallClock::time_point wall = at(50 * year);
        Tai64n last = source.next(wall, {});

        for (int i = 0; i < 500; ++i) last = source.next(wall, last);
        CHECK(last.ahead_of(wall) == 8s);
    }

    TEST_CASE(
        "every stamp is below what was reserved before it, and a block needs one reservation") {
        TimestampSource source;
        Tai64n reserved, last;
        int reservations = 0;

        for (auto since = 0s; since < 3600s; since += 5s) {
            last = source.next(at(50 * year + since), last);
            if (const auto bound = source.take_reservation()) {
                reserved = *bound;
                ++reservations;
            }
            REQUIRE(last < reserved);
        }
        CHECK(reservations == 6);
    }

    TEST_CASE("crashes do not add up: after two hundred, a second apart, stamps are one block ahead") {
        Tai64n reserved, last;
        std::chrono::seconds wall = 50 * year;
        for (int i = 0; i < 200; ++i, wall += 1s) {
            TimestampSource source{reserved};
            const Tai64n stamp = source.next(at(wall), {});
            REQUIRE(stamp > last);
            last = source.next(at(wall), stamp);
            reserved = source.take_reservation().value();
            REQUIRE(last < reserved);
        }
        CHECK(last.ahead_of(at(wall)) <= TimestampSource::block);
    }

    TEST_CASE("after a reboot in 1970 the first stamp is above every one of the former life") {
        TimestampSource before;
        const Tai64n last = before.next(at(50 * year), {});
        const Tai64n reserved = before.take_reservation().value();

        TimestampSource after{reserved};
        CHECK(after.next(at(0s), {}) > last);
        CHECK(after.take_reservation().has_value());
    }

    TEST_CASE("an orderly stop gives the unused part of the block back") {
        TimestampSource before;
        const Tai64n last = before.next(at(50 * year), {});

        TimestampSource after{before.exact_bound()};
        const Tai64n first = after.next(at(0s), {});
        CHECK(first > last);
        CHECK(first.ahead_of(at(50 * year)) == 0s);
    }

    TEST_CASE("the highest possible stamp of a peer is far ahead, not behind") {
        const Tai64n highest = Tai64n::from_bytes(from_hex("ffffffffffffffffffffffff"));
        CHECK(highest.ahead_of(at(0s)) > 1h);
    }
}
