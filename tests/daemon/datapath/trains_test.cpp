// Datagrams that become trains: what joins, what does not, and that nothing is lost in between.

#include "daemon/datapath/trains.hpp"
#include "tests/support/packets.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using namespace overlay::datapath;

namespace {

struct Story {
    Trains trains{256, 4096};
    std::vector<std::byte> memory = std::vector<std::byte>(200'000);
    std::size_t used = 0;
    io::SocketAddress there = io::SocketAddress::of(*parse_endpoint("10.0.0.1:1"));
    io::SocketAddress elsewhere = io::SocketAddress::of(*parse_endpoint("10.0.0.2:1"));

    /// A datagram right behind the last one.
    void add(std::size_t size_bytes) { add(size_bytes, {.to = &there}); }
    void add(std::size_t size_bytes, const Destination& to) {
        REQUIRE(trains.add(to, wire::Bytes{memory}.subspan(used, size_bytes)));
        used += size_bytes;
    }
    /// "datagrams x size (bytes) in slices" for each train.
    std::string told() {
        std::string out;
        for (const io::Train& train : trains.trains()) {
            out += std::to_string(train.segments) + "x" + std::to_string(train.segment_bytes) + " (" +
                   std::to_string(train.size_bytes) + ") in " + std::to_string(train.slices.size()) + "; ";
        }
        return out;
    }
};

}  // namespace

TEST_SUITE("trains") {

    TEST_CASE("datagrams of one size that lie in a row are one train and one slice; a short one ends it") {
        Story s;
        for (int n = 0; n < 10; ++n) s.add(1400);
        s.add(900);
        s.add(900);
        CHECK(s.told() == "11x1400 (14900) in 1; 1x900 (900) in 1; ");
    }

    TEST_CASE("a gap begins another slice of the same train") {
        Story s;
        s.add(100);
        s.used += 64;
        s.add(100);
        CHECK(s.told() == "2x100 (200) in 2; ");
    }

    TEST_CASE("a train takes no more than one send does: 64 datagrams, 65507 bytes") {
        Story s;
        for (int n = 0; n < 65; ++n) s.add(100);
        CHECK(s.told() == "64x100 (6400) in 1; 1x100 (100) in 1; ");
        Story large;
        for (int n = 0; n < 48; ++n) large.add(1472);
        CHECK(large.told() == "44x1472 (64768) in 1; 4x1472 (5888) in 1; ");
    }

    TEST_CASE("another place, another traffic class, another address of ours is another train") {
        Story s;
        s.add(100);
        s.add(100, {.to = &s.elsewhere});
        s.add(100, {.to = &s.elsewhere, .traffic_class = 2});
        s.add(100, {.to = &s.elsewhere, .traffic_class = 2, .from = *IpAddress::parse("10.0.0.9")});
        CHECK(s.trains.trains().size() == 4);
        CHECK(text(s.trains.trains()[3].from) == "10.0.0.9");
    }

    TEST_CASE("headers and payload stay apart, and memory that is used up is said to be") {
        Story s;
        const wire::MutableBytes headers = s.trains.headers(8);
        REQUIRE(headers.size() == 8);
        CHECK(s.trains.add({.to = &s.there}, headers, wire::Bytes{s.memory}.first(92)));
        CHECK(s.told() == "1x100 (100) in 2; ");
        CHECK(s.trains.headers(4089).empty());
        s.trains.clear();
        CHECK(s.trains.headers(4096).size() == 4096);
        CHECK(s.trains.trains().empty());
    }

}  // TEST_SUITE
