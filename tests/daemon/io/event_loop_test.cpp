// Readers and the alarm, on pipes and a real clock.

#include "daemon/io/clock.hpp"
#include "daemon/io/event_loop.hpp"

#include <doctest/doctest.h>

#include <functional>

#include <fcntl.h>
#include <unistd.h>

using namespace overlay;
using io::EventLoop;

namespace {

/// A pipe with something in it, and what happens when that is seen.
struct Full final : io::Reader {
    Full() {
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        read_end = io::UniqueFd{ends[0]};
        write_end = io::UniqueFd{ends[1]};
        REQUIRE(::write(write_end.get(), "x", 1) == 1);
    }
    void on_readable() override {
        ++told;
        then();
    }
    io::UniqueFd read_end{-1}, write_end{-1};
    int told = 0;
    std::function<void()> then = [] {};
    io::Watch watch;
};

void watch(EventLoop& loop, Full& pipe) {
    auto watch = loop.watch(pipe.read_end.get(), pipe);
    REQUIRE(watch);
    pipe.watch = std::move(*watch);
}

}  // namespace

TEST_SUITE("event loop") {

    TEST_CASE("who has something to read is told, until the watch ends") {
        auto loop = EventLoop::make();
        REQUIRE(loop);
        Full pipe;
        watch(*loop, pipe);
        CHECK(loop->wait(EventLoop::Deadline::max()));
        CHECK(loop->wait(EventLoop::Deadline::max()));
        CHECK(pipe.told == 2);

        pipe.watch = {};
        CHECK(loop->wait(io::now().monotonic));
        CHECK(pipe.told == 2);
    }

    TEST_CASE("the alarm ends the wait, not before its time, and again when it is set again") {
        auto loop = EventLoop::make();
        REQUIRE(loop);
        for (int n = 0; n < 2; ++n) {
            const auto deadline = io::now().monotonic + std::chrono::milliseconds{5};
            CHECK(loop->wait(deadline));
            CHECK(io::now().monotonic >= deadline);
        }
        CHECK(loop->wait({}));   // the distant past
        CHECK(loop->wait({}));
    }

    TEST_CASE("a reader may forget another one that has something, too, and that one is not told") {
        auto loop = EventLoop::make();
        REQUIRE(loop);
        Full one, other;
        watch(*loop, one);
        watch(*loop, other);
        one.then = [&] { other.watch = {}; };
        other.then = [&] { one.watch = {}; };
        CHECK(loop->wait(EventLoop::Deadline::max()));
        CHECK(one.told + other.told == 1);
    }

    TEST_CASE("a watch ends with the reader that is told, and another one may begin then") {
        auto loop = EventLoop::make();
        REQUIRE(loop);
        Full one, other;
        watch(*loop, one);
        one.then = [&] {
            one.watch = {};
            watch(*loop, other);
        };
        CHECK(loop->wait(EventLoop::Deadline::max()));
        CHECK(loop->wait(EventLoop::Deadline::max()));
        CHECK(one.told == 1);
        CHECK(other.told == 1);
    }

}  // TEST_SUITE
