// What somebody else has written on links that we change is there afterwards, or where the uplink's is.

#include "daemon/reconcile/execute.hpp"
#include "tests/support/plan_story.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace overlay;
using test::add_link;
using test::example;
using test::FakeKernel;
using test::Story;

namespace {

IfName named(const char* name) { return IfName::from_kernel(name); }

Neighbour neighbour(const char* link, const char* address, const char* mac) {
    return {.link = named(link), .address = *IpAddress::parse(address), .mac = MacAddress::parse(mac)};
}

Neighbour proxy(const char* link, const char* address) {
    return {.link = named(link), .address = *IpAddress::parse(address), .mac = {}, .is_proxy = true};
}

/// A hub whose uplink goes into the bridge, with a gateway that answers no ARP and an address that it is a proxy for.
struct Vultr : Story {
    Vultr() : Story{example("vultr.json"), "vultr"} {
        add_link(kernel.state, "enp1s0", LinkKind::Other);
        REQUIRE(kernel.execute(AddAddress{{named("enp1s0"), *IpPrefix::parse("203.0.113.20/24"), true, false}}));
        Neighbour gateway = neighbour("enp1s0", "203.0.113.1", "02:00:00:00:0f:01");
        gateway.protocol = 4;   // static, as of /etc/iproute2/rt_protos
        Neighbour router = neighbour("enp1s0", "fe80::1", "02:00:00:00:0f:01");
        router.is_router = true;
        kernel.state.neighbours = {gateway, router, proxy("enp1s0", "2001:db8::70"), proxy("enp1s0", "203.0.113.70")};
    }
    /// On whichever link they are.
    [[nodiscard]] std::set<Neighbour> at(const char* link) const {
        std::set<Neighbour> out;
        for (const Neighbour& each : kernel.state.neighbours) {
            if (each.link == named(link)) out.insert(each);
        }
        return out;
    }
    [[nodiscard]] static std::set<Neighbour> moved(const std::set<Neighbour>& all, const char* link) {
        std::set<Neighbour> out;
        for (Neighbour each : all) {
            each.link = named(link);
            out.insert(each);
        }
        return out;
    }
};

/// All steps are done, and neither what was lost is put back nor the ledger written.
void kill_down(Story& story) {
    story.intent = NodeIntent{.network = story.intent.network};
    const Plan down = story.plan_now();
    for (const PlannedStep& planned : down.steps) REQUIRE(story.kernel.execute(planned.step));
    story.ledger = down.ledger_during;
}

}  // namespace

