// Stories of two devices that begin to talk, over networks that do not help.

#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using namespace overlay::wireguard;
using namespace std::chrono_literals;

namespace {

using Numbers = std::vector<std::uint32_t>;

DeviceOptions always_loaded() {
    DeviceOptions options;
    options.load.waiting = 0;
    return options;
}

}  // namespace

TEST_SUITE("wireguard handshake") {

    TEST_CASE("the first packet is held, calls the peer, and is the first to arrive") {
        World world;

        CHECK(world.send(Side::Left, 1).kind == Sealed::Kind::Hold);
        world.settle();

        CHECK(world.delivered(Side::Right) == Numbers{1});
        CHECK(world.sent(Side::Left, MessageType::Initiation) == 1);
        CHECK(world.sent(Side::Right, MessageType::Response) == 1);
        CHECK(world.sent(Side::Left, MessageType::Data) == 1);  // confirms: no keepalive needed
        CHECK(world.send(Side::Right, 2).kind == Sealed::Kind::Send);
        world.settle();
        CHECK(world.delivered(Side::Left) == Numbers{2});
        CHECK(world.count(Side::Left, Event::Kind::SessionBegun) == 1);
        CHECK(world.count(Side::Right, Event::Kind::SessionBegun) == 1);
    }

    TEST_CASE("all packets that were held arrive in their order, the youngest 128 of them") {
        World world;

        for (std::uint32_t i = 0; i < 200; ++i) (void)world.send(Side::Left, i);
        world.settle();

        REQUIRE(world.delivered(Side::Right).size() == 128);
        CHECK(world.delivered(Side::Right).front() == 72);
        CHECK(std::ranges::is_sorted(world.delivered(Side::Right)));
        CHECK(world.device(Side::Left).dropped(DropReason::QueueFull) == 72);
    }

    TEST_CASE("held packets have a bound in bytes, of a peer and of all") {
        World world{{.left = {.max_staged_bytes = 100'000}}};

        for (std::uint32_t i = 0; i < 100; ++i) (void)world.send(Side::Left, i, 1400);
        world.settle();

        CHECK(world.delivered(Side::Right).size() ==
              71);  // the first 71: there is room for no more
        StagedQueue queue;
        for (int i = 0; i < 20; ++i) (void)queue.push(std::vector<std::byte>(65536));
        CHECK(queue.packets() == 4);
        CHECK(queue.push(std::vector<std::byte>(StagedQueue::max_bytes + 1)) == 1);
        CHECK(queue.packets() == 4);
    }

    TEST_CASE("with nothing to send the initiator confirms with a keepalive") {
        World world;
        Outbox out;

        world.device(Side::Left).initiate(world.peer_of(Side::Left), world.now(), out);
        CHECK(out.datagrams().size() == 1);
        CHECK(out.bytes_of(out.datagrams()[0]).size() == 148);
        (void)world.send(Side::Left, 1);  // too soon for another one
        CHECK(world.sent(Side::Left, MessageType::Initiation) == 0);
    }

    TEST_CASE("a preshared key must be the same at both ends") {
        World same{{.psk = World::Options::Psk::Same}};
        World different{{.psk = World::Options::Psk::Different}};

        for (World* world : {&same, &different}) {
            (void)world->send(Side::Left, 1);
            world->settle();
        }
        CHECK(same.delivered(Side::Right) == Numbers{1});
        CHECK(different.delivered(Side::Right).empty());
        CHECK(different.sent(Side::Right, MessageType::Response) == 1);
        CHECK(different.device(Side::Left).dropped(DropReason::Handshake) == 1);
    }

    TEST_CASE("a responder does not send under a new session before it received under it") {
        World world;
        world.connect();
        world.advance(121s);
        world.on_wire = [](Side from, Bytes bytes) {  // left is mute but for its call
            return from == Side::Right || load32_le(bytes, 0) == 1;
        };

        (void)world.send(Side::Left, 1);  // old enough to call again
        world.settle();
        REQUIRE(world.sent(Side::Right, MessageType::Response) == 2);
        (void)world.send(Side::Right, 2);
        world.settle();
        CHECK(world.delivered(Side::Left) == Numbers{2});  // under the session that both have
        CHECK(world.count(Side::Right, Event::Kind::SessionBegun) == 1);
    }

    TEST_CASE("both ends call at the same moment and both packets arrive at once") {
        World world{{.right_knows_left = true}};
        world.set_faults({.max_delay = 20ms});

        (void)world.send(Side::Left, 1);
        (void)world.send(Side::Right, 2);
        world.advance(200ms);

        CHECK(world.delivered(Side::Right) == Numbers{1});
        CHECK(world.delivered(Side::Left) == Numbers{2});
        for (std::uint32_t i = 10; i < 20; ++i) {
            (void)world.send(Side::Left, i);
            (void)world.send(Side::Right, i);
        }
        world.advance(200ms);
        CHECK(world.delivered(Side::Right).size() == 11);
        CHECK(world.delivered(Side::Left).size() == 11);
    }

    TEST_CASE("after both called at the same moment, a packet that a renewal overtakes arrives, too") {
        for (const Side side : {Side::Left, Side::Right}) {
            World world{{.right_knows_left = true}};
            (void)world.send(Side::Left, 1);
            (void)world.send(Side::Right, 2);
            world.advance(121s);   // each sends under another session of the two, and renews that one
            std::vector<std::byte> late;
            world.on_wire = [&](Side from, Bytes bytes) {
                if (from != side || load32_le(bytes, 0) != 4) return true;
                if (late.empty()) late.assign(bytes.begin(), bytes.end());
                return false;
            };
            (void)world.send(side, 3);
            world.settle();
            REQUIRE(world.sent(other(side), MessageType::Response) == 2);
            world.let_go(side, late);
            world.settle();

            CHECK(world.delivered(other(side)).back() == 3);
        }
    }

    TEST_CASE("each lost message of the handshake costs one retry of five seconds") {
        for (const std::uint32_t lost : {1U, 2U}) {
            CAPTURE(lost);
            World world;
            bool was_lost = false;
            world.on_wire = [&](Side, Bytes bytes) {
                return load32_le(bytes, 0) != lost || std::exchange(was_lost, true);
            };

            (void)world.send(Side::Left, 1);
            world.advance(4900ms);
            CHECK(world.delivered(Side::Right).empty());
            world.advance(500ms);
            CHECK(world.delivered(Side::Right) == Numbers{1});
            CHECK(world.count(Side::Left, Event::Kind::HandshakeRetried) == 1);
        }
    }

    TEST_CASE("without an answer the attempts end after 90 s, and what waited is dropped") {
        World world;
        world.on_wire = [](Side, Bytes) { return false; };

        (void)world.send(Side::Left, 1);
        world.advance(90s);
        CHECK(world.count(Side::Left, Event::Kind::HandshakeGivenUp) == 0);
        world.advance(20s);
        CHECK(world.count(Side::Left, Event::Kind::HandshakeGivenUp) == 1);
        CHECK(world.device(Side::Left).dropped(DropReason::GivenUp) == 1);
        CHECK(world.sent(Side::Left, MessageType::Initiation) ==
              20);  // as many as the kernel sends

        world.advance(600s);
        CHECK(world.sent(Side::Left, MessageType::Initiation) == 20);
        CHECK(world.device(Side::Left).index_count() == 0);
        world.on_wire = [](Side, Bytes) { return true; };
        (void)world.send(Side::Left, 2);
        world.settle();
        CHECK(world.delivered(Side::Right) == Numbers{2});
    }

    TEST_CASE("retries are apart by 5 s and up to a third of a second more, and never the same") {
        World world;
        std::vector<Clock::time_point> sent;
        world.on_wire = [&](Side, Bytes) {
            sent.push_back(world.now().monotonic);
            return false;
        };

        (void)world.send(Side::Left, 1);
        world.advance(60s);
        std::set<Clock::duration> gaps;
        for (std::size_t i = 1; i < sent.size(); ++i) gaps.insert(sent[i] - sent[i - 1]);
        CHECK(*gaps.begin() >= 5s);
        CHECK(*gaps.rbegin() <= 5334ms);
        CHECK(gaps.size() > 5);
    }

    TEST_CASE("under load the first call is answered with a cookie, the second is served") {
        World world{{.right = always_loaded()}};

        (void)world.send(Side::Left, 1);
        world.settle();
        CHECK(world.delivered(Side::Right).empty());
        CHECK(world.sent(Side::Right, MessageType::CookieReply) == 1);
        CHECK(world.sent(Side::Right, MessageType::Response) == 0);

        world.advance(5500ms);
        CHECK(world.delivered(Side::Right) == Numbers{1});
        CHECK(world.sent(Side::Right, MessageType::CookieReply) == 1);
    }

    TEST_CASE("with both ends under load the responder is asked for a cookie too") {
        World world{{.left = always_loaded(), .right = always_loaded()}};

        (void)world.send(Side::Left, 1);
        world.advance(20s);

        CHECK(world.sent(Side::Left, MessageType::CookieReply) == 1);
        CHECK(world.sent(Side::Right, MessageType::CookieReply) == 1);
        CHECK(world.delivered(Side::Right) == Numbers{1});
    }

    TEST_CASE("load is 512 handshakes waiting at a thousand a second, and a second after that") {
        HandshakeLoad load;
        Clock::time_point now{1h};

        for (int i = 0; i < 512; ++i) CHECK_FALSE(load.count(now));
        CHECK(load.count(now));
        CHECK(load.is_loaded(now + 999ms));
        CHECK_FALSE(load.is_loaded(now + 1s));
        CHECK_FALSE(load.count(now + 1s));
        HandshakeLoad steady;
        for (int i = 0; i < 5000; ++i) CHECK_FALSE(steady.count(now += 1ms));
    }

    TEST_CASE("an initiation is answered once: its copies and its elders are not") {
        World world;
        std::vector<std::vector<std::byte>> initiations;
        world.on_wire = [&](Side from, Bytes bytes) {
            if (from == Side::Left && load32_le(bytes, 0) == 1)
                initiations.emplace_back(bytes.begin(), bytes.end());
            return true;
        };
        world.connect();
        world.advance(121s);
        (void)world.send(Side::Left, 1);
        world.settle();
        REQUIRE(initiations.size() == 2);

        for (const auto& each : initiations) {
            std::size_t answered = 0;
            const Received received = world.inject(Side::Right, each, &answered);
            CHECK(received.reason == DropReason::OldTimestamp);
            CHECK(answered == 0);
        }
    }

    TEST_CASE("a peer may begin at most fifty handshakes a second") {
        World world;
        std::vector<std::vector<std::byte>> initiations;
        world.on_wire = [&](Side, Bytes bytes) {
            initiations.emplace_back(bytes.begin(), bytes.end());
            return false;
        };
        (void)world.send(Side::Left, 1);
        world.advance(16s);
        REQUIRE(initiations.size() >= 3);

        CHECK(world.inject(Side::Right, initiations[0]).kind == Received::Kind::Handled);
        world.advance(19ms);
        CHECK(world.inject(Side::Right, initiations[1]).reason == DropReason::TooManyInitiations);
        world.advance(1ms);
        CHECK(world.inject(Side::Right, initiations[2]).kind == Received::Kind::Handled);
    }

    TEST_CASE("a hundred bad networks: whatever is lost, repeated or late, nothing arrives twice") {
        for (std::uint64_t seed = 1; seed <= 100; ++seed) {
            CAPTURE(seed);
            World world{{.seed = seed, .right_knows_left = seed % 2 == 0}};
            world.set_faults({.loss = 0.3, .duplicate = 0.3, .max_delay = 800ms});
            for (std::uint32_t i = 0; i < 100; ++i) {
                (void)world.send(i % 3 == 0 ? Side::Right : Side::Left, i);
                world.advance(1s);
            }
            world.set_faults({});
            world.advance(20s);
            (void)world.send(Side::Left, 1000);
            world.advance(20s);

            for (const Side side : {Side::Left, Side::Right}) {
                std::vector<std::uint32_t> numbers = world.delivered(side);
                std::ranges::sort(numbers);
                CHECK(std::ranges::adjacent_find(numbers) == numbers.end());
            }
            CHECK(std::ranges::count(world.delivered(Side::Right), 1000U) ==
                  1);  // it always recovers
            CHECK(world.delivered(Side::Right).size() > 30);
        }
    }
}
