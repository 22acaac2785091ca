// What a node's share of the file is, where two facts of the file meet. The whole of it is judged by
// the examples (plan_test.cpp) and on a real kernel (tests/e2e).

#include "topology/intent.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace overlay;

namespace {

Topology parsed(const std::string& source) {
    ParsedFile file = parse_topology(source, "n.json");
    CAPTURE(text(file.diagnostics, "n.json", source));
    REQUIRE(file.topology);
    REQUIRE_FALSE(has_errors(file.diagnostics));
    return *file.topology;
}

std::vector<std::string> routes_of(const NodeIntent& intent) {
    std::vector<std::string> out;
    for (const Route& route : intent.desired.routes) {
        out.push_back(text(route.destination) + " dev " + route.device.str());
    }
    std::sort(out.begin(), out.end());
    return out;
}

}  // namespace

TEST_SUITE("compile") {

TEST_CASE("a spoke on the common Ethernet that has a routed link, too, reaches the Ethernet directly") {
    // The kernel refuses the second route to 10.50.0.0/16 with EEXIST: the address made the first.
    const Topology topology = parsed(R"({"version":1,"network":"n",
        "hub":{"name":"hub","underlay":{"addresses":["203.0.113.1"]},"gue":{},"forwarding":["ipv4"],
               "bridge":{"name":"br","addresses":["10.50.0.1/16"]},
               "wireguard":{"address":"10.9.0.1/24",
                            "public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
        "spokes":{
          "both":{"bridge":{"name":"br-lan","existing":true,"addresses":["10.50.8.1/16"]},
                  "links":{"ethernet":{"type":"gretap-gue","local":"192.0.2.65"},
                           "routed":{"type":"wireguard","address":"10.9.0.8/24",
                             "public_key":"YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E="}}},
          "east":{"lan":"192.168.1.0/24","forwarding":["ipv4"],
                  "link":{"type":"wireguard","address":"10.9.0.2/24",
                          "public_key":"esrl9+TwCtL2NSTgo3lFQYZFiUuGK1hqdX7DP41ZMEo="}}}})");
    const NodeIntent both = compile(topology, *topology.find("both"), {});
    CHECK(routes_of(both) == std::vector<std::string>{"192.168.1.0/24 dev wg-hub-routed"});
    const WireguardPeer& hub =
        both.desired.wireguard.at(IfName::from_kernel("wg-hub-routed")).peers.begin()->second;
    CHECK(hub.allowed_ips.contains(*IpPrefix::parse("10.50.0.0/16")));   // the hub routes for them

    const NodeIntent east = compile(topology, *topology.find("east"), {});
    CHECK(routes_of(east) == std::vector<std::string>{"10.50.0.0/16 dev wg-hub"});
}

}
