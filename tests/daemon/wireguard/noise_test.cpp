// The handshake, byte for byte, against tests/vectors/wireguard/transcript.txt: written from the
// whitepaper a second time in Python, on other libraries (make_transcript.py).

#include "daemon/wireguard/noise.hpp"

#include "daemon/wireguard/cookie.hpp"
#include "daemon/wireguard/keypair.hpp"
#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using namespace overlay::wireguard;

namespace {

/// Gives out what it was given.
class ScriptedRandom final : public Random {
  public:
    explicit ScriptedRandom(std::vector<std::byte> script) : script_{std::move(script)} {}
    void fill(MutableBytes out) override {
        REQUIRE(out.size() <= script_.size());
        std::copy_n(script_.begin(), out.size(), out.begin());
        script_.erase(script_.begin(), script_.begin() + static_cast<std::ptrdiff_t>(out.size()));
    }

  private:
    std::vector<std::byte> script_;
};

struct Vector {
    explicit Vector(std::string each) : name{std::move(each)} {}
    [[nodiscard]] std::vector<std::byte> operator()(std::string_view field) const {
        return transcript(name + "." + std::string{field});
    }
    [[nodiscard]] RemoteIdentity remote(const PrivateKey& ours, std::string_view key) const {
        RemoteIdentity out{ours, PublicKey::from_bytes((*this)(key).data())};
        out.set_preshared_key(Secret32{(*this)("preshared_key")});
        return out;
    }
    std::string name;
    PrivateKey initiator = PrivateKey::from_bytes((*this)("initiator_private"));
    PrivateKey responder = PrivateKey::from_bytes((*this)("responder_private"));
    RemoteIdentity to_responder = remote(initiator, "responder_public");
    RemoteIdentity to_initiator = remote(responder, "initiator_public");
};

void add_macs(MutableBytes message, const PublicKey& receiver) {
    MacWriter{receiver}.write(message, Clock::time_point{});
}

}  // namespace

TEST_SUITE("wireguard noise") {

    TEST_CASE("an initiator writes the transcript's initiation and understands its response") {
        for (const char* name : {"plain", "psk"}) SUBCASE(name) {
                const Vector vector{name};
                ScriptedRandom random{vector("initiator_ephemeral")};
                std::vector<std::byte> message(initiation::size_bytes);

                const std::optional<Initiation> sent = Initiation::create(
                    vector.initiator, vector.to_responder, random,
                    {.sender = 0x11223344, .timestamp = Tai64n::from_bytes(vector("timestamp"))},
                    message);
                add_macs(message, vector.responder.public_key());
                CHECK(to_hex(message) == to_hex(vector("initiation")));

                REQUIRE(sent);
                const auto keys = sent->consume_response(vector.initiator, vector.to_responder,
                                                         vector("response"));
                REQUIRE(keys);
                CHECK(to_hex(keys->send.bytes()) == to_hex(vector("to_responder")));
                CHECK(to_hex(keys->receive.bytes()) == to_hex(vector("to_initiator")));
            }
    }

    TEST_CASE("a responder understands the transcript's initiation and writes its response") {
        for (const char* name : {"plain", "psk"}) SUBCASE(name) {
                const Vector vector{name};
                ScriptedRandom random{vector("responder_ephemeral")};
                std::vector<std::byte> message(response::size_bytes);

                auto received = ReceivedInitiation::reveal(vector.responder, vector("initiation"));
                REQUIRE(received);
                CHECK(received->initiator() == vector.initiator.public_key());
                const auto timestamp = received->authenticate(vector.to_initiator);
                REQUIRE(timestamp);
                CHECK(to_hex(timestamp->bytes()) == to_hex(vector("timestamp")));

                const auto keys =
                    received->respond(vector.to_initiator, random, 0x55667788, message);
                REQUIRE(keys);
                add_macs(message, vector.initiator.public_key());
                CHECK(to_hex(message) == to_hex(vector("response")));
                CHECK(to_hex(keys->send.bytes()) == to_hex(vector("to_initiator")));
                CHECK(to_hex(keys->receive.bytes()) == to_hex(vector("to_responder")));
            }
    }

    TEST_CASE("the transcript's data message and keepalive open, once") {
        const Vector vector{"psk"};
        IndexTable indices;
        SeededRandom random{1};
        const Clock::time_point now{};
        const SessionKeys keys{.send = Secret32{vector("to_responder")},
                               .receive = Secret32{vector("to_initiator")}};
        const SessionKeys turned{.send = keys.receive, .receive = keys.send};
        Keypair initiator{keys, Keypair::Role::Initiator, {indices.take(0, random), 0}, now};
        Keypair responder{turned, Keypair::Role::Responder, {indices.take(0, random), 0}, now};
        std::vector<std::byte> data = vector("data"), again = data, keepalive = vector("keepalive");

        const Parsed<MutableBytes> opened = responder.open(data, now);
        REQUIRE(opened);
        CHECK(to_hex(*opened).starts_with(to_hex(vector("packet"))));
        CHECK(opened->size() == 32);
        CHECK(responder.open(again, now) == drop(DropReason::Replay));
        const Parsed<MutableBytes> nothing = initiator.open(keepalive, now);
        REQUIRE(nothing);
        CHECK(nothing->empty());
    }

    TEST_CASE(
        "the transcript's cookie reply is written, understood, and used in the next message") {
        const Vector vector{"plain"};
        const Clock::time_point now{};
        std::vector<std::byte> script = transcript("cookie.secret");
        const std::vector<std::byte> nonce = transcript("cookie.nonce");
        script.insert(script.end(), nonce.begin(), nonce.end());
        ScriptedRandom random{script};
        std::vector<std::byte> reply(cookie_reply::size_bytes);
        std::vector<std::byte> message = vector("initiation");
        const Endpoint from = *parse_endpoint("192.0.2.7:40001");
        MacChecker checker{vector.responder.public_key()};
        MacWriter writer{vector.responder.public_key()};

        checker.write_reply({.to_message = message, .from = from, .now = now}, random, reply);
        CHECK(to_hex(reply) == to_hex(transcript("cookie.reply")));
        CHECK_FALSE(writer.consume_reply(reply, now));  // nothing sent yet that it could answer
        writer.write(message, now);
        CHECK(writer.consume_reply(reply, now));
        CHECK_FALSE(writer.consume_reply(reply, now));
        writer.write(message, now);
        CHECK(to_hex(message) == to_hex(transcript("cookie.initiation")));
        CHECK(checker.mac2_is_right(message, from, now));
    }
}
