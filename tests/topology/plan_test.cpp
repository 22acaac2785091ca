// The planner against a model kernel, on the blog's network and on small changes of it.

#include "topology/plan.hpp"

#include "daemon/reconcile/execute.hpp"
#include "tests/support/fake_kernel.hpp"
#include "topology/derive.hpp"
#include "topology/render_plan.hpp"
#include "topology/topology.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

using namespace overlay;
using test::FakeKernel;

namespace {

Topology example(const std::string& name) {
    std::ifstream in{std::string{OVERLAY_SOURCE_DIR} + "/examples/" + name};
    std::stringstream text;
    text << in.rdbuf();
    ParsedFile parsed = parse_topology(text.str(), name);
    CAPTURE(overlay::text(parsed.diagnostics, name, text.str()));
    REQUIRE(parsed.topology);
    REQUIRE_FALSE(has_errors(parsed.diagnostics));
    return *parsed.topology;
}

void add_link(KernelState& state, const char* name, LinkKind kind) {
    Link link{.name = IfName::from_kernel(name), .kind = kind};
    link.alias = "";
    link.mac = MacAddress::parse("52:54:00:00:00:01");
    link.mtu = Mtu{1500};
    link.up = true;
    link.master = IfName{};
    if (kind == LinkKind::Bridge) link.bridge = BridgeAttributes{false, true, false};
    state.links[link.name] = link;
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        state.sysctls[conf_sysctl(family, name, "forwarding")] = "0";
    }
    state.sysctls[conf_sysctl(Family::Ipv6, name, "accept_ra")] = "1";
}

/// A host as a distribution leaves it: an uplink with a default route, a borrowed bridge, a
/// foreigner's things.
KernelState fresh_host() {
    KernelState state;
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        for (const char* scope : {"all", "default"})
            state.sysctls[conf_sysctl(family, scope, "forwarding")] = "0";
    }
    state.sysctls["net.ipv6.conf.default.accept_ra"] = "1";
    state.sysctls["net.ipv4.conf.all.accept_redirects"] = "1";
    state.sysctls["net.ipv4.conf.all.send_redirects"] = "1";
    add_link(state, "eth0", LinkKind::Other);
    add_link(state, "br-lan", LinkKind::Bridge);
    add_link(state, "docker0", LinkKind::Bridge);
    state.addresses.insert(
        {IfName::from_kernel("eth0"), *IpPrefix::parse("1.2.3.4/24"), true, false});
    state.routes.insert({.destination = *IpPrefix::parse("0.0.0.0/0"),
                         .gateway = IpAddress::parse("1.2.3.1"),
                         .device = IfName::from_kernel("eth0"),
                         .protocol = 3});
    state.tables.push_back({});
    state.tables.clear();
    state.all_tables.insert({"ip", "docker"});
    return state;
}

struct Story {
    NodeIntent intent;
    Ledger ledger;
    FakeKernel kernel{fresh_host()};

    Story(const Topology& topology, const std::string& node)
        : intent{compile(topology, *topology.find(node), {})} {}

    Plan plan_now() { return plan(intent, kernel.state, ledger); }
    void apply() {
        const Plan p = plan_now();
        CAPTURE(plan_text(p, "", Colour::Off));
        REQUIRE(p.refusals.empty());
        const Report report = execute(p, kernel);
        CAPTURE(report.failure ? text(*report.failure) : "");
        REQUIRE_FALSE(report.failure);
        ledger = p.ledger_after;
    }
    void down() {
        intent = NodeIntent{.network = intent.network};
        apply();
    }
};

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

    TEST_CASE("an uplink in the bridge speaks no IPv6: what it learnt by advertisement goes") {
        Story story{example("vultr.json"), "vultr"};
        add_link(story.kernel.state, "enp1s0", LinkKind::Other);
        const std::string no_ipv6 = "net.ipv6.conf.enp1s0.disable_ipv6";
        story.kernel.state.sysctls[no_ipv6] = "0";
        const IfName uplink = IfName::from_kernel("enp1s0");
        const Address stated{uplink, *IpPrefix::parse("2001:db8:7::5/64"), true, false};
        story.kernel.state.addresses.insert(stated);
        const auto place = [&](const Plan& plan, const Step& wanted) {
            const auto step = std::find_if(
                plan.steps.begin(), plan.steps.end(),
                [&](const PlannedStep& each) { return describe(each.step) == describe(wanted); });
            REQUIRE(step != plan.steps.end());
            return step - plan.steps.begin();
        };

        const Plan there = story.plan_now();
        story.apply();
        const std::string with_the_move = story.kernel.state.sysctls.at(no_ipv6);
        CHECK(story.plan_now().is_empty());
        story.intent = NodeIntent{.network = story.intent.network};
        const Plan back = story.plan_now();

        CHECK(place(there, RemoveAddress{stated}) < place(there, SetSysctl{no_ipv6, "0", "1", {}}));
        CHECK(with_the_move == "1");
        CHECK(place(back, SetSysctl{no_ipv6, "1", "0", {}}) < place(back, AddAddress{stated}));
    }

    TEST_CASE("the way to the hub stands before, and goes after, the routes into the tunnel") {
        Story story{example("exit.json"), "site"};
        add_link(story.kernel.state, "wan", LinkKind::Other);
        const auto places = [](const Plan& plan, const char* verb) {
            std::string out;
            for (const PlannedStep& each : plan.steps) {
                for (const char* to : {"203.0.113.30/32", "0.0.0.0/1", "128.0.0.0/1"}) {
                    const std::string step = describe(each.step);
                    if (step.starts_with(verb + std::string{" route "} + to))
                        out += std::string{to} + " ";
                }
            }
            return out;
        };

        const Plan there = story.plan_now();
        story.apply();
        story.intent = NodeIntent{.network = story.intent.network};
        const Plan back = story.plan_now();

        CHECK(places(there, "add") == "203.0.113.30/32 0.0.0.0/1 128.0.0.0/1 ");
        CHECK(places(back, "remove") == "128.0.0.0/1 0.0.0.0/1 203.0.113.30/32 ");
    }

    TEST_CASE(
        "a hub in its own bridge stays on the spoke's underlay, not on the tunnel's default") {
        Topology topology = example("vultr.json");
        topology.hub.underlay.addresses = {{*IpAddress::parse("2001:db8:aa::20"), {}}};
        Story story{topology, "laptop"};
        const Route by_uplink{.destination = *IpPrefix::parse("::/0"),
                              .gateway = IpAddress::parse("fe80::7"),
                              .device = IfName::from_kernel("eth0"),
                              .metric = 1024,
                              .protocol = 3};
        story.kernel.state.routes.insert(by_uplink);
        story.apply();
        Route by_tunnel = by_uplink;
        by_tunnel.device =
            spoke_interface(topology, topology.spokes[0], topology.spokes[0].links[0]);
        by_tunnel.gateway = IpAddress::parse("fe80::8");
        by_tunnel.metric = 512;
        by_tunnel.protocol = 9;
        story.kernel.state.routes.insert(by_tunnel);
        const Route pin{.destination = *IpPrefix::parse("2001:db8:aa::20/128"),
                        .gateway = by_uplink.gateway,
                        .device = by_uplink.device,
                        .metric = 1024,
                        .protocol = route_protocol};

        CHECK(story.kernel.state.routes.contains(pin));
        CHECK(story.plan_now().is_empty());
        story.ledger.routes.clear();  // as if made just now
        CHECK(story.plan_now().is_empty());
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
