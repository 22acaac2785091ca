// All errors in one run: two faults that have nothing to do with each other are both said, whatever
// each of them is; and a refused value brings no second error.

#include "topology/topology.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

using namespace overlay;

namespace {

/// A change to one place of the valid file, and what must be said about it.
struct Fault {
    std::string_view name, from, to, message;
};

constexpr std::string_view valid = R"({ "version": 1, "network": "net",
  "hub": { "name": "hub", "underlay": { "interface": "eth0", "addresses": ["198.51.100.1"] },
    "bridge": { "addresses": ["192.168.0.1/16", "2001:db8::1/64"] }, "lan": "10.9.0.0/24",
    "forwarding": ["ipv4", "ipv6"], "masquerade": { "out": "eth0" }, "mss_clamp": "pmtu",
    "router_advertisement": { "prefixes": [{ "prefix": "2001:db8::/64" }], "lifetime": 1800 },
    "gue": { "port": 5555 },
    "wireguard": { "address": "172.16.0.1/24", "listen_port": 51820,
      "public_key": "CNM1A+4n1MEwVdDO/sXnML5O8uQc1s/OQ0k27B58nUs=" } },
  "spokes": {
    "a": { "link": { "type": "gretap-gue", "local": "203.0.113.7", "mtu": 1400, "ttl": 64 } },
    "b": { "link": { "type": "gretap-wireguard", "address": "172.16.0.2/24", "keepalive": 25,
        "public_key": "ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=" },
      "bridge": { "name": "br-b", "mtu": 1280 } },
    "c": { "link": { "type": "wireguard", "address": "172.16.0.3/24", "listen_port": 7,
        "public_key": "PiPoFgA5WUoziU9lZOGxNIu9egCI1CxKy3PurtWcAJ0=", "endpoint": "192.0.2.9:7" },
      "lan": ["10.1.0.0/24"], "exit": "hub" },
    "d": { "link": { "type": "gretap-wireguard", "address": "172.16.0.4/24",
        "mac": "02:00:00:00:00:01", "hub_mac": "02:00:00:00:00:02",
        "public_key": "8TYMD/dmDLgbAp1VSvhemGEe6e8Yr/7GGjRCAce6ZGA=" },
      "addresses": ["192.168.4.4/16"] } } })";

// No two change the same piece of text.
const std::vector<Fault> faults{
    // shape
    {"version", R"("version": 1)", R"("version": 2)", "version 2 is not known"},
    {"unknown key", R"("name": "hub",)", R"("name": "hub", "bogus": 1,)", "unknown key \"bogus\""},
    {"wrong type", R"("mss_clamp": "pmtu")", R"("mss_clamp": true)", "expected a string"},
    {"bad port", R"("gue": { "port": 5555 })", R"("gue": { "port": 0 })", "0 is out of range"},
    {"bad ttl", R"("ttl": 64)", R"("ttl": 256)", "256 is out of range"},
    {"misplaced key", R"("keepalive": 25,)", R"("port": 25,)", "belongs to gretap-gue links"},
    {"bad name", R"("name": "br-b")", R"("name": "br b")", "is not the name of an interface"},
    {"bad address", R"("192.168.4.4/16")", R"("192.168.4.4")", "with a prefix length"},
    {"bad list", R"(["10.1.0.0/24"])", R"([])", "this list is empty"},
    {"NUL", R"("10.9.0.0/24")", R"("10.9\u0000")", "a NUL character"},
    {"fraction", R"("lifetime": 1800)", R"("lifetime": 1.5)", "only whole numbers"},
    {"repeated key", R"("exit": "hub")", R"("exit": "hub", "exit": "off")", "stands twice"},
    {"null", R"({ "out": "eth0" })", "null", "expected an object, not null"},
    // meaning
    {"MTU", R"("mtu": 1400)", R"("mtu": 1480)", "1480 does not fit"},
    {"bridge MTU", R"("mtu": 1280)", R"("mtu": 9000)", "its narrowest port carries"},
    {"key twice", "PiPoFgA5WUoziU9lZOGxNIu9egCI1CxKy3PurtWcAJ0=",
     "CNM1A+4n1MEwVdDO/sXnML5O8uQc1s/OQ0k27B58nUs=", "this is already the key of hub"},
    {"MAC twice", R"("mac": "02:00:00:00:00:01")", R"("mac": "02:00:00:00:00:02")",
     "is already the MAC of"},
    {"address twice", R"("172.16.0.3/24")", R"("172.16.0.1/24")", "is already the address of"},
    {"broadcast", R"("172.16.0.2/24")", R"("172.16.0.255/24")", "is the broadcast address"},
    {"loopback", R"("203.0.113.7")", R"("127.0.0.1")", "is a loopback address"},
    {"no port", R"("listen_port": 7,)", "", "the hub cannot call a spoke without"},
    {"port twice", R"("listen_port": 51820)", R"("listen_port": 5555)", "UDP port 5555"},
    {"outside", R"("172.16.0.4/24")", R"("172.17.0.4/24")", "outside the hub's network"},
    {"endpoint", R"("192.0.2.9:7")", R"("[2001:db8:9::1]:7")", "which this link uses outside"},
    {"prefix", R"("prefix": "2001:db8::/64")", R"("prefix": "2001:db8::1/64")", "has bits behind"},
};

