// Rules of meaning that a single golden file cannot show: that derived values are judged like
// stated ones, and that a verdict does not depend on the order of the file.

#include "tests/support/examples.hpp"
#include "topology/derive.hpp"
#include "topology/topology.hpp"
#include "topology/validate.hpp"

#include <doctest/doctest.h>

#include <array>
#include <set>
#include <string>

using namespace overlay;
using test::example;

namespace {

/// A key that differs for each number.
PublicKey key(std::uint8_t number) {
    std::array<std::uint8_t, 32> bytes{};
    bytes[0] = number;
    return PublicKey::from_bytes(bytes.data());
}

std::vector<std::string> messages(const Topology& topology) {
    std::vector<std::string> out;
    for (const Diagnostic& found : validate(topology)) {
        if (found.severity == Diagnostic::Severity::Error) out.push_back(found.message);
    }
    return out;
}

/// As many layer-3 spokes as wanted, named by numbers, all addresses derived.
Topology crowd(int count, const char* hub_address) {
    Topology out = example("smallest.json");
    out.hub.wireguard->addresses = {{*IpPrefix::parse(hub_address), {}}};
    const Node model = out.spokes[0];
    out.spokes.clear();
    for (int i = 0; i < count; ++i) {
        Node spoke = model;
        spoke.name = "s" + std::to_string(i);
        spoke.links[0].public_key->value = key(static_cast<std::uint8_t>(i + 1));
        out.spokes.push_back(spoke);
    }
    return out;
}

}  // namespace

