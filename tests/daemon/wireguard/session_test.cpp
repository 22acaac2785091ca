// Stories of sessions over time: renewal, silence, age, moves, restarts.

#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

#include <cstdlib>

using namespace overlay;
using namespace overlay::wireguard;
using namespace std::chrono_literals;

namespace {

using Numbers = std::vector<std::uint32_t>;

}  // namespace

TEST_SUITE("wireguard session") {

    TEST_CASE("under traffic the session is renewed every two minutes and no packet is lost") {
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
            CAPTURE(seed);
            World world{{.seed = seed}};
            world.set_faults({.max_delay = 30ms});
            std::uint32_t count = 0;
            (void)world.send(Side::Left, count);
            world.advance(100ms);

            for (; count < 10'000; world.advance(100ms)) {  // a thousand seconds
                ++count;
                CHECK(world.send(Side::Left, count).kind == Sealed::Kind::Send);
                CHECK(world.send(Side::Right, count).kind == Sealed::Kind::Send);
            }
            CHECK(world.delivered(Side::Right).size() == count + 1);
            CHECK(world.delivered(Side::Left).size() == count);
            CHECK(world.sent(Side::Left, MessageType::Initiation) == 9);
            CHECK(world.sent(Side::Right, MessageType::Initiation) == 0);  // only one end renews
        }
    }

    TEST_CASE("after 2^60 messages a session is renewed, however young it is") {
        World world;
        world.connect();
        world.advance(6s);   // who was just called is not called again
        const std::size_t before = world.sent(Side::Left, MessageType::Initiation);
        world.device(Side::Left).skip_to(world.peer_of(Side::Left), (1ULL << 60) - 1);   // whitepaper §6.1
        (void)world.send(Side::Left, 1);
        CHECK(world.sent(Side::Left, MessageType::Initiation) == before);
        (void)world.send(Side::Left, 2);
        CHECK(world.sent(Side::Left, MessageType::Initiation) == before + 1);
        world.settle();
        CHECK(world.delivered(Side::Right).back() == 2);
    }

    TEST_CASE("a lost message during renewal loses no packet") {
        for (const std::uint32_t lost : {1U, 2U}) {
            CAPTURE(lost);
            World world;
            world.connect();
            world.advance(119s);
            int losses = 0;
            world.on_wire = [&](Side, Bytes bytes) {
                return load32_le(bytes, 0) != lost || ++losses > 3;
            };

            for (std::uint32_t i = 1; i <= 400; ++i) {
                (void)world.send(Side::Left, i);
                (void)world.send(Side::Right, i);
                world.advance(100ms);
            }
            CHECK(losses == 4);
            CHECK(world.delivered(Side::Right).size() == 400);
            CHECK(world.delivered(Side::Left).size() == 400);
        }
    }

    TEST_CASE("thousands of renewals leave nothing behind and lose nothing") {
        // Ten thousand take half a minute on a busy machine: `test.sh --long`.
        const std::uint32_t renewals = std::getenv("OVERLAY_LONG") == nullptr ? 1'000 : 10'000;
        World world;
        world.connect();

        for (std::uint32_t i = 1; i <= renewals; ++i) {
            world.advance(121s);
            (void)world.send(Side::Left, i);
            (void)world.send(Side::Right, i);
            world.settle();
        }
        CHECK(world.delivered(Side::Right).size() == renewals);
        CHECK(world.delivered(Side::Left).size() == renewals);
        CHECK(world.sent(Side::Left, MessageType::Initiation) == renewals + 1);
        CHECK(world.device(Side::Left).index_count() <= 3);
        CHECK(world.device(Side::Right).index_count() <= 3);
    }

    TEST_CASE("an initiator that only receives renews at 165 s") {
        World world;
        world.connect();

        for (int i = 0; i < 16; ++i) {
            world.advance(10s);
            (void)world.send(Side::Right, 1);
            world.settle();
        }
        CHECK(world.sent(Side::Left, MessageType::Initiation) ==
              1 + 1);  // by its keepalive at 120 s
        World silent;
        silent.connect();
        silent.advance(166s);
        (void)silent.send(Side::Right, 1);
        silent.settle();
        CHECK(silent.sent(Side::Left, MessageType::Initiation) == 2);
    }

    TEST_CASE("a session of 180 s neither sends nor receives") {
        World world;
        world.connect();
        std::vector<std::byte> datagram;
        world.on_wire = [&](Side from, Bytes bytes) {
            if (from == Side::Left && datagram.empty()) datagram.assign(bytes.begin(), bytes.end());
            return false;
        };
        (void)world.send(Side::Left, 1);

        world.advance(180s);
        CHECK(world.inject(Side::Right, datagram).reason == DropReason::KeyExpired);
        CHECK(world.send(Side::Left, 2).kind == Sealed::Kind::Hold);
        CHECK(world.send(Side::Right, 3).kind == Sealed::Kind::Hold);
    }

    TEST_CASE("540 s after the last session began both ends have forgotten every key") {
        World world;
        world.connect();
        CHECK(world.device(Side::Left).index_count() == 1);

        world.advance(539s);
        CHECK(world.device(Side::Left).index_count() == 1);
        world.advance(1s);
        for (const Side side : {Side::Left, Side::Right}) {
            CHECK(world.device(side).index_count() == 0);
            CHECK(world.count(side, Event::Kind::KeysErased) == 1);
            CHECK(world.device(side).next_deadline() == never);
        }
    }

    TEST_CASE("who received and has nothing to say sends a keepalive after 10 s, once") {
        World world;
        world.connect();
        world.advance(20s);
        const std::size_t before = world.sent(Side::Right, MessageType::Data);

        (void)world.send(Side::Left, 1);
        world.advance(9900ms);
        CHECK(world.sent(Side::Right, MessageType::Data) == before);
        world.advance(100ms);
        CHECK(world.sent(Side::Right, MessageType::Data) == before + 1);
        world.advance(60s);
        CHECK(world.sent(Side::Right, MessageType::Data) == before + 1);
        CHECK(world.sent(Side::Left, MessageType::Initiation) == 1);  // the keepalive said enough
    }

    TEST_CASE("who received and answers with data sends no keepalive") {
        World world;
        world.connect();
        world.advance(20s);
        const std::size_t before = world.sent(Side::Right, MessageType::Data);

        (void)world.send(Side::Left, 1);
        world.advance(5s);
        (void)world.send(Side::Right, 2);
        world.advance(60s);
        CHECK(world.sent(Side::Right, MessageType::Data) == before + 1);
    }

    TEST_CASE("who wants to send goes on calling: each packet begins the 90 s anew") {
        World world;
        world.on_wire = [](Side, Bytes) { return false; };

        for (std::uint32_t i = 0; i < 300; ++i) {
            (void)world.send(Side::Left, i);
            world.advance(1s);
        }
        CHECK(world.count(Side::Left, Event::Kind::HandshakeGivenUp) == 0);
        CHECK(world.sent(Side::Left, MessageType::Initiation) >= 50);
    }

    TEST_CASE("our own address is used as long as answers come, and forgotten with a new call") {
        World world;
        world.connect();
        const IpAddress ours = *IpAddress::parse("198.51.100.5");
        world.move(Side::Left, "192.0.2.1:1000", ours);
        (void)world.send(Side::Left, 1);
        world.settle();
        CHECK(world.status(Side::Right).path->local == ours);

        world.on_wire = [](Side, Bytes) { return false; };
        (void)world.send(Side::Right, 2);
        world.advance(16s);
        CHECK(world.sent(Side::Right, MessageType::Initiation) == 1);
        CHECK(world.status(Side::Right).path->local == IpAddress{});
        CHECK(text(world.status(Side::Right).path->remote) == "192.0.2.1:1000");
    }

    TEST_CASE("who received again within the 10 s sends a second keepalive") {
        World world;
        world.connect();
        world.advance(20s);
        const std::size_t before = world.sent(Side::Right, MessageType::Data);

        (void)world.send(Side::Left, 1);
        world.advance(5s);
        (void)world.send(Side::Left, 2);
        world.advance(60s);
        CHECK(world.sent(Side::Right, MessageType::Data) == before + 2);
    }

    TEST_CASE("who sent and heard nothing for 15 s calls again") {
        World world;
        world.connect();
        world.advance(30s);
        world.on_wire = [](Side from, Bytes) { return from == Side::Left; };

        (void)world.send(Side::Left, 1);
        world.advance(14900ms);
        CHECK(world.sent(Side::Left, MessageType::Initiation) == 1);
        world.advance(500ms);
        CHECK(world.sent(Side::Left, MessageType::Initiation) == 2);
    }

    TEST_CASE("a persistent keepalive of 25 s keeps a silent tunnel open, and begins it") {
        World world;
        PeerChange change{.key = world.status(Side::Left).key, .persistent_keepalive = 25s};
        Outbox out;
        world.device(Side::Left).change(change, world.now(), out);
        CHECK(out.datagrams().size() == 1);  // calls at once, to have something to keep alive
        CHECK(world.device(Side::Left).next_deadline() < never);

        world.advance(6s);  // that one went nowhere; the retry arrives
        CHECK(world.count(Side::Right, Event::Kind::SessionBegun) == 1);
        const std::size_t before = world.sent(Side::Left, MessageType::Data);
        world.advance(110s);
        CHECK(world.sent(Side::Left, MessageType::Data) == before + 4);
        world.advance(3600s);
        (void)world.send(Side::Right, 1);
        world.settle();
        CHECK(world.delivered(Side::Left) == Numbers{1});  // an hour later it is still there
    }

    TEST_CASE("a peer is where its last authentic datagram came from") {
        World world;
        world.connect();
        CHECK(text(world.status(Side::Right).path->remote) == "192.0.2.1:1000");

        world.move(Side::Left, "203.0.113.9:7");
        (void)world.send(Side::Left, 1);
        world.settle();
        CHECK(text(world.status(Side::Right).path->remote) == "203.0.113.9:7");
        (void)world.send(Side::Right, 2);
        world.settle();
        CHECK(world.delivered(Side::Left) == Numbers{2});
        CHECK(world.count(Side::Right, Event::Kind::Moved) == 2);
    }

    TEST_CASE("a replayed or damaged datagram from elsewhere moves nobody") {
        World world;
        std::vector<std::vector<std::byte>> datagrams;
        world.on_wire = [&](Side from, Bytes bytes) {
            if (from == Side::Left) datagrams.emplace_back(bytes.begin(), bytes.end());
            return true;
        };
        world.connect();
        (void)world.send(Side::Left, 1);
        world.settle();

        world.move(Side::Left, "203.0.113.66:666");
        for (std::vector<std::byte>& each : datagrams) {
            CHECK(world.inject(Side::Right, each).kind == Received::Kind::Drop);
            each.back() ^= std::byte{1};
            CHECK(world.inject(Side::Right, each).kind == Received::Kind::Drop);
        }
        CHECK(text(world.status(Side::Right).path->remote) == "192.0.2.1:1000");
    }

    TEST_CASE("a former initiation from elsewhere moves nobody, not even after a restart") {
        World world;
        std::vector<std::byte> initiation;
        world.on_wire = [&](Side from, Bytes bytes) {
            if (from == Side::Left && load32_le(bytes, 0) == 1) initiation.assign(bytes.begin(), bytes.end());
            return true;
        };
        world.connect();
        world.restart(Side::Right, {});
        world.advance(6s);

        world.move(Side::Left, "203.0.113.66:666");
        CHECK(world.inject(Side::Right, initiation).kind == Received::Kind::Handled);
        CHECK(text(world.status(Side::Right).path->remote) == "192.0.2.1:1000");
        world.move(Side::Left, "192.0.2.1:1000");
        world.advance(6s);
        (void)world.send(Side::Right, 1);
        world.settle();
        CHECK(world.delivered(Side::Left) == Numbers{1});
    }

    TEST_CASE("who calls from another place is answered there, and is there with its first packet") {
        World world;
        world.connect();
        world.advance(181s);
        std::string known_at = "nowhere";
        world.on_wire = [&](Side from, Bytes bytes) {
            if (from == Side::Right && load32_le(bytes, 0) == 2)
                known_at = text(world.status(Side::Right).path->remote);
            return true;
        };
        world.move(Side::Left, "203.0.113.9:7");
        (void)world.send(Side::Left, 1);
        world.settle();

        CHECK(known_at == "192.0.2.1:1000");   // when the answer left
        CHECK(text(world.status(Side::Right).path->remote) == "203.0.113.9:7");
        CHECK(world.delivered(Side::Right) == Numbers{1});
    }

    TEST_CASE("an end that was restarted is back as soon as it calls") {
        for (const Side side : {Side::Left, Side::Right}) {
            World world;
            world.connect();
            world.advance(100ms);
            world.restart(side, {.reserved_stamps = world.reservation(side).value_or(Tai64n{})});

            CHECK(world.send(side, 1).kind == Sealed::Kind::Hold);
            world.settle();
            CHECK(world.delivered(other(side)) == Numbers{1});
        }
    }

    TEST_CASE("an end that was restarted and is silent is noticed within 15.4 s") {
        World world;
        world.connect();
        world.restart(Side::Right, {});

        (void)world.send(Side::Left, 1);
        world.settle();
        CHECK(world.device(Side::Right).dropped(DropReason::UnknownIndex) == 1);
        world.advance(15400ms);
        (void)world.send(Side::Left, 2);
        world.settle();
        CHECK(world.delivered(Side::Right) == Numbers{2});
    }

    TEST_CASE("a clock that went back, or never was right, costs nothing") {
        const auto wall = [](std::int64_t seconds) {
            return WallClock::time_point{std::chrono::seconds{seconds}};
        };
        for (const std::int64_t then : {1'668'464'000LL, 0LL, -5LL, 2'015'360'000LL}) {
            CAPTURE(then);
            World world;
            world.connect();
            world.set_wall(wall(then));
            world.advance(121s);
            (void)world.send(Side::Left, 1);
            world.settle();
            CHECK(world.sent(Side::Right, MessageType::Response) == 2);

            world.advance(100ms);
            world.restart(Side::Left, {.reserved_stamps = *world.reservation(Side::Left)});
            world.set_wall(wall(0));
            (void)world.send(Side::Left, 2);
            world.settle();
            CHECK(world.delivered(Side::Right) == Numbers{1, 2});
        }
    }

    TEST_CASE("a peer far ahead of our clock can be told") {
        World world{{.start = {Clock::time_point{1h}, WallClock::time_point{90000h * 10}}}};
        world.connect();
        world.set_wall(WallClock::time_point{90000h});

        CHECK(world.status(Side::Right).last_received_stamp.ahead_of(world.now().wall) >= 800000h);
    }

    TEST_CASE(
        "a thousand restarts with one power cut each: never an old stamp, never a stuck peer") {
        World world;
        world.connect();
        world.advance(100ms);

        for (std::uint32_t i = 1; i <= 1000; ++i) {
            world.restart(Side::Left, {.reserved_stamps = *world.reservation(Side::Left)});
            (void)world.send(Side::Left, i);
            world.settle();
            world.advance(100ms);
        }
        CHECK(world.delivered(Side::Right).size() == 1000);
        CHECK(world.device(Side::Right).dropped(DropReason::OldTimestamp) == 0);
        CHECK(world.device(Side::Right).index_count() <= 3);
    }
}
