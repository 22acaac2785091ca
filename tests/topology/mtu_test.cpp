// The MTU engine against figures from outside: the sums of the RFCs' header sizes as they stand in the
// kernel's own defaults and in tables of people who measured them (gretap over GUE 1450, WireGuard 1440
// and 1420, gretap in WireGuard 1402 and 1382, a GRE key 4 bytes more). tests/e2e/mtu_test.py judges
// the same on a wire.

#include "topology/mtu.hpp"

#include <fmt/format.h>
#include <doctest/doctest.h>

using namespace overlay;

namespace {

const char* const key_a = "9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik=";
const char* const key_b = "YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E=";
const char* const key_c = "esrl9+TwCtL2NSTgo3lFQYZFiUuGK1hqdX7DP41ZMEo=";

/// A hub on both families, and the spokes as JSON members.
Topology network(const std::string& spokes, const std::string& hub_more = "") {
    const std::string source = fmt::format(
        R"({{"version":1,"network":"n","hub":{{"name":"hub",
             "underlay":{{"addresses":["192.0.2.1","2001:db8::1"]}},
             "bridge":{{"name":"br","addresses":["2001:db8:1::1/64"]}},"gue":{{}},
             "wireguard":{{"address":"10.0.0.1/24","public_key":"{}"}}{}}},
             "spokes":{{{}}}}})",
        key_a, hub_more, spokes);
    ParsedFile parsed = parse_topology(source, "n.json");
    CAPTURE(text(parsed.diagnostics, "n.json", source));
    REQUIRE(parsed.topology);
    REQUIRE_FALSE(has_errors(parsed.diagnostics));
    return *parsed.topology;
}

std::string gue(const char* name, const char* more = "") {
    return fmt::format(R"("{}":{{"link":{{"type":"gretap-gue","local":"192.0.2.9"{}}}}})", name, more);
}

std::string by_wireguard(const char* name, const char* type, const std::string& more = "") {
    const char* const key = std::string_view{name} == "c" ? key_c : key_b;
    return fmt::format(R"("{}":{{"link":{{"type":"{}","public_key":"{}"{}}}}})", name, type, key, more);
}

MtuBreakdown explained(const Topology& topology, std::string_view spoke) {
    const Node* node = topology.find(spoke);
    REQUIRE(node != nullptr);
    return MtuEngine{topology}.explain(*node, node->links.front());
}

/// Of the spoke's WireGuard device.
std::optional<Mtu> device_mtu(const Topology& topology, std::string_view spoke) {
    const Node* node = topology.find(spoke);
    REQUIRE(node != nullptr);
    return MtuEngine{topology}.spoke_wireguard(*node, node->links.front());
}

std::uint32_t figure(const std::string& spoke) {
    return explained(network(spoke), "b").link.bytes();
}

}  // namespace

TEST_SUITE("mtu") {

TEST_CASE("each stack on an underlay of 1500, IPv4 outside") {
    CHECK(figure(gue("b", R"(,"key":"none")")) == 1450);
    CHECK(figure(gue("b")) == 1446);
    CHECK(figure(by_wireguard("b", "gretap-wireguard", R"(,"key":"none")")) == 1402);
    CHECK(figure(by_wireguard("b", "gretap-wireguard")) == 1398);
    CHECK(figure(by_wireguard("b", "wireguard")) == 1440);
}

TEST_CASE("each stack on an underlay of 1500, IPv6 outside") {
    const std::string six = R"(,"underlay":"ipv6")";
    const std::string gue6 =
        R"("b":{"link":{"type":"gretap-gue","underlay":"ipv6","local":"2001:db8::9")";
    CHECK(figure(gue6 + R"(,"key":"none"}})") == 1430);
    CHECK(figure(gue6 + "}}") == 1426);
    CHECK(figure(by_wireguard("b", "gretap-wireguard", six + R"(,"key":"none")")) == 1382);
    CHECK(figure(by_wireguard("b", "gretap-wireguard", six)) == 1378);
    CHECK(figure(by_wireguard("b", "wireguard", six)) == 1420);
}

TEST_CASE("gretap whose own outer packets are IPv6 inside WireGuard") {
    const std::string source = fmt::format(
        R"({{"version":1,"network":"n","hub":{{"name":"hub","underlay":{{"addresses":["192.0.2.1"]}},
             "bridge":{{"name":"br"}},"wireguard":{{"address":"fd00::1/64","public_key":"{}"}}}},
             "spokes":{{"b":{{"link":{{"type":"gretap-wireguard","key":"none","public_key":"{}"}}}}}}}})",
        key_a, key_b);
    const ParsedFile parsed = parse_topology(source, "n.json");
    REQUIRE(parsed.topology);
    CHECK(explained(*parsed.topology, "b").link.bytes() == 1382);   // 1440 - 40 - 4 - 14
}

