// Who sends everything to the hub keeps the hub's own address on the way out that is there: it changes when
// he moves to another network, and it need not have a gateway.

#include "tests/support/plan_story.hpp"
#include "topology/plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace overlay;
using test::add_link;
using test::check_every_failure;
using test::example;
using test::Story;

namespace {

const IfName uplink = IfName::from_kernel("eth0");

struct Laptop : Story {
    Laptop() : Story{example("exit.json"), "laptop"} {}

    void default_route(std::optional<IpAddress> gateway) {
        auto& routes = kernel.state.routes;
        std::erase_if(routes, [](const Route& r) {
            return r.device == uplink && r.destination.length() == 0;
        });
        routes.insert({.destination = *IpPrefix::parse("0.0.0.0/0"),
                       .gateway = gateway,
                       .device = uplink,
                       .protocol = 3});
    }
    [[nodiscard]] Route pin() const {
        const IpPrefix hub = *IpPrefix::parse("203.0.113.30/32");
        const auto& routes = kernel.state.routes;
        const auto found = std::find_if(routes.begin(), routes.end(), [&](const Route& r) {
            return r.destination == hub && r.protocol == route_protocol;
        });
        REQUIRE(found != routes.end());
        return *found;
    }
};

}  // namespace

TEST_SUITE("plan: the way out beside an exit") {

    TEST_CASE("the hub's pin follows the default route to another network") {
        Laptop laptop;
        laptop.apply();
        CHECK(laptop.pin().gateway == IpAddress::parse("1.2.3.1"));

        REQUIRE(laptop.kernel.execute(AddAddress{{uplink, *IpPrefix::parse("10.0.0.7/24"), true, false}}));
        laptop.default_route(IpAddress::parse("10.0.0.1"));

        CHECK_FALSE(laptop.plan_now().is_empty());
        laptop.apply();
        CHECK(laptop.pin().gateway == IpAddress::parse("10.0.0.1"));
        CHECK(laptop.plan_now().is_empty());
    }

    TEST_CASE("where only IPv4 leaves by the hub, a tunnel over IPv6 needs no pin, and no default route") {
        const Topology file =
            example("exit.json", {{R"(["203.0.113.30"])", R"(["203.0.113.30", "2001:db8::30"])"},
                                  {R"("type": "wireguard",)", R"("type": "wireguard", "underlay": "ipv6",)"}});
        Story laptop{file, "laptop"};
        CHECK(laptop.plan_now().refusals.empty());
        laptop.apply();
        CHECK(laptop.intent.pinned.empty());
    }

    TEST_CASE("without any default route the pin that was made stays") {
        Laptop laptop;
        laptop.apply();
        std::erase_if(laptop.kernel.state.routes, [](const Route& r) {
            return r.device == uplink && r.destination.length() == 0;
        });

        CHECK(laptop.plan_now().is_empty());
        CHECK(laptop.plan_now().refusals.empty());
    }

    TEST_CASE("a default route without a gateway, as over PPP, makes a pin without one") {
        Laptop laptop;
        laptop.default_route(std::nullopt);

        laptop.apply();

        CHECK(laptop.pin().device == uplink);
        CHECK_FALSE(laptop.pin().gateway);
        CHECK(laptop.plan_now().is_empty());
    }

    TEST_CASE("a site on a bridge becomes a routed one: the routes go before the address that they need") {
        Story site{example("exit.json"), "site"};
        KernelState& state = site.kernel.state;
        const IfName lan = IfName::from_kernel("br-lan");
        add_link(state, "wan", LinkKind::Other);
        add_link(state, "br-lan", LinkKind::Bridge);
        state.links.at(lan).up = true;
        const IpPrefix behind_nat = *IpPrefix::parse("10.20.30.2/24");
        REQUIRE(site.kernel.execute(AddAddress{{IfName::from_kernel("wan"), behind_nat, true, false}}));
        const KernelState before = state;
        site.apply();
        REQUIRE(std::ranges::any_of(state.routes, [&](const Route& r) { return r.device == lan && r.gateway; }));
        const Topology next = example(
            "exit.json",
            {{R"("link": { "type": "gretap-gue", "nat": { "address": "198.51.100.30", "port": 5555 } },)",
              R"("link": { "type": "wireguard", "public_key": "kcW5wofxT3fSUtL7Az6bEScSYdsnrhRp30yj/F39vUQ=" },)"},
             {R"("bridge": { "name": "br-lan", "existing": true, "addresses": ["192.168.88.1/16"] },)", ""},
             {R"("lan": "192.168.88.0/24",)", R"("lan": "172.20.88.0/24",)"}});
        site.intent = compile(next, *next.find("site"), {});

        check_every_failure(site.plan_now(), site.kernel);
        site.apply();

        CHECK(site.plan_now().is_empty());
        site.down();
        CHECK(state.links == before.links);
        CHECK(state.routes == before.routes);
    }

}  // TEST_SUITE
