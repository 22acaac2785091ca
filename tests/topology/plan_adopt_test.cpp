// A node that was set up without the ledger's knowledge: by the script of `render`, or by an apply
// whose ledger is gone. The marks say what is ours; the rest must not be lost when it goes.

#include "daemon/reconcile/execute.hpp"
#include "tests/support/plan_story.hpp"
#include "topology/plan.hpp"

#include <doctest/doctest.h>

#include <map>
#include <vector>

using namespace overlay;
using test::add_link;
using test::check_every_failure;
using test::example;
using test::FakeKernel;
using test::parsed;
using test::Story;
using test::told;

namespace {

/// As the kernel lists them.
std::vector<std::string> listed(const KernelState& state, const char* link, Family family) {
    std::map<std::uint32_t, std::string> out;
    for (const Address& each : state.addresses) {
        if (each.link == IfName::from_kernel(link) && each.prefix.family() == family)
            out[each.details.place] = text(each.prefix);
    }
    std::vector<std::string> words;
    for (const auto& [place, prefix] : out) words.push_back(prefix);
    return words;
}

using Words = std::vector<std::string>;

/// A hub with addresses of its own on the bridge, one of them the uplink's.
const char* const hub_with_uplink_in_bridge = R"({"version": 1, "network": "net", "hub": {"name": "hub",
    "underlay": {"addresses": ["203.0.113.1"], "interface": "enp1s0", "in_bridge": true},
    "bridge": {"name": "br-hub", "addresses": ["192.168.0.1/16", "10.70.0.1/24", "2001:db8:1::1/64"]}, "gue": {}},
    "spokes": {"me": {"link": {"type": "gretap-gue", "local": "198.51.100.1"}}}})";

}  // namespace

