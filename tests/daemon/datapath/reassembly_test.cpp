// Pieces of IPv4 packets, in whatever order and shape a peer sends them.

#include "daemon/datapath/reassembly.hpp"
#include "tests/support/packets.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

using namespace overlay;
using namespace overlay::datapath;
using test::Packet;
using wire::DropReason;

namespace {

using Time = Reassembly::Time;
constexpr Time start{std::chrono::hours{1}};

struct Cut {
    std::size_t at = 0, size_bytes = 0;
    bool more = false;
    std::uint16_t identification = 1;
    std::uint8_t source = 1;
    std::uint8_t traffic_class = 0;
};

/// Byte n of the packet that is cut.
std::byte byte_at(std::size_t n) { return static_cast<std::byte>(n * 7 + n / 256); }

Packet piece(const Cut& cut) {
    Packet out = test::bytes_of("45000000 00000000 402f0000 0a070001 0a070002");
    wire::store8(out, 1, cut.traffic_class);
    wire::store16(out, 2, static_cast<std::uint16_t>(20 + cut.size_bytes));
    wire::store16(out, 4, cut.identification);
    wire::store16(out, 6, static_cast<std::uint16_t>(cut.at / 8 | (cut.more ? 0x2000U : 0U)));
    wire::store8(out, 15, cut.source);
    for (std::size_t n = 0; n < cut.size_bytes; ++n) out.push_back(byte_at(cut.at + n));
    return out;
}

struct Story {
    Reassembly reassembly;
    Time now = start;
    std::size_t given_up = 0;

    /// "held", "whole N" when all N bytes are as they were, or the reason of the drop.
    std::string add(const Cut& cut) {
        const Packet packet = piece(cut);
        const auto header = wire::parse_ip(packet);
        REQUIRE(header);
        const auto got = reassembly.add(packet, *header, now);
        if (!got) return std::string{text(got.error())};
        given_up += got->given_up;
        ecn = got->ecn;
        if (got->whole.empty()) return "held";
        for (std::size_t n = 0; n < got->whole.size(); ++n)
            if (got->whole[n] != byte_at(n)) return "garbage at " + std::to_string(n);
        return "whole " + std::to_string(got->whole.size());
    }
    wire::Ecn ecn{};
};

}  // namespace

