// Who carries what: decided for a whole endpoint, from what the file says and what the kernel lacks.

#include "tests/support/plan_story.hpp"
#include "topology/datapath.hpp"
#include "topology/render_plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace overlay;
using test::example;
using test::Story;

namespace {

IfName named(const char* name) { return *IfName::parse(name); }

/// The blog's hub on a kernel that lacks these modules.
Story hub_without(const std::set<std::string>& missing,
                  const std::vector<std::pair<std::string, std::string>>& changes = {}) {
    Story story{example("home.json", changes), "linode"};
    for (const std::string& module : missing) story.kernel.state.modules.erase(module);
    story.kernel.state.missing_modules = missing;
    choose_datapaths(story.intent, story.kernel.state);
    return story;
}

bool runs_overlayd(const Plan& plan, bool starts) {
    return std::ranges::any_of(plan.steps, [&](const PlannedStep& planned) {
        const auto* run = std::get_if<RunOverlayd>(&planned.step);
        return run != nullptr && run->to == starts;
    });
}

const std::set<std::string> all_of_them{"fou", "fou6", "ip_gre", "ip6_gre", "wireguard"};

}  // namespace

TEST_SUITE("datapath") {
    TEST_CASE("a kernel that has everything carries everything") {
        Story story{example("home.json"), "linode"};
        const KernelState before = story.intent.desired;
        choose_datapaths(story.intent, story.kernel.state);
        CHECK(story.intent.desired == before);
        CHECK(story.intent.notes.empty());
    }

    TEST_CASE("a kernel that lacks all of it: TAP, TUN, a port of overlayd, and the module tun") {
        Story story = hub_without(all_of_them);
        const KernelState& wanted = story.intent.desired;
        CHECK(wanted.links.at(named("gt-home")).kind == LinkKind::Tap);
        CHECK(wanted.links.at(named("gt-office")).kind == LinkKind::Tap);
        CHECK(wanted.links.at(named("wg_vpns")).kind == LinkKind::Tun);
        CHECK(wanted.links.at(named("taps_bridge")).kind == LinkKind::Bridge);
        REQUIRE(wanted.fou_ports.size() == 1);
        CHECK(wanted.fou_ports.begin()->datapath == Datapath::Userspace);
        CHECK(wanted.modules == std::set<std::string>{"nf_tables", "tun"});
        CHECK(wanted.overlayd);
        REQUIRE(story.intent.notes.size() == 2);
        CHECK(story.intent.notes[0] ==
              "fou port 5555/ipv4: carried by overlayd, in user space: this kernel has no fou, ip_gre");
        CHECK(story.intent.notes[1] ==
              "wg_vpns: carried by overlayd, in user space: this kernel has no ip_gre, wireguard");
        // Its packets go through that device, whatever routes say.
        CHECK(wanted.links.at(named("gt-office")).gretap->device == named("wg_vpns"));
        CHECK(wanted.links.at(named("gt-home")).gretap->device.empty());
    }

    TEST_CASE("it comes up, is there, and goes, overlayd with it") {
        Story story = hub_without(all_of_them);
        const KernelState before = story.kernel.state;
        const Plan plan = story.plan_now();
        REQUIRE(plan.refusals.empty());
        CHECK(runs_overlayd(plan, true));
        story.apply();
        CHECK(story.plan_now().is_empty());
        CHECK(story.kernel.state.overlayd);
        story.down();
        CHECK(story.kernel.state.links == before.links);
        CHECK(story.kernel.state.fou_ports == before.fou_ports);
        CHECK_FALSE(story.kernel.state.overlayd);
    }

    TEST_CASE("an overlayd that ran before us goes on running") {
        Story story = hub_without(all_of_them);
        story.kernel.state.overlayd = true;
        story.apply();
        story.down();
        CHECK(story.kernel.state.overlayd);
    }

    TEST_CASE("an endpoint goes as a whole: without FOU, GUE by overlayd and WireGuard by the kernel") {
        Story story = hub_without({"fou"});
        CHECK(story.intent.desired.links.at(named("gt-home")).kind == LinkKind::Tap);
        CHECK(story.intent.desired.links.at(named("gt-office")).kind == LinkKind::Gretap);
        CHECK(story.intent.desired.links.at(named("wg_vpns")).kind == LinkKind::Wireguard);
        CHECK(story.intent.desired.modules ==
              std::set<std::string>{"ip_gre", "nf_tables", "tun", "wireguard"});
        const IfName bridge = named("taps_bridge");
        CHECK(story.intent.desired.links.at(named("gt-home")).master == bridge);
        CHECK(story.intent.desired.links.at(named("gt-office")).master == bridge);
    }

    TEST_CASE("WireGuard without GRE is of no use to an Ethernet link in it") {
        Story story = hub_without({"ip_gre"});
        CHECK(story.intent.desired.links.at(named("wg_vpns")).kind == LinkKind::Tun);
    }

    TEST_CASE("\"kernel\" is not overruled: what is missing is refused") {
        Story story =
            hub_without(all_of_them, {{R"("gue": {)", R"("gue": { "datapath": "kernel",)"}});
        CHECK(story.intent.desired.links.at(named("gt-home")).kind == LinkKind::Gretap);
        const Plan plan = story.plan_now();
        std::vector<std::string> refused;
        for (const Refusal& refusal : plan.refusals) refused.push_back(refusal.object);
        CHECK(refused == std::vector<std::string>{"module fou", "module ip_gre"});
    }

    TEST_CASE("\"userspace\" is taken at its word, and the way back is one apply") {
        Story story = hub_without({}, {{R"("gue": {)", R"("gue": { "datapath": "userspace",)"}});
        CHECK(story.intent.notes ==
              std::vector<std::string>{
                  "fou port 5555/ipv4: carried by overlayd, in user space: the file says so"});
        story.apply();
        CHECK(story.kernel.state.links.at(named("gt-home")).kind == LinkKind::Tap);
        story.intent = Story{example("home.json"), "linode"}.intent;
        choose_datapaths(story.intent, story.kernel.state);
        const Plan back = story.plan_now();
        CHECK(back.refusals.empty());
        story.apply();
        CHECK(story.plan_now().is_empty());
        CHECK(story.kernel.state.links.at(named("gt-home")).kind == LinkKind::Gretap);
        CHECK(story.kernel.state.fou_ports.begin()->datapath == Datapath::Kernel);
        CHECK_FALSE(story.kernel.state.overlayd);
    }

    TEST_CASE("a TUN that somebody deleted is made anew, though overlayd holds its port still") {
        Story story = hub_without(all_of_them);
        story.apply();
        KernelState& found = story.kernel.state;
        found.links.erase(named("wg_vpns"));
        found.udp_sockets.insert(
            {.family = Family::Ipv4, .local = {}, .port = 23450, .owner = "pid 7 (overlayd)"});
        const Plan plan = story.plan_now();
        CHECK(plan.refusals.empty());
        CHECK(std::ranges::any_of(plan.steps, [](const PlannedStep& planned) {
            const auto* create = std::get_if<CreateLink>(&planned.step);
            return create != nullptr && create->link.name == named("wg_vpns");
        }));

        found.wireguard.erase(named("wg_vpns"));   // then the port is somebody else's
        CHECK_FALSE(story.plan_now().refusals.empty());
    }

    TEST_CASE("a TAP without overlayd is repaired in place, not made anew") {
        Story story = hub_without(all_of_them);
        story.apply();
        KernelState& found = story.kernel.state;   // overlayd was killed
        found.overlayd = false;
        found.fou_ports.clear();
        found.wireguard.clear();
        for (auto& [name, link] : found.links) {
            if (link.kind == LinkKind::Tap) link.gretap.reset();
        }
        const Plan plan = story.plan_now();
        CHECK(plan.refusals.empty());
        CHECK(runs_overlayd(plan, true));
        for (const PlannedStep& planned : plan.steps) {
            CHECK_FALSE(std::holds_alternative<CreateLink>(planned.step));
            CHECK_FALSE(std::holds_alternative<DeleteLink>(planned.step));
        }
    }
}