TEST_SUITE("plan of what was there") {

TEST_CASE("an uplink that is in the bridge already has its addresses and routes back after down") {
    Story story{example("vultr.json"), "vultr"};
    KernelState& state = story.kernel.state;
    const IfName uplink = IfName::from_kernel("enp1s0");
    add_link(state, uplink.c_str(), LinkKind::Other);
    state.sysctls["net.ipv6.conf.enp1s0.disable_ipv6"] = "0";
    for (const char* prefix : {"203.0.113.20/24", "2001:db8:7::5/64"})
        REQUIRE(story.kernel.execute(AddAddress{{uplink, *IpPrefix::parse(prefix), true, false}}));
    state.routes.insert({.destination = *IpPrefix::parse("198.51.100.0/24"),
                         .gateway = IpAddress::parse("203.0.113.254"),
                         .device = uplink,
                         .protocol = 3});
    const KernelState before = state;
    story.apply();
    story.ledger = Ledger{.network = story.intent.network};

    CHECK(story.plan_now().is_empty());
    story.apply();
    story.down();

    CHECK(state.links == before.links);
    CHECK(state.addresses == before.addresses);
    CHECK(state.routes == before.routes);
    CHECK(state.sysctls.at("net.ipv6.conf.enp1s0.disable_ipv6") == "0");
}

TEST_CASE("of an uplink's two addresses, the first is the first on the bridge, on the way back and after down") {
    Story story{example("vultr.json"), "vultr"};
    KernelState& state = story.kernel.state;
    const IfName uplink = IfName::from_kernel("enp1s0"), bridge = IfName::from_kernel("br-uplink");
    add_link(state, uplink.c_str(), LinkKind::Other);
    state.sysctls["net.ipv6.conf.enp1s0.disable_ipv6"] = "0";
    for (const char* prefix : {"203.0.113.9/24", "203.0.113.2/24"})
        REQUIRE(story.kernel.execute(AddAddress{{uplink, *IpPrefix::parse(prefix), true, false}}));
    const auto is_first = [](const KernelState& now, const IfName& link) {
        const auto first = now.addresses.find({link, *IpPrefix::parse("203.0.113.9/24"), true, false});
        const auto second = now.addresses.find({link, *IpPrefix::parse("203.0.113.2/24"), true, false});
        const auto none = now.addresses.end();
        return first != none && second != none && !first->details.secondary && second->details.secondary;
    };
    REQUIRE(is_first(state, uplink));

    const Plan p = story.plan_now();
    for (std::size_t fail_at = 0; fail_at < p.steps.size(); ++fail_at) {
        FakeKernel kernel = story.kernel;
        kernel.calls = 0;
        kernel.fail_at = fail_at;
        (void)execute(p, kernel);
        CHECK(is_first(kernel.state, uplink));
    }
    story.apply();
    CHECK(is_first(state, bridge));
    story.down();
    CHECK(is_first(state, uplink));
}

TEST_CASE("packets leave from the uplink's addresses as before: listed in the same order, on the bridge before ours") {
    Story story{parsed(hub_with_uplink_in_bridge), "hub"};
    KernelState& state = story.kernel.state;
    const IfName uplink = IfName::from_kernel("enp1s0");
    add_link(state, uplink.c_str(), LinkKind::Other);
    for (const char* prefix : {"203.0.113.1/24", "198.51.100.77/32", "10.70.0.1/24", "2001:db8:ff::1/64",
                               "2001:db8:ff::9/64", "2001:db8:ff::5/64"})
        REQUIRE(story.kernel.execute(AddAddress{{uplink, *IpPrefix::parse(prefix), true, false}}));
    Words ipv4{"203.0.113.1/24", "198.51.100.77/32", "10.70.0.1/24"};
    const Words ipv6{"2001:db8:ff::5/64", "2001:db8:ff::9/64", "2001:db8:ff::1/64"};
    const auto check_uplink = [&](const KernelState& now) {
        CHECK(listed(now, "enp1s0", Family::Ipv4) == ipv4);
        CHECK(listed(now, "enp1s0", Family::Ipv6) == ipv6);
    };
    const auto check_bridge = [](const KernelState& now) {
        CHECK(listed(now, "br-hub", Family::Ipv4) ==
              Words{"203.0.113.1/24", "198.51.100.77/32", "10.70.0.1/24", "192.168.0.1/16"});
        CHECK(listed(now, "br-hub", Family::Ipv6) ==
              Words{"2001:db8:ff::5/64", "2001:db8:ff::9/64", "2001:db8:ff::1/64", "2001:db8:1::1/64"});
    };
    const auto check_failures = [&](const auto& check) {
        const Plan p = story.plan_now();
        for (std::size_t fail_at = 0; fail_at < p.steps.size(); ++fail_at) {
            CAPTURE(fail_at);
            FakeKernel kernel = story.kernel;
            kernel.calls = 0;
            kernel.fail_at = fail_at;
            (void)execute(p, kernel);
            check(kernel.state);
        }
    };
    check_uplink(state);

    check_failures(check_uplink);
    story.apply();
    check_bridge(state);
    SUBCASE("down") {}
    SUBCASE("down when the ledger was lost") {
        story.ledger.borrowed.clear();
        story.ledger.moved_addresses.clear();
        ipv4.pop_back();   // the file asks for it on the bridge: nobody knows whose it was
        story.apply();
    }
    story.intent = NodeIntent{.network = "net"};
    check_failures(check_bridge);
    story.apply();
    check_uplink(state);
}

TEST_CASE("a borrowed bridge that the file gives no MTU any more has what the kernel would have made of it") {
    const char* borrowed = R"("existing": true, "mtu": 1300, )";
    const auto node = [&](bool stated) {
        std::string text = R"({"version": 1, "network": "net", "hub": {"name": "hub",
            "underlay": {"addresses": ["203.0.113.1"]}, "bridge": {"addresses": ["192.168.0.1/16"]}, "gue": {}},
            "spokes": {"me": {"link": {"type": "gretap-gue", "local": "198.51.100.1"}, "bridge": {
            "name": "br-lan", "existing": true, "mtu": 1300, "addresses": ["192.168.1.1/16"]}}}})";
        if (!stated) text.replace(text.find(borrowed), std::string{borrowed}.size(), R"("existing": true, )");
        return text;
    };
    const Topology with = parsed(node(true)), without = parsed(node(false));
    const IfName bridge = IfName::from_kernel("br-lan");
    Story story{with, "me"};
    const Link before = story.kernel.state.links.at(bridge);
    story.apply();
    CHECK(story.kernel.state.links.at(bridge).mtu == Mtu{1300});
    story.intent = compile(without, *without.find("me"), {});
    check_every_failure(story.plan_now(), story.kernel);

    story.apply();

    CHECK(story.plan_now().is_empty());
    CHECK(story.kernel.state.links.at(bridge).mtu == Mtu{1446});   // 1500 less IPv4, UDP, GUE, GRE with key, Ethernet
    story.down();
    CHECK(story.kernel.state.links.at(bridge).mtu == before.mtu);
}

TEST_CASE("a route by somebody else's bridge that is down is refused, and the bridge named") {
    Story story{example("home.json"), "home"};
    const IfName bridge = IfName::from_kernel("br-lan");
    story.kernel.state.links.at(bridge).up = false;
    Route route{.destination = *IpPrefix::parse("10.5.0.0/16"), .device = bridge};
    story.intent.desired.routes.insert(route);

    const Plan p = story.plan_now();

    REQUIRE(p.refusals.size() == 1);
    CHECK(p.refusals[0].object == "route 10.5.0.0/16 dev br-lan");
    CHECK(p.refusals[0].reason == "br-lan is down, and is not ours");
}

