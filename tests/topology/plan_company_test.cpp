// What goes along with an object of ours and can be lost without it: connected routes, a bridge's link-local
// address.

#include "tests/support/plan_story.hpp"
#include "topology/step.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using test::example;
using test::Story;

namespace {

/// Of the bridge, removed alone: one of each family is put back, whatever the number of addresses.
void check_connected_routes_come_back(Story& story) {
    story.apply();
    auto& routes = story.kernel.state.routes;
    const auto before = routes;
    std::erase_if(routes, [](const Route& route) {
        return route.device == IfName::from_kernel("br-dual") && !route.gateway;
    });

    const Plan p = story.plan_now();

    REQUIRE(p.steps.size() == 2);
    CHECK(describe(p.steps[0].step) == "add route 192.168.0.0/16 dev br-dual");
    CHECK(describe(p.steps[1].step) == "add route 2001:db8:40::/64 dev br-dual");
    story.apply();
    CHECK(story.plan_now().is_empty());
    CHECK(routes.size() == before.size());
}

}  // namespace

TEST_SUITE("plan: what comes along") {

    TEST_CASE("the route that an address brings along is put back when somebody removes it alone") {
        Story story{example("dual-stack.json"), "dual-hub"};
        check_connected_routes_come_back(story);
    }

    TEST_CASE("a running bridge that lost its link-local address gets it again, and the route to its neighbours") {
        Story story{example("dual-stack.json"), "dual-hub"};
        story.apply();
        KernelState& state = story.kernel.state;
        const IfName name = IfName::from_kernel("br-dual");
        const IpAddress own = *IpAddress::parse("fe80::5eff:fe00:5301");
        const Address address{name, IpPrefix::of(own, 64), true, false};
        const Route others{.destination = *IpPrefix::parse("fe80::/64"),
                           .gateway = {},
                           .device = IfName::from_kernel("eth0"),
                           .metric = 256,
                           .protocol = 2};
        state.routes.insert(others);
        CHECK(story.plan_now().is_empty());   // it does not run yet

        state.links.at(name).link_local = own;
        const Plan lost = story.plan_now();
        REQUIRE(lost.steps.size() == 1);
        CHECK(describe(lost.steps[0].step) == "add address fe80::5eff:fe00:5301/64 on br-dual");
        CHECK(lost.steps[0].origin.path == "hub.bridge");
        CHECK(lost.ledger_after == story.ledger);   // it goes with the bridge

        state.addresses.insert(address);
        const Plan cut_off = story.plan_now();
        REQUIRE(cut_off.steps.size() == 1);
        CHECK(describe(cut_off.steps[0].step) == "add route fe80::/64 dev br-dual");

        Route way = others;
        way.device = name;
        state.routes.insert(way);
        CHECK(story.plan_now().is_empty());

        state.addresses.erase(address);   // any other of them will do
        state.addresses.insert({name, *IpPrefix::parse("fe80::1/64"), true, false});
        CHECK(story.plan_now().is_empty());
    }

    TEST_CASE("two addresses of one network bring one route along: it is put back once") {
        const std::string one = R"("192.168.0.1/16")";
        const std::string two = one + R"(, "192.168.0.2/16", "2001:db8:40::2/64")";
        Story story{example("dual-stack.json", {{one, two}}), "dual-hub"};
        check_connected_routes_come_back(story);
    }

}  // TEST_SUITE
