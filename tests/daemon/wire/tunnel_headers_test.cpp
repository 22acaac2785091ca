// GUE and GRE headers, byte by byte. What Linux accepts and drops was probed on Debian's 6.1 (kernel.md of
// the project's research, section "what a 6.1 kernel accepts"); tests/kernel asks a kernel again.

#include "daemon/datapath/gretap_gue.hpp"
#include "daemon/wire/checksum.hpp"
#include "tests/support/packets.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace overlay;
using test::bytes_of;
using test::hex_of;
using test::Packet;
using wire::DropReason;

namespace {

const std::string ethernet = "020000000002 020000000001 0806 " + std::string(56, '0');

/// The verdict on a whole datagram: the reason of the drop, or "key N: FRAME".
std::string verdict(const std::string& hex) {
    Packet datagram = bytes_of(hex);
    const auto inside = datapath::decapsulate(datagram);
    if (!inside) return std::string{text(inside.error())};
    const std::string key = inside->key ? std::to_string(*inside->key) : "none";
    return "key " + key + ": " + std::to_string(inside->frame.size());
}

}  // namespace

TEST_SUITE("tunnel headers") {

    TEST_CASE("what Linux sends without and with a key is what we send") {
        CHECK(hex_of(datapath::GretapGueHeader{std::nullopt}.bytes()) == "002f000000006558");
        CHECK(hex_of(datapath::GretapGueHeader{0x01020304U}.bytes()) == "002f00002000655801020304");
    }

    TEST_CASE("what Linux accepts is accepted") {
        CHECK(verdict("002f0000 00006558" + ethernet) == "key none: 42");
        CHECK(verdict("002f0000 20006558 0000004d" + ethernet) == "key 77: 42");
        CHECK(verdict("012f0000 deadbeef 00006558" + ethernet) == "key none: 42");   // an opaque word
        CHECK(verdict("002f0000 10006558 00000001" + ethernet) == "key none: 42");   // a sequence number
        CHECK(verdict("002f0000 00806558" + ethernet) == "key none: 42");            // RFC 2784: ignored
    }

    TEST_CASE("what Linux drops is dropped, each for its reason") {
        CHECK(verdict("") == "too_short");
        CHECK(verdict("002f00") == "too_short");
        CHECK(verdict("802f0000 00006558" + ethernet) == "gue_version");
        CHECK(verdict("c02f0000 00006558" + ethernet) == "gue_version");
        CHECK(verdict("202f0000 00006558" + ethernet) == "gue_control");
        CHECK(verdict("002f0002 00006558" + ethernet) == "gue_flags");
        CHECK(verdict("002f0001 00006558" + ethernet) == "gue_flags");               // no room for them
        CHECK(verdict("002f0001 00000000" + ethernet) == "gue_flags");
        CHECK(verdict("012f0001 40000000 00006558" + ethernet) == "gue_flags");
        CHECK(verdict("022f0001 40000000 00000000 00006558" + ethernet) == "gue_flags");
        CHECK(verdict("012f0001 80000000 00006558" + ethernet) == "gue_flags");      // no room for its two words
        CHECK(verdict("1f2f0000 00006558") == "too_short");
        CHECK(verdict("00110000 00006558" + ethernet) == "gue_protocol");
        CHECK(verdict("45000000 00000000" + ethernet) == "gue_protocol");            // version 1: bare IPv4
        CHECK(verdict("50000000 00000000" + ethernet) == "gue_version");
        CHECK(verdict("002f0000 00016558" + ethernet) == "gre_version");
        CHECK(verdict("002f0000 00406558" + ethernet) == "gre_version");             // Linux masks seven bits
        CHECK(verdict("002f0000 40006558" + ethernet) == "gre_routing");
        CHECK(verdict("002f0000 00000800" + ethernet) == "gre_protocol");
        CHECK(verdict("002f0000 80006558 00000000" + ethernet) == "gre_checksum");   // the link has none
        CHECK(verdict("002f0000 00006558 0000") == "too_short");
        CHECK(verdict("002f0000 b0006558 00000000 00000001") == "too_short");        // the third word is missing
        CHECK(verdict("002f0000 00006558 0200000000020200") == "inner_too_short");
    }

    TEST_CASE("a control datagram is recognised for who wants it") {
        CHECK(wire::is_gue_control(bytes_of("2f000000")));
        CHECK_FALSE(wire::is_gue_control(bytes_of("0f000000")));
        CHECK_FALSE(wire::is_gue_control(bytes_of("6f000000")));
        CHECK_FALSE(wire::is_gue_control(bytes_of("2f0000")));
    }

    TEST_CASE("a checksum that the sender left to us is finished where it says") {
        const Packet finished = test::udp_frame(100);
        Packet frame = finished;
        const std::size_t transport = 34, field = 40;
        // What a sender leaves in the field: the sum of the pseudo-header.
        const std::uint32_t pseudo = test::plain_sum(wire::Bytes{frame}.subspan(26, 8)) + 17U + 108U;
        wire::store16(frame, field, test::plain_sum({}, pseudo));
        const std::size_t gre_bytes = 4;
        Packet datagram = bytes_of("022f0001 80000000 00000000 00006558");
        wire::store16(datagram, 8, static_cast<std::uint16_t>(gre_bytes + transport));
        wire::store16(datagram, 10, static_cast<std::uint16_t>(gre_bytes + field));
        datagram.insert(datagram.end(), frame.begin(), frame.end());

        const auto inside = datapath::decapsulate(datagram);

        REQUIRE(inside);
        CHECK(hex_of(inside->frame) == hex_of(finished));
    }

    TEST_CASE("a checksum that lies outside of the packet drops it") {
        for (const char* where : {"00ff00ff", "00000030", "0010000e", "ffff0000"}) {
            CAPTURE(where);
            CHECK(verdict("022f0001 80000000" + std::string{where} + "00006558" + ethernet) ==
                  "remote_checksum");
        }
    }

    TEST_CASE("every length with every first byte is judged and nothing else happens") {
        std::mt19937 random{7};
        Packet bytes(2048);
        for (auto& byte : bytes) byte = static_cast<std::byte>(random());
        std::size_t accepted = 0;
        for (std::size_t size = 0; size <= bytes.size(); size += size < 64 ? 1 : 31) {
            for (unsigned first = 0; first < 256; ++first) {
                Packet datagram{bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)};
                if (size > 0) datagram[0] = static_cast<std::byte>(first);
                accepted += datapath::decapsulate(datagram).has_value();
            }
        }
        CHECK(accepted == 0);   // random bytes are no Ethernet in GRE
    }

}  // TEST_SUITE

