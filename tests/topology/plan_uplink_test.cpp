// An uplink in the bridge: what it learns by router advertisement is nobody's to write.

#include "tests/support/plan_story.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace overlay;
using test::add_link;
using test::example;
using test::Story;

namespace {

IfName named(const char* name) { return IfName::from_kernel(name); }

/// A hub whose uplink goes into the bridge, with addresses and a default route by router advertisement.
struct Vultr : Story {
    Vultr() : Story{example("vultr.json"), "vultr"} {
        add_link(kernel.state, "enp1s0", LinkKind::Other);
        REQUIRE(kernel.execute(AddAddress{{named("enp1s0"), *IpPrefix::parse("203.0.113.20/24"), true, false}}));
        kernel.state.routes.insert(advertised);
        kernel.state.routes.insert(by_hand);
    }
    const Route advertised{.destination = *IpPrefix::parse("::/0"), .gateway = IpAddress::parse("fe80::1"),
                           .device = named("enp1s0"), .metric = 1024, .protocol = 9};
    const Route by_hand{.destination = *IpPrefix::parse("10.9.0.0/16"), .gateway = IpAddress::parse("203.0.113.9"),
                        .device = named("enp1s0"), .protocol = 3};
};

bool writes_advertised(const Plan& plan) {
    return std::any_of(plan.steps.begin(), plan.steps.end(), [](const PlannedStep& planned) {
        const auto* added = std::get_if<AddRoute>(&planned.step);
        const auto* removed = std::get_if<RemoveRoute>(&planned.step);
        return (added != nullptr && added->route.protocol == 9) ||
               (removed != nullptr && removed->route.protocol == 9);
    });
}

}  // namespace

TEST_SUITE("plan: the uplink") {
    TEST_CASE("what routers advertise goes with the uplink's IPv6 and comes with it, by no step of ours") {
        Vultr story;
        const std::set<Route> before = story.kernel.state.routes;

        CHECK_FALSE(writes_advertised(story.plan_now()));
        test::check_every_failure(story.plan_now(), story.kernel);
        story.apply();
        CHECK_FALSE(story.kernel.state.routes.contains(story.advertised));
        CHECK(story.ledger.moved_routes == std::set<Route>{story.by_hand});
        CHECK(story.plan_now().is_empty());

        SUBCASE("down") {}
        SUBCASE("down with a ledger of before, which has them") { story.ledger.moved_routes.insert(story.advertised); }
        SUBCASE("down when the ledger was lost and the bridge has learnt them") {
            Route anew = story.advertised;
            anew.device = named("br-uplink");
            story.kernel.state.routes.insert(anew);
            story.ledger = Ledger{.network = story.ledger.network};
            story.apply();
            story.kernel.state.routes.erase(anew);   // as it goes with the bridge
        }
        story.intent = NodeIntent{.network = story.intent.network};
        CHECK_FALSE(writes_advertised(story.plan_now()));
        test::check_every_failure(story.plan_now(), story.kernel);
        story.down();
        CHECK(story.kernel.state.routes == before);
        CHECK(story.ledger.is_empty());
    }
}  // TEST_SUITE
