// The planner against a model kernel, on the blog's network and on small changes of it.

#include "topology/plan.hpp"

#include "daemon/reconcile/execute.hpp"
#include "tests/support/plan_story.hpp"
#include "topology/render_plan.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using test::add_link;
using test::example;
using test::FakeKernel;
using test::Story;

namespace {

const char* const every_example[] = {"home.json",       "home-verbatim.json", "exit.json",
                                     "dual-stack.json", "smallest.json",      "company.json",
                                     "layer3.json",     "vultr.json"};

}  // namespace

TEST_SUITE("plan") {

    TEST_CASE(
        "apply, then plan: empty, on every node of every example; down brings the host back") {
        for (const char* file : every_example) {
            const Topology topology = example(file);
            for (const std::string& node : topology.node_names()) {
                CAPTURE(file);
                CAPTURE(node);
                Story story{topology, node};
                for (const IfName& name : story.intent.borrowed) {  // what the file says exists
                    if (!story.kernel.state.links.contains(name))
                        add_link(story.kernel.state, name.c_str(), LinkKind::Other);
                }
                if (const auto& uplink = topology.find(node)->underlay.interface) {
                    if (!story.kernel.state.links.contains(uplink->value))
                        add_link(story.kernel.state, uplink->value.c_str(), LinkKind::Other);
                }
                const KernelState before = story.kernel.state;

                story.apply();
                const Plan again = story.plan_now();
                CAPTURE(plan_text(again, "", Colour::Off));
                CHECK(again.is_empty());
                CHECK(again.refusals.empty());
                CHECK(again.ledger_after == story.ledger);

                story.down();
                KernelState after = story.kernel.state;
                after.modules = before.modules;  // modules stay
                CHECK(after.links == before.links);
                CHECK(after.addresses == before.addresses);
                CHECK(after.routes == before.routes);
                CHECK(after.sysctls == before.sysctls);
                CHECK(after.fou_ports == before.fou_ports);
                CHECK(after.tables.empty());
                CHECK(story.ledger.is_empty());
            }
        }
    }

    TEST_CASE(
        "a failed step undoes what was done and leaves the kernel as found, at every step of every "
        "example") {
        for (const char* file : every_example) {
            const Topology topology = example(file);
            Story story{topology, topology.hub.name};
            const KernelState before = story.kernel.state;
            const Plan p = story.plan_now();
            for (std::size_t fail_at = 0; fail_at < p.steps.size(); ++fail_at) {
                for (const auto refusal :
                     {FakeKernel::Refusal::Clean, FakeKernel::Refusal::TookEffect}) {
                    CAPTURE(file);
                    CAPTURE(describe(p.steps[fail_at].step));
                    FakeKernel kernel{before};
                    kernel.fail_at = fail_at;
                    kernel.refusal = refusal;
                    const Report report = execute(p, kernel);
                    CHECK(report.failure);
                    CHECK(report.undo_failures.empty());
                    kernel.state.modules = before.modules;
                    CHECK(kernel.state == before);
                }
            }
        }
    }

    TEST_CASE("a failed down leaves everything up, at every step") {
        const Topology topology = example("home.json");
        Story story{topology, "linode"};
        story.apply();
        const KernelState before = story.kernel.state;
        const Plan p = plan(NodeIntent{.network = "home"}, before, story.ledger);
        for (std::size_t fail_at = 0; fail_at < p.steps.size(); ++fail_at) {
            CAPTURE(describe(p.steps[fail_at].step));
            FakeKernel kernel{before};
            kernel.fail_at = fail_at;
            const Report report = execute(p, kernel);
            CHECK(report.undo_failures.empty());
            CHECK(kernel.state == before);
        }
    }

    TEST_CASE("forwarding comes after accept_ra, and the guards before the links they guard") {
        Story story{example("home.json"), "linode"};
        const Plan p = story.plan_now();
        std::ptrdiff_t accept_ra = -1, forwarding = -1, guard = -1, first_link = -1;
        for (std::size_t i = 0; i < p.steps.size(); ++i) {
            const auto at = static_cast<std::ptrdiff_t>(i);
            const std::string what = describe(p.steps[i].step);
            if (what == "set sysctl net.ipv6.conf.eth0.accept_ra") accept_ra = at;
            if (what == "set sysctl net.ipv6.conf.all.forwarding") forwarding = at;
            if (what == "add nft table bridge overlay_home") guard = at;
            if (std::holds_alternative<CreateLink>(p.steps[i].step) && first_link < 0)
                first_link = at;
        }
        CHECK(accept_ra >= 0);
        CHECK(accept_ra < forwarding);
        CHECK(guard >= 0);
        CHECK(guard < first_link);
    }

    TEST_CASE("a foreign interface with a name of ours is refused and named") {
        Story story{example("home.json"), "linode"};
        add_link(story.kernel.state, "taps_bridge", LinkKind::Bridge);
        story.kernel.state.links[IfName::from_kernel("taps_bridge")].alias = "somebody's";

        const Plan p = story.plan_now();

        REQUIRE(p.refusals.size() == 1);
        CHECK(p.refusals[0].object == "link taps_bridge");
        CHECK(
            p.refusals[0].reason ==
            "an interface named taps_bridge exists (bridge, alias \"somebody's\") and is not ours");
    }

    TEST_CASE("one added WireGuard spoke is one added peer and touches no other") {
        Story story{example("home.json"), "linode"};
        story.apply();
        NodeIntent less = story.intent;
        const IfName wg = IfName::from_kernel("wg_vpns");
        const PublicKey gone = less.desired.wireguard[wg].peers.begin()->first;
        less.desired.wireguard[wg].peers.erase(gone);

        const Plan p = plan(less, story.kernel.state, story.ledger);

        REQUIRE(p.steps.size() == 1);
        CHECK(describe(p.steps[0].step) == "remove peer " + text(gone) + " of wg_vpns");
        CHECK(p.steps[0].impact == Impact::SessionLoss);
    }

    TEST_CASE("forwarding that was on before us stays on after us, on single interfaces, too") {
        Story story{example("home.json"), "linode"};
        story.kernel.state.sysctls["net.ipv4.conf.docker0.forwarding"] = "1";
        story.apply();
        CHECK(story.kernel.state.sysctls["net.ipv4.conf.eth0.forwarding"] == "1");

        story.down();

        CHECK(story.kernel.state.sysctls["net.ipv4.conf.all.forwarding"] == "0");
        CHECK(story.kernel.state.sysctls["net.ipv4.conf.eth0.forwarding"] == "0");
        CHECK(story.kernel.state.sysctls["net.ipv4.conf.docker0.forwarding"] == "1");
    }

    TEST_CASE("a value that somebody changed after us is left alone by down") {
        Story story{example("home.json"), "linode"};
        story.apply();
        story.kernel.state.sysctls["net.ipv6.conf.eth0.accept_ra"] = "0";

        story.down();

        CHECK(story.kernel.state.sysctls["net.ipv6.conf.eth0.accept_ra"] == "0");
    }

    TEST_CASE("an address that a borrowed bridge had before us survives down") {
        Story story{example("home.json"), "home"};
        const Address own{IfName::from_kernel("br-lan"), *IpPrefix::parse("192.168.88.6/16"), true,
                          false};
        story.kernel.state.addresses.insert(own);
        story.apply();

        story.down();

        CHECK(story.kernel.state.addresses.contains(own));
    }

}  // TEST_SUITE