TEST_CASE("the ends of a tunnel inside WireGuard are of the family that both have, IPv4 first") {
    const auto spoke = [](const char* address) {
        const std::string source = fmt::format(
            R"({{"version":1,"network":"n","hub":{{"name":"hub","underlay":{{"addresses":["192.0.2.1"]}},
                 "bridge":{{"name":"br"}},
                 "wireguard":{{"address":["10.0.0.1/24","fd00::1/64"],"public_key":"{}"}}}},
                 "spokes":{{"b":{{"link":{{"type":"gretap-wireguard","key":"none","public_key":"{}",
                                           "address":{}}}}}}}}})",
            key_a, key_b, address);
        const ParsedFile parsed = parse_topology(source, "n.json");
        REQUIRE(parsed.topology);
        return explained(*parsed.topology, "b").link.bytes();
    };
    CHECK(spoke(R"("10.0.0.2/24")") == 1402);                   // 1440 - 20 - 4 - 14
    CHECK(spoke(R"("fd00::2/64")") == 1382);                    // 1440 - 40 - 4 - 14
    CHECK(spoke(R"(["fd00::2/64","10.0.0.2/24"])") == 1402);
}

TEST_CASE("the lines are the sum, from the underlay's MTU on") {
    for (const char* type : {"wireguard", "gretap-wireguard"}) {
        const MtuBreakdown mtu = explained(network(by_wireguard("b", type)), "b");
        std::int32_t sum = 0;
        for (const MtuLine& line : mtu.lines) sum += line.bytes;
        CHECK(sum == static_cast<std::int32_t>(mtu.link.bytes()));
        CHECK(mtu.lines.front().bytes == 1500);
    }
}

TEST_CASE("the narrower underlay of the two ends counts") {
    const std::string pppoe = fmt::format(
        R"("b":{{"underlay":{{"mtu":1492}},"link":{{"type":"wireguard","public_key":"{}"}}}})", key_b);
    CHECK(figure(pppoe) == 1432);
    const MtuBreakdown mtu = explained(network(pppoe), "b");
    CHECK(mtu.underlay.bytes() == 1492);
}

TEST_CASE("TCP's MSS is 40 below over IPv4, 60 below over IPv6") {
    const MtuBreakdown mtu = explained(network(gue("b", R"(,"key":"none")")), "b");
    CHECK(mtu.mss4 == 1410);
    CHECK(mtu.mss6 == 1390);
}

TEST_CASE("the hub's WireGuard device serves its narrowest spoke, and every link says so") {
    const Topology topology =
        network(by_wireguard("b", "wireguard", R"(,"underlay":"ipv6")") + "," +
                by_wireguard("c", "gretap-wireguard", R"(,"key":"none")"));
    CHECK(MtuEngine{topology}.hub_wireguard()->bytes() == 1420);
    const MtuBreakdown wide = explained(topology, "c");   // alone it would be 1402
    CHECK(wide.wireguard_hub->bytes() == 1420);
    CHECK(wide.wireguard_spoke->bytes() == 1440);
    CHECK(wide.link.bytes() == 1382);
    CHECK(explained(topology, "b").link.bytes() == 1420);
}

TEST_CASE("a stated MTU of a device or of the tunnel is taken, never exceeded") {
    const Topology device = network(by_wireguard(
        "b", "gretap-wireguard", R"(,"key":"none","wireguard_mtu":1400)"));
    CHECK(device_mtu(device, "b")->bytes() == 1400);
    CHECK(explained(device, "b").link.bytes() == 1362);   // 1400 - 20 - 4 - 14
    const Topology tunnel = network(gue("b", R"(,"mtu":1400)"));
    CHECK(explained(tunnel, "b").link.bytes() == 1400);
    CHECK(explained(tunnel, "b").mss4 == 1360);
}

