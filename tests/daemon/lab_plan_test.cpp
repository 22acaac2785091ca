// The lab as data: what stands around the nodes of a file, written out and checked against what a
// network engineer would have drawn.

#include "daemon/lab/lab_addresses.hpp"
#include "daemon/lab/lab_plan.hpp"
#include "daemon/lab/lab_radvd.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

using namespace overlay;
using namespace overlay::lab;

namespace {

// Any valid X25519 public keys will do; these three are the blog's (seed 004).
const std::string hub_key = R"("public_key": "JFcFDUEB0ZUVhUhfYPNT8Ma9FoeMVf2x03CYFyE5jTg=")";
const std::string first_key = R"("public_key": "8TYMD/dmDLgbAp1VSvhemGEe6e8Yr/7GGjRCAce6ZGA=")";
const std::string second_key = R"("public_key": "fgZdAIh6/KIzpTYZtjtirOKPAujfmCqumPb+F7XGzmM=")";

Topology parsed(const std::string& source) {
    ParsedFile file = parse_topology(source, "test.json");
    INFO(text(file.diagnostics, "test.json", source));
    REQUIRE(file.topology);
    REQUIRE_FALSE(has_errors(file.diagnostics));
    return *file.topology;
}

/// The lines of one host, without its heading.
std::string host_text(const LabPlan& plan, const std::string& host) {
    const std::string all = text(plan);
    const std::size_t heading = all.find("\n" + host + ": ");
    REQUIRE(heading != std::string::npos);
    const std::size_t start = all.find('\n', heading + 1) + 1;
    std::size_t end = start;
    while (all.compare(end, 2, "  ") == 0) end = all.find('\n', end) + 1;
    return all.substr(start, end - start);
}

std::string cables(const LabPlan& plan) {
    const std::string all = text(plan);
    return all.substr(all.find("cables\n"));
}

/// Addresses that two hosts have, and cables with one link-local address at both ends.
std::vector<std::string> collisions(const LabPlan& plan) {
    std::map<IpAddress, std::string> owners;
    std::vector<std::string> found;
    for (const LabHost& host : plan.hosts) {
        for (const Address& each : host.addresses) {
            const IpAddress& address = each.prefix.address();
            const auto [owner, is_new] = owners.emplace(address, host.name);
            const bool is_shared = !is_new && owner->second != host.name;
            if (!is_shared || address.is_link_local()) continue;
            found.push_back(text(address) + " " + owner->second + " " + host.name);
        }
    }
    const auto has = [&](const LabEnd& end, const IpAddress& address) {
        const auto& all = plan.find(end.host)->addresses;
        return std::any_of(all.begin(), all.end(), [&](const Address& each) {
            return each.link == end.interface && each.prefix.address() == address;
        });
    };
    for (const LabCable& cable : plan.cables) {
        for (const Address& each : plan.find(cable.near.host)->addresses) {
            if (each.link == cable.near.interface && has(cable.far, each.prefix.address())) {
                found.push_back(text(each.prefix.address()) + " on both ends of a cable");
            }
        }
    }
    return found;
}

/// A hub and spokes; the words go into the hub, and between the braces of the spokes.
Topology small(const std::string& hub, const std::string& spokes) {
    return parsed(R"({ "version": 1, "network": "small", "hub": { "name": "hub",
        "wireguard": { "private_key_file": "k", )" +
                  hub_key + " }, " + hub + R"( },
        "spokes": { )" +
                  spokes + " } }");
}

const std::string wireguard_pc = R"("pc": { "link": { "type": "wireguard", )" + first_key + " } }";

const std::string blog = R"({ "version": 1, "network": "home",
  "hub": { "name": "linode",
    "underlay": { "interface": "eth0", "addresses": ["1.2.3.4"] },
    "bridge": { "name": "taps_bridge", "addresses": ["192.168.0.1/16", "2001:db8::1/64"] },
    "router_advertisement": { "prefixes": [{ "prefix": "2001:db8::/64" }] },
    "forwarding": ["ipv4", "ipv6"], "masquerade": { "out": "eth0" },
    "gue": { "port": 5555 },
    "wireguard": { "address": "172.16.0.1/24", "private_key_file": "k", )" +
                         hub_key + R"( } },
  "spokes": {
    "home": { "link": { "type": "gretap-gue", "local": "192.168.88.6",
                        "nat": { "address": "2.3.4.5", "port": 5556 } },
              "bridge": { "name": "br-lan", "existing": true, "addresses": ["192.168.88.6/16"] },
              "lan": "192.168.88.0/24" },
    "office": { "link": { "type": "gretap-wireguard", "address": "172.16.0.2/24", )" +
                         first_key + R"( } } } })";

}  // namespace

TEST_SUITE("lab plan") {
    TEST_CASE("the blog's network stands as drawn: the router's bridge is itself on the underlay") {
        const LabPlan plan = make_lab_plan(parsed(blog));

        CHECK(plan.host_names() == std::vector<std::string>{"internet", "host", "linode", "home",
                                                            "home.nat", "home.lan", "office",
                                                            "office.nat"});
        CHECK(plan.namespace_of("home.lan") == "home.home.lan");
        CHECK(cables(plan) ==
              "cables\n"
              "  host eth0 -- internet host mtu 1500\n"
              "  linode eth0 -- internet linode mtu 1500\n"
              "  home.nat wan -- internet home.nat mtu 1500\n"
              "  home eth0 -- home.nat lan mtu 1500\n"
              "  home lan0 -- home.lan eth0 mtu 1500\n"
              "  office.nat wan -- internet office.nat mtu 1500\n"
              "  office eth0 -- office.nat lan mtu 1500\n");
        CHECK(host_text(plan, "linode") ==
              "  address eth0 1.2.3.4/24\n"
              "  address eth0 fe80::2/64\n"
              "  route 0.0.0.0/0 via 1.2.3.1 dev eth0\n"
              "  route ::/0 via fe80::1 dev eth0\n");
        CHECK(host_text(plan, "home.nat") ==
              "  forwards ipv4\n"
              "  forwards ipv6\n"
              "  address wan 2.3.4.5/24\n"
              "  address lan 192.168.88.1/16\n"
              "  route 0.0.0.0/0 via 2.3.4.1 dev wan\n"
              "  masquerade wan\n"
              "  forward udp 5556 to 192.168.88.6:5555\n");
        CHECK(host_text(plan, "home.lan") ==
              "  address eth0 192.168.88.100/24\n"
              "  route 0.0.0.0/0 via 192.168.88.1 dev eth0\n");
        REQUIRE(plan.find("home")->bridges.size() == 1);
        CHECK(plan.find("home")->bridges[0].ports ==
              std::vector<IfName>{*IfName::parse("eth0"), *IfName::parse("lan0")});
    }

    TEST_CASE("the provider routes the hub's public prefix to the hub and nobody's private one") {
        const LabPlan plan = make_lab_plan(parsed(blog));

        const std::string internet = host_text(plan, "internet");

        CHECK(internet.find("  route 2001:db8::/64 via fe80::2 dev linode\n") != std::string::npos);
        CHECK(internet.find("192.168.") == std::string::npos);
        CHECK(internet.find("  proxies arp\n") != std::string::npos);
    }

    TEST_CASE("a spoke without an address gets a private one behind a router of its own") {
        const LabPlan plan = make_lab_plan(parsed(blog));

        CHECK(host_text(plan, "office") ==
              "  address eth0 10.1.1.2/24\n"
              "  route 0.0.0.0/0 via 10.1.1.1 dev eth0\n");
        CHECK(host_text(plan, "office.nat") ==
              "  forwards ipv4\n"
              "  forwards ipv6\n"
              "  address wan 203.0.113.10/24\n"
              "  address lan 10.1.1.1/24\n"
              "  route 0.0.0.0/0 via 203.0.113.1 dev wan\n"
              "  masquerade wan\n");
    }

    TEST_CASE(
        "two spokes behind one public address share a router; lab names yield to the file's") {
        const LabPlan plan = make_lab_plan(parsed(R"({ "version": 1, "network": "flat",
          "hub": { "name": "hub", "underlay": { "interface": "eth0", "addresses": ["203.0.113.9"] },
                   "bridge": { "name": "br0", "addresses": ["10.0.0.1/16"] },
                   "gue": { "port": 5555 } },
          "spokes": {
            "host": { "link": { "type": "gretap-gue", "local": "192.168.1.5",
                                "nat": { "address": "203.0.113.10", "port": 6001 } },
                      "addresses": ["10.0.0.5/16"] },
            "nas": { "link": { "type": "gretap-gue", "local": "192.168.1.6",
                               "nat": { "address": "203.0.113.10", "port": 6002 } },
                     "addresses": ["10.0.0.6/16"] } } })"));

        CHECK(plan.host_names() ==
              std::vector<std::string>{"internet", "lab-host", "hub", "host", "host.nat", "nas"});
        const LabHost* router = plan.find("host.nat");
        REQUIRE(router->bridges.size() == 1);
        CHECK(router->bridges[0].ports ==
              std::vector<IfName>{*IfName::parse("lan-1"), *IfName::parse("lan-2")});
        REQUIRE(router->nat);
        CHECK(router->nat->forwards ==
              std::vector<LabForward>{{6001, *parse_endpoint("192.168.1.5:5555")},
                                      {6002, *parse_endpoint("192.168.1.6:5555")}});
    }

    TEST_CASE("an uplink in the bridge: the provider is on the prefix and advertises it") {
        const LabPlan plan = make_lab_plan(parsed(R"({ "version": 1, "network": "vultr",
          "hub": { "name": "cloud", "bridge": { "name": "br0", "addresses": ["2001:db8:7::5/64"] },
                   "underlay": { "interface": "eth0", "addresses": ["5.6.7.8"], "in_bridge": true },
                   "wireguard": { "private_key_file": "k", )" +
                                                  hub_key + R"( } },
          "spokes": { "pc": { "link": { "type": "gretap-wireguard", )" +
                                                  first_key + "} } } }"));

        const LabHost* internet = plan.find("internet");
        REQUIRE(internet->advert);
        CHECK(
            radvd_configuration(*internet->advert) ==
            "interface cloud\n{\n"
            "  AdvSendAdvert on;\n  MinRtrAdvInterval 3;\n  MaxRtrAdvInterval 4;\n"
            "  prefix 2001:db8:7::/64\n  {\n    AdvOnLink on;\n    AdvAutonomous on;\n  };\n};\n");
        CHECK(host_text(plan, "internet").find("  route 2001:db8:7::/64 dev cloud\n") !=
              std::string::npos);
        CHECK(host_text(plan, "cloud") ==
              "  address eth0 5.6.7.8/24\n"
              "  route 0.0.0.0/0 via 5.6.7.1 dev eth0\n");
    }

    TEST_CASE("routed LANs have a host each; an IPv6 underlay is carried through the NAT router") {
        const LabPlan plan = make_lab_plan(parsed(R"({ "version": 1, "network": "corp",
          "hub": { "name": "hq", "forwarding": ["ipv4"],
                   "underlay": { "interface": "eth0", "addresses": ["9.9.9.1", "2001:db8:9::1"] },
                   "wireguard": { "private_key_file": "k", "address": "10.9.0.1/24", )" +
                                                  hub_key + R"( } },
          "spokes": {
            "east": { "link": { "type": "wireguard", "address": "10.9.0.2/24", )" +
                                                  first_key + R"( },
                      "lan": "10.20.0.0/24", "forwarding": ["ipv4"] },
            "west": { "link": { "type": "wireguard", "address": "10.9.0.3/24",
                                "underlay": "ipv6", )" +
                                                  second_key + "} } } }"));

        CHECK(host_text(plan, "east") ==
              "  address eth0 10.1.1.2/24\n"
              "  address lan0 10.20.0.1/24\n"
              "  route 0.0.0.0/0 via 10.1.1.1 dev eth0\n");
        CHECK(host_text(plan, "east.lan") ==
              "  address eth0 10.20.0.100/24\n"
              "  route 0.0.0.0/0 via 10.20.0.1 dev eth0\n");
        CHECK(host_text(plan, "hq").find("  address eth0 2001:db8:9::1/128\n") !=
              std::string::npos);
        CHECK(host_text(plan, "west") ==
              "  address eth0 10.1.2.2/24\n"
              "  address eth0 2001:2:0:1::10/128\n"
              "  route 0.0.0.0/0 via 10.1.2.1 dev eth0\n"
              "  route ::/0 via fe80::1 dev eth0\n");
        CHECK(host_text(plan, "west.nat").find("  route 2001:2:0:1::10/128 dev lan\n") !=
              std::string::npos);
    }

    TEST_CASE("the lab's own addresses keep out of every network that the file speaks of") {
        AddressPool pool{{*IpPrefix::parse("203.0.113.0/28"), *IpPrefix::parse("10.1.0.0/16"),
                          *IpPrefix::parse("192.168.7.0/29")}};

        CHECK(text(pool.public_ipv4()) == "203.0.113.16");
        CHECK(text(pool.public_ipv4()) == "203.0.113.17");
        CHECK(text(pool.private_subnet()) == "10.2.0.0/24");
        CHECK(text(pool.private_subnet()) == "10.2.1.0/24");
        const IpPrefix small = *IpPrefix::parse("192.168.7.0/29");
        CHECK(text(*pool.host_of(small)) == "192.168.7.2/29");
        CHECK(text(*pool.host_of(small)) == "192.168.7.3/29");
        CHECK_FALSE(pool.host_of(*IpPrefix::parse("192.168.7.1/32")));
    }

    TEST_CASE("no two hosts of an example have one address") {
        for (const auto& entry : std::filesystem::directory_iterator(
                 std::filesystem::path{OVERLAY_SOURCE_DIR} / "examples")) {
            CAPTURE(entry.path());
            std::ifstream file{entry.path()};
            const std::string source{std::istreambuf_iterator<char>{file}, {}};

            const LabPlan plan = make_lab_plan(parsed(source));

            CHECK(collisions(plan) == std::vector<std::string>{});
        }
    }

    TEST_CASE("a gateway is the first host of its /24 that the file leaves free, one for all") {
        const LabPlan plan = make_lab_plan(
            small(R"("underlay": { "interface": "eth0", "addresses": ["203.0.113.1"] })",
                  wireguard_pc + R"(, "root": { "underlay": { "addresses": ["203.0.113.254"] },
                      "link": { "type": "wireguard", )" +
                      second_key + " } }"));

        CHECK(collisions(plan) == std::vector<std::string>{});
        for (const char* host : {"hub", "pc.nat", "root"}) {
            CAPTURE(host);
            CHECK(host_text(plan, host).find("route 0.0.0.0/0 via 203.0.113.253 ") !=
                  std::string::npos);
        }
    }

    TEST_CASE("routers that are bridged to each other have a gateway each, in their own network") {
        const auto site = [](const std::string& spoke, const std::string& local,
                             const std::string& length, const std::string& nat) {
            return R"(")" + spoke + R"(": { "link": { "type": "gretap-gue", "local": ")" + local +
                   R"(", "nat": { "address": ")" + nat + R"(", "port": 5555 } },
                   "bridge": { "name": "br-lan", "existing": true, "addresses": [")" +
                   local + "/" + length + R"("] } })";
        };
        const LabPlan plan =
            make_lab_plan(small(R"("underlay": { "interface": "eth0", "addresses": ["1.2.3.4"] },
                     "bridge": { "name": "br0", "addresses": ["192.168.0.1/16"] },
                     "gue": { "port": 5555 })",
                                site("a", "192.168.88.1", "16", "2.2.2.2") + ", " +
                                    site("b", "192.168.88.6", "16", "2.2.2.3") + ", " +
                                    site("c", "192.168.89.200", "25", "2.2.2.4")));

        CHECK(collisions(plan) == std::vector<std::string>{});
        CHECK(host_text(plan, "a").find("0.0.0.0/0 via 192.168.88.254 ") != std::string::npos);
        CHECK(host_text(plan, "b").find("0.0.0.0/0 via 192.168.88.253 ") != std::string::npos);
        CHECK(host_text(plan, "c").find("0.0.0.0/0 via 192.168.89.129 ") != std::string::npos);
    }

    TEST_CASE("link-local addresses that the file uses are left to it") {
        const LabPlan plan = make_lab_plan(
            small(R"("underlay": { "interface": "eth0", "addresses": ["1.2.3.4", "2001:db8:1::4"],
                                   "gateways": ["fe80::2"] })",
                  wireguard_pc));

        CHECK(collisions(plan) == std::vector<std::string>{});
        CHECK(host_text(plan, "hub").find("  route ::/0 via fe80::2 dev eth0\n") !=
              std::string::npos);
        CHECK(host_text(plan, "hub").find("  address eth0 fe80::3/64\n") != std::string::npos);
    }

    TEST_CASE("a node that masquerades for its LAN has the LAN where it says so") {
        const LabPlan plan =
            make_lab_plan(small(R"("underlay": { "interface": "eth0", "addresses": ["1.2.3.4"] })",
                                R"("shop": { "link": { "type": "wireguard", )" + first_key + R"( },
                     "lan": "192.168.102.0/24", "forwarding": ["ipv4"],
                     "masquerade": { "out": "br-lan" } })"));

        CHECK(host_text(plan, "shop").find("  address br-lan 192.168.102.1/24\n") !=
              std::string::npos);
        CHECK(cables(plan).find("  shop br-lan -- shop.lan eth0 mtu 1500\n") != std::string::npos);
    }

    TEST_CASE("the lab's interfaces keep out of the names that the file gives to others") {
        const LabPlan plan = make_lab_plan(small(
            R"("underlay": { "addresses": ["1.2.3.4"] }, "masquerade": { "out": "wan" },
               "forwarding": ["ipv4"], "bridge": { "addresses": ["192.168.0.1/16"] })",
            R"("pc": { "link": { "type": "gretap-wireguard", "interface": "eth1", )" + first_key +
                R"( }, "bridge": { "name": "eth0", "ports": ["eth2"] }, "lan": "10.1.0.0/24" },
               "shop": { "link": { "type": "wireguard", "interface": "lan0", )" +
                second_key + R"( }, "lan": "10.2.0.0/24", "forwarding": ["ipv4"] })"));

        CHECK(cables(plan) ==
              "cables\n"
              "  host eth0 -- internet host mtu 1500\n"
              "  hub wan -- internet hub mtu 1500\n"
              "  pc.nat wan -- internet pc.nat mtu 1500\n"
              "  pc eth3 -- pc.nat lan mtu 1500\n"
              "  pc eth2 -- pc.lan eth0 mtu 1500\n"
              "  pc lan0 -- pc.lan2 eth0 mtu 1500\n"
              "  shop.nat wan -- internet shop.nat mtu 1500\n"
              "  shop eth0 -- shop.nat lan mtu 1500\n"
              "  shop lan1 -- shop.lan eth0 mtu 1500\n");
    }

    TEST_CASE("adding to an address carries over bytes") {
        CHECK(text(plus(*IpAddress::parse("10.0.255.255"), 1)) == "10.1.0.0");
        CHECK(text(plus(*IpAddress::parse("2001:db8::ffff:ffff"), 1)) == "2001:db8::1:0:0");
        CHECK(text(plus(*IpAddress::parse("1.2.3.4"), 0)) == "1.2.3.4");
    }
}