TEST_SUITE("plan: bystanders") {

    TEST_CASE("what is written about the uplink's neighbours goes to the bridge and comes back") {
        Vultr story;
        const std::set<Neighbour> before = story.kernel.state.neighbours;

        test::check_every_failure(story.plan_now(), story.kernel);
        const std::string told = test::told(story.plan_now());
        CHECK(told.find("+ neighbour fe80::1 dev br-uplink") != std::string::npos);
        CHECK(told.find("      type permanent lladdr 02:00:00:00:0f:01 router\n") != std::string::npos);
        CHECK(told.find("- proxy for 203.0.113.70 dev enp1s0") != std::string::npos);
        story.apply();
        CHECK(story.at("enp1s0").empty());
        CHECK(story.at("br-uplink") == Vultr::moved(before, "br-uplink"));
        CHECK(story.plan_now().is_empty());

        SUBCASE("one that is lost is put back, one that somebody changed stays as he wants it") {
            story.kernel.state.neighbours.erase(proxy("br-uplink", "203.0.113.70"));
            std::erase_if(story.kernel.state.neighbours,
                          [](const Neighbour& n) { return n.address == IpAddress::parse("fe80::1"); });
            const Neighbour his = neighbour("br-uplink", "fe80::1", "02:00:00:00:0f:02");
            story.kernel.state.neighbours.insert(his);
            story.apply();
            CHECK(story.kernel.state.neighbours.contains(proxy("br-uplink", "203.0.113.70")));
            CHECK(story.kernel.state.neighbours.contains(his));
            CHECK(story.at("br-uplink").size() == before.size());
        }
        SUBCASE("one that is written about the uplink later follows") {
            story.kernel.state.neighbours.insert(proxy("enp1s0", "203.0.113.71"));
            story.apply();
            CHECK(story.kernel.state.neighbours.contains(proxy("br-uplink", "203.0.113.71")));
            CHECK(story.at("enp1s0").empty());
        }
        SUBCASE("down") {
            const NodeIntent nothing{.network = story.intent.network};
            story.intent = nothing;
            test::check_every_failure(story.plan_now(), story.kernel);
            story.down();
            CHECK(story.kernel.state.neighbours == before);
            CHECK(story.ledger.is_empty());
        }
        SUBCASE("down when the ledger was lost") {
            story.ledger = Ledger{.network = story.ledger.network};
            story.apply();
            story.down();
            CHECK(story.kernel.state.neighbours == before);
        }
        SUBCASE("the bridge gets another name, then goes") {
            Topology other = example("vultr.json");
            other.hub.bridge->name.value = named("br-other");
            story.intent = compile(other, other.hub, {});
            test::check_every_failure(story.plan_now(), story.kernel);
            story.apply();
            CHECK(story.kernel.state.neighbours == Vultr::moved(before, "br-other"));
            story.down();
            CHECK(story.kernel.state.neighbours == before);
        }
        SUBCASE("the uplink leaves a bridge that stays") {
            Topology other = example("vultr.json");
            other.hub.underlay.in_bridge.value = false;
            story.intent = compile(other, other.hub, {});
            test::check_every_failure(story.plan_now(), story.kernel);
            story.apply();
            CHECK(story.kernel.state.neighbours == before);
        }
    }

    TEST_CASE("what somebody changed about a neighbour on the bridge is what goes back to the uplink") {
        Vultr story;
        const std::size_t count = story.kernel.state.neighbours.size();
        story.apply();
        std::erase_if(story.kernel.state.neighbours,
                      [](const Neighbour& n) { return n.address == IpAddress::parse("fe80::1"); });
        story.kernel.state.neighbours.insert(neighbour("br-uplink", "fe80::1", "02:00:00:00:0f:02"));
        bool is_applied = false, is_killed = false;
        SUBCASE("at once") {}
        SUBCASE("after an apply") { is_applied = true; }
        SUBCASE("by a second down, after the first was killed") { is_killed = true; }
        if (is_applied) story.apply();
        if (is_killed) kill_down(story);
        story.down();
        CHECK(story.kernel.state.neighbours.contains(neighbour("enp1s0", "fe80::1", "02:00:00:00:0f:02")));
        CHECK(story.kernel.state.neighbours.size() == count);
    }

    TEST_CASE("routes of the uplink move and come back each after the one by which its gateway is reached") {
        Vultr story;
        KernelState& state = story.kernel.state;
        const auto route = [&](const char* to, const char* via) {
            Route out{.destination = *IpPrefix::parse(to), .device = named("enp1s0"), .metric = 100, .protocol = 3};
            if (*via != 0) out.gateway = IpAddress::parse(via);
            REQUIRE(story.kernel.execute(AddRoute{out}));
        };
        route("172.31.1.1/32", "");   // as hosters do whose gateway is in no network of ours
        route("0.0.0.0/0", "172.31.1.1");
        route("198.51.0.0/16", "");
        route("10.1.1.0/24", "198.51.0.9");
        const KernelState before = state;
        test::check_every_failure(story.plan_now(), story.kernel);
        story.apply();
        CHECK(story.plan_now().is_empty());
        const NodeIntent nothing{.network = story.intent.network};
        story.intent = nothing;
        test::check_every_failure(story.plan_now(), story.kernel);
        story.down();
        CHECK(state.routes == before.routes);
    }

    TEST_CASE("a borrowed bridge that had no IPv4 address keeps what it had when ours goes") {
        Story story{example("home.json"), "home"};
        KernelState& state = story.kernel.state;
        state.neighbours = {neighbour("br-lan", "192.168.88.9", "02:00:00:00:0a:09"),
                            neighbour("br-lan", "fd00::9", "02:00:00:00:0a:09")};
        Route beyond{.destination = *IpPrefix::parse("10.31.0.0/16"), .gateway = IpAddress::parse("10.30.0.9"),
                     .device = named("br-lan"), .protocol = 3};
        state.routes.insert(beyond);
        Route there{.destination = *IpPrefix::parse("10.30.0.0/16"), .device = named("br-lan"), .protocol = 3};
        SUBCASE("the narrower one is needed by the wider one") {}
        SUBCASE("all is needed by all") {
            there.destination = *IpPrefix::parse("0.0.0.0/0");
            there.metric = 500;
        }
        state.routes.insert(there);
        const KernelState before = state;

        test::check_every_failure(story.plan_now(), story.kernel);
        story.apply();
        CHECK(story.ledger.bystanders.is_empty());
        const NodeIntent nothing{.network = story.intent.network};
        story.intent = nothing;
        test::check_every_failure(story.plan_now(), story.kernel);
        story.down();
        CHECK(state.neighbours == before.neighbours);
        CHECK(state.routes == before.routes);
        CHECK(story.ledger.is_empty());
    }

    TEST_CASE("a route that needs our address goes with it, and a failed down keeps it") {
        Story story{example("home.json"), "home"};
        KernelState& state = story.kernel.state;
        const KernelState before = state;
        story.apply();
        const Route by_ours{.destination = *IpPrefix::parse("10.32.0.0/16"),
                            .gateway = IpAddress::parse("192.168.88.3"),
                            .device = named("br-lan"),
                            .protocol = 3};
        state.routes.insert(by_ours);
        const NodeIntent nothing{.network = story.intent.network};
        story.intent = nothing;
        test::check_every_failure(story.plan_now(), story.kernel);

        const Report report = execute(story.plan_now(), story.kernel);

        CHECK_FALSE(report.failure);
        CHECK(report.lost.routes == std::set<Route>{by_ours});
        REQUIRE(report.lost_because.size() == 1);
        CHECK(report.lost_because[0].doing == "add route 10.32.0.0/16 dev br-lan");
        CHECK(state.routes == before.routes);
    }

    TEST_CASE("killed in the middle: the next apply, and the next down, put back what was lost") {
        Story story{example("home.json"), "home"};
        KernelState& state = story.kernel.state;
        state.neighbours = {neighbour("br-lan", "192.168.88.9", "02:00:00:00:0a:09"), proxy("br-lan", "fd00::9")};
        const IpPrefix behind = *IpPrefix::parse("10.30.0.0/16");
        state.routes.insert({.destination = behind, .device = named("br-lan"), .protocol = 3});
        const KernelState before = state;
        const NodeIntent wanted = story.intent, nothing{.network = story.intent.network};
        story.apply();
        story.intent = nothing;
        const Plan down = story.plan_now();
        const FakeKernel up = story.kernel;
        for (std::size_t killed_at = 0; killed_at <= down.steps.size(); ++killed_at) {
            CAPTURE(killed_at);
            for (const NodeIntent& next : {nothing, wanted}) {
                story.kernel = up;
                for (std::size_t n = 0; n < killed_at; ++n) REQUIRE(story.kernel.execute(down.steps[n].step));
                story.ledger = down.ledger_during;
                story.intent = next;
                story.apply();
                CHECK(state.neighbours == before.neighbours);
                CHECK(std::ranges::includes(state.routes, before.routes));
            }
        }
    }

    TEST_CASE("killed in the middle: what somebody has replaced since is his") {
        Story story{example("home.json"), "home"};
        KernelState& state = story.kernel.state;
        Route route{.destination = *IpPrefix::parse("10.30.0.0/16"),
                    .gateway = IpAddress::parse("192.168.88.8"),
                    .device = named("br-lan"),
                    .protocol = 3};
        story.ledger.bystanders.routes = {route};
        route.gateway = IpAddress::parse("192.168.88.9");
        state.routes.insert(route);
        story.apply();
        CHECK(std::ranges::count(state.routes, route.destination, &Route::destination) == 1);
        CHECK(story.ledger.bystanders.is_empty());
    }

    TEST_CASE("an IPv6 route whose MTU the kernel narrows with a borrowed bridge has its own again after us") {
        Story story{example("home.json"), "home"};
        KernelState& state = story.kernel.state;
        Route route{.destination = *IpPrefix::parse("2001:db8:2::/48"),
                    .device = named("br-lan"),
                    .metric = 1024,
                    .protocol = 3,
                    .metrics = {{"mtu", 1460}}};
        state.routes.insert(route);
        story.kernel.state.links.at(named("br-lan")).mtu = Mtu{1500};
        story.intent.desired.links.at(named("br-lan")).mtu = Mtu{1300};
        const auto apply = [&] {
            Plan plan = story.plan_now();
            Report report = execute(plan, story.kernel);
            REQUIRE_FALSE(report.failure);
            CHECK(report.lost_because.empty());
            story.ledger = plan.ledger_after;
            story.ledger.bystanders = report.lost;
        };
        apply();
        route.metrics["mtu"] = 1300;
        CHECK(state.routes.contains(route));
        const std::size_t writes = story.kernel.calls;
        apply();
        CHECK(story.kernel.calls == writes);
        SUBCASE("left alone") { route.metrics["mtu"] = 1460; }
        SUBCASE("a down is killed") {
            kill_down(story);
            route.metrics["mtu"] = 1460;
        }
        SUBCASE("somebody has another wish since") {
            state.routes.erase(route);
            route.metrics["mtu"] = 1290;
            state.routes.insert(route);
        }
        story.down();
        CHECK(state.routes.contains(route));
        CHECK(std::ranges::count(state.routes, route.destination, &Route::destination) == 1);
    }

    TEST_CASE("what cannot be had while we are here comes back afterwards") {
        Story story{example("home.json"), "home"};
        KernelState& state = story.kernel.state;
        Address his{named("br-lan"), *IpPrefix::parse("fd07::1/64"), true, false};
        SUBCASE("an address") {}
        SUBCASE("the gateway's usual one") { his.prefix = *IpPrefix::parse("fe80::1/64"); }
        SUBCASE("one that is deprecated for ever") {
            his.permanent = false;
            his.details.valid_seconds = 0xffffffff;
            his.details.preferred_seconds = 0;
        }
        REQUIRE(story.kernel.execute(AddAddress{his}));
        Address automatic{named("br-lan"), *IpPrefix::parse("fe80::a/64"), true, false};
        automatic.details.by_kernel = true;
        state.addresses.insert(automatic);
        const std::string off = conf_sysctl(Family::Ipv6, "br-lan", "disable_ipv6");
        const Plan plan = story.plan_now();
        REQUIRE_FALSE(execute(plan, story.kernel).failure);
        // As an MTU below 1280 does (Linux net/ipv6/addrconf.c, addrconf_notify).
        state.addresses.erase(his);
        state.sysctls.erase(off);
        story.ledger = plan.ledger_during;
        Report report;
        put_back(plan.bystanders_after, story.kernel, report);
        CHECK(report.lost.addresses == std::set<Address>{his});
        CHECK(report.lost_because.empty());
        story.ledger = plan.ledger_after;
        story.ledger.bystanders = report.lost;

        state.sysctls[off] = "0";
        story.down();
        CHECK(state.addresses.contains(his));
    }

    TEST_CASE("a bridge of ours that gets another MAC or name keeps what somebody wrote there") {
        Topology file = example("home.json");
        Story story{file, "linode"};
        story.apply();
        add_link(story.kernel.state, "v7", LinkKind::Other);
        story.kernel.state.links.at(named("v7")).parent = named("taps_bridge");
        const Address on_vlan{named("v7"), *IpPrefix::parse("2001:db8:70::1/64"), true, false};
        REQUIRE(story.kernel.execute(AddAddress{on_vlan}));
        const Neighbour host = neighbour("taps_bridge", "192.168.0.9", "02:00:00:00:0a:09");
        story.kernel.state.neighbours = {host, proxy("taps_bridge", "192.168.0.10")};
        std::set<Neighbour> wanted = story.kernel.state.neighbours;
        SUBCASE("another MAC") {
            file.hub.bridge->mac = {Setting<MacAddress>::Mode::Stated, *MacAddress::parse("02:00:5e:00:53:77"), {}};
        }
        SUBCASE("another name") {
            file.hub.bridge->name.value = named("other");
            wanted = Vultr::moved(wanted, "other");
        }
        story.intent = compile(file, file.hub, {});
        test::check_every_failure(story.plan_now(), story.kernel);
        story.apply();
        CHECK(story.kernel.state.neighbours == wanted);
        CHECK(story.kernel.state.addresses.contains(on_vlan));
        CHECK(story.plan_now().is_empty());
    }

}  // TEST_SUITE
