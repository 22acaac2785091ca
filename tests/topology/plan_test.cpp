// The planner against a model kernel, on the blog's network and on small changes of it.

#include "topology/plan.hpp"

#include "daemon/reconcile/execute.hpp"
#include "tests/support/plan_story.hpp"
#include "topology/derive.hpp"
#include "topology/render_plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>

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
                const Underlay& underlay = topology.find(node)->underlay;
                if (const auto& uplink = underlay.interface) {
                    if (!story.kernel.state.links.contains(uplink->value))
                        add_link(story.kernel.state, uplink->value.c_str(), LinkKind::Other);
                    for (const auto& gateway : underlay.gateways) {   // in a network of its own
                        const Address beside{uplink->value, IpPrefix::of(gateway.value, 24), true, false};
                        REQUIRE(story.kernel.execute(AddAddress{beside}));
                    }
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

    TEST_CASE("a module that this kernel has not is refused before anything is changed") {
        Story story{example("home.json"), "linode"};
        story.kernel.state.missing_modules = {"wireguard", "tun"};

        const Plan p = story.plan_now();

        REQUIRE(p.refusals.size() == 1);
        CHECK(p.refusals[0].object == "module wireguard");
        CHECK(p.refusals[0].reason == "this kernel has no such module");
    }

    TEST_CASE("large receive offload goes with forwarding, visibly, and comes back with its end") {
        Story story{example("home.json"), "linode"};
        const OffloadKey uplink{IfName::from_kernel("eth0"), "lro"};
        story.kernel.state.offloads[uplink] = true;
        const KernelState before = story.kernel.state;

        const std::string told = plan_text(story.plan_now(), "", Colour::Off);
        CHECK(told.find("offload lro of eth0") != std::string::npos);
        CHECK(told.find("a router has none") != std::string::npos);
        story.apply();
        CHECK_FALSE(story.kernel.state.offloads.at(uplink));
        CHECK(story.plan_now().is_empty());

        story.down();
        CHECK(story.kernel.state.offloads == before.offloads);
        CHECK(story.ledger.is_empty());
    }

    TEST_CASE("large receive offload of a borrowed port goes and comes with the port") {
        Story story{example("vultr.json"), "vultr"};
        const OffloadKey uplink{IfName::from_kernel("enp1s0"), "lro"};
        add_link(story.kernel.state, "enp1s0", LinkKind::Other);
        story.intent.desired.sysctls.clear();   // by the port alone
        story.kernel.state.offloads[uplink] = true;

        story.apply();
        CHECK_FALSE(story.kernel.state.offloads.at(uplink));
        CHECK(story.plan_now().is_empty());

        story.down();
        CHECK(story.kernel.state.offloads.at(uplink));
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
        test::check_every_failure(plan(NodeIntent{.network = "home"}, story.kernel.state, story.ledger),
                                  story.kernel);
    }

    TEST_CASE("a tunnel bound to its WireGuard device is made after it, and made again after it") {
        const ParsedFile file = parse_topology(R"({"version":1,"network":"n",
            "hub":{"name":"hub","underlay":{"addresses":["203.0.113.1"]},
                   "bridge":{"addresses":["10.50.0.1/16"]},
                   "wireguard":{"address":"10.9.0.1/24",
                                "public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
            "spokes":{"s":{"links":{
              "tap":{"type":"gretap-wireguard",
                     "public_key":"YFG2YFYbfioe0U3mVDIikyXtyeHJapfZNAI5+Y7wq0E="},
              "tun":{"type":"wireguard",
                     "public_key":"esrl9+TwCtL2NSTgo3lFQYZFiUuGK1hqdX7DP41ZMEo="}}}}})",
                                               "n.json");
        REQUIRE(file.topology);
        Story story{*file.topology, "s"};
        story.apply();
        CHECK(story.plan_now().is_empty());

        const KernelState before = story.kernel.state;
        const Plan p = plan(NodeIntent{.network = "n"}, before, story.ledger);
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

    TEST_CASE("an interface of another network of ours is refused, with the keys that mend it") {
        Story story{example("home.json"), "linode"};
        const char* bridge = "taps_bridge";
        add_link(story.kernel.state, bridge, LinkKind::Bridge);
        story.kernel.state.links[IfName::from_kernel(bridge)].alias = "overlay:company:.bridge";

        const Plan p = story.plan_now();

        REQUIRE(p.refusals.size() == 1);
        CHECK(p.refusals[0].reason ==
              "an interface named taps_bridge exists (bridge, of network company) and is not ours");
        CHECK(p.refusals[0].hint ==
              "if company is this network's former name: overlayctl down company, then again; else give ours another "
              "name in the file: \"name\" of the bridge");
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

    TEST_CASE("a route that somebody put in the place of ours is a change of ours") {
        Story story{example("layer3.json"), example("layer3.json").hub.name};
        story.apply();
        const KernelState wanted = story.kernel.state;
        const auto ours =
            std::find_if(wanted.routes.begin(), wanted.routes.end(),
                         [](const Route& r) { return r.protocol == route_protocol; });
        REQUIRE(ours != wanted.routes.end());
        const auto replaced = [&](auto change) {
            Route other = *ours;
            other.protocol = 3;   // "boot": what `ip route replace` says of itself
            change(other);
            return other;
        };
        for (const Route& other :
             {replaced([](Route&) {}), replaced([](Route& r) { r.metrics["mtu"] = 1000; }),
              replaced([](Route& r) { r.device = IfName::from_kernel("eth0"); }),
              replaced([](Route& r) {
                  r.type = RouteType::Blackhole;
                  r.device = IfName{};
              })}) {
            story.kernel.state.routes.erase(*ours);
            story.kernel.state.routes.insert(other);
            CHECK(story.plan_now().steps.size() == 2);
            story.apply();
            CHECK(story.kernel.state.routes == wanted.routes);
        }
    }

    TEST_CASE("a port flag of a tunnel that somebody set by hand is put back") {
        Story story{example("home.json"), "linode"};
        story.apply();
        Link& link = story.kernel.state.links.at(IfName::from_kernel("gt-office"));
        link.port->isolated = true;

        const Plan p = story.plan_now();

        REQUIRE(p.steps.size() == 1);
        CHECK(plan_text(p, "", Colour::Off).find("isolated on -> off") != std::string::npos);
        story.apply();
        CHECK_FALSE(link.port->isolated);
    }

    TEST_CASE("an alternative name of a foreign link is taken, and named") {
        Story story{example("home.json"), "linode"};
        story.kernel.state.alternative_names[IfName::from_kernel("taps_bridge")] =
            IfName::from_kernel("docker0");

        const Plan p = story.plan_now();

        REQUIRE(p.refusals.size() == 1);
        CHECK(p.refusals[0].reason ==
              "taps_bridge is another name (altname) of docker0, which is not ours");
    }

    TEST_CASE("a FOU port that somebody bound to one address is made anew; a stranger's is refused") {
        Story story{example("home.json"), "linode"};
        const FouPort bound{.port = 5555, .local = IpAddress::parse("1.2.3.4")};
        story.kernel.state.fou_ports.insert(bound);
        story.kernel.state.udp_sockets.insert({Family::Ipv4, *bound.local, 5555, ""});
        CHECK(story.plan_now().refusals.size() == 1);

        story.kernel.state.fou_ports.clear();
        story.kernel.state.udp_sockets.clear();
        story.apply();
        const KernelState wanted = story.kernel.state;
        story.kernel.state.fou_ports = {bound};
        story.apply();
        CHECK(story.kernel.state.fou_ports == wanted.fou_ports);
    }

    TEST_CASE("IPv6 that is switched off where the file has an address of it is switched on") {
        Story story{example("home.json"), "linode"};
        story.kernel.state.sysctls["net.ipv6.conf.default.disable_ipv6"] = "1";
        story.apply();
        CHECK(story.kernel.state.sysctls["net.ipv6.conf.taps_bridge.disable_ipv6"] == "0");
        story.kernel.state.sysctls["net.ipv6.conf.taps_bridge.disable_ipv6"] = "1";

        const Plan p = story.plan_now();

        REQUIRE(p.steps.size() == 1);
        CHECK(describe(p.steps[0].step) == "set sysctl net.ipv6.conf.taps_bridge.disable_ipv6");
    }

    TEST_CASE("what an uplink's address and route have besides goes to the bridge and comes back") {
        const Topology topology = example("vultr.json");
        Story story{topology, topology.hub.name};
        const IfName uplink = topology.hub.underlay.interface->value;
        KernelState& state = story.kernel.state;
        add_link(state, uplink.c_str(), LinkKind::Other);
        Address leased{uplink, *IpPrefix::parse("203.0.113.20/24"), false, true};
        leased.details.broadcast = IpAddress::parse("203.0.113.255");
        leased.details.valid_seconds = leased.details.preferred_seconds = 3600;
        state.addresses.insert(leased);
        Address deprecated{uplink, *IpPrefix::parse("2001:db8::d/64"), false, false};
        deprecated.details.valid_seconds = 0xffffffff;
        deprecated.details.preferred_seconds = 0;
        REQUIRE(story.kernel.execute(AddAddress{deprecated}));
        const Route route{.destination = *IpPrefix::parse("0.0.0.0/0"),
                          .gateway = IpAddress::parse("169.254.1.1"),
                          .device = uplink,
                          .metric = 100,
                          .protocol = 16,
                          .source = IpAddress::parse("203.0.113.20"),
                          .on_link = true,
                          .metrics = {{"mtu", 1400}}};
        state.routes.insert(route);
        const KernelState before = state;

        story.apply();
        const IfName bridge = topology.hub.bridge->name.value;
        Route there = route;
        there.device = bridge;
        CHECK(state.routes.contains(there));
        const auto moved = state.addresses.find({bridge, leased.prefix, true, true});
        REQUIRE(moved != state.addresses.end());
        CHECK(moved->details.broadcast == leased.details.broadcast);
        CHECK(state.addresses.contains({bridge, deprecated.prefix, false, false}));

        story.down();
        CHECK(state.routes == before.routes);
        const auto back = state.addresses.find(leased);
        REQUIRE(back != state.addresses.end());
        CHECK(back->details.valid_seconds == 3600U);
        CHECK(state.addresses.contains(deprecated));
    }

    TEST_CASE("the way to the hub stands before, and goes after, the routes into the tunnel") {
        Story story{example("exit.json"), "site"};
        const IfName wan = IfName::from_kernel("wan");
        add_link(story.kernel.state, "wan", LinkKind::Other);
        REQUIRE(story.kernel.execute(AddAddress{{wan, *IpPrefix::parse("10.20.30.2/24"), true, false}}));
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