TEST_SUITE("reassembly") {

    TEST_CASE("pieces become whole in either order") {
        Story s;
        CHECK(s.add({.at = 0, .size_bytes = 1400, .more = true}) == "held");
        CHECK(s.add({.at = 1400, .size_bytes = 138}) == "whole 1538");
        CHECK(s.add({.at = 1400, .size_bytes = 138, .identification = 2}) == "held");
        CHECK(s.add({.at = 0, .size_bytes = 1400, .more = true, .identification = 2}) == "whole 1538");
    }

    TEST_CASE("packets of different senders and numbers do not meet") {
        Story s;
        CHECK(s.add({.at = 0, .size_bytes = 16, .more = true}) == "held");
        CHECK(s.add({.at = 16, .size_bytes = 5, .identification = 2}) == "held");
        CHECK(s.add({.at = 16, .size_bytes = 5, .source = 9}) == "held");
        CHECK(s.add({.at = 16, .size_bytes = 5}) == "whole 21");
    }

    TEST_CASE("any cutting in any order gives the whole packet, and what comes twice changes nothing") {
        std::mt19937 random{7};   // seed printed by CAPTURE
        for (int round = 0; round < 200; ++round) {
            CAPTURE(round);
            Story s;
            const std::size_t size = 1 + random() % 65'000;
            std::vector<Cut> cuts;
            for (std::size_t at = 0; at < size;) {
                const std::size_t step = std::min<std::size_t>(8 * (1 + random() % 1000), size - at);
                cuts.push_back({.at = at, .size_bytes = step, .more = at + step < size});
                at += step;
            }
            std::ranges::shuffle(cuts, random);
            for (std::size_t n = 0; n + 1 < cuts.size(); ++n) {
                CHECK(s.add(cuts[n]) == "held");
                CHECK(s.add(cuts[random() % (n + 1)]) == "held");
            }
            CHECK(s.add(cuts.back()) == "whole " + std::to_string(size));
        }
    }

    TEST_CASE("an overlap takes the whole packet along, whichever piece came first") {
        for (const Cut& other : {Cut{.at = 8, .size_bytes = 16, .more = true},
                                 Cut{.at = 0, .size_bytes = 24, .more = true},
                                 Cut{.at = 8, .size_bytes = 1}}) {
            Story s;
            CHECK(s.add({.at = 0, .size_bytes = 16, .more = true}) == "held");
            CHECK(s.add(other) == "fragment");
            // Nothing of it is left: the rest alone is not enough.
            CHECK(s.add({.at = 16, .size_bytes = 8}) == "held");
        }
    }

    TEST_CASE("two ends, or anything behind the end, take the whole packet along") {
        Story s;
        CHECK(s.add({.at = 16, .size_bytes = 8}) == "held");
        CHECK(s.add({.at = 24, .size_bytes = 8}) == "fragment");
        CHECK(s.add({.at = 16, .size_bytes = 8}) == "held");
        CHECK(s.add({.at = 24, .size_bytes = 8, .more = true}) == "fragment");
        CHECK(s.add({.at = 32, .size_bytes = 8, .more = true}) == "held");
        CHECK(s.add({.at = 16, .size_bytes = 8}) == "fragment");
    }

    TEST_CASE("a piece that no sender makes is dropped") {
        Story s;
        CHECK(s.add({.at = 0, .size_bytes = 0, .more = true}) == "fragment");
        CHECK(s.add({.at = 0, .size_bytes = 15, .more = true}) == "fragment");
        CHECK(s.add({.at = 65528, .size_bytes = 8}) == "fragment");   // RFC 791: 65535 with the header
    }

    TEST_CASE("an old piece is forgotten") {
        Story s;
        CHECK(s.add({.at = 0, .size_bytes = 16, .more = true}) == "held");
        s.now += Reassembly::max_age;
        CHECK(s.add({.at = 16, .size_bytes = 8}) == "held");
        CHECK(s.given_up == 1);
    }

    TEST_CASE("one packet too many takes the place of the oldest, never more memory") {
        Story s;
        for (std::uint16_t n = 0; n < 1000; ++n) {
            CHECK(s.add({.at = 0, .size_bytes = 8, .more = true, .identification = n}) == "held");
            s.now += std::chrono::microseconds{1};
        }
        CHECK(s.given_up == 1000 - 32);
        CHECK(s.add({.at = 8, .size_bytes = 8, .identification = 999}) == "whole 16");
        CHECK(s.add({.at = 8, .size_bytes = 8, .identification = 968}) == "whole 16");
        CHECK(s.add({.at = 8, .size_bytes = 8, .identification = 967}) == "held");
    }

    TEST_CASE("whole packets stay until they are released, then all places are free again") {
        Story s;
        for (std::uint16_t n = 0; n < 32; ++n) {
            CHECK_FALSE(s.reassembly.must_release());
            CHECK(s.add({.at = 0, .size_bytes = 8, .identification = n}) == "whole 8");
        }
        CHECK(s.reassembly.must_release());
        s.reassembly.release();
        CHECK_FALSE(s.reassembly.must_release());
        CHECK(s.add({.at = 0, .size_bytes = 8}) == "whole 8");
        CHECK(s.given_up == 0);
    }

    TEST_CASE("bytes that make no sense do no harm") {
        std::mt19937 random{11};
        Reassembly reassembly;
        std::size_t parsed = 0;
        for (int round = 0; round < 20'000; ++round) {
            CAPTURE(round);
            Packet packet(random() % 100);
            for (std::byte& each : packet) each = static_cast<std::byte>(random());
            if (packet.size() > 4 && round % 2 == 0) {   // most would say that they are longer than they are
                packet[0] = static_cast<std::byte>(0x45 + random() % 3);
                wire::store16(packet, 2, static_cast<std::uint16_t>(random() % packet.size()));
            }
            const auto header = wire::parse_ip(packet);
            if (!header) continue;
            ++parsed;
            CHECK(header->payload_at <= header->end_at);
            CHECK(header->end_at <= packet.size());
            if (header->is_ipv6) continue;
            if (reassembly.must_release()) reassembly.release();
            (void)reassembly.add(packet, *header, start + std::chrono::milliseconds{round});
        }
        CHECK(parsed > 1000);
    }

    TEST_CASE("one piece that met congestion speaks for all, if all can tell (RFC 3168 §5.3)") {
        Story s;
        CHECK(s.add({.at = 0, .size_bytes = 8, .more = true, .traffic_class = 2}) == "held");
        CHECK(s.add({.at = 8, .size_bytes = 8, .traffic_class = 3}) == "whole 16");
        CHECK(s.ecn == wire::Ecn::Congested);
        CHECK(s.add({.at = 0, .size_bytes = 8, .more = true, .identification = 2}) == "held");
        CHECK(s.add({.at = 8, .size_bytes = 8, .identification = 2, .traffic_class = 3}) == "ecn");
    }

}  // TEST_SUITE
