// A file that changes while the old one is in force: every pair of files, on every node that both have.
// The model kernel (tests/support/fake_kernel.cpp) refuses and does along what Linux does.

#include "daemon/reconcile/execute.hpp"
#include "tests/support/plan_story.hpp"
#include "topology/render_plan.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using test::add_link;
using test::check_every_failure;
using test::example;
using test::FakeKernel;
using test::parsed;
using test::Story;
using test::told;

namespace {

using Changes = std::vector<std::pair<std::string, std::string>>;

/// One hub, every type of link.
const std::string base = R"({
  "version": 1, "network": "net",
  "hub": {
    "name": "hub", "underlay": {"interface": "eth0", "addresses": ["203.0.113.1", "2001:db8:ff::1"]},
    "bridge": {"name": "br-hub", "addresses": ["192.168.0.1/16", "2001:db8:1::1/64"]},
    "forwarding": ["ipv4"], "masquerade": {"out": "eth0"}, "mss_clamp": "pmtu",
    "gue": {"port": 5555},
    "wireguard": {"interface": "wg-net", "listen_port": 23450, "address": "10.9.0.1/24",
      "private_key_file": "hub.key", "public_key": "m84oJmrE7NEb+ZyPkKPpelkRQSzsvUm4QprxoTL9rRE="}
  },
  "spokes": {
    "a": {"link": {"type": "gretap-wireguard", "address": "10.9.0.2/24", "listen_port": 7000,
      "private_key_file": "a.key", "public_key": "wL5qkagUKtd2/WVdXKdhXzkLWJsCKF+kKRd962iaZko="},
      "addresses": ["192.168.7.1/16"]},
    "b": {"link": {"type": "wireguard", "address": "10.9.0.3/24", "private_key_file": "b.key",
      "public_key": "KcB1MVYd+USOSfzP/y8LQJVex20gk69XFk3eAFtbjGQ="}, "lan": "172.20.0.0/24"},
    "c": {"link": {"type": "gretap-gue", "local": "198.51.100.30"}, "addresses": ["192.168.9.1/16"]}
  }
})";

std::string with(std::string source, const Changes& changes) {
    for (const auto& [from, to] : changes) {
        const auto at = source.find(from);
        CAPTURE(from);
        REQUIRE(at != std::string::npos);
        source.replace(at, from.size(), to);
    }
    return source;
}

struct Change {
    std::string name;
    Changes changes;
};

const std::string b_key = R"("public_key": "KcB1MVYd+USOSfzP/y8LQJVex20gk69XFk3eAFtbjGQ=")";
const std::string c_link = R"("c": {"link": {"type": "gretap-gue", "local": "198.51.100.30"}, )"
                           R"("addresses": ["192.168.9.1/16"]})";
const std::string c_key = R"("private_key_file": "c.key", )"
                          R"("public_key": "4sX04Pr+sO5WA8pKV8ZYY1IoTZLVHjCfbQ9FlLsW8Es=")";

