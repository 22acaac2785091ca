// What strangers, and peers that misbehave, get: nothing.

#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using namespace overlay::wireguard;
using namespace std::chrono_literals;

namespace {

using Datagrams = std::vector<std::vector<std::byte>>;

/// One datagram of each type, as it passed, and the world in which it did.
struct Recorded {
    explicit Recorded(const World::Options& options) : world{options} {
        world.on_wire = [this](Side from, Bytes bytes) {
            if (lose_type != load32_le(bytes, 0)) return true;
            datagrams.emplace_back(bytes.begin(), bytes.end());
            to = other(from);
            return false;
        };
    }
    World world;
    Datagrams datagrams{};
    std::uint32_t lose_type = 0;
    Side to = Side::Right;
};

/// The message of this type, on its way to somebody who would take it.
std::unique_ptr<Recorded> recorded(std::uint32_t type) {
    DeviceOptions loaded;
    loaded.load.waiting = 0;
    auto out =
        std::make_unique<Recorded>(World::Options{.right = type == 3 ? loaded : DeviceOptions{}});
    out->lose_type = type;
    (void)out->world.send(Side::Left, 1);
    out->world.settle();
    REQUIRE(out->datagrams.size() == 1);
    return out;
}

}  // namespace

TEST_SUITE("wireguard hostile") {

    TEST_CASE(
        "every flipped bit of every type of message is dropped, unanswered, and spoils nothing") {
        for (const std::uint32_t type : {1U, 2U, 3U, 4U}) {
            CAPTURE(type);
            const auto record = recorded(type);
            const std::vector<std::byte> good = record->datagrams[0];
            for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
                std::vector<std::byte> bad = good;
                bad[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
                // Without load nobody looks at mac2: whitepaper §5.4.4.
                if (type <= 2 && bit / 8 >= good.size() - 16) continue;
                std::size_t answered = 0;
                const Received received = record->world.inject(record->to, bad, &answered);
                if (received.kind != Received::Kind::Drop || answered != 0)
                    FAIL_CHECK("bit " << bit);
            }
            CHECK(record->world.inject(record->to, good).kind != Received::Kind::Drop);
        }
    }

    TEST_CASE("a flipped bit is found behind a mac1 that was made right again, too") {
        for (const std::uint32_t type : {1U, 2U}) {
            CAPTURE(type);
            const auto record = recorded(type);
            const std::vector<std::byte> good = record->datagrams[0];
            // Anybody can compute a mac1, and nothing else covers bytes 4 to 7: where our answer
            // goes.
            for (std::size_t bit = 8 * 8; bit < (good.size() - 32) * 8; ++bit) {
                std::vector<std::byte> bad = good;
                bad[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
                MacWriter{record->world.device(record->to).public_key()}.write(bad, {});
                record->world.advance(2ms);  // faster, and we would be asked for a cookie
                std::size_t answered = 0;
                const Received received = record->world.inject(record->to, bad, &answered);
                const bool in_receiver = type == 2 && bit < 12 * 8;
                const bool right_reason = received.reason == (in_receiver ? DropReason::UnknownIndex
                                                                          : DropReason::Handshake);
                // X25519 ignores the highest bit of a point, the transcript's hash does not.
                if (received.kind != Received::Kind::Drop || !right_reason || answered != 0) {
                    FAIL_CHECK("bit " << bit << ": " << std::string{text(received.reason)});
                }
            }
            CHECK(record->world.inject(record->to, good).kind == Received::Kind::Handled);
        }
    }

    TEST_CASE("without the right mac1 nothing is answered, under load or not") {
        for (const double waiting : {512.0, 0.0}) {
            DeviceOptions options;
            options.load.waiting = waiting;
            World world{{.right = options}};
            SeededRandom random{11};
            for (const std::size_t size : {148U, 92U}) {
                for (int i = 0; i < 200; ++i) {
                    std::vector<std::byte> datagram(size);
                    random.fill(datagram);
                    store32_le(datagram, 0, size == 148 ? 1 : 2);
                    std::size_t answered = 0;
                    CHECK(world.inject(Side::Right, datagram, &answered).reason ==
                          DropReason::Mac1);
                    CHECK(answered == 0);
                }
            }
        }
    }

    TEST_CASE("under load whoever knows our key gets 64 bytes for 92 or 148, and leaves no trace") {
        DeviceOptions options;
        options.load.waiting = 0;
        World world{{.right = options}};
        SeededRandom random{12};
        MacWriter writer{world.device(Side::Right).public_key()};

        for (const std::size_t size : {148U, 92U}) {
            std::vector<std::byte> datagram(size);
            random.fill(datagram);
            store32_le(datagram, 0, size == 148 ? 1 : 2);
            writer.write(datagram, world.now().monotonic);
            std::size_t answered = 0;
            CHECK(world.inject(Side::Right, datagram, &answered).reason == DropReason::CookieAsked);
            CHECK(answered == 64);
        }
        CHECK(world.device(Side::Right).index_count() == 0);
        CHECK(world.device(Side::Right).next_deadline() == never);
    }

    TEST_CASE("under load every flipped bit of mac2 costs the sender another cookie") {
        DeviceOptions loaded;
        loaded.load.waiting = 0;
        Recorded record{World::Options{.right = loaded}};
        (void)record.world.send(Side::Left, 1);
        record.world.settle();
        record.lose_type = 1;  // the second initiation, which carries the cookie
        record.world.advance(6s);
        REQUIRE(record.datagrams.size() == 1);
        const std::vector<std::byte> good = record.datagrams[0];

        for (std::size_t bit = 132 * 8; bit < 148 * 8; ++bit) {
            std::vector<std::byte> bad = good;
            bad[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
            std::size_t answered = 0;
            const Received received = record.world.inject(Side::Right, bad, &answered);
            if (received.reason != DropReason::CookieAsked || answered != 64)
                FAIL_CHECK("bit " << bit);
        }
        CHECK(record.world.inject(Side::Right, good).kind == Received::Kind::Handled);
        // Five at once from one source: this was the first, and the cookie is right in the others
        // too.
        for (int i = 0; i < 4; ++i) {
            CHECK(record.world.inject(Side::Right, good).reason == DropReason::OldTimestamp);
        }
        std::size_t answered = 0;
        CHECK(record.world.inject(Side::Right, good, &answered).reason == DropReason::RateLimited);
        CHECK(answered == 0);
    }

    TEST_CASE("every length with every first byte is dropped without an answer") {
        World world;
        world.connect();

        for (std::size_t size = 0; size <= 200; ++size) {
            for (unsigned first = 0; first < 256; ++first) {
                std::vector<std::byte> datagram(size);
                if (size > 0) datagram[0] = static_cast<std::byte>(first);
                std::size_t answered = 0;
                const Received received = world.inject(Side::Right, datagram, &answered);
                if (received.kind != Received::Kind::Drop || answered != 0)
                    FAIL_CHECK(size << " " << first);
            }
        }
    }

    TEST_CASE("a peer may not speak for addresses that are not its own") {
        World world;
        Outbox out;
        // Left believes that it owns the address of somebody else; right knows better.
        world.connect();
        const std::vector<std::byte> forged = packet("10.0.0.99", "10.0.0.2", 1);
        const std::vector<std::byte> ipv6 = packet("fd00::1", "fd00::2", 1, 64);
        world.device(Side::Left)
            .change({.key = world.device(Side::Right).public_key(),
                     .allowed_ips = {*IpPrefix::parse("fd00::2/128")}},
                    world.now(), out);

        for (const auto& each : {forged, ipv6}) {
            out.clear();
            REQUIRE(world.device(Side::Left).send(each, world.now(), out).kind ==
                    Sealed::Kind::Send);
            const Bytes bytes = out.bytes_of(out.datagrams()[0]);
            CHECK(world.inject(Side::Right, {bytes.begin(), bytes.end()}).reason ==
                  DropReason::SourceNotAllowed);
        }
        CHECK(world.device(Side::Right).dropped(DropReason::SourceNotAllowed) == 2);
    }

    TEST_CASE("what is no whole IP packet is not delivered") {
        struct Row {
            std::uint8_t first;
            std::size_t size;
            DropReason reason;
        };
        World world;
        world.connect();
        Device& left = world.device(Side::Left);

        // Padding makes 19 bytes 32, and 39 bytes 48: whole headers with a source of zeros.
        for (const Row row :
             {Row{0x45, 1, DropReason::InnerPacket}, Row{0x45, 16, DropReason::InnerPacket},
              Row{0x45, 19, DropReason::SourceNotAllowed}, Row{0x60, 32, DropReason::InnerPacket},
              Row{0x60, 39, DropReason::SourceNotAllowed}, Row{0x00, 64, DropReason::InnerPacket},
              Row{0x55, 64, DropReason::InnerPacket}}) {
            CAPTURE(row.size);
            Outbox out;
            std::vector<std::byte> room(left.sealed_bytes(row.size));
            room[16] = std::byte{row.first};
            const Slot slot{.datagram = room, .plaintext_bytes = row.size};
            REQUIRE(left.seal(world.peer_of(Side::Left), {&slot, 1}, world.now(), out).kind ==
                    Sealed::Kind::Send);
            CHECK(world.inject(Side::Right, room).reason == row.reason);
        }
    }

    TEST_CASE("nobody can speak for a peer whose key is a point of low order") {
        World world;
        Outbox out;
        Device& device = world.device(Side::Right);
        std::array<std::byte, 32> zero{};
        zero[0] = std::byte{1};
        const PublicKey low = PublicKey::from_bytes(zero.data());
        device.change({.key = low}, world.now(), out);

        // Such a key agrees with every other on zero: a stranger needs no private half to write
        // this.
        SeededRandom random{15};
        const PrivateKey ephemeral = PrivateKey::generate(random);
        std::vector<std::byte> bytes(initiation::size_bytes);
        const MutableBytes message{bytes};
        Transcript transcript = Transcript::begin(device.public_key());
        store_type(message, MessageType::Initiation);
        std::ranges::copy(bytes_of(ephemeral.public_key()),
                          initiation::ephemeral.in(message).begin());
        transcript.mix_ephemeral(initiation::ephemeral.in(message));
        const Secret32 static_key = transcript.mix_key(*ephemeral.agree(device.public_key()));
        transcript.seal(static_key, bytes_of(low), initiation::sealed_static.in(message));
        const Secret32 time_key = transcript.mix_key(Secret32{});
        transcript.seal(time_key, Tai64n::of(world.now().wall).bytes(),
                        initiation::sealed_timestamp.in(message));
        MacWriter{device.public_key()}.write(message, {});

        std::size_t answered = 0;
        CHECK(world.inject(Side::Right, bytes, &answered).reason == DropReason::Handshake);
        CHECK(answered == 0);
        const auto peer = device.status(*device.find(low));
        CHECK_FALSE(peer->path);
        CHECK(peer->last_received_stamp == Tai64n{});
    }

    TEST_CASE("a peer whose key is a point of low order is never called and never answered") {
        World world;
        Outbox out;
        std::array<std::byte, 32> one{};
        one[0] = std::byte{1};
        const PublicKey low = PublicKey::from_bytes(one.data());
        Device& device = world.device(Side::Left);
        device.change({.key = low,
                       .endpoint = parse_endpoint("192.0.2.9:9"),
                       .persistent_keepalive = 25s,
                       .allowed_ips = {*IpPrefix::parse("10.9.0.0/16")}},
                      world.now(), out);

        CHECK(device.send(packet("10.0.0.1", "10.9.0.1", 1), world.now(), out).kind ==
              Sealed::Kind::Send);
        CHECK(out.datagrams().empty());
        CHECK(device.dropped(DropReason::Handshake) == 1);
        CHECK(device.index_count() == 0);
    }

    TEST_CASE("an initiation with an ephemeral of low order is dropped") {
        const auto record = recorded(1);
        std::vector<std::byte> message = record->datagrams[0];
        std::ranges::fill(initiation::ephemeral.in(MutableBytes{message}), std::byte{0});
        MacWriter{record->world.device(Side::Right).public_key()}.write(message, {});

        std::size_t answered = 0;
        CHECK(record->world.inject(Side::Right, message, &answered).reason ==
              DropReason::Handshake);
        CHECK(answered == 0);
    }

    TEST_CASE("what was on its way when the last peer went is nobody's") {
        for (const std::uint32_t type : {2U, 3U, 4U}) {
            CAPTURE(type);
            const auto record = recorded(type);
            record->world.device(record->to).remove_peers();
            CHECK(record->world.inject(record->to, record->datagrams[0]).reason == DropReason::UnknownIndex);
        }
    }

    TEST_CASE("a response makes one session, however often it comes") {
        World world;
        std::vector<std::byte> response;
        world.on_wire = [&](Side, Bytes bytes) {
            if (load32_le(bytes, 0) == 2) response.assign(bytes.begin(), bytes.end());
            return true;
        };
        world.connect();

        CHECK(world.inject(Side::Left, response).reason == DropReason::UnknownIndex);
        (void)world.send(Side::Left, 7);   // a second one would count from zero again
        world.settle();
        CHECK(world.delivered(Side::Right).back() == 7);
    }

    TEST_CASE("a message is of the handshake or session that it names, not of another of the same peer") {
        World world;
        world.connect();
        world.advance(121s);   // the session is good for another minute, and renewed by what its initiator sends
        std::array<std::vector<std::byte>, 5> held;   // by type, to the left
        std::vector<std::byte> initiation;
        world.on_wire = [&](Side from, Bytes bytes) {
            const std::uint32_t type = load32_le(bytes, 0);
            if (from == Side::Right) held.at(type).assign(bytes.begin(), bytes.end());
            else if (type == 1) initiation.assign(bytes.begin(), bytes.end());
            return from == Side::Left;
        };
        (void)world.send(Side::Right, 8);
        (void)world.send(Side::Left, 9);
        world.settle();
        REQUIRE_FALSE(held[2].empty());
        REQUIRE_FALSE(held[4].empty());
        // Bytes 4 to 7 name the receiver's session in data, and the sender's handshake in an initiation.
        std::vector<std::byte> response = held[2], data = held[4];
        std::copy_n(held[4].begin() + 4, 4, response.begin() + 8);
        std::copy_n(initiation.begin() + 4, 4, data.begin() + 4);
        MacWriter{world.device(Side::Left).public_key()}.write(response, {});
        CHECK(world.inject(Side::Left, response).reason == DropReason::UnknownIndex);
        CHECK(world.inject(Side::Left, data).reason == DropReason::UnknownIndex);
        CHECK(world.inject(Side::Left, held[4]).kind == Received::Kind::Deliver);
        CHECK(world.inject(Side::Left, held[2]).kind == Received::Kind::Handled);
    }

    TEST_CASE("a stranger with a good handshake is not answered") {
        World world;
        SeededRandom random{13};
        const PrivateKey stranger = PrivateKey::generate(random);
        const RemoteIdentity right{stranger, world.device(Side::Right).public_key()};
        std::vector<std::byte> message(initiation::size_bytes);
        REQUIRE(Initiation::create(stranger, right, random,
                                   {.sender = 1, .timestamp = Tai64n::of(world.now().wall)},
                                   message));
        MacWriter{right.key()}.write(message, {});

        std::size_t answered = 0;
        CHECK(world.inject(Side::Right, message, &answered).reason == DropReason::UnknownPeer);
        CHECK(answered == 0);
    }

    TEST_CASE(
        "a whole capture, replayed at once, after a renewal, and after a restart, brings nothing "
        "in") {
        World world;
        Datagrams to_right;
        world.on_wire = [&](Side from, Bytes bytes) {
            if (from == Side::Left) to_right.emplace_back(bytes.begin(), bytes.end());
            return true;
        };
        for (std::uint32_t i = 0; i < 300; ++i) {
            (void)world.send(Side::Left, i);
            world.advance(1s);
        }
        const auto replay_all = [&] {
            int accepted = 0;
            for (const auto& each : to_right) {
                accepted += world.inject(Side::Right, each).kind == Received::Kind::Deliver;
            }
            return accepted;
        };

        CHECK(replay_all() == 0);
        world.advance(121s);
        CHECK(replay_all() == 0);
        world.restart(Side::Right, {});
        CHECK(replay_all() == 0);
    }

    TEST_CASE("datagrams late by up to 8127 are taken, later ones are not") {
        World world;
        world.connect();
        Datagrams late;
        world.on_wire = [&](Side, Bytes bytes) {
            late.emplace_back(bytes.begin(), bytes.end());
            return false;
        };
        for (std::uint32_t i = 0; i < 8130; ++i) (void)world.send(Side::Left, i);

        CHECK(world.inject(Side::Right, late[8129]).kind == Received::Kind::Deliver);
        CHECK(world.inject(Side::Right, late[1]).reason == DropReason::Replay);
        CHECK(world.inject(Side::Right, late[2]).kind == Received::Kind::Deliver);
        CHECK(world.inject(Side::Right, late[2]).reason == DropReason::Replay);
    }

    TEST_CASE("ten million bytes of garbage leave no index, no timer and no memory") {
        World world;
        SeededRandom random{14};

        for (int i = 0; i < 20'000; ++i) {
            std::vector<std::byte> datagram(random.next() % 1000);
            random.fill(datagram);
            if (datagram.size() >= 4)
                store32_le(datagram, 0, static_cast<std::uint32_t>(1 + random.next() % 4));
            CHECK(world.inject(Side::Right, datagram).kind == Received::Kind::Drop);
        }
        CHECK(world.device(Side::Right).index_count() == 0);
        CHECK(world.device(Side::Right).next_deadline() == never);
    }

    TEST_CASE("session indices are random, and every reserved byte is zero") {
        World world;
        std::set<std::uint32_t> indices;
        std::uint32_t ones = 0, zeros = 0;
        world.on_wire = [&](Side from, Bytes bytes) {
            if (from == Side::Left && load32_le(bytes, 0) == 1) {
                indices.insert(sender_of(bytes));
                ones |= sender_of(bytes);
                zeros |= ~sender_of(bytes);
            }
            CHECK(parse_type(bytes).has_value());
            if (load32_le(bytes, 0) == 4) CHECK(bytes.size() % 16 == 0);
            return true;
        };
        for (std::uint32_t i = 0; i < 100; ++i) {
            (void)world.send(Side::Left, i, 24 + i);
            world.advance(121s);
        }
        CHECK(indices.size() == 100);
        CHECK(ones == ~0U);
        CHECK(zeros == ~0U);
    }
}
