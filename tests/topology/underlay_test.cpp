// A wrong uplink makes nothing fail, so it must be said; and who is behind a NAT must be left in peace.

#include "topology/underlay.hpp"

#include "tests/support/plan_story.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using test::add_link;
using test::example;
using test::parsed;
using test::Story;

namespace {

using Notes = std::vector<std::string>;

/// The README's, with a slip in the uplink's name.
const char* const first_topology = R"({
  "version": 1, "network": "mine",
  "hub": {
    "name": "hub",
    "underlay": { "interface": "eth9", "addresses": ["1.2.3.4"] },
    "bridge": { "name": "br-mine", "addresses": ["192.168.0.1/16"] },
    "wireguard": { "public_key": "9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik=" }
  },
  "spokes": {
    "laptop": { "addresses": ["192.168.1.2/16"],
                "link": { "type": "gretap-wireguard",
                          "public_key": "esrl9+TwCtL2NSTgo3lFQYZFiUuGK1hqdX7DP41ZMEo=" } }
  }
})";

/// A fresh host has 1.2.3.4 on eth0.
void give(Story& story, const char* prefix) {
    story.kernel.state.addresses.insert(
        {IfName::from_kernel("eth0"), *IpPrefix::parse(prefix), true, false});
}

void take(Story& story, const char* address) {
    std::erase_if(story.kernel.state.addresses, [&](const Address& each) {
        return each.prefix.address() == IpAddress::parse(address);
    });
}

/// What the plan notes, but for the MTU of a bridge that a tunnel joins.
Notes said(const Story& story) {
    Notes out = story.plan_now().notes;
    std::erase_if(out, [](const std::string& note) { return note.find(" joins ") != note.npos; });
    return out;
}

}  // namespace

TEST_SUITE("underlay") {

    TEST_CASE("a host that is as the file has it: nothing to say, before apply and after") {
        Story story{example("home.json"), "linode"};
        CHECK(said(story) == Notes{});
        story.apply();
        CHECK(said(story) == Notes{});
    }

    TEST_CASE("somebody's address in a network of ours: a note, while his interface is up") {
        Story story{example("home.json"), "linode"};
        const IfName other = IfName::from_kernel("other");
        test::add_link(story.kernel.state, "other", LinkKind::Bridge);
        story.kernel.state.links.at(other).up = true;
        story.kernel.state.addresses.insert({other, *IpPrefix::parse("192.168.3.7/24"), true, false});
        story.kernel.state.addresses.insert({other, *IpPrefix::parse("192.168.0.9/32"), true, false});
        story.kernel.state.addresses.insert({other, *IpPrefix::parse("10.44.0.1/24"), true, false});
        const Notes overlap{"192.168.3.7/24 on other, which is not ours, overlaps 192.168.0.1/16 on taps_bridge: some "
                            "packets will take the wrong way"};
        CHECK(said(story) == overlap);
        story.apply();
        CHECK(said(story) == overlap);
        story.kernel.state.links.at(other).up = false;
        CHECK(said(story) == Notes{});
    }

    TEST_CASE("an interface that is not there: a note, not a step, and no refusal") {
        Story story{parsed(first_topology), "hub"};
        const Notes missing{"the underlay's interface eth9 is not there"};
        CHECK(said(story) == missing);
        CHECK(story.plan_now().refusals.empty());
        story.apply();
        CHECK(story.plan_now().is_empty());
        CHECK(said(story) == missing);

        story.kernel.state.alternative_names[IfName::from_kernel("eth9")] =
            IfName::from_kernel("eth0");
        CHECK(said(story) == Notes{});
    }

    TEST_CASE("an address that the host has not, and tunnels start from it") {
        Story story{example("home.json", {{"1.2.3.4", "203.0.113.1"}}), "linode"};
        const Notes silent{"203.0.113.1 is not an address of this node: tunnels that start from it "
                           "stay silent until it is"};
        CHECK(said(story) == silent);
        story.apply();
        CHECK(said(story) == silent);
        CHECK(story.plan_now().is_empty());
        give(story, "203.0.113.1/24");
        CHECK(said(story) == Notes{});
        take(story, "203.0.113.1");
        story.down();
        CHECK(said(story) == Notes{});
    }

    TEST_CASE("a hub that is only called may have its address at a NAT") {
        Story hub{example("smallest.json"), "hub"};
        CHECK(said(hub) ==
              Notes{"203.0.113.1 is not an address of this node: spokes that call it arrive only "
                    "if a NAT in front of this node has it"});
        give(hub, "203.0.113.1/32");
        CHECK(said(hub) == Notes{});
        CHECK(said(Story{example("smallest.json"), "laptop"}) == Notes{});
    }

    TEST_CASE("a spoke behind a NAT: its own address counts, not the one where the hub finds it") {
        // The file itself puts 192.168.88.6 on its bridge, and the router has 2.3.4.5.
        CHECK(said(Story{example("home.json"), "home"}) == Notes{});

        const char* own = "\"local\": \"192.168.7.2\"";
        Story plant{example("company.json", {{own, "\"local\": \"10.0.0.2\""}}), "plant-a"};
        const Notes silent{"10.0.0.2 is not an address of this node: tunnels that start from it "
                           "stay silent until it is"};
        CHECK(said(plant) == silent);
        give(plant, "10.0.0.2/24");
        CHECK(said(plant) == Notes{});
    }

    TEST_CASE("a spoke's underlay address is where its tunnels start, unless \"local\" is") {
        const std::string gue = "\"type\": \"gretap-gue\", \"nat\"";
        Story by_underlay{example("exit.json"), "site"};
        REQUIRE(said(by_underlay).size() == 2);
        CHECK(said(by_underlay)[0] == "the underlay's interface wan is not there");
        CHECK(said(by_underlay)[1].starts_with("10.20.30.2 is not"));
        add_link(by_underlay.kernel.state, "wan", LinkKind::Other);
        give(by_underlay, "10.20.30.2/24");
        CHECK(said(by_underlay) == Notes{});

        const std::string local = "\"type\": \"gretap-gue\", \"local\": \"10.20.30.9\", \"nat\"";
        Story by_local{example("exit.json", {{gue, local}}), "site"};
        add_link(by_local.kernel.state, "wan", LinkKind::Other);
        give(by_local, "10.20.30.9/24");
        CHECK(said(by_local) == Notes{});
    }

    TEST_CASE("an uplink that lost its IPv6 address, and the bridge that took the uplink's over") {
        Story hub{example("dual-stack.json"), "dual-hub"};
        give(hub, "203.0.113.40/24");
        give(hub, "2001:db8:ff::40/64");
        CHECK(said(hub) == Notes{});
        take(hub, "2001:db8:ff::40");
        CHECK(said(hub) ==
              Notes{"2001:db8:ff::40 is not an address of this node: tunnels that start from it "
                    "stay silent until it is"});

        Story vultr{example("vultr.json"), "vultr"};
        add_link(vultr.kernel.state, "enp1s0", LinkKind::Other);
        vultr.kernel.state.addresses = {
            {IfName::from_kernel("enp1s0"), *IpPrefix::parse("203.0.113.20/24"), true, false}};
        CHECK(said(vultr) == Notes{});
        vultr.apply();
        CHECK(said(vultr) == Notes{});
    }

}  // TEST_SUITE