const std::vector<Change> changes{
    {"the bridge's address within its network", {{"192.168.0.1/16", "192.168.0.2/16"}}},
    {"the hub's address inside WireGuard", {{"10.9.0.1/24", "10.9.0.254/24"}}},
    {"a spoke's address inside WireGuard", {{"10.9.0.2/24", "10.9.0.77/24"}}},
    {"a spoke's address on its tunnel", {{"192.168.7.1/16", "192.168.7.2/16"}}},
    {"the length of an IPv4 address",
     {{"192.168.0.1/16", "192.168.0.1/17"}, {"192.168.7.1/16", "192.168.7.1/17"},
      {"192.168.9.1/16", "192.168.9.1/17"}}},
    {"the length of an IPv6 address", {{"2001:db8:1::1/64", "2001:db8:1::1/56"}}},
    {"another IPv6 address", {{"2001:db8:1::1/64", "2001:db8:1::2/64"}}},
    {"gretap-wireguard becomes wireguard",
     {{"gretap-wireguard", "wireguard"}, {R"(,
      "addresses": ["192.168.7.1/16"])", ""}}},
    {"gretap-gue becomes wireguard",
     {{c_link, R"("c": {"link": {"type": "wireguard", "address": "10.9.0.4/24", )" + c_key + "}}"}}},
    {"gretap-gue becomes gretap-wireguard",
     {{R"("gretap-gue", "local": "198.51.100.30")",
       R"("gretap-wireguard", "address": "10.9.0.4/24", )" + c_key}}},
    {"a link gets a name",
     {{R"("b": {"link": )", R"("b": {"links": {"main": )"}, {b_key + "}", b_key + "}}"}}},
    {"a link with a listen_port gets a name",
     {{R"("a": {"link": )", R"("a": {"links": {"main": )"}, {R"(iaZko="})", R"(iaZko="}})"}}},
    {"the ports of GUE and WireGuard swapped", {{"5555", "5556"}, {"23450", "5555"}, {"5556", "23450"}}},
    {"WireGuard takes the port of GUE", {{"5555", "5556"}, {"23450", "5555"}}},
    {"GUE takes the port of WireGuard", {{"23450", "23451"}, {"5555", "23450"}}},
    {"a spoke renamed", {{R"("b": {)", R"("bee": {)"}}},
    {"the hub renamed", {{R"("name": "hub")", R"("name": "centre")"}}},
    {"a routed link beside the other, IPv6 inside",   // its own address becomes a /32 and a /128
     {{"\"10.9.0.1/24\"", R"(["10.9.0.1/24", "fd09::1/64"])"},
      {"\"10.9.0.3/24\"", R"(["10.9.0.3/24", "fd09::3/64"])"},
      {R"("a": {"link": )", R"("a": {"links": {"l3": {"type": "wireguard", "address":
        ["10.9.0.4/24", "fd09::4/64"], )" + c_key + R"(}, "eth": )"},
      {"\"10.9.0.2/24\"", R"(["10.9.0.2/24", "fd09::2/64"],
        "wireguard_interface": "wg-hub", "interface": "gt-hub")"},
      {R"(iaZko="})", R"(iaZko="}})"}}},
    {"a spoke is gone", {{",\n    " + c_link, ""}}},
};

/// From one file to the other, in one go and at every failure.
void check_change(const Topology& from, const Topology& to, const std::string& node) {
    CAPTURE(node);
    Story story{from, node};
    const KernelState at_first = story.kernel.state;
    story.apply();
    story.intent = compile(to, *to.find(node), {});
    check_every_failure(story.plan_now(), story.kernel);
    story.apply();
    CHECK(told(story.plan_now()).find("0 to add, 0 to change") != std::string::npos);
    CHECK(story.plan_now().is_empty());
    story.down();
    story.kernel.state.modules = at_first.modules;
    CHECK(story.kernel.state == at_first);
    CHECK(story.ledger.is_empty());
}

}  // namespace