TEST_CASE("what somebody adds to the bridge later is not the uplink's") {
    Story story{example("vultr.json"), "vultr"};
    KernelState& state = story.kernel.state;
    const IfName uplink = IfName::from_kernel("enp1s0");
    const IfName bridge = IfName::from_kernel("br-uplink");
    const IpPrefix moved = *IpPrefix::parse("203.0.113.20/24");
    const IpPrefix later = *IpPrefix::parse("10.1.1.1/24");
    add_link(state, uplink.c_str(), LinkKind::Other);
    state.addresses.insert({uplink, moved, true, false});
    story.apply();
    story.ledger = Ledger{.network = story.intent.network};
    story.apply();
    state.addresses.insert({bridge, later, true, false});

    story.apply();
    story.down();

    CHECK(state.addresses.contains({uplink, moved, true, false}));
    CHECK_FALSE(state.addresses.contains({uplink, later, true, false}));
}

TEST_CASE("an uplink with an address of NetworkManager's is refused before it is cut off") {
    const IfName uplink = IfName::from_kernel("enp1s0");
    for (const auto& [text, to] : {std::pair{"203.0.113.20/24", "203.0.113.0/24"},
                                   std::pair{"2001:db8:ff::1/64", "2001:db8:ff::/64"}}) {
        CAPTURE(std::string{text});
        Story story{example("vultr.json"), "vultr"};
        KernelState& state = story.kernel.state;
        const IpPrefix prefix = *IpPrefix::parse(text);
        add_link(state, uplink.c_str(), LinkKind::Other);
        state.addresses.insert({uplink, prefix, true, true});   // noprefixroute
        const Route own{.destination = prefix.network(), .device = uplink, .metric = 100, .protocol = 2};
        state.routes.insert(own);

        const Plan p = story.plan_now();

        REQUIRE(p.refusals.size() == 1);
        CHECK(p.refusals[0].object == std::string{"route "} + to + " dev br-uplink");
        state.addresses.clear();
        state.addresses.insert({uplink, prefix, true, false});
        CHECK(story.plan_now().refusals.empty());
    }
}

TEST_CASE("an uplink's address without a route to its network has none on the bridge, and after down") {
    const IfName uplink = IfName::from_kernel("enp1s0");
    for (const std::string text : {"203.0.113.20/24", "2001:db8:ff::1/64"}) {
        CAPTURE(text);
        Story story{example("vultr.json"), "vultr"};
        KernelState& state = story.kernel.state;
        const Address address{uplink, *IpPrefix::parse(text), true, true};   // noprefixroute
        add_link(state, uplink.c_str(), LinkKind::Other);
        REQUIRE(story.kernel.execute(AddAddress{address}));
        const KernelState before = state;

        story.apply();

        CHECK(told(story.plan_now()).find("0 to add, 0 to change") != std::string::npos);
        story.down();
        CHECK(state.addresses == before.addresses);
        CHECK(state.routes == before.routes);
    }
}

TEST_CASE("a link-local address of NetworkManager's stays behind, and its route is in nobody's way") {
    Story story{example("vultr.json"), "vultr"};
    KernelState& state = story.kernel.state;
    const IfName uplink = IfName::from_kernel("enp1s0");
    add_link(state, uplink.c_str(), LinkKind::Other);
    state.addresses.insert({uplink, *IpPrefix::parse("fe80::5/64"), true, true});
    state.routes.insert(
        {.destination = *IpPrefix::parse("fe80::/64"), .device = uplink, .metric = 1024, .protocol = 2});

    CHECK(story.plan_now().refusals.empty());
}

TEST_CASE("beside an address without a route, one that brings the route along makes it on the bridge, too") {
    Story story{example("vultr.json"), "vultr"};
    KernelState& state = story.kernel.state;
    const IfName uplink = IfName::from_kernel("enp1s0");
    add_link(state, uplink.c_str(), LinkKind::Other);
    REQUIRE(story.kernel.execute(AddAddress{{uplink, *IpPrefix::parse("2001:db8:ff::1/64"), true, true}}));
    REQUIRE(story.kernel.execute(AddAddress{{uplink, *IpPrefix::parse("2001:db8:ff::2/64"), true, false}}));

    story.apply();

    CHECK(state.routes.contains({.destination = *IpPrefix::parse("2001:db8:ff::/64"),
                                 .device = IfName::from_kernel("br-uplink"),
                                 .metric = 256,
                                 .protocol = 2}));
}

TEST_CASE("a port that overlayd carries is ours, though the ledger is lost; not when another network's links need it") {
    Story story{example("home.json"), "linode"};
    KernelState& state = story.kernel.state;
    state.fou_ports = {{.port = 5555, .type = GreEncap::Type::Gue, .datapath = Datapath::Userspace}};
    state.udp_sockets.insert({Family::Ipv4, *IpAddress::parse("0.0.0.0"), 5555, "pid 7 (overlayd)"});
    CHECK(story.plan_now().refusals.empty());

    Link other{.name = IfName::from_kernel("gt-other"), .kind = LinkKind::Tap, .alias = "overlay:other:link"};
    other.gretap = GretapAttributes{.local = *IpAddress::parse("198.51.100.1")};
    other.gretap->encap = {.type = GreEncap::Type::Gue, .source_port = 5555};
    state.links.insert_or_assign(other.name, other);
    CHECK(story.plan_now().refusals.size() == 1);
}

}
