// GRE in IP, as it goes through WireGuard. Expected headers were written down by hand after RFC 791,
// RFC 8200 and RFC 2890, their checksums added up by another program.

#include "daemon/datapath/gretap_ip.hpp"
#include "tests/support/packets.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using namespace overlay::datapath;
using test::bytes_of;
using test::hex_of;
using test::Packet;

namespace {

LinkAddress link_between(const char* local, const char* remote, std::optional<std::uint32_t> key) {
    return {.local = *IpAddress::parse(local), .remote = *IpAddress::parse(remote), .key = key};
}

std::string written(GretapIpHeader& header, std::size_t frame_bytes, std::uint8_t traffic_class) {
    Packet out(header.size_bytes(), std::byte{0xee});
    header.write(out, frame_bytes, traffic_class);
    return hex_of(out);
}

/// What is found in an IP packet: "protocol, payload from … to …", or the reason of the drop.
std::string found_in(const std::string& hex) {
    const Packet packet = bytes_of(hex);
    const auto header = wire::parse_ip(packet);
    if (!header) return std::string{text(header.error())};
    return std::to_string(header->protocol) + ": " + std::to_string(header->payload_at) + " to " +
           std::to_string(header->end_at);
}

const std::string ipv6_addresses = "fd070000000000000000000000000001 fd070000000000000000000000000002";

}  // namespace

TEST_SUITE("gretap over IP") {

    TEST_CASE("before a frame go IPv4 with DF and a number that counts up, and GRE") {
        GretapIpHeader header{link_between("10.7.0.2", "10.7.0.1", 77)};
        CHECK(written(header, 100, 2) == "45020080" "00014000" "402f263c" "0a070002" "0a070001"
                                         "20006558" "0000004d");
        CHECK(written(header, 34, 0) == "4500003e" "00024000" "402f267f" "0a070002" "0a070001"
                                        "20006558" "0000004d");
    }

    TEST_CASE("a checksum stays right through every number and traffic class") {
        GretapIpHeader header{link_between("255.255.255.254", "10.7.0.1", std::nullopt)};
        Packet out(header.size_bytes());
        for (std::size_t n = 0; n < 70'000; ++n) {
            header.write(out, n % 1500, static_cast<std::uint8_t>(n));
            if (test::plain_sum(wire::Bytes{out}.first(20)) != 0xffff) FAIL(n);
        }
    }

    TEST_CASE("before a frame go IPv6 without extension headers, and GRE") {
        GretapIpHeader header{link_between("fd07::1", "fd07::2", std::nullopt)};
        CHECK(written(header, 100, 0x81) == "68100000" "00682f40"
                                            "fd070000000000000000000000000001"
                                            "fd070000000000000000000000000002" "00006558");
    }

    TEST_CASE("what a route is looked up for has the link's addresses") {
        const GretapIpHeader header{link_between("10.7.0.2", "10.7.0.1", 77)};
        CHECK(hex_of(header.bytes().subspan(12, 8)) == "0a0700020a070001");
        CHECK(hex_of(header.bytes().first(1)) == "45");
    }

    TEST_CASE("a packet ends where IP says, whatever padding is behind it") {
        CHECK(found_in("4500001c 00004000 402f0000 0a070001 0a070002 0102030405060708 0000") == "47: 20 to 28");
        CHECK(found_in("46000020 00004000 402f0000 0a070001 0a070002 01010101 0102030405060708") ==
              "47: 24 to 32");   // an option
        CHECK(found_in("60000000 00082f40" + ipv6_addresses + "0102030405060708 000000") == "47: 40 to 48");
    }

    TEST_CASE("a packet that says more than is there is dropped, as is one of no known version") {
        CHECK(found_in("") == "inner_too_short");
        CHECK(found_in("45") == "inner_too_short");
        CHECK(found_in("55000014 00000000 402f0000 0a070001 0a070002") == "inner_too_short");
        CHECK(found_in("45000015 00000000 402f0000 0a070001 0a070002") == "inner_too_short");
        CHECK(found_in("45000013 00000000 402f0000 0a070001 0a070002") == "inner_too_short");
        CHECK(found_in("44000014 00000000 402f0000 0a070001 0a070002") == "inner_too_short");
        CHECK(found_in("46000014 00000000 402f0000 0a070001 0a070002") == "inner_too_short");
        CHECK(found_in("60000000 00092f40" + ipv6_addresses + "0102030405060708") == "inner_too_short");
    }

    TEST_CASE("the option that Linux's ip6gretap adds is skipped; what must not be skipped stays") {
        // RFC 2473 §4.1.1: tunnel encapsulation limit 4, and PadN.
        CHECK(found_in("60000000 00103c40" + ipv6_addresses + "2f00040104010100 0102030405060708") ==
              "47: 48 to 56");
        // An option with "discard if unknown", and one that is longer than its header.
        CHECK(found_in("60000000 00083c40" + ipv6_addresses + "2f00440104010100") == "60: 40 to 48");
        CHECK(found_in("60000000 00083c40" + ipv6_addresses + "2f00040804010100") == "60: 40 to 48");
        // A header that ends behind the packet.
        CHECK(found_in("60000000 00083c40" + ipv6_addresses + "2f01040104010100") == "60: 40 to 48");
    }

    TEST_CASE("a damaged IPv4 header is told from a whole one") {
        Packet packet = bytes_of("45020080 00014000 402f263c 0a070002 0a070001") ;
        packet.resize(128);
        const auto header = wire::parse_ip(packet);
        REQUIRE(header);
        CHECK(wire::is_header_intact(packet, *header));
        packet[8] = std::byte{63};
        CHECK_FALSE(wire::is_header_intact(packet, *header));
    }

    TEST_CASE("GRE around a frame is opened, around less than one it is dropped") {
        Packet packet = bytes_of("20006558 0000004d 020000000002 020000000001 0806 01");
        const auto inside = open_gre(packet);
        REQUIRE(inside);
        CHECK(inside->key == 77U);
        CHECK(inside->frame.size() == 15);
        Packet thirteen = bytes_of("20006558 0000004d 020000000002 020000000001 08");
        CHECK(open_gre(thirteen).error() == wire::DropReason::InnerTooShort);
        Packet routed = bytes_of("60006558 0000004d 020000000002 020000000001 0806");
        CHECK(open_gre(routed).error() == wire::DropReason::GreRouting);
    }

}  // TEST_SUITE
