// Configuration, the fast path, and what a device costs.

#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using namespace overlay::wireguard;
using namespace std::chrono_literals;

namespace {

using Numbers = std::vector<std::uint32_t>;

PublicKey some_key(std::uint32_t number) {
    std::array<std::byte, 32> bytes{};
    bytes.fill(std::byte{0x5a});
    wire::store32(bytes, 0, number);
    return PublicKey::from_bytes(bytes.data());
}

/// `count` packets of one size, laid out as a train of datagrams.
struct Train {
    Train(Device& device, std::size_t count, std::size_t packet_bytes)
        : stride{device.sealed_bytes(packet_bytes)}, bytes(count * stride) {
        for (std::size_t i = 0; i < count; ++i) {
            const MutableBytes room = MutableBytes{bytes}.subspan(i * stride, stride);
            const auto content =
                packet("10.0.0.1", "10.0.0.2", static_cast<std::uint32_t>(i), packet_bytes);
            std::ranges::copy(content, room.subspan(data::header_bytes).begin());
            slots.push_back({.datagram = room, .plaintext_bytes = packet_bytes});
        }
    }
    std::size_t stride;
    std::vector<std::byte> bytes;
    std::vector<Slot> slots{};
};

}  // namespace

TEST_SUITE("wireguard device") {

    TEST_CASE("a batch is sealed in place, and each of it opens in place") {
        World world;
        world.connect();
        Device& left = world.device(Side::Left);
        Train train{left, 45, 1400};
        Outbox out;

        const Sealed sealed = left.seal(world.peer_of(Side::Left), train.slots, world.now(), out);
        CHECK(sealed.kind == Sealed::Kind::Send);
        CHECK(text(sealed.to.remote) == "192.0.2.2:2000");
        CHECK(out.datagrams().empty());
        Device& right = world.device(Side::Right);
        for (std::size_t i = 0; i < 45; ++i) {
            CAPTURE(i);
            const MutableBytes datagram = train.slots[i].datagram;
            const Received received =
                right.receive(datagram, Path{.remote = sealed.to.remote}, world.now(), out);
            REQUIRE(received.kind == Received::Kind::Deliver);
            CHECK(received.packet.data() == datagram.data() + 16);
            CHECK(received.packet.size() == 1408);
            CHECK(number_of(received.packet) == i);
        }
    }

    TEST_CASE("a batch that must wait is held whole and sent whole") {
        World world;
        Train train{world.device(Side::Left), 45, 1000};
        Outbox out;

        CHECK(world.device(Side::Left)
                  .seal(world.peer_of(Side::Left), train.slots, world.now(), out)
                  .kind == Sealed::Kind::Hold);
        REQUIRE(out.datagrams().size() == 1);
        (void)world.device(Side::Left).status(world.peer_of(Side::Left));
        world.advance(6s);  // the outbox above was never delivered: the retry is
        CHECK(world.delivered(Side::Right).size() == 45);
        CHECK(std::ranges::is_sorted(world.delivered(Side::Right)));
    }

    TEST_CASE("a packet as long as the MTU is not padded beyond it") {
        World world;
        world.connect();
        world.device(Side::Left).set_mtu(1402);
        std::size_t size = 0;
        world.on_wire = [&](Side, Bytes bytes) {
            size = bytes.size();
            return true;
        };

        (void)world.send(Side::Left, 1, 1402);
        CHECK(size == 1402 + 32);
        (void)world.send(Side::Left, 1, 1390);
        CHECK(size == 1392 + 32);
    }

    TEST_CASE("padding is zeros, whatever lay in the room before") {
        World world;
        world.connect();
        Device& left = world.device(Side::Left);
        std::vector<std::byte> room(left.sealed_bytes(50), std::byte{0xff});
        std::ranges::copy(packet("10.0.0.1", "10.0.0.2", 1, 50), room.begin() + 16);
        const Slot slot{.datagram = room, .plaintext_bytes = 50};
        Outbox out;

        (void)left.seal(world.peer_of(Side::Left), {&slot, 1}, world.now(), out);
        const Path from{.remote = *parse_endpoint("192.0.2.1:1000")};
        const Received received = world.device(Side::Right).receive(room, from, world.now(), out);
        REQUIRE(received.packet.size() == 64);
        CHECK(to_hex(received.packet.subspan(50)) == "0000000000000000000000000000");
    }

    TEST_CASE("the packets and prefixes of a removed peer are gone with it") {
        World world{{.left = {.max_staged_bytes = 1000}}};
        Device& left = world.device(Side::Left);
        const PeerStatus peer = world.status(Side::Left);
        Outbox out;
        for (std::uint32_t i = 0; i < 20; ++i) (void)world.send(Side::Left, i);
        const std::uint64_t refused = left.dropped(DropReason::QueueFull);
        CHECK(refused == 5);

        left.change({.key = peer.key, .action = PeerChange::Action::Remove}, world.now(), out);
        CHECK(left.send(packet("10.0.0.1", "10.0.0.2", 1), world.now(), out).reason ==
              DropReason::NoPeer);
        left.change(
            {.key = peer.key, .endpoint = peer.path->remote, .allowed_ips = peer.allowed_ips},
            world.now(), out);
        for (std::uint32_t i = 0; i < 15; ++i) (void)world.send(Side::Left, i);
        CHECK(left.dropped(DropReason::QueueFull) == refused);
    }

    TEST_CASE("packets find their peer by destination, or are dropped with the reason") {
        World world;
        Device& device = world.device(Side::Left);
        Outbox out;
        device.change({.key = some_key(1), .allowed_ips = {*IpPrefix::parse("10.1.0.0/16")}},
                      world.now(), out);

        CHECK(device.route(packet("10.0.0.1", "10.0.0.2", 0)).value() == world.peer_of(Side::Left));
        CHECK(device.send(packet("10.0.0.1", "10.9.9.9", 0), world.now(), out).reason ==
              DropReason::NoPeer);
        CHECK(device.send(packet("10.0.0.1", "10.1.0.1", 0), world.now(), out).reason ==
              DropReason::NoEndpoint);
        CHECK(device.send(from_hex("00"), world.now(), out).reason == DropReason::InnerPacket);
        CHECK(device.send({}, world.now(), out).reason == DropReason::InnerPacket);
        CHECK(out.datagrams().empty());
    }

    TEST_CASE("a peer that was removed is gone at once, and its name is never another's") {
        World world;
        world.connect();
        Device& right = world.device(Side::Right);
        const PeerId old = world.peer_of(Side::Right);
        const PublicKey key = right.status(old)->key;
        Outbox out;

        right.change({.key = key, .action = PeerChange::Action::Remove}, world.now(), out);
        CHECK(right.index_count() == 0);
        CHECK(right.next_deadline() == never);
        right.change({.key = some_key(7)}, world.now(), out);
        CHECK(right.peers().size() == 1);
        CHECK_FALSE(right.status(old).has_value());
        CHECK(right.seal(old, {}, world.now(), out).reason == DropReason::NoPeer);
        (void)world.send(Side::Left, 1);
        world.settle();
        CHECK(world.delivered(Side::Right).empty());
        CHECK(right.dropped(DropReason::UnknownIndex) == 1);
    }

    TEST_CASE("a peer that was removed and added again is called with a younger stamp at once") {
        World world;
        world.connect();
        world.advance(100ms);
        world.set_wall(world.now().wall - 1h);
        Device& left = world.device(Side::Left);
        const PeerStatus before = world.status(Side::Left);
        Outbox out;

        left.change({.key = before.key, .action = PeerChange::Action::Remove}, world.now(), out);
        left.change(
            {.key = before.key, .endpoint = before.path->remote, .allowed_ips = before.allowed_ips},
            world.now(), out);
        (void)world.send(Side::Left, 1);
        world.settle();
        CHECK(world.delivered(Side::Right) == Numbers{1});
    }

    TEST_CASE(
        "a retry forgets our own address, and of the interface only what a link-local peer needs") {
        Path routed{.remote = *parse_endpoint("192.0.2.1:1"),
                    .local = *IpAddress::parse("192.0.2.9"),
                    .interface = 3};
        Path link_local{.remote = *parse_endpoint("[fe80::1]:1"),
                        .local = *IpAddress::parse("fe80::9"),
                        .interface = 3};

        routed.forget_local();
        link_local.forget_local();
        CHECK(routed == Path{.remote = *parse_endpoint("192.0.2.1:1")});
        CHECK(link_local == Path{.remote = *parse_endpoint("[fe80::1]:1"), .interface = 3});
    }

    TEST_CASE("changes are deltas: a peer keeps its session through all but its removal") {
        World world;
        world.connect();
        Device& left = world.device(Side::Left);
        const PublicKey right = world.device(Side::Right).public_key();
        Outbox out;

        left.change({.key = right, .preshared_key = Secret32{}, .persistent_keepalive = 25s},
                    world.now(), out);
        left.change({.key = right, .allowed_ips = {*IpPrefix::parse("10.7.0.0/16")}}, world.now(),
                    out);
        CHECK(world.status(Side::Left).allowed_ips.size() == 2);
        left.change({.key = right,
                     .allowed_ips_mode = PeerChange::AllowedIpsMode::Replace,
                     .allowed_ips = {*IpPrefix::parse("10.0.0.2/32")}},
                    world.now(), out);
        CHECK(world.status(Side::Left).allowed_ips == std::vector{*IpPrefix::parse("10.0.0.2/32")});
        CHECK(world.status(Side::Left).persistent_keepalive == 25s);
        left.change({.key = some_key(3), .action = PeerChange::Action::SetIfThere}, world.now(),
                    out);
        CHECK(left.peers().size() == 1);
        CHECK(world.send(Side::Left, 1).kind == Sealed::Kind::Send);
        world.settle();
        CHECK(world.delivered(Side::Right) == Numbers{1});
    }

    TEST_CASE("a prefix moved to another peer moves in both directions") {
        World world;
        world.connect();
        Device& right = world.device(Side::Right);
        Outbox out;

        right.change({.key = some_key(1), .allowed_ips = {*IpPrefix::parse("10.0.0.1/32")}},
                     world.now(), out);
        (void)world.send(Side::Left, 1);
        world.settle();
        CHECK(world.delivered(Side::Right).empty());
        CHECK(right.dropped(DropReason::SourceNotAllowed) == 1);
        CHECK(world.send(Side::Right, 2).reason == DropReason::NoEndpoint);
    }

    TEST_CASE("a device never has itself as a peer") {
        World world;
        Device& left = world.device(Side::Left);
        Outbox out;

        left.change({.key = left.public_key()}, world.now(), out);
        CHECK(left.peers().size() == 1);
        std::array<std::byte, 32> same_as_right{};
        same_as_right.fill(std::byte{0x77});
        left.set_private_key(Secret32{same_as_right}, world.now(), out);
        CHECK(left.peers().empty());
    }

    TEST_CASE("with another private key the former sessions send no more") {
        World world;
        world.connect();
        std::array<std::byte, 32> fresh{};
        fresh.fill(std::byte{0x21});
        world.advance(6s);  // the rule of one initiation in 5 s holds here, too

        Outbox out;
        world.device(Side::Left).set_private_key(Secret32{fresh}, world.now(), out);
        CHECK(world.send(Side::Left, 1).kind == Sealed::Kind::Hold);
        world.settle();
        CHECK(world.device(Side::Right).dropped(DropReason::UnknownPeer) == 1);
    }

    TEST_CASE("an interface that is down forgets its sessions, and comes up again") {
        World world;
        world.connect();
        Outbox out;

        world.device(Side::Left).stop();
        CHECK(world.device(Side::Left).index_count() == 0);
        CHECK(world.send(Side::Left, 1).reason == DropReason::Stopped);
        CHECK(world.inject(Side::Left, std::vector<std::byte>(148)).reason == DropReason::Stopped);
        world.advance(1s);
        world.device(Side::Left).start(world.now(), out);
        CHECK(world.send(Side::Left, 2).kind == Sealed::Kind::Hold);
        world.settle();
        CHECK(world.delivered(Side::Right) == Numbers{2});
    }

    TEST_CASE("statistics count what `wg show` counts") {
        World world;
        world.connect();  // 148 there, 92 back, a packet of 64 in 96

        CHECK(world.status(Side::Left).statistics.sent_bytes == 148 + 96);
        CHECK(world.status(Side::Left).statistics.received_bytes == 92);
        CHECK(world.status(Side::Right).statistics.received_bytes == 148 + 96);
        CHECK(world.status(Side::Right).statistics.sent_bytes == 92);
        CHECK(world.status(Side::Right).statistics.last_handshake == world.now().wall);
    }

    TEST_CASE("the last counter of a session is used, the next packet asks for a new session") {
        IndexTable indices;
        SeededRandom random{1};
        Keypair key{{}, Keypair::Role::Responder, {indices.take(0, random), 0}, {}};
        constexpr std::uint64_t limit = 18446744073709543423ULL;  // 2^64 - 2^13 - 1

        key.skip_to(limit - 3);
        CHECK_FALSE(key.reserve(4, {}).has_value());  // a batch goes whole or not at all
        CHECK(key.reserve(2, {}) == limit - 3);
        CHECK(key.may_send({}));
        CHECK(key.reserve(1, {}) == limit - 1);
        CHECK_FALSE(key.may_send({}));
        CHECK_FALSE(key.reserve(1, {}).has_value());
    }

    TEST_CASE("a counter at the limit is refused before it is looked at") {
        IndexTable indices;
        SeededRandom random{1};
        Keypair key{{}, Keypair::Role::Responder, {indices.take(0, random), 0}, {}};
        constexpr std::uint64_t limit = 18446744073709543423ULL;  // 2^64 - 2^13 - 1

        for (const std::uint64_t counter : {limit - 1, limit}) {
            std::vector<std::byte> datagram(data::overhead_bytes);
            store64_le(datagram, data::counter.at, counter);
            Aead{Secret32{}, Aead::Direction::Seal}.seal(counter, {},
                                                         MutableBytes{datagram}.subspan(16));
            const Parsed<MutableBytes> opened = key.open(datagram, {});
            CHECK(opened.has_value() == (counter < limit));
            if (!opened) CHECK(opened.error() == DropReason::KeyExpired);
        }
    }

    TEST_CASE("an idle peer costs less than 4 KiB, its allowed IPs included") {
        CHECK(sizeof(Peer) <= 1024);
        CHECK(sizeof(Keypair) <= 1280);
    }

    TEST_CASE("a thousand peers have one calendar, and the next deadline is the next one") {
        World world;
        Device& device = world.device(Side::Left);
        Outbox out;
        for (std::uint32_t i = 0; i < 1000; ++i) {
            device.change({.key = some_key(i),
                           .endpoint = parse_endpoint("198.51.100.1:1"),
                           .persistent_keepalive = std::chrono::seconds{1000 + i}},
                          world.now(), out);
        }
        CHECK(out.datagrams().size() == 1000);
        CHECK(device.next_deadline() >= world.now().monotonic + 5s);
        CHECK(device.next_deadline() <= world.now().monotonic + 5334ms);
        world.advance(200s);
        CHECK(world.count(Side::Left, Event::Kind::HandshakeGivenUp) == 1000);
    }
}
