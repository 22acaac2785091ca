// What the file says about a tunnel's offloads, against what the kernel has of them.

#include "tests/support/plan_story.hpp"
#include "topology/plan.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using test::example;
using test::Story;

namespace {

const char* const spoke = "office";
const IfName tunnel = IfName::from_kernel("gt-linode");

/// home.json, where the office's end of its tunnel has these offloads.
Topology with(const std::string& offload) {
    return example("home.json", {{R"("offload": { "tx": false })", R"("offload": )" + offload}});
}

}  // namespace

TEST_SUITE("plan of offloads") {

TEST_CASE("a tunnel has no rx: to switch it off is nothing to do, and nothing to take back") {
    Story story{with(R"({ "rx": false })"), spoke};
    story.apply();
    CHECK(story.plan_now().is_empty());
    CHECK(story.ledger.offloads.empty());

    story.intent = compile(with("{}"), *with("{}").find(spoke), {});
    CHECK(story.plan_now().is_empty());
}

TEST_CASE("a true rx that an earlier version noted as former is forgotten, not set") {
    Story story{with(R"({ "rx": false })"), spoke};
    story.apply();
    story.ledger.offloads[{tunnel, "rx"}] = Former<bool>{true, false, ""};

    story.intent = compile(with("{}"), *with("{}").find(spoke), {});
    const Plan forgets = story.plan_now();

    CHECK(forgets.steps.empty());
    CHECK(forgets.ledger_after.offloads.empty());
}

TEST_CASE("a group that a hand has switched in part is set as the file says, on or off") {
    for (const bool value : {true, false}) {
        CAPTURE(value);
        Story story{with(value ? R"({ "tso": true })" : R"({ "tso": false })"), spoke};
        story.apply();
        REQUIRE(story.plan_now().is_empty());

        story.kernel.state.offloads.erase({tunnel, "tso"});   // neither on nor off: decode_offloads()
        CHECK_FALSE(story.plan_now().is_empty());

        story.apply();
        CHECK(story.kernel.state.offloads.at({tunnel, "tso"}) == value);
        CHECK(story.plan_now().is_empty());
    }
}

}  // TEST_SUITE
