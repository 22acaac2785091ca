// The canonical forms of addresses, names and keys, and what is refused.

#include "topology/values.hpp"

#include <doctest/doctest.h>

using namespace overlay;

TEST_SUITE("values") {

TEST_CASE("addresses and prefixes print as they were written in canonical form") {
    for (const char* same : {"192.168.0.1/16", "0.0.0.0/0", "2001:db8::1/64", "::/0", "10.0.0.0/32"}) {
        CAPTURE(same);
        const auto prefix = IpPrefix::parse(same);
        REQUIRE(prefix);
        CHECK(text(*prefix) == same);
    }
    CHECK(text(*IpAddress::parse("2001:4860:4860:0:0:0:0:8888")) == "2001:4860:4860::8888");
}

TEST_CASE("a prefix with a missing, padded or too large length is refused") {
    for (const char* bad : {"10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/08", "::1/129", "10.0.0.1/-1",
                            "10.0.0.1/8 ", "10.0.1/8", "/8", "fe80::1%eth0/64", "10.0.0.256/8"}) {
        CAPTURE(bad);
        CHECK_FALSE(IpPrefix::parse(bad));
    }
}

TEST_CASE("a network clears the host bits at any length") {
    CHECK(text(IpPrefix::parse("192.168.200.77/20")->network()) == "192.168.192.0/20");
    CHECK(text(IpPrefix::parse("255.255.255.255/0")->network()) == "0.0.0.0/0");
    CHECK(text(IpPrefix::parse("2001:db8:ffff::1/36")->network()) == "2001:db8:f000::/36");
    CHECK(IpPrefix::parse("10.1.2.3/32")->network() == *IpPrefix::parse("10.1.2.3/32"));
}

TEST_CASE("overlap is symmetric and never crosses families") {
    const auto wide = *IpPrefix::parse("10.0.0.0/8");
    const auto narrow = *IpPrefix::parse("10.9.0.1/24");
    CHECK(wide.overlaps(narrow));
    CHECK(narrow.overlaps(wide));
    CHECK_FALSE(narrow.overlaps(*IpPrefix::parse("10.8.0.0/24")));
    CHECK_FALSE(IpPrefix::parse("0.0.0.0/0")->overlaps(*IpPrefix::parse("::/0")));
}

TEST_CASE("a link-local address has the modified EUI-64 of the MAC: the example of RFC 2464, section 4") {
    CHECK(text(link_local_of(*MacAddress::parse("34:56:78:9a:bc:de"))) == "fe80::3656:78ff:fe9a:bcde");
}

TEST_CASE("interface names that could leave their place in a path are refused") {
    for (const char* bad : {"", "..", ".", "a/b", "a..b", "lo", "all", "default", "sixteen-bytes-xx", "a b",
                            "a%d", "a:1", ".hidden", "-x"}) {
        CAPTURE(bad);
        CHECK_FALSE(IfName::parse(bad));
    }
    CHECK(IfName::parse("fifteen-bytes-x"));
    CHECK(IfName::parse("eth0.100"));
}

TEST_CASE("keys are canonical base64 of 32 bytes and not zero") {
    const std::string blog = "JFcFDUEB0ZUVhUhfYPNT8Ma9FoeMVf2x03CYFyE5jTg=";
    REQUIRE(PublicKey::parse(blog));
    CHECK(text(*PublicKey::parse(blog)) == blog);
    CHECK_FALSE(PublicKey::parse(blog.substr(1)));
    CHECK_FALSE(PublicKey::parse("JFcFDUEB0ZUVhUhfYPNT8Ma9FoeMVf2x03CYFyE5jTh="));   // stray low bits
    CHECK_FALSE(PublicKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
}

TEST_CASE("endpoints need brackets exactly for IPv6") {
    CHECK(text(*parse_endpoint("1.2.3.4:5555")) == "1.2.3.4:5555");
    CHECK(text(*parse_endpoint("[2001:db8::1]:5555")) == "[2001:db8::1]:5555");
    for (const char* bad : {"1.2.3.4", "1.2.3.4:0", "1.2.3.4:65536", "2001:db8::1:5555", "[1.2.3.4]:5555", ":1"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_endpoint(bad));
    }
}

}  // TEST_SUITE
