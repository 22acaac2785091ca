// What somebody else has written on links that we change is there afterwards, or where the uplink's is.

#include "tests/support/plan_story.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using test::add_link;
using test::example;
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

    TEST_CASE("a borrowed bridge that had no IPv4 address keeps what it had when ours goes") {
        Story story{example("home.json"), "home"};
        KernelState& state = story.kernel.state;
        const Neighbour host = neighbour("br-lan", "192.168.88.9", "02:00:00:00:0a:09");
        const Neighbour host6 = neighbour("br-lan", "fd00::9", "02:00:00:00:0a:09");
        const Route there{.destination = *IpPrefix::parse("10.30.0.0/16"), .device = named("br-lan"), .protocol = 3};
        Route beyond{.destination = *IpPrefix::parse("10.31.0.0/16"), .gateway = IpAddress::parse("10.30.0.9"),
                     .device = named("br-lan"), .protocol = 3};
        state.neighbours = {host, host6};
        state.routes.insert(there);
        state.routes.insert(beyond);
        const KernelState before = state;

        story.apply();
        Route by_ours{.destination = *IpPrefix::parse("10.32.0.0/16"), .gateway = IpAddress::parse("192.168.88.3"),
                      .device = named("br-lan"), .protocol = 3};
        state.routes.insert(by_ours);
        const NodeIntent nothing{.network = story.intent.network};
        story.intent = nothing;
        SUBCASE("down") {
            test::check_every_failure(story.plan_now(), story.kernel);
            story.down();
            CHECK(state.neighbours == before.neighbours);
            CHECK(state.routes == before.routes);
        }
        SUBCASE("a route that we could not write again") {
            state.routes.erase(there);
            Route strange = there;
            strange.beyond_us = "a tunnel encapsulation";
            state.routes.insert(strange);
            const Plan plan = story.plan_now();
            REQUIRE(plan.refusals.size() == 1);
            CHECK(plan.refusals[0].reason ==
                  "it has a tunnel encapsulation, and would be lost with the last address of br-lan");
        }
    }

    TEST_CASE("a bridge of ours that gets another MAC or name keeps what somebody wrote there") {
        Topology file = example("home.json");
        Story story{file, "linode"};
        story.apply();
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
        CHECK(story.plan_now().is_empty());
    }

}  // TEST_SUITE
