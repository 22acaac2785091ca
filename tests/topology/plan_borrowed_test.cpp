// What we borrow was there before us: down gives it back as it was when we first took it, whatever hands have made of
// it meanwhile.

#include "tests/support/plan_story.hpp"
#include "topology/plan.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using test::add_link;
using test::check_every_failure;
using test::example;
using test::parsed;
using test::Story;
using test::told;

namespace {

const IfName lan_port = IfName::from_kernel("lan0");
const IfName router_bridge = IfName::from_kernel("br-lan");
const IfName uplink_port = IfName::from_kernel("enp1s0");

/// A hub with a port of the host's in its bridge.
Story with_port() {
    Story story{parsed(R"({"version": 1, "network": "net", "hub": {"name": "hub",
        "underlay": {"addresses": ["203.0.113.1"]},
        "bridge": {"name": "br-hub", "addresses": ["192.168.0.1/16"], "ports": ["lan0"]}, "gue": {}},
        "spokes": {"me": {"link": {"type": "gretap-gue", "local": "198.51.100.1"}}}})"), "hub"};
    add_link(story.kernel.state, "lan0", LinkKind::Other);
    return story;
}

/// A site at home in a router's own bridge, with an MTU that the file states, too.
Story with_mtu(std::uint32_t before_us) {
    Story story{parsed(R"({"version": 1, "network": "net", "hub": {"name": "hub",
        "underlay": {"addresses": ["203.0.113.1"]}, "bridge": {"addresses": ["192.168.0.1/16"]}, "gue": {}},
        "spokes": {"me": {"link": {"type": "gretap-gue", "local": "198.51.100.1"}, "bridge": {
        "name": "br-lan", "existing": true, "mtu": 1400, "addresses": ["192.168.1.1/16"]}}}})"), "me"};
    story.kernel.state.links.at(router_bridge).mtu = Mtu{before_us};
    return story;
}

}  // namespace

TEST_SUITE("plan: borrowed") {

    TEST_CASE("a port that was up before us, was set down by hand and is repaired stays up after down") {
        for (const bool is_up_first : {true, false}) {
            CAPTURE(is_up_first);
            Story story = with_port();
            Link& port = story.kernel.state.links.at(lan_port);
            port.up = is_up_first;
            story.apply();
            port.up = false;

            story.apply();
            CHECK(port.up == true);
            CHECK(story.plan_now().is_empty());
            story.down();

            CHECK(port.up == is_up_first);
            CHECK(port.master == IfName{});
            CHECK(story.ledger.is_empty());
        }
    }

    TEST_CASE("an uplink in the bridge that was set down by hand and is repaired stays up after down") {
        Story story{example("vultr.json"), "vultr"};
        KernelState& state = story.kernel.state;
        add_link(state, "enp1s0", LinkKind::Other);
        state.addresses.insert({uplink_port, *IpPrefix::parse("203.0.113.20/24"), true, false});
        const Link before = state.links.at(uplink_port);
        story.apply();
        state.links.at(uplink_port).up = false;
        story.apply();

        check_every_failure(plan(NodeIntent{.network = "vultr"}, state, story.ledger), story.kernel);
        story.down();

        CHECK(state.links.at(uplink_port) == before);
        CHECK(told(story.plan_now()).find("0 to add, 0 to change") != std::string::npos);
    }

    TEST_CASE("an MTU that was set by hand and is repaired goes back to what it was before us") {
        for (const std::uint32_t before : {1400U, 1450U}) {
            CAPTURE(before);
            Story story = with_mtu(before);
            Link& bridge = story.kernel.state.links.at(router_bridge);
            story.apply();
            bridge.mtu = Mtu{1500};

            story.apply();
            CHECK(bridge.mtu == Mtu{1400});
            story.down();

            CHECK(bridge.mtu == Mtu{before});
        }
    }

    TEST_CASE("what a hand has changed and nobody has repaired is left alone by down") {
        Story mtu = with_mtu(1400);
        mtu.apply();
        mtu.kernel.state.links.at(router_bridge).mtu = Mtu{1500};
        mtu.down();
        CHECK(mtu.kernel.state.links.at(router_bridge).mtu == Mtu{1500});

        Story port = with_port();
        port.apply();
        port.kernel.state.links.at(lan_port).up = false;
        port.down();
        CHECK(port.kernel.state.links.at(lan_port).up == false);
    }

    TEST_CASE("a port that is in our bridge and not in the ledger leaves it when the file does not name it any more") {
        Story story = with_port();
        story.apply();
        story.ledger.borrowed.clear();
        story.apply();

        story.intent.borrowed.erase(lan_port);
        story.intent.desired.links.erase(lan_port);
        story.apply();

        CHECK(story.kernel.state.links.at(lan_port).master == IfName{});
    }

}
