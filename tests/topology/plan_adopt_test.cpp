// A node that was set up without the ledger's knowledge: by the script of `render`, or by an apply
// whose ledger is gone. The marks say what is ours; the rest must not be lost when it goes.

#include "tests/support/plan_story.hpp"
#include "topology/plan.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using test::add_link;
using test::example;
using test::Story;

TEST_SUITE("plan of what was there") {

TEST_CASE("an uplink that is in the bridge already has its addresses and routes back after down") {
    Story story{example("vultr.json"), "vultr"};
    KernelState& state = story.kernel.state;
    const IfName uplink = IfName::from_kernel("enp1s0");
    add_link(state, uplink.c_str(), LinkKind::Other);
    state.sysctls["net.ipv6.conf.enp1s0.disable_ipv6"] = "0";
    for (const char* prefix : {"203.0.113.20/24", "2001:db8:7::5/64"})
        REQUIRE(story.kernel.execute(AddAddress{{uplink, *IpPrefix::parse(prefix), true, false}}));
    state.routes.insert({.destination = *IpPrefix::parse("198.51.100.0/24"),
                         .gateway = IpAddress::parse("203.0.113.254"),
                         .device = uplink,
                         .protocol = 3});
    const KernelState before = state;
    story.apply();
    story.ledger = Ledger{.network = story.intent.network};

    CHECK(story.plan_now().is_empty());
    story.apply();
    story.down();

    CHECK(state.links == before.links);
    CHECK(state.addresses == before.addresses);
    CHECK(state.routes == before.routes);
    CHECK(state.sysctls.at("net.ipv6.conf.enp1s0.disable_ipv6") == "0");
}

TEST_CASE("what somebody adds to the bridge later is not the uplink's") {
    Story story{example("vultr.json"), "vultr"};
    KernelState& state = story.kernel.state;
    const IfName uplink = IfName::from_kernel("enp1s0");
    const IfName bridge = IfName::from_kernel("br-uplink");
    const IpPrefix moved = *IpPrefix::parse("203.0.113.20/24");
    const IpPrefix later = *IpPrefix::parse("10.1.1.1/24");
    add_link(state, uplink.c_str(), LinkKind::Other);
    state.addresses.insert({uplink, moved, true, false});
    story.apply();
    story.ledger = Ledger{.network = story.intent.network};
    story.apply();
    state.addresses.insert({bridge, later, true, false});

    story.apply();
    story.down();

    CHECK(state.addresses.contains({uplink, moved, true, false}));
    CHECK_FALSE(state.addresses.contains({uplink, later, true, false}));
}

TEST_CASE("an uplink with an address of NetworkManager's is refused before it is cut off") {
    Story story{example("vultr.json"), "vultr"};
    KernelState& state = story.kernel.state;
    const IfName uplink = IfName::from_kernel("enp1s0");
    const IpPrefix prefix = *IpPrefix::parse("203.0.113.20/24");
    add_link(state, uplink.c_str(), LinkKind::Other);
    state.addresses.insert({uplink, prefix, true, true});   // noprefixroute
    const Route own{.destination = prefix.network(), .device = uplink, .metric = 100, .protocol = 2};
    state.routes.insert(own);

    const Plan p = story.plan_now();

    REQUIRE(p.refusals.size() == 1);
    CHECK(p.refusals[0].object == "route 203.0.113.0/24 dev br-uplink");
    state.addresses.clear();
    state.addresses.insert({uplink, prefix, true, false});
    CHECK(story.plan_now().refusals.empty());
}

}