TEST_SUITE("validate") {

    TEST_CASE("two derived addresses that collide are an error which says how to mend it") {
        const Topology topology = crowd(2, "10.0.0.1/30");  // one address is left for two

        const std::vector<Diagnostic> found = validate(topology);

        REQUIRE(found.size() == 1);
        CHECK(found[0].message.find(
                  "10.0.0.2, the default here, is already the address of spokes.s0") == 0);
        CHECK(found[0].hint ==
              "both follow from names; state \"address\" in one of the two links, or give the hub a "
              "wider network in hub.wireguard.address");
    }

    TEST_CASE("a hundred spokes find room in the derived network") {
        Topology topology = crowd(100, "10.0.0.1/30");
        topology.hub.wireguard->addresses.clear();
        CHECK(messages(topology).empty());
    }

    TEST_CASE("derived MACs and keys of a company are all different") {
        const Topology company = example("company.json");
        std::set<std::uint32_t> keys;
        std::set<MacAddress> macs;
        std::size_t gretaps = 0;
        for (const Node& spoke : company.spokes) {
            const auto key = gre_key(company, spoke, spoke.links[0]);
            if (!key) continue;
            ++gretaps;
            keys.insert(*key);
            macs.insert(*link_mac(company, spoke, spoke.links[0], true));
            macs.insert(*link_mac(company, spoke, spoke.links[0], false));
        }
        CHECK(gretaps == 13);
        CHECK(keys.size() == 13);
        CHECK(macs.size() == 26);
    }

    TEST_CASE("the later of two places is reported, whichever name comes first") {
        const auto judge = [](const char* first, const char* second) {
            std::string source = R"({ "version": 1, "network": "n",
  "hub": { "name": "hub", "underlay": { "addresses": ["10.0.0.1"] }, "wireguard": {
    "address": "10.9.0.1/24", "public_key": "JFcFDUEB0ZUVhUhfYPNT8Ma9FoeMVf2x03CYFyE5jTg=" } },
  "spokes": {
    "FIRST": { "link": { "type": "wireguard", "address": "10.9.0.2/24",
      "public_key": "8TYMD/dmDLgbAp1VSvhemGEe6e8Yr/7GGjRCAce6ZGA=" } },
    "SECOND": { "link": { "type": "wireguard", "address": "10.9.0.2/24",
      "public_key": "fgZdAIh6/KIzpTYZtjtirOKPAujfmCqumPb+F7XGzmM=" } } } }
)";
            source.replace(source.find("FIRST"), 5, first);
            source.replace(source.find("SECOND"), 6, second);
            return parse_topology(source, "t.json").diagnostics;
        };
        for (const auto& [first, second] : {std::pair{"a", "b"}, std::pair{"b", "a"}}) {
            const std::vector<Diagnostic> found = judge(first, second);
            REQUIRE(found.size() == 1);
            CHECK(found[0].at.line == 7);
            CHECK(found[0].path == std::string{"spokes."} + second + ".link.address");
            CHECK(found[0].message == std::string{"10.9.0.2 is already the address of spokes."} +
                                          first + " (t.json:5:54)");
        }
    }

    TEST_CASE("a bridge has room for 1023 ports, the uplink and borrowed ones included") {
        const auto judge = [](int spokes, bool with_uplink) {
            Topology topology = example("vultr.json");
            topology.hub.underlay.in_bridge.value = with_uplink;
            topology.hub.wireguard->addresses = {{*IpPrefix::parse("10.0.0.1/8"), {}}};
            const Node model = topology.spokes[0];
            topology.spokes.clear();
            for (int i = 0; i < spokes; ++i) {
                Node spoke = model;
                spoke.name = "s" + std::to_string(i);
                spoke.links[0].mac = {};
                spoke.links[0].addresses = {
                    {*IpPrefix::parse("10." + std::to_string(i / 200 + 1) + ".0." +
                                      std::to_string(i % 200 + 2) + "/8"),
                     {}}};
                std::array<std::uint8_t, 32> bytes{1};
                bytes[1] = static_cast<std::uint8_t>(i % 256);
                bytes[2] = static_cast<std::uint8_t>(i / 256);
                spoke.links[0].public_key->value = PublicKey::from_bytes(bytes.data());
                topology.spokes.push_back(spoke);
            }
            return messages(topology);
        };
        CHECK(judge(1023, false).empty());
        CHECK(judge(1024, false) ==
              std::vector<std::string>{"1024 ports; a bridge has room for 1023"});
        CHECK(judge(1022, true).empty());
        CHECK(judge(1023, true) ==
              std::vector<std::string>{"1024 ports; a bridge has room for 1023"});
    }

    TEST_CASE("no interface of ours may be called as the kernel's own") {
        for (const char* name : {"gre0", "gretap0", "erspan0", "ip6gre0", "ip6tnl0", "ip6_vti0",
                                 "ip_vti0", "sit0", "tunl0"}) {
            CAPTURE(name);
            Topology topology = example("smallest.json");
            topology.hub.wireguard->interface.value = *IfName::parse(name);
            CHECK(messages(topology) ==
                  std::vector<std::string>{"the kernel makes an interface called " +
                                           std::string{name} + " itself"});
        }
        Topology topology = example("smallest.json");
        topology.hub.wireguard->interface.value = *IfName::parse("gre1");
        CHECK(messages(topology).empty());
    }

    TEST_CASE("the exit of a routed spoke asks nothing of the hub's bridge") {
        CHECK(messages(example("exit.json")).empty());
        Topology no_bridge = example("exit.json");
        no_bridge.hub.bridge.reset();
        std::erase_if(no_bridge.spokes, [](const Node& spoke) { return spoke.name == "site"; });
        CHECK(messages(no_bridge).empty());
    }

    TEST_CASE("the hub's masquerade needs no source for what nobody sees, or the Internet can answer") {
        Topology topology = example("exit.json");
        std::erase_if(topology.spokes, [](const Node& spoke) { return spoke.name == "site"; });
        topology.hub.masquerade->sources = {{*IpPrefix::parse("10.99.0.0/24"), {}}};
        Node& laptop = topology.spokes.front();
        const auto says = [&](const char* lan) {
            laptop.lan = {{*IpPrefix::parse(lan), {}}};
            laptop.forwarding = {{Family::Ipv4, {}}};
            return !messages(topology).empty();
        };
        CHECK_FALSE(says("198.51.100.128/28"));
        CHECK(says("10.50.0.0/24"));
        laptop.masquerade = Masquerade{.at = {}, .out = laptop.links.front().interface.value_or(
                                                     Located<IfName>{*IfName::parse("wg-exit"), {}}), .sources = {}};
        CHECK_FALSE(says("10.50.0.0/24"));
    }
}
