#include "daemon/wireguard/replay_window.hpp"

#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace overlay::wireguard;

TEST_SUITE("wireguard replay window") {

    TEST_CASE("each counter is accepted once") {
        ReplayWindow window;

        for (std::uint64_t counter = 0; counter < 20000; ++counter) {
            CAPTURE(counter);
            CHECK(window.accept(counter));
            CHECK_FALSE(window.accept(counter));
        }
    }

    TEST_CASE("8127 behind the newest is inside, 8128 is outside") {
        for (const std::uint64_t newest : {8128ULL, 10000ULL, 123456789ULL, 1ULL << 40}) {
            CAPTURE(newest);
            ReplayWindow window;
            REQUIRE(window.accept(newest));
            CHECK(window.accept(newest - 8127));
            CHECK_FALSE(window.accept(newest - 8128));
            CHECK_FALSE(window.accept(newest - 8129));
        }
    }

    TEST_CASE("datagrams in reverse order are all accepted as far as the window reaches") {
        ReplayWindow window;
        int accepted = 0;

        for (std::uint64_t counter = 20000; counter-- > 0;) accepted += window.accept(counter);
        CHECK(accepted == 8128);
    }

    TEST_CASE("a leap of any length forgets exactly what falls out") {
        ReplayWindow window;
        REQUIRE(window.accept(5));

        REQUIRE(window.accept(5 + 8192));
        CHECK_FALSE(window.accept(5));
        CHECK(window.accept(5 + 8191));
        REQUIRE(window.accept(1ULL << 50));
        CHECK(window.accept((1ULL << 50) - 1));
        CHECK_FALSE(window.accept(5 + 8191));
    }

    TEST_CASE("the last counter is 2^64 - 2^13 - 2") {
        ReplayWindow window;
        const std::uint64_t limit = 18446744073709543423ULL;  // 2^64 - 2^13 - 1

        CHECK(window.accept(limit - 1));
        CHECK_FALSE(window.accept(limit));
        CHECK_FALSE(window.accept(limit + 1));
        CHECK_FALSE(window.accept(~0ULL));
        CHECK_FALSE(window.accept(limit - 1));
        CHECK(window.accept(limit - 8128));
        CHECK_FALSE(window.accept(limit - 8129));
    }

    TEST_CASE("it agrees with a set of all counters ever seen") {
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            CAPTURE(seed);
            SeededRandom random{seed};
            ReplayWindow window;
            std::set<std::uint64_t> seen;
            std::uint64_t highest = 0;
            for (int i = 0; i < 5000; ++i) {
                const std::uint64_t around = highest + random.next() % 200;
                const std::uint64_t back = random.next() % (random.chance(0.1) ? 10000U : 100U);
                const std::uint64_t counter = around > back ? around - back : around;
                const bool is_new =
                    (seen.empty() || counter + 8128 > highest) && !seen.contains(counter);
                REQUIRE(window.accept(counter) == is_new);
                if (is_new) seen.insert(counter);
                if (is_new) highest = std::max(highest, counter);
            }
        }
    }
}