TEST_SUITE("plan: changes of the file") {

    TEST_CASE("each change, there and back, on every node: in one go; a failure undoes all") {
        const Topology old = parsed(base);
        for (const Change& change : changes) {
            SUBCASE(change.name.c_str()) {
                CAPTURE(change.name);
                const Topology changed = parsed(with(base, change.changes));
                for (const std::string& node : old.node_names()) {
                    if (!changed.find(node)) continue;
                    check_change(old, changed, node);
                    check_change(changed, old, node);
                }
            }
        }
    }

    TEST_CASE("another's WireGuard under the name of ours is refused, and kept by down") {
        const Topology topology = parsed(base);
        const IfName wg = IfName::from_kernel("wg-net");
        for (const char* alias : {"", "their office VPN", "overlay:office:.wireguard"}) {
            CAPTURE(alias);
            Story story{topology, "hub"};
            story.apply();
            KernelState& state = story.kernel.state;
            const WireguardDevice ours = state.wireguard.at(wg);
            REQUIRE(story.kernel.execute(DeleteLink{state.links.at(wg)}));
            add_link(state, "wg-net", LinkKind::Wireguard);
            state.links.at(wg).alias = alias;
            state.wireguard[wg] = {.public_key = ours.peers.begin()->first, .listen_port = 51820};

            const Plan p = story.plan_now();
            REQUIRE_FALSE(p.refusals.empty());
            CHECK(p.refusals[0].object == "link wg-net");

            story.down();
            CHECK(state.links.contains(wg));
            CHECK(state.wireguard.contains(wg));
        }
    }

    TEST_CASE("our WireGuard is known by its key when its alias is changed by hand") {
        Story story{parsed(base), "hub"};
        story.apply();
        const KernelState wanted = story.kernel.state;
        story.kernel.state.links.at(IfName::from_kernel("wg-net")).alias = "mine";

        CHECK(story.plan_now().steps.size() == 1);
        story.apply();

        CHECK(story.kernel.state == wanted);
    }

    TEST_CASE("an address of ours made anew with a peer, a scope or a metric is put right") {
        Story story{parsed(base), "hub"};
        story.apply();
        const KernelState wanted = story.kernel.state;
        const Address ours{IfName::from_kernel("br-hub"), *IpPrefix::parse("192.168.0.1/16"), true,
                           false};
        for (auto change : {+[](AddressDetails& d) { d.peer = IpAddress::parse("10.77.0.9"); },
                            +[](AddressDetails& d) { d.scope = 254; },
                            +[](AddressDetails& d) { d.metric = 500; }}) {
            Address other = ours;
            change(other.details);
            REQUIRE(story.kernel.execute(RemoveAddress{ours}));
            REQUIRE(story.kernel.execute(AddAddress{other}));
            CHECK_FALSE(story.plan_now().is_empty());

            story.apply();

            CHECK(story.kernel.state == wanted);
        }
    }

    TEST_CASE("a second way that somebody gave to a route of ours is taken away") {
        Story story{parsed(base), "hub"};
        story.apply();
        const KernelState wanted = story.kernel.state;
        const IfName wg = IfName::from_kernel("wg-net"), eth = IfName::from_kernel("eth0");
        const Route ours{.destination = *IpPrefix::parse("172.20.0.0/24"), .device = wg};
        REQUIRE(wanted.routes.contains(ours));
        Route shared = ours;
        shared.device = IfName{};
        shared.hops = {{.device = wg}, {.gateway = IpAddress::parse("1.2.3.254"), .device = eth}};
        for (const Route& other : {shared, [&] { Route r = ours; r.expires = true; return r; }()}) {
            story.kernel.state.routes.erase(ours);
            story.kernel.state.routes.insert(other);
            CHECK(story.plan_now().steps.size() == 2);

            story.apply();

            CHECK(story.kernel.state == wanted);
        }
    }

    TEST_CASE("a route that somebody added beside ours stays theirs when ours has changed") {
        Story story{parsed(base), "hub"};
        story.apply();
        const Route ours{.destination = *IpPrefix::parse("172.20.0.0/24"), .device = IfName::from_kernel("wg-net")};
        REQUIRE(story.kernel.state.routes.contains(ours));
        Route theirs = ours, changed = ours;
        theirs.protocol = 3;   // "boot": `ip route append`
        theirs.device = IfName::from_kernel("eth0");
        changed.metrics["advmss"] = 300;
        story.kernel.state.routes.insert(theirs);
        CHECK(story.plan_now().is_empty());

        story.kernel.state.routes.erase(ours);
        story.kernel.state.routes.insert(changed);
        const Plan plan = story.plan_now();

        REQUIRE(plan.refusals.size() == 1);
        CHECK(plan.refusals[0].reason == "a route to 172.20.0.0/24 dev eth0 (proto 3) exists and is not ours");
    }

    TEST_CASE("an uplink leaves the bridge, which stays, with every kind of route that it brought") {
        const std::string uplink = R"("interface": "eth0", )";
        const Topology inside =
            parsed(with(base, {{uplink, uplink + R"("in_bridge": true, )"},
                               {R"("out": "eth0")", R"("out": "br-hub")"}}));
        Story story{inside, "hub"};
        KernelState& state = story.kernel.state;
        const IfName eth = IfName::from_kernel("eth0");
        const auto route = [&](const char* to, auto change) {
            Route out{.destination = *IpPrefix::parse(to), .device = eth, .protocol = 3};
            change(out);
            state.routes.insert(out);
        };
        route("10.1.0.0/16", [&](Route& r) {
            r.device = IfName{};
            r.hops = {{.gateway = IpAddress::parse("1.2.3.8"), .device = eth},
                      {.gateway = IpAddress::parse("1.2.3.9"), .device = eth, .weight = 2}};
        });
        route("10.2.0.0/16", [](Route& r) { r.gateway = IpAddress::parse("fe80::77"); });
        route("10.3.0.0/16", [](Route& r) { r.tos = 0x10; });
        const KernelState before = state;

        story.apply();
        CHECK(story.plan_now().is_empty());
        const Topology outside = parsed(base);
        story.intent = compile(outside, *outside.find("hub"), {});
        story.apply();
        CHECK(story.plan_now().is_empty());
        story.down();

        CHECK(state.routes == before.routes);
        CHECK(state.addresses == before.addresses);
    }

    TEST_CASE("a route that we could not put back keeps the uplink out of the bridge") {
        const std::string uplink = R"("interface": "eth0", )";
        Story story{parsed(with(base, {{uplink, uplink + R"("in_bridge": true, )"},
                               {R"("out": "eth0")", R"("out": "br-hub")"}})), "hub"};
        story.kernel.state.routes.insert({.destination = *IpPrefix::parse("10.1.0.0/16"),
                                          .device = IfName::from_kernel("eth0"),
                                          .protocol = 3,
                                          .beyond_us = "nexthop object 7"});

        const Plan p = story.plan_now();

        REQUIRE(p.refusals.size() == 1);
        CHECK(p.refusals[0].reason == "it has nexthop object 7, which we cannot move to the bridge");
    }

    TEST_CASE("WireGuard that was set down by hand asks again whether its port is free") {
        Story story{parsed(base), "hub"};
        story.apply();
        const IfName wg = IfName::from_kernel("wg-net");
        REQUIRE(story.kernel.execute(
            ChangeLink{{.name = wg, .up = true}, {.name = wg, .up = false}}));
        CHECK(story.plan_now().refusals.empty());
        story.kernel.state.udp_sockets.insert({Family::Ipv4, {}, 23450, "pid 812 (nc)"});

        const Plan p = story.plan_now();

        REQUIRE(p.refusals.size() == 1);
        CHECK(p.refusals[0].reason == "UDP port 23450 (ipv4) is already bound by pid 812 (nc)");
    }

    TEST_CASE("a WireGuard device that somebody renamed has its port still") {
        Story story{parsed(base), "hub"};
        story.apply();
        const IfName wg = IfName::from_kernel("wg-net"), other = IfName::from_kernel("mine");
        const auto set_up = [&](const IfName& name, bool up) {
            REQUIRE(story.kernel.execute(
                ChangeLink{{.name = name, .up = !up}, {.name = name, .up = up}}));
        };
        set_up(wg, false);
        REQUIRE(story.kernel.execute(RenameLink{wg, other}));
        set_up(other, true);
        for (const Family family : {Family::Ipv4, Family::Ipv6})
            story.kernel.state.udp_sockets.insert({family, {}, 23450, ""});

        CHECK(story.plan_now().refusals.empty());
    }

    TEST_CASE("a WireGuard device whose maker died before it had a mark or a key is ours") {
        for (const bool later : {false, true}) {
            CAPTURE(later);
            Story story{parsed(base), "hub"};
            const KernelState before = story.kernel.state;
            const Plan p = story.plan_now();
            for (const PlannedStep& step : p.steps) {
                const auto* create = std::get_if<CreateLink>(&step.step);
                if (create == nullptr || create->link.kind != LinkKind::Wireguard) continue;
                REQUIRE(story.kernel.execute(step.step));
                story.kernel.state.links.at(create->link.name).alias = "";
            }
            story.ledger = p.ledger_during;

            CHECK(story.plan_now().refusals.empty());
            if (later) story.apply();
            story.down();

            CHECK(story.kernel.state.links == before.links);
        }
    }

    TEST_CASE("an interface in another's bridge or bond is not borrowed, but taken back when it was ours") {
        const std::string bridge = R"("name": "br-hub", )";
        Story story{parsed(with(base, {{bridge, bridge + R"("ports": ["eth1"], )"}})), "hub"};
        KernelState& state = story.kernel.state;
        const IfName port = IfName::from_kernel("eth1"), theirs = IfName::from_kernel("docker0");
        add_link(state, "eth1", LinkKind::Other);
        state.links.at(port).master = theirs;

        const Plan p = story.plan_now();

        REQUIRE(p.refusals.size() == 1);
        CHECK(p.refusals[0].object == "link eth1");
        CHECK(p.refusals[0].reason == "eth1 is in docker0 already, which is not ours");
        state.links.at(port).master = IfName{};
        story.apply();
        state.links.at(port).master = theirs;
        story.apply();
        CHECK(state.links.at(port).master == IfName::from_kernel("br-hub"));
    }

    TEST_CASE("a failed down, and a failed change of type, give a tunnel its offloads back") {
        const std::string local = R"("local": "198.51.100.30")";
        Story story{parsed(with(base, {{local, local + R"(, "hub_offload": {"tx": false})"}})), "hub"};
        story.apply();
        check_every_failure(plan(NodeIntent{.network = "net"}, story.kernel.state, story.ledger), story.kernel);
        const Topology next = parsed(with(base, {{local, R"("underlay": "ipv6", "local": "2001:db8:fe::6")"}}));
        story.intent = compile(next, *next.find("hub"), {});
        check_every_failure(story.plan_now(), story.kernel);
    }

    TEST_CASE("a failed down gives IPv6 addresses back where new interfaces have no IPv6") {
        Story story{example("dual-stack.json"), "dual-hub"};
        story.kernel.state.sysctls["net.ipv6.conf.default.disable_ipv6"] = "1";
        story.apply();
        check_every_failure(plan(NodeIntent{.network = "dual"}, story.kernel.state, story.ledger), story.kernel);
    }

    TEST_CASE("a port leaves a bridge that gets another name, at once or later") {
        const std::string bridge = R"("name": "br-hub", )", renamed = R"("name": "br-two", )";
        const std::string ports = R"("ports": ["eth1"], )";
        for (const bool at_once : {true, false}) {
            CAPTURE(at_once);
            Story story{parsed(with(base, {{bridge, bridge + ports}})), "hub"};
            KernelState& state = story.kernel.state;
            const IfName port = IfName::from_kernel("eth1");
            add_link(state, "eth1", LinkKind::Other);
            state.links.at(port).up = false;
            const Link before = state.links.at(port);
            story.apply();
            const auto go_over_to = [&](const std::string& text) {
                const Topology next = parsed(text);
                story.intent = compile(next, *next.find("hub"), {});
                check_every_failure(story.plan_now(), story.kernel);
                story.apply();
                CHECK(story.plan_now().is_empty());
            };
            if (!at_once) {
                go_over_to(with(base, {{bridge, renamed + ports}}));
                CHECK(state.links.at(port).master == IfName::from_kernel("br-two"));
            }

            go_over_to(with(base, {{bridge, renamed}}));

            CHECK(state.links.at(port) == before);
        }
    }

    TEST_CASE("a borrowed port that was down goes down again with the addresses that it has") {
        const std::string bridge = R"("name": "br-hub", )";
        Story story{parsed(with(base, {{bridge, bridge + R"("ports": ["eth1"], )"}})), "hub"};
        KernelState& state = story.kernel.state;
        const IfName port = IfName::from_kernel("eth1");
        add_link(state, "eth1", LinkKind::Other);
        state.links.at(port).up = false;
        state.addresses.insert({port, *IpPrefix::parse("fd07::1/64"), true, false});
        const KernelState before = state;

        story.apply();
        check_every_failure(plan(NodeIntent{.network = "net"}, state, story.ledger), story.kernel);
        story.down();

        CHECK(state.links == before.links);
        CHECK(state.addresses == before.addresses);
    }

}  // TEST_SUITE