TEST_CASE("left to the kernel: nothing is set, and WireGuard's own default 1420 is reckoned with") {
    const Topology topology = network(
        by_wireguard("b", "gretap-wireguard", R"(,"key":"none","wireguard_mtu":"kernel")"));
    CHECK_FALSE(device_mtu(topology, "b"));
    CHECK(explained(topology, "b").link.bytes() == 1382);
    const Topology tunnel = network(gue("b", R"(,"mtu":"kernel")"));
    CHECK_FALSE(MtuEngine{tunnel}.tunnel(*tunnel.find("b"), tunnel.find("b")->links.front()));
}

TEST_CASE("the device of a routed link is as wide as the link; left to the kernel, or as stated") {
    const Topology narrow =
        network(by_wireguard("b", "wireguard") + "," +
                by_wireguard("c", "wireguard", R"(,"underlay":"ipv6")"));
    CHECK(device_mtu(narrow, "b")->bytes() == 1420);   // the hub's device, because of c
    const auto device = [](const char* mtu) {
        const Topology topology = network(
            by_wireguard("b", "wireguard", fmt::format(R"(,"wireguard_mtu":{})", mtu)));
        return device_mtu(topology, "b");
    };
    CHECK(device("1300")->bytes() == 1300);
    CHECK_FALSE(device(R"("kernel")"));
}

TEST_CASE("a bridge of ours carries what its narrowest tunnel carries") {
    const Topology topology = network(gue("a", R"(,"key":"none")") + "," +
                                      by_wireguard("b", "gretap-wireguard", R"(,"key":"none")") +
                                      "," + by_wireguard("c", "wireguard"));
    CHECK(MtuEngine{topology}.bridge(topology.hub)->bytes() == 1402);   // the routed link is no port
    CHECK_FALSE(MtuEngine{topology}.bridge(*topology.find("a")));       // has no bridge
}

TEST_CASE("a borrowed bridge and one left to the kernel get no MTU") {
    const std::string borrowed =
        R"("b":{"bridge":{"name":"br-lan","existing":true},"link":{"type":"gretap-gue","local":"192.0.2.9"}})";
    const Topology topology = network(borrowed);
    CHECK_FALSE(MtuEngine{topology}.bridge(*topology.find("b")));
    CHECK(MtuEngine{topology}.bridge(topology.hub)->bytes() == 1446);
}

}

TEST_CASE("what keeps large packets away is told only where it is") {
    using Notes = std::vector<std::string>;
    const Notes clamp{"TCP is kept below by the MSS clamp"};
    const Notes bare{R"("guards": {"mss": false}: TCP is not kept below, and may stall)"};
    const std::string unguarded = R"(,"guards":{"mss":false})";
    const auto site = [](const std::string& more) {
        return R"("b":{"bridge":{"name":"lan"},"link":{"type":"gretap-gue","local":"192.0.2.9"})" + more + "}";
    };
    const auto of_tcp = [](const Topology& topology) { return Notes{explained(topology, "b").notes.at(1)}; };

    CHECK(of_tcp(network(gue("b"))) == clamp);
    CHECK(of_tcp(network(gue("b"), unguarded)) == bare);
    CHECK(of_tcp(network(site(""), unguarded)) == clamp);
    CHECK(of_tcp(network(site(unguarded), unguarded)) == bare);

    const auto of_ipv6 = [](const std::string& hub_more) {
        return explained(network(gue("b"), hub_more), "b").notes.at(2);
    };
    CHECK(of_ipv6("") == "no router advertisement tells IPv6 hosts an MTU: set theirs, or leave UDP small");
    const std::string advertise = R"(,"forwarding":["ipv6"],
        "router_advertisement":{"prefixes":[{"prefix":"2001:db8:1::/64"}])";
    CHECK(of_ipv6(advertise + "}") == "IPv6 hosts learn the bridge's MTU from the router advertisement");
    CHECK(of_ipv6(advertise + R"(,"mtu":"kernel"})") == of_ipv6(""));
}
