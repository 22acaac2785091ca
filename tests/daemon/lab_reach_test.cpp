// Who should reach whom, and how `lab ping` shows what it found. The MTUs are those that
// Debian's 6.1 kernel showed for the same network (ip link, in the kernel lab): gretap over GUE
// with a key 1446, WireGuard over IPv4 1440, gretap in it with a key 1398.

#include "daemon/lab/lab_ping.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace overlay;
using namespace overlay::lab;

namespace {

const std::string hub_key = R"("public_key": "JFcFDUEB0ZUVhUhfYPNT8Ma9FoeMVf2x03CYFyE5jTg=")";
const std::string first_key = R"("public_key": "8TYMD/dmDLgbAp1VSvhemGEe6e8Yr/7GGjRCAce6ZGA=")";
const std::string second_key = R"("public_key": "fgZdAIh6/KIzpTYZtjtirOKPAujfmCqumPb+F7XGzmM=")";

struct Scene {
    Topology topology;
    LabPlan plan;
    std::vector<LabPair> pairs;

    [[nodiscard]] std::string says(const std::string& start) const {
        for (const LabPair& pair : pairs) {
            const std::string line = text(pair);
            if (line.rfind(start + " ", 0) == 0) return line.substr(start.size() + 1);
        }
        return "no such pair";
    }
};

enum class Applied { Yes, No };

Scene scene(const std::string& source, Applied applied = Applied::Yes) {
    ParsedFile file = parse_topology(source, "test.json");
    INFO(text(file.diagnostics, "test.json", source));
    REQUIRE(file.topology);
    REQUIRE_FALSE(has_errors(file.diagnostics));
    Scene out{*file.topology, make_lab_plan(*file.topology), {}};
    const Intents intents = applied == Applied::Yes ? compile_all(out.topology) : Intents{};
    out.pairs = make_pairs(out.plan, out.topology, intents);
    return out;
}

const std::string blog = R"({ "version": 1, "network": "home",
  "hub": { "name": "linode",
    "underlay": { "interface": "eth0", "addresses": ["1.2.3.4"] },
    "bridge": { "name": "taps_bridge", "addresses": ["192.168.0.1/16", "2001:db8::1/64"] },
    "router_advertisement": { "prefixes": [{ "prefix": "2001:db8::/64" }] },
    "forwarding": ["ipv4", "ipv6"], "gue": { "port": 5555 },
    "wireguard": { "address": "172.16.0.1/24", "private_key_file": "k", )" +
                         hub_key + R"( } },
  "spokes": {
    "home": { "link": { "type": "gretap-gue", "local": "192.168.88.6",
                        "nat": { "address": "2.3.4.5", "port": 5555 } },
              "bridge": { "name": "br-lan", "existing": true, "addresses": ["192.168.88.6/16"] },
              "lan": "192.168.88.0/24" },
    "office": { "link": { "type": "gretap-wireguard", "address": "172.16.0.2/24", )" +
                         first_key + R"( } } } })";

/// The post's own home: the LAN's bridge, as narrow as the tunnel that is plugged into it, is what
/// that tunnel's packets leave by.
const std::string post = R"({ "version": 1, "network": "only",
  "hub": { "name": "linode",
    "underlay": { "interface": "eth0", "addresses": ["1.2.3.4"] },
    "bridge": { "name": "taps_bridge", "addresses": ["192.168.0.1/16", "2001:db8::1/64"],
                "mtu": "kernel" },
    "router_advertisement": { "prefixes": [{ "prefix": "2001:db8::/64" }], "mtu": "kernel" },
    "forwarding": ["ipv4", "ipv6"], "gue": { "port": 5555 } },
  "spokes": {
    "home": { "link": { "type": "gretap-gue", "local": "192.168.88.6",
                        "key": "none", "mtu": "kernel",
                        "nat": { "address": "2.3.4.5", "port": 5555 } },
              "bridge": { "name": "br-lan", "existing": true, "addresses": ["192.168.88.6/16"],
                          "mtu": "kernel" },
              "lan": "192.168.88.0/24" } } })";

std::string routed(const std::string& west) {
    return R"({ "version": 1, "network": "corp",
  "hub": { "name": "hq", "forwarding": ["ipv4"],
           "underlay": { "interface": "eth0", "addresses": ["9.9.9.1"] },
           "wireguard": { "private_key_file": "k", "address": "10.9.0.1/24", )" +
           hub_key + R"( } },
  "spokes": {
    "east": { "link": { "type": "wireguard", "address": "10.9.0.2/24", )" +
           first_key + R"( },
              "lan": "10.20.0.0/24", "forwarding": ["ipv4"] },
    "west": { "link": { "type": "wireguard", "address": "10.9.0.3/24", "interface": "wg0", )" +
           second_key + R"( }, "lan": "10.30.0.0/24", "forwarding": ["ipv4"])" + west + " } } }";
}

}  // namespace

TEST_SUITE("lab reach") {
    TEST_CASE(
        "in the blog's network all sites reach each other over IPv6, and IPv4 where it has any") {
        const Scene home = scene(blog);

        CHECK(home.says("linode -> home ipv4") == "192.168.88.6 mtu 1398");
        CHECK(home.says("home.lan -> linode ipv4") == "192.168.0.1 mtu 1398");
        CHECK(home.says("office -> linode ipv4") == "172.16.0.1 mtu 1440");
        CHECK(home.says("office -> home.lan ipv6") == "advertised in 2001:db8::/64 mtu 1398");
        CHECK(home.says("host -> home.lan ipv6") == "advertised in 2001:db8::/64 mtu 1398");
        CHECK(home.says("office -> host ipv6") == "2001:2::2 mtu 1398");
        CHECK(home.says("home.lan -> host ipv4") == "198.18.0.2 mtu 1500");
    }

    TEST_CASE("an advertised MTU binds IPv6 even between neighbours, and IPv4 not") {
        const Scene home = scene(blog);

        CHECK(home.says("home.lan -> home ipv6") == "advertised in 2001:db8::/64 mtu 1398");
        CHECK(home.says("home.lan -> home ipv4") == "192.168.88.6 mtu 1500");
    }

    // All figures as `ping -M do` found them on 6.1: from the LAN to the hub, 1401 bytes were
    // dropped; home itself was told 1400 for the LAN over IPv6 once it had called the hub, and never
    // over IPv4.
    TEST_CASE("a tunnel plugged into its own underlay carries its headers twice") {
        const Scene home = scene(post);

        CHECK(home.says("home.lan -> linode ipv4") == "192.168.0.1 mtu 1400");
        CHECK(home.says("home.lan -> linode ipv6") == "2001:db8::1 mtu 1400");
        CHECK(home.says("home.lan -> host ipv6") == "2001:2::2 mtu 1400");
        CHECK(home.says("home -> linode ipv4") == "192.168.0.1 mtu 1400");
        CHECK(home.says("home -> home.lan ipv4") == "192.168.88.100 mtu 1450");
        CHECK(home.says("home -> home.lan ipv6") == "advertised in 2001:db8::/64 mtu 1400");
        CHECK(home.says("home.lan -> home ipv6") == "advertised in 2001:db8::/64 mtu 1400");
    }

    TEST_CASE("what should not answer says why") {
        const Scene home = scene(blog);
        std::string deaf = routed("");
        deaf.erase(deaf.find(R"(, "forwarding": ["ipv4"] },
    "west")"),
                   std::string{R"(, "forwarding": ["ipv4"])"}.size());

        CHECK(home.says("host -> home ipv4") == "no: internet has no route to 192.168.88.6");
        CHECK(home.says("office -> home ipv4") == "no: internet has no route to 192.168.88.6");
        CHECK(scene(deaf).says("hq -> east.lan ipv4") == "no: east does not forward ipv4");
    }

    TEST_CASE("before any apply only the underlay is there") {
        const Scene home = scene(blog, Applied::No);

        CHECK(home.says("office -> linode ipv4") == "1.2.3.4 mtu 1500");
        CHECK(home.says("linode -> home.lan ipv4") ==
              "no: internet has no route to 192.168.88.100");
        CHECK(home.says("office -> home ipv6") == "no: home has no ipv6 address");
    }

    TEST_CASE("routed LANs reach each other through the hub") {
        const Scene corp = scene(routed(""));

        CHECK(corp.says("east.lan -> west.lan ipv4") == "10.30.0.100 mtu 1440");
        CHECK(corp.says("west -> east.lan ipv4") == "10.20.0.100 mtu 1440");
        CHECK(corp.says("hq -> west.lan ipv4") == "10.30.0.100 mtu 1440");
        CHECK(corp.says("east.lan -> host ipv4") ==
              "no: no way back: internet has no route to 10.20.0.100");
    }

    TEST_CASE("a spoke with an Ethernet and a routed link answers the hub, and so does its LAN") {
        for (const std::string& ethernet :
             {R"({ "type": "gretap-wireguard", )" + second_key + " }",
              std::string{R"({ "type": "gretap-gue", "local": "192.0.2.65" })"}}) {
            CAPTURE(ethernet);
            const Scene both = scene(R"({ "version": 1, "network": "l3", "hub": { "name": "hub",
                "underlay": { "addresses": ["203.0.113.1"] }, "forwarding": ["ipv4"],
                "bridge": { "addresses": ["10.50.0.1/16"] }, "gue": {},
                "wireguard": { "address": "10.9.0.1/24", "private_key_file": "k", )" + hub_key +
                                     R"( } },
                "spokes": { "south": { "addresses": ["10.50.8.1/16"], "lan": "192.168.3.0/24",
                  "forwarding": ["ipv4"], "links": { "ethernet": )" + ethernet + R"(,
                    "routed": { "type": "wireguard", )" + first_key + " } } } } }");
            CHECK(both.says("hub -> south.lan ipv4") == "192.168.3.100 mtu 1440");
            CHECK(both.says("hub -> south ipv4").rfind("10.", 0) == 0);
            CHECK(both.says("south.lan -> hub ipv4").rfind("10.", 0) == 0);
        }
    }

    TEST_CASE("a masquerading site reaches out under its router's address") {
        const Scene corp = scene(routed(R"(, "masquerade": { "out": "wg0" })"));

        CHECK(corp.says("west.lan -> east.lan ipv4") == "10.20.0.100 mtu 1440");
        CHECK(corp.says("west.lan -> hq ipv4") == "10.9.0.1 mtu 1440");
    }
}

TEST_SUITE("lab ping") {
    TEST_CASE("the table has a cell for every pair, and failures are named with their reasons") {
        const Scene home = scene(blog, Applied::No);
        std::vector<PairResult> results;
        for (const LabPair& pair : home.pairs) {
            PairResult result{
                pair, pair.expected ? text(pair.target.prefix.address()) : "", {}, {}};
            if (pair.expected) result.small = result.full = {true, true, ""};
            if (text(pair).rfind("office -> linode", 0) == 0)
                result.full = {true, false, "too long"};
            results.push_back(result);
        }

        const std::string shown = text(home.plan, results, Marks::Plain);

        CHECK(shown.substr(0, shown.find("4 IPv4")) ==
              "from\\to     host  linode  home  home.lan  office\n"
              "host              4.M     ...   ...       ...\n"
              "linode      4.M           ...   ...       ...\n"
              "home        4.M   4.M           4.M       ...\n"
              "home.lan    4.M   4.M     4.M             ...\n"
              "office      4.M   4.x     ...   ...\n");
        CHECK(shown.find("FAILED office -> linode (1.2.3.4) with 1500 bytes: too long\n") !=
              std::string::npos);
        CHECK(shown.find("9 of 10 pairs answer\n") != std::string::npos);
        CHECK_FALSE(all_answer(results));
    }
}
