// An uplink in the bridge: what it learns by router advertisement is nobody's to write, and there is one at a time.

#include "tests/support/plan_story.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace overlay;
using test::add_link;
using test::example;
using test::Story;

namespace {

IfName named(const char* name) { return IfName::from_kernel(name); }

using Changes = std::vector<std::pair<std::string, std::string>>;

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

    TEST_CASE("another uplink does not enter the bridge before the one that is there has what it had again") {
        const Changes other_one{{R"("enp1s0")", R"("enp2s0")"}};
        const Changes none{{R"(, "in_bridge": true)", ""}};
        const auto what_it_had = [](const char* kind, Ledger all) {
            Ledger out{.network = all.network, .node = all.node, .borrowed = all.borrowed};
            if (kind == std::string{"address"}) out.moved_addresses = all.moved_addresses;
            if (kind == std::string{"route"}) out.moved_routes = all.moved_routes;
            if (kind == std::string{"neighbour"}) out.moved_neighbours = all.moved_neighbours;
            return out;
        };
        const auto go = [](Story& story, const Topology& file) { story.intent = compile(file, file.hub, {}); };
        Vultr story;
        add_link(story.kernel.state, "enp2s0", LinkKind::Other);
        story.kernel.state.neighbours = {{.link = named("enp1s0"), .address = *IpAddress::parse("203.0.113.9"),
                                          .mac = MacAddress::parse("02:00:00:00:0f:09")}};
        const KernelState before = story.kernel.state;
        story.apply();

        go(story, example("vultr.json", other_one));
        for (const char* kind : {"address", "route", "neighbour"}) {
            CAPTURE(kind);
            const Plan refused = plan(story.intent, story.kernel.state, what_it_had(kind, story.ledger));
            REQUIRE(refused.refusals.size() == 1);
            CHECK(refused.refusals[0].object == "link enp2s0");
            CHECK(refused.refusals[0].reason == "enp1s0 is the uplink in the bridge now");
            CHECK(refused.refusals[0].hint == "take it out first: apply with in_bridge false, or down");
        }

        go(story, example("vultr.json", none));
        story.apply();
        CHECK(story.kernel.state.routes.contains(story.by_hand));
        go(story, example("vultr.json", other_one));
        story.apply();
        CHECK(story.kernel.state.links.at(named("enp2s0")).master == named("br-uplink"));
        CHECK(story.kernel.state.links.at(named("enp1s0")) == before.links.at(named("enp1s0")));
        story.down();
        CHECK(story.kernel.state.routes == before.routes);
        CHECK(story.kernel.state.addresses == before.addresses);
        CHECK(story.kernel.state.neighbours == before.neighbours);
    }

}  // TEST_SUITE