// What is not independent: the message of one depends on the value that the other changes.
bool dependent(const Fault& a, const Fault& b) {
    const auto are = [&](std::string_view x, std::string_view y) {
        return (a.name == x && b.name == y) || (a.name == y && b.name == x);
    };
    return are("bad port", "port twice");
}

std::string with(std::string source, const Fault& fault) {
    const std::size_t at = source.find(fault.from);
    REQUIRE(at != std::string::npos);
    return source.replace(at, fault.from.size(), fault.to);
}

std::string said_of(const std::string& source) {
    return text(parse_topology(source, "t").diagnostics, "t", source);
}

std::size_t errors(const std::string& source) {
    const auto found = parse_topology(source, "t").diagnostics;
    return static_cast<std::size_t>(std::count_if(found.begin(), found.end(), [](const auto& each) {
        return each.severity == Diagnostic::Severity::Error;
    }));
}

bool says(const std::string& said, std::string_view message) {
    return said.find(message) != std::string::npos;
}

}  // namespace

TEST_SUITE("findings") {

    TEST_CASE("the file that the faults go into is valid") { CHECK(errors(std::string{valid}) == 0); }

    TEST_CASE("each fault alone is one error and brings no second one") {
        for (const Fault& fault : faults) {
            const std::string source = with(std::string{valid}, fault);
            CAPTURE(fault.name);
            INFO(said_of(source));
            CHECK(says(said_of(source), fault.message));
            CHECK(errors(source) == 1);
        }
    }

    TEST_CASE("of two independent faults neither hides the other, and they bring no third error") {
        for (const Fault& a : faults) {
            for (const Fault& b : faults) {
                if (a.name >= b.name || dependent(a, b)) continue;
                const std::string source = with(with(std::string{valid}, a), b);
                CAPTURE(a.name);
                CAPTURE(b.name);
                INFO(said_of(source));
                CHECK(says(said_of(source), a.message));
                CHECK(says(said_of(source), b.message));
                CHECK(errors(source) == 2);
            }
        }
    }

    TEST_CASE("both bodies of a repeated spoke are judged") {
        const Fault twice{"", R"("a": { "link")",
                          R"("a": { "link": { "type": "wireguard", "ttl": 7, "public_key":
 "gzpRExdC9SGLFXfUzoYQA4f7d/sVTVzXGqCbUOpeDCw=", "address": "10.66.0.1/24" } }, "a": { "link")",
                          ""};
        const std::string said =
            said_of(with(with(std::string{valid}, {"", R"("mtu": 1400)", R"("mtu": 1480)", ""}),
                         twice));
        CHECK(says(said, "this key stands twice"));
        CHECK(says(said, "\"ttl\" belongs to"));
        CHECK(says(said, "10.66.0.1 is outside the hub's network"));
        CHECK(says(said, "1480 does not fit"));
    }

    TEST_CASE("a refused spoke, link or hub brings no error of what would depend on it") {
        const auto one = [](std::string_view from, std::string_view to) {
            const std::string source = with(std::string{valid}, Fault{"", from, to, ""});
            INFO(said_of(source));
            CHECK(errors(source) == 1);
        };
        one(R"("bridge": { "addresses": ["192.168.0.1/16", "2001:db8::1/64"] })", R"("bridge": 5)");
        one(R"(["192.168.0.1/16", "2001:db8::1/64"])", R"(["192.168.0.1/16", "2001:db8::1"])");
        one(R"(["ipv4", "ipv6"])", R"(["ipv4", "ipv7"])");
        one(R"("addresses": ["198.51.100.1"])", R"("addresses": "198.51.100.1")");
        one(R"("type": "gretap-wireguard", "address": "172.16.0.4/24")",
            R"("type": "gretap", "address": "172.16.0.4/24")");
        one(R"("172.16.0.1/24")", R"("172.16.0.1")");
        one(R"("gue": { "port": 5555 })", R"("geu": { "port": 5555 })");
        one(R"("network": "net")", R"("network": "Net")");
    }
}