TEST_SUITE("checksums") {

    TEST_CASE("the example of RFC 1071 section 3") {
        const Packet bytes = bytes_of("0001 f203 f4f5 f6f7");
        CHECK(wire::fold(wire::sum_of(bytes)) == 0xddf2);
        CHECK(wire::checksum_of(wire::sum_of(bytes)) == 0x220d);
    }

    TEST_CASE("any length at any alignment gives what adding word by word gives") {
        std::mt19937 random{11};
        Packet bytes(300);
        for (auto& byte : bytes) byte = static_cast<std::byte>(random());
        for (std::size_t at = 0; at < 9; ++at) {
            for (std::size_t size = 0; size < 200; ++size) {
                const wire::Bytes part = wire::Bytes{bytes}.subspan(at, size);
                CHECK(wire::fold(wire::sum_of(part)) == test::plain_sum(part));
            }
        }
    }

    TEST_CASE("64 KiB of ones do not overflow") {
        const Packet bytes(65536, std::byte{0xff});
        CHECK(wire::fold(wire::sum_of(bytes)) == 0xffff);
    }

    TEST_CASE("a checksum follows a changed word") {
        Packet header = bytes_of("4500 0054 1234 4000 4001 0000 0a000001 0a000002");
        wire::store16(header, 10, wire::checksum_of(wire::sum_of(header)));
        const std::uint16_t before = wire::load16(header, 10);
        wire::store16(header, 2, 0x1754);

        wire::store16(header, 10, wire::adjusted_checksum(before, 0x0054, 0x1754));

        CHECK(test::plain_sum(header) == 0xffff);
    }

}  // TEST_SUITE
