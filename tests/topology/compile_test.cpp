// What a node's share of the file is, where two facts of the file meet. The whole of it is judged by
// the examples (plan_test.cpp) and on a real kernel (tests/e2e).

#include "tests/support/examples.hpp"
#include "topology/intent.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace overlay;
using test::parsed;

namespace {

std::vector<std::string> routes_of(const NodeIntent& intent) {
    std::vector<std::string> out;
    for (const Route& route : intent.desired.routes) {
        out.push_back(text(route.destination) + " dev " + route.device.str());
    }
    std::sort(out.begin(), out.end());
    return out;
}

/// Of each peer of the node's one WireGuard device.
std::vector<std::string> allowed_ips_of(const NodeIntent& intent) {
    std::vector<std::string> out;
    REQUIRE(intent.desired.wireguard.size() == 1);
    for (const auto& [key, peer] : intent.desired.wireguard.begin()->second.peers) {
        std::string line;
        for (const IpPrefix& prefix : peer.allowed_ips) {
            line += (line.empty() ? "" : ", ") + text(prefix);
        }
        out.push_back(line);
    }
    std::sort(out.begin(), out.end());
    return out;
}

/// A spoke in the Ethernet and a routed one, both in WireGuard with an address of each family.
std::string mixed(const std::string& forwarding, const std::string& type_of_east = "wireguard") {
    return R"({"version":1,"network":"n",
        "hub":{"name":"hub","underlay":{"addresses":["203.0.113.1"]},"forwarding":[)" + forwarding +
           R"(],"bridge":{"name":"br","addresses":["10.50.0.1/16"]},
               "wireguard":{"address":["10.9.0.1/24","fd09::1/64"],
                            "public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
        "spokes":{
          "west":{"addresses":["10.50.7.1/16"],
                  "link":{"type":"gretap-wireguard","address":["10.9.0.7/24","fd09::7/64"],
                          "public_key":"YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E="}},
          "east":{"link":{"type":")" + type_of_east +
           R"(","address":["10.9.0.2/24","fd09::2/64"],
                          "public_key":"esrl9+TwCtL2NSTgo3lFQYZFiUuGK1hqdX7DP41ZMEo="}}}})";
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

TEST_CASE("an address stated narrower than the network inside WireGuard cuts nobody off") {
    const auto with_address = [](const std::string& stated) {
        return parsed(R"({"version":1,"network":"n",
            "hub":{"name":"hub","underlay":{"addresses":["203.0.113.1"]},"forwarding":["ipv4"],
                   "wireguard":{"address":"10.9.0.1/24",
                                "public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
            "spokes":{"west":{"link":{"type":"wireguard","address":")" + stated + R"(",
                                      "public_key":"YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E="}}}})");
    };
    const auto routes_with = [&](const std::string& stated) {
        const Topology topology = with_address(stated);
        return routes_of(compile(topology, *topology.find("west"), {}));
    };
    CHECK(routes_with("10.9.0.2/30") == std::vector<std::string>{"10.9.0.0/24 dev wg-hub"});
    CHECK(routes_with("10.9.0.2/24").empty());   // the address brings it
    CHECK(routes_with("10.9.0.2/16").empty());
}

TEST_CASE("IPv6 goes nowhere near a tunnel that has no IPv6 address inside") {
    const auto with = [](const std::string& addresses) {
        return parsed(R"({"version":1,"network":"n",
        "hub":{"name":"hub","underlay":{"addresses":["203.0.113.1"]},"forwarding":["ipv4","ipv6"],
               "bridge":{"name":"br","addresses":["10.50.0.1/16","2001:db8:50::1/64"]},
               "wireguard":{"address":)" + addresses + R"(,
                            "public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
        "spokes":{
          "phone":{"link":{"type":"wireguard",
                   "public_key":"YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E="}},
          "east":{"lan":["192.168.1.0/24","2001:db8:5::/64"],
                  "link":{"type":"wireguard",
                          "public_key":"esrl9+TwCtL2NSTgo3lFQYZFiUuGK1hqdX7DP41ZMEo="}}}})");
    };
    const Topology narrow = with(R"("10.9.0.1/24")");
    CHECK(routes_of(compile(narrow, *narrow.find("phone"), {})) ==
          std::vector<std::string>{"10.50.0.0/16 dev wg-hub", "192.168.1.0/24 dev wg-hub"});
    const NodeIntent hub = compile(narrow, *narrow.find("hub"), {});
    CHECK(routes_of(hub) == std::vector<std::string>{"192.168.1.0/24 dev wg-n"});
    for (const auto& [key, peer] : hub.desired.wireguard.begin()->second.peers) {
        for (const IpPrefix& allowed : peer.allowed_ips) CHECK(allowed.family() == Family::Ipv4);
    }

    const Topology both = with(R"(["10.9.0.1/24","fd09::1/64"])");
    CHECK(routes_of(compile(both, *both.find("phone"), {})) ==
          std::vector<std::string>{"10.50.0.0/16 dev wg-hub", "192.168.1.0/24 dev wg-hub",
                                   "2001:db8:50::/64 dev wg-hub", "2001:db8:5::/64 dev wg-hub"});
}

/// An office with both families in the hub's Ethernet, which leaves by the hub.
NodeIntent leaving(const char* forwarding, const char* network) {
    const std::string text = network;
    const Topology topology = parsed(R"({"version":1,"network":"n",
        "hub":{"name":"hub","underlay":{"addresses":["203.0.113.1"]},"masquerade":{"out":"eth0"},
               "forwarding":)" + std::string{forwarding} + R"(,"gue":{},
               "bridge":{"name":"br","addresses":["10.50.0.1/16",")" + text + R"(1/64"]}},
        "spokes":{"office":{"link":{"type":"gretap-gue","local":"192.0.2.65"},"exit":"hub",
                            "addresses":["10.50.0.2/16",")" + text + R"(2/64"]}}})");
    return compile(topology, *topology.find("office"), {});
}

TEST_CASE("IPv6 leaves by the hub only where the hub forwards it and others can answer") {
    const std::vector<std::string> ipv4{"0.0.0.0/1 dev gt-hub", "128.0.0.0/1 dev gt-hub"};
    CHECK(routes_of(leaving(R"(["ipv4"])", "2001:db8::")) == ipv4);
    CHECK(routes_of(leaving(R"(["ipv4","ipv6"])", "fd00::")) == ipv4);
    CHECK(routes_of(leaving(R"(["ipv4","ipv6"])", "2001:db8::")) ==
          std::vector<std::string>{"0.0.0.0/1 dev gt-hub", "128.0.0.0/1 dev gt-hub",
                                   "8000::/1 dev gt-hub", "::/1 dev gt-hub"});
}

TEST_CASE("the order of a spoke's links in the file changes nothing on any node") {
    const auto with = [](bool swapped) {
        const std::string a = R"("a":{"type":"gretap-gue","local":"192.0.2.65"})";
        const std::string b = R"("b":{"type":"gretap-wireguard","address":"10.9.0.8/24",
                              "public_key":"YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E="})";
        return parsed(R"({"version":1,"network":"n",
        "hub":{"name":"hub","underlay":{"addresses":["203.0.113.1"]},"gue":{},
               "bridge":{"name":"br","addresses":["10.50.0.1/16"]},
               "wireguard":{"address":"10.9.0.1/24",
                            "public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
        "spokes":{"two":{"links":{)" + (swapped ? b + "," + a : a + "," + b) + "}}}}");
    };
    const Topology one = with(false), other = with(true);
    for (const char* node : {"hub", "two"}) {
        CAPTURE(node);
        const NodeIntent x = compile(one, *one.find(node), {});
        const NodeIntent y = compile(other, *other.find(node), {});
        CHECK(x.desired.links == y.desired.links);
        CHECK(x.desired.tables == y.desired.tables);
        CHECK(x.desired.wireguard == y.desired.wireguard);
    }
}

TEST_CASE("beside a routed link the Ethernet link brings its WireGuard network no second time") {
    const Topology topology = parsed(R"({"version":1,"network":"n",
        "hub":{"name":"hub","underlay":{"addresses":["203.0.113.1"]},
               "bridge":{"name":"br","addresses":["10.50.0.1/16"]},
               "wireguard":{"address":["10.9.0.1/24","fd09::1/64"],
                            "public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
        "spokes":{"s":{"links":{
          "tap":{"type":"gretap-wireguard","address":["10.9.0.8/24","fd09::8/64"],
                 "public_key":"YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E="},
          "tun":{"type":"wireguard","address":["10.9.0.9/24","fd09::9/64"],
                 "public_key":"esrl9+TwCtL2NSTgo3lFQYZFiUuGK1hqdX7DP41ZMEo="}}}}})");

    const NodeIntent s = compile(topology, *topology.find("s"), {});

    std::vector<std::string> addresses;
    for (const Address& each : s.desired.addresses)
        addresses.push_back(text(each.prefix) + " dev " + each.link.str());
    std::sort(addresses.begin(), addresses.end());
    CHECK(addresses == std::vector<std::string>{
                           "10.9.0.8/32 dev wg-hub-tap", "10.9.0.9/24 dev wg-hub-tun",
                           "fd09::8/128 dev wg-hub-tap", "fd09::9/64 dev wg-hub-tun"});
    // Nor a way to the hub: what the hub hears from the tap's peer is the tunnel and nothing else.
    CHECK(routes_of(s) == std::vector<std::string>{"10.50.0.0/16 dev wg-hub-tun"});
    CHECK(s.desired.links.at(IfName::from_kernel("gt-hub-tap")).gretap->device.str() ==
          "wg-hub-tap");
    CHECK(compile(topology, topology.hub, {})
              .desired.links.at(IfName::from_kernel("gt-s-tap"))
              .gretap->device.empty());
}

TEST_CASE("beside a routed link a tunnel between IPv6 addresses keeps its route to the hub") {
    // Linux binds no IPv6 tunnel to its device strictly enough: see spoke_tunnel().
    const Topology topology = parsed(R"({"version":1,"network":"n",
        "hub":{"name":"hub","underlay":{"addresses":["203.0.113.1"]},
               "bridge":{"name":"br","addresses":["10.50.0.1/16"]},
               "wireguard":{"address":"fd09::1/64",
                            "public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
        "spokes":{"s":{"links":{
          "tap":{"type":"gretap-wireguard","address":"fd09::8/64",
                 "public_key":"YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E="},
          "tun":{"type":"wireguard","address":"fd09::9/64",
                 "public_key":"esrl9+TwCtL2NSTgo3lFQYZFiUuGK1hqdX7DP41ZMEo="}}}}})");
    CHECK(routes_of(compile(topology, *topology.find("s"), {})) ==
          std::vector<std::string>{"fd09::1/128 dev wg-hub-tap"});
}

/// A spoke with a stated address in the Ethernet by `ethernet` and a routed link, beside a routed one.
std::string both_links(const std::string& ethernet) {
    return R"({"version":1,"network":"n",
        "hub":{"name":"hub","underlay":{"addresses":["203.0.113.1"]},"forwarding":["ipv4"],"gue":{},
               "bridge":{"name":"br","addresses":["10.50.0.1/16"]},
               "wireguard":{"address":"10.9.0.1/24",
                            "public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
        "spokes":{
          "south":{"addresses":["10.50.8.1/16"],"lan":"192.168.3.0/24","forwarding":["ipv4"],
            "links":{"ethernet":)" + ethernet + R"(,
                     "routed":{"type":"wireguard","address":"10.9.0.8/24",
                       "public_key":"esrl9+TwCtL2NSTgo3lFQYZFiUuGK1hqdX7DP41ZMEo="}}},
          "east":{"link":{"type":"wireguard","address":"10.9.0.2/24",
                          "public_key":"BfKrwv7xLEXkIoYgBMKRF6IwhFvaRCDRh1BOUQgJAU4="}}}})";
}

TEST_CASE("what a spoke with both links answers by the routed one, the hub lets in there") {
    using Lines = std::vector<std::string>;
    const std::string by_wireguard = R"({"type":"gretap-wireguard","address":"10.9.0.7/24",
                       "public_key":"YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E="})";
    const std::string by_gue = R"({"type":"gretap-gue","local":"192.0.2.65"})";
    const Topology one = parsed(both_links(by_wireguard)), other = parsed(both_links(by_gue));

    CHECK(allowed_ips_of(compile(one, one.hub, {})) ==
          Lines{"10.9.0.2/32", "10.9.0.7/32", "10.9.0.8/32, 10.50.8.1/32, 192.168.3.0/24"});
    CHECK(allowed_ips_of(compile(other, other.hub, {})) ==
          Lines{"10.9.0.2/32", "10.9.0.8/32, 10.50.8.1/32, 192.168.3.0/24"});
    const auto south = compile(one, *one.find("south"), {}).desired.wireguard;
    CHECK(south.at(IfName::from_kernel("wg-hub-ethernet")).peers.begin()->second.allowed_ips ==
          std::set{*IpPrefix::parse("10.9.0.1/32")});
}

TEST_CASE("a device too narrow for IPv6 has no IPv6 to switch on") {
    const auto of = [](const std::string& mtu, const char* node) {
        const Topology topology = parsed(R"({"version":1,"network":"n",
            "hub":{"name":"hub","underlay":{"interface":"eth0","addresses":["203.0.113.1"],
                   "mtu":)" + mtu + R"(},"forwarding":["ipv4","ipv6"],
                   "bridge":{"name":"br-hub","addresses":["10.50.0.1/16"]},
                   "wireguard":{"address":"10.9.0.1/24",
                                "public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
            "spokes":{"s":{"forwarding":["ipv4","ipv6"],"addresses":["10.50.8.1/16"],
              "link":{"type":"gretap-wireguard","address":"10.9.0.8/24",
                      "public_key":"YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E="}}}})");
        std::vector<std::string> out;
        for (const auto& [key, value] : compile(topology, *topology.find(node), {}).desired.sysctls)
            if (key.find("ipv6") != std::string::npos) out.push_back(key);
        return out;
    };
    using Lines = std::vector<std::string>;
    CHECK(of("1300", "hub") ==
          Lines{"net.ipv6.conf.all.forwarding", "net.ipv6.conf.eth0.accept_ra",
                "net.ipv6.conf.eth0.forwarding"});
    CHECK(of("1300", "s") == Lines{"net.ipv6.conf.all.forwarding"});
    CHECK(of("1500", "s") ==
          Lines{"net.ipv6.conf.all.forwarding", "net.ipv6.conf.gt-hub.accept_ra",
                "net.ipv6.conf.gt-hub.forwarding", "net.ipv6.conf.wg-hub.forwarding"});
    CHECK(of("1500", "hub").size() == 5);
}

TEST_CASE("masquerade leaves the tunnels' own packets alone, unless the file names sources") {
    const auto rule_with = [](const std::string& sources) {
        const Topology topology = parsed(R"({"version":1,"network":"n",
            "hub":{"name":"hub","underlay":{"interface":"eth0",
                     "addresses":["203.0.113.2","2001:db8::2"]},
                   "forwarding":["ipv4"],"masquerade":{"out":"eth0")" + sources + R"(},"gue":{},
                   "bridge":{"name":"br-hub","addresses":["10.50.0.1/16"]}},
            "spokes":{"s":{"forwarding":["ipv4"],"masquerade":{"out":"eth0"},
              "link":{"type":"gretap-gue","local":"192.0.2.65"}}}})");
        std::vector<FirewallRule> rules;
        for (const Node* node : {&topology.hub, topology.find("s")}) {
            for (const FirewallTable& table : compile(topology, *node, {}).desired.tables) {
                for (const FirewallChain& chain : table.chains)
                    if (chain.name == "source_nat") rules.push_back(chain.rules.front());
            }
        }
        return rules;
    };
    const IfName eth0 = IfName::from_kernel("eth0");
    const rule::Masquerade at_spoke{eth0, {}, {*IpAddress::parse("192.0.2.65")}};
    CHECK(rule_with("") ==
          std::vector<FirewallRule>{
              rule::Masquerade{eth0, {}, {*IpAddress::parse("203.0.113.2")}}, at_spoke});
    CHECK(rule_with(R"(,"sources":["10.50.0.0/16"])") ==
          std::vector<FirewallRule>{
              rule::Masquerade{eth0, {*IpPrefix::parse("10.50.0.0/16")}, {}}, at_spoke});
}

TEST_CASE("no name of a spoke or link is the mark of the hub's own bridge or device") {
    const Topology topology = parsed(R"({"version":1,"network":"n",
        "hub":{"name":"hub","underlay":{"addresses":["203.0.113.1"]},
               "bridge":{"name":"br","addresses":["10.50.0.1/16"]},
               "wireguard":{"address":"10.9.0.1/24",
                            "public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
        "spokes":{
          "bridge":{"bridge":{"name":"br-lan"},"link":{"type":"gretap-wireguard",
            "address":"10.9.0.8/24","public_key":"YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E="}},
          "wireguard":{"link":{"type":"gretap-wireguard","address":"10.9.0.9/24",
            "public_key":"esrl9+TwCtL2NSTgo3lFQYZFiUuGK1hqdX7DP41ZMEo="}}}})");
    for (const std::string& name : topology.node_names()) {
        CAPTURE(name);
        std::set<std::string> marks;
        const NodeIntent intent = compile(topology, *topology.find(name), {});
        for (const auto& [link, state] : intent.desired.links) marks.insert(state.alias.value());
        CHECK(marks.size() == intent.desired.links.size());
    }
}

TEST_CASE("an Ethernet spoke calls routed ones inside WireGuard where the hub forwards to them") {
    using Lines = std::vector<std::string>;
    const auto of = [](const std::string& source, const char* node) {
        const Topology topology = parsed(source);
        return allowed_ips_of(compile(topology, *topology.find(node), {}));
    };

    CHECK(of(mixed(R"("ipv4","ipv6")"), "west") == Lines{"10.9.0.0/24, fd09::/64"});
    CHECK(of(mixed(R"("ipv4")"), "west") == Lines{"10.9.0.0/24, fd09::1/128"});
    CHECK(of(mixed(""), "west") == Lines{"10.9.0.1/32, fd09::1/128"});
    // Without routed spokes nobody is there whom it could want to call.
    CHECK(of(mixed(R"("ipv4","ipv6")", "gretap-wireguard"), "west") ==
          Lines{"10.9.0.1/32, fd09::1/128"});
    // At the hub each speaks for itself alone, whatever it may hear.
    CHECK(of(mixed(R"("ipv4","ipv6")"), "hub") ==
          Lines{"10.9.0.2/32, fd09::2/128", "10.9.0.7/32, 10.50.7.1/32, fd09::7/128"});
    CHECK(of(mixed(R"("ipv6")"), "hub") ==
          Lines{"10.9.0.2/32, fd09::2/128", "10.9.0.7/32, fd09::7/128"});
}

}
