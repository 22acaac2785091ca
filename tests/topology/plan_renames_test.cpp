// Links of ours under other names than they should have, and tunnels in each other's way.

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

namespace {

IfName name(const char* text) { return IfName::from_kernel(text); }

/// What a person does: down, another name, up again.
void rename_by_hand(FakeKernel& kernel, const char* from, const char* to) {
    const auto set = [&](const char* link, bool up) {
        Link before{.name = name(link)}, after = before;
        before.up = !up;
        after.up = up;
        REQUIRE(kernel.execute(ChangeLink{before, after}));
    };
    set(from, false);
    REQUIRE(kernel.execute(RenameLink{name(from), name(to)}));
    set(to, true);
}

std::vector<std::string> deeds(const Plan& p) {
    std::vector<std::string> out;
    for (const PlannedStep& step : p.steps) out.push_back(describe(step.step));
    return out;
}

/// A spoke of one link, and its bridge.
std::string a_spoke(const std::string& link, const std::string& bridge) {
    return R"({"version": 1, "network": "net", "hub": {"name": "hub",
        "underlay": {"interface": "eth0", "addresses": ["203.0.113.1"]},
        "bridge": {"addresses": ["192.168.0.1/16"]}, "gue": {}, "wireguard": {"address": "10.9.0.1/24",
        "public_key": "m84oJmrE7NEb+ZyPkKPpelkRQSzsvUm4QprxoTL9rRE="}}, "spokes": {"me": {"link": {)" +
           link + "}" + (bridge.empty() ? "" : R"(, "bridge": {)" + bridge + "}") + "}}}";
}

void go_over(Story& story, const Topology& next, const char* node) {
    story.intent = compile(next, *next.find(node), {});
    check_every_failure(story.plan_now(), story.kernel);
    story.apply();
    CHECK(story.plan_now().is_empty());
}

}  // namespace

TEST_SUITE("plan: renames") {

    TEST_CASE("a tunnel that somebody renamed is found by its mark and gets its name back") {
        Story story{example("home.json"), "linode"};
        story.apply();
        const KernelState wanted = story.kernel.state;
        rename_by_hand(story.kernel, "gt-office", "mine");

        const Plan p = story.plan_now();

        CHECK(deeds(p) == std::vector<std::string>{"change link mine", "rename link gt-office",
                                                   "change link gt-office"});
        CHECK(plan_text(p, "", Colour::Off).find("~ link gt-office") != std::string::npos);
        CHECK(plan_text(p, "", Colour::Off).find("name mine -> gt-office") != std::string::npos);
        check_every_failure(p, story.kernel);
        story.apply();
        CHECK(story.kernel.state == wanted);
    }

    TEST_CASE("without its mark it is known by its MAC, as the ledger remembers it") {
        Story story{example("home.json"), "linode"};
        story.apply();
        const KernelState wanted = story.kernel.state;
        rename_by_hand(story.kernel, "gt-office", "mine");
        story.kernel.state.links.at(name("mine")).alias = "";

        story.apply();

        CHECK(story.kernel.state == wanted);
    }

    TEST_CASE("a renamed bridge and a renamed WireGuard device: all that hung on them is back") {
        for (const char* link : {"taps_bridge", "wg_vpns"}) {
            CAPTURE(link);
            Story story{example("home.json"), "linode"};
            story.apply();
            const KernelState wanted = story.kernel.state;
            rename_by_hand(story.kernel, link, "mine");

            check_every_failure(story.plan_now(), story.kernel);
            story.apply();

            CHECK(story.kernel.state == wanted);
            CHECK(story.plan_now().is_empty());
        }
    }

    TEST_CASE("a renamed bridge's link-local address is made by the kernel, not by us") {
        Story story{example("home.json"), "linode"};
        story.apply();
        rename_by_hand(story.kernel, "taps_bridge", "mine");
        KernelState& state = story.kernel.state;
        const IpAddress own = *IpAddress::parse("fe80::5eff:fe00:5301");
        state.links.at(name("mine")).link_local = own;
        state.addresses.insert({name("mine"), IpPrefix::of(own, 64), true, false});
        state.routes.insert({.destination = *IpPrefix::parse("fe80::/64"), .gateway = {}, .device = name("mine"),
                             .metric = 256, .protocol = 2});

        for (const std::string& deed : deeds(story.plan_now())) CHECK(deed.find("fe80") == std::string::npos);
    }

    TEST_CASE("one renamed while it stayed up keeps what others put on it") {
        Story story{example("home.json"), "linode"};
        story.apply();
        auto& state = story.kernel.state;
        const IfName bridge = name("taps_bridge");
        const Route route{.destination = *IpPrefix::parse("10.5.0.0/16"),
                          .gateway = IpAddress::parse("192.168.0.9"),
                          .device = bridge,
                          .protocol = 3};
        const Address address{bridge, *IpPrefix::parse("fd00::5/64"), true, false};
        state.routes.insert(route);
        REQUIRE(story.kernel.execute(AddAddress{address}));
        const KernelState wanted = state;
        state.links.at(bridge).up = false;   // Linux 6.2 renames links that are up
        REQUIRE(story.kernel.execute(RenameLink{bridge, name("mine")}));
        state.links.at(name("mine")).up = true;

        check_every_failure(story.plan_now(), story.kernel);
        story.apply();

        CHECK(state == wanted);
    }

    TEST_CASE("two that have swapped names swap back") {
        Story story{example("home.json"), "linode"};
        story.apply();
        const KernelState wanted = story.kernel.state;
        rename_by_hand(story.kernel, "gt-office", "aside");
        rename_by_hand(story.kernel, "gt-yichen", "gt-office");
        rename_by_hand(story.kernel, "aside", "gt-yichen");

        check_every_failure(story.plan_now(), story.kernel);
        story.apply();

        CHECK(story.kernel.state == wanted);
    }

    TEST_CASE("a link of ours with its old name as an alternative one is in its own way, and not called foreign") {
        Story story{example("home.json"), "linode"};
        story.apply();
        rename_by_hand(story.kernel, "taps_bridge", "mine");
        story.kernel.state.alternative_names[name("taps_bridge")] = name("mine");

        const Plan p = story.plan_now();

        REQUIRE_FALSE(p.refusals.empty());
        CHECK(p.refusals[0].reason == "taps_bridge is another name (altname) of mine");
    }

    TEST_CASE("a foreigner under the name of one that was renamed is refused, and kept by down") {
        Story story{example("home.json"), "linode"};
        story.apply();
        rename_by_hand(story.kernel, "taps_bridge", "mine");
        add_link(story.kernel.state, "taps_bridge", LinkKind::Bridge);

        const Plan p = story.plan_now();
        REQUIRE(p.refusals.size() == 1);
        CHECK(p.refusals[0].object == "link taps_bridge");

        story.down();
        CHECK(story.kernel.state.links.contains(name("taps_bridge")));
        CHECK_FALSE(story.kernel.state.links.contains(name("mine")));
    }

    TEST_CASE("a bridge that gets another name and another address in the file keeps no old address") {
        Story story{example("home.json"), "linode"};
        story.apply();
        const Topology other = example(
            "home.json", {{R"("name": "taps_bridge")", R"("name": "taps")"},
                          {R"("address": "172.16.0.2/24",)",   // who gets the old name
                           R"("hub_interface": "taps_bridge", "address": "172.16.0.2/24",)"},
                          {R"("192.168.0.1/16")", R"("192.168.0.2/16")"}});
        story.intent = compile(other, *other.find("linode"), {});

        check_every_failure(story.plan_now(), story.kernel);
        story.apply();

        const auto has = [&](const char* address) {
            return story.kernel.state.addresses.contains({name("taps"), *IpPrefix::parse(address), true, false});
        };
        CHECK(has("192.168.0.2/16"));
        CHECK_FALSE(has("192.168.0.1/16"));
        CHECK(story.plan_now().is_empty());
    }

    TEST_CASE("what somebody has put into a VRF or a bond leaves it before all else, down") {
        for (const char* link : {"taps_bridge", "wg_vpns", "gt-office"}) {
            CAPTURE(link);
            Story story{example("home.json"), "linode"};
            story.apply();
            auto& state = story.kernel.state;
            add_link(state, "theirs", LinkKind::Other);
            const Address foreign{name(link), *IpPrefix::parse("fd00::5/64"), true, false};
            REQUIRE(story.kernel.execute(AddAddress{foreign}));
            const KernelState wanted = state;
            state.links.at(name(link)).master = name("theirs");
            state.links.at(name(link)).port.reset();

            const Plan p = story.plan_now();
            check_every_failure(p, story.kernel);
            story.apply();

            CHECK(plan_text(p, "", Colour::Off).find("master theirs -> ") != std::string::npos);
            CHECK(state == wanted);
            CHECK(story.plan_now().is_empty());
        }
    }

    TEST_CASE("another name in the file renames the link and makes nothing anew") {
        Story story{example("home.json"), "linode"};
        story.apply();
        const Topology other = example(
            "home.json", {{R"("address": "172.16.0.2/24",)",
                           R"("hub_interface": "gt-new", "address": "172.16.0.2/24",)"}});
        story.intent = compile(other, *other.find("linode"), {});

        const Plan p = story.plan_now();

        for (const PlannedStep& step : p.steps) {
            CAPTURE(describe(step.step));
            CHECK_FALSE(std::holds_alternative<CreateLink>(step.step));
            CHECK_FALSE(std::holds_alternative<DeleteLink>(step.step));
        }
        check_every_failure(p, story.kernel);
        story.apply();
        CHECK(story.plan_now().is_empty());
        CHECK(story.kernel.state.links.contains(name("gt-new")));
        CHECK_FALSE(story.kernel.state.links.contains(name("gt-office")));
    }

    TEST_CASE("two spokes that swap addresses under one key: both tunnels are made anew") {
        Story story{example("home.json"), "linode"};
        const auto with_key_1 = [&](const char* link, const char* remote) {
            GretapAttributes& tunnel = *story.intent.desired.links.at(name(link)).gretap;
            tunnel.input.key = tunnel.output.key = 1;
            tunnel.remote = *IpAddress::parse(remote);
        };
        with_key_1("gt-office", "172.16.0.2");
        with_key_1("gt-yichen", "172.16.0.4");
        story.apply();
        with_key_1("gt-office", "172.16.0.4");
        with_key_1("gt-yichen", "172.16.0.2");

        check_every_failure(story.plan_now(), story.kernel);
        story.apply();

        CHECK(story.plan_now().is_empty());
    }

    TEST_CASE("a spoke of another name that takes over a tunnel's key: the old one goes first") {
        Story story{example("home.json"), "linode"};
        story.intent.desired.links.at(name("gt-office")).gretap->input.key = 1;
        story.apply();
        auto node = story.intent.desired.links.extract(name("gt-office"));
        node.key() = node.mapped().name = name("gt-bureau");
        node.mapped().alias = "overlay:home:bureau";
        story.intent.desired.links.insert(std::move(node));

        check_every_failure(story.plan_now(), story.kernel);
        story.apply();

        CHECK(story.plan_now().is_empty());
        CHECK_FALSE(story.kernel.state.links.contains(name("gt-office")));
    }

    TEST_CASE("a foreign tunnel of the same addresses and key is refused, whether ours is there or not") {
        Story story{example("home.json"), "linode"};
        const auto foreign = [&](std::uint32_t key) {
            add_link(story.kernel.state, "gre-other", LinkKind::Gretap);
            Link& link = story.kernel.state.links.at(name("gre-other"));
            link.gretap = story.intent.desired.links.at(name("gt-office")).gretap;
            link.gretap->input.key = key;
        };
        foreign(*story.intent.desired.links.at(name("gt-office")).gretap->input.key);
        CHECK(story.plan_now().refusals.size() == 1);

        foreign(7);
        story.apply();
        story.intent.desired.links.at(name("gt-office")).gretap->input.key = 7;
        const Plan p = story.plan_now();
        REQUIRE(p.refusals.size() == 1);
        CHECK(p.refusals[0].reason ==
              "gre-other is a tunnel with the same local, remote and key, and is not ours");
    }

    TEST_CASE("a bridge with the uplink in it gets another name, and gives the uplink back") {
        const std::string bridge = R"("bridge": { "name": "br-uplink" })";
        const std::string other = R"("bridge": { "name": "br-two" })";
        for (const bool at_once : {true, false}) {
            CAPTURE(at_once);
            Story story{example("vultr.json"), "vultr"};
            KernelState& state = story.kernel.state;
            add_link(state, "enp1s0", LinkKind::Other);
            const Address its{name("enp1s0"), *IpPrefix::parse("203.0.113.20/24"), true, false};
            REQUIRE(story.kernel.execute(AddAddress{its}));
            state.routes.insert({.destination = *IpPrefix::parse("0.0.0.0/0"),
                                 .gateway = IpAddress::parse("203.0.113.254"),
                                 .device = name("enp1s0"),
                                 .metric = 50,
                                 .protocol = 3});
            const KernelState before = state;
            story.apply();
            if (!at_once) go_over(story, example("vultr.json", {{bridge, other}}), "vultr");

            go_over(story, example("vultr.json", {{bridge, other}, {R"(, "in_bridge": true)", ""}}), "vultr");

            CHECK(state.links.at(name("enp1s0")) == before.links.at(name("enp1s0")));
            CHECK(std::includes(state.routes.begin(), state.routes.end(), before.routes.begin(), before.routes.end()));
            story.down();
            CHECK(state.routes == before.routes);
            CHECK(state.addresses == before.addresses);
        }
    }

    TEST_CASE("a WireGuard device gets another name, its old one goes to a tunnel: its old address goes") {
        const std::string key = R"("public_key": "wL5qkagUKtd2/WVdXKdhXzkLWJsCKF+kKRd962iaZko=", )";
        Story story{
            parsed(a_spoke(key + R"("type": "wireguard", "interface": "wg0", "address": "10.9.0.109/24")", "")), "me"};
        story.apply();

        go_over(story, parsed(a_spoke(key + R"("type": "gretap-wireguard", "interface": "wg0",
            "wireguard_interface": "wg7", "address": "10.9.0.7/24")", R"("name": "br0")")), "me");

        for (const Address& address : story.kernel.state.addresses)
            CHECK(text(address.prefix) != "10.9.0.109/24");
    }

    TEST_CASE("a tunnel goes from a bridge of ours to a borrowed one, and back") {
        const std::string link = R"("type": "gretap-gue", "local": "198.51.100.30")";
        const std::string own = a_spoke(link, R"("name": "br0")");
        const std::string borrowed = a_spoke(link, R"("name": "br-lan", "existing": true)");
        Story story{parsed(own), "me"};
        add_link(story.kernel.state, "br-lan", LinkKind::Bridge);
        const KernelState before = story.kernel.state;
        story.apply();

        go_over(story, parsed(borrowed), "me");
        go_over(story, parsed(own), "me");
        story.down();

        CHECK(story.kernel.state.links == before.links);
    }

    TEST_CASE("a setting that a new link of ours got goes back when the file does not ask for it any more") {
        const std::string node = R"("me": {)", setting = "net.ipv6.conf.br0.accept_ra";
        const std::string plain = a_spoke(R"("type": "gretap-gue", "local": "198.51.100.30")", R"("name": "br0")");
        std::string router = plain;
        router.replace(router.find(node), node.size(), node + R"("forwarding": ["ipv6"], )");
        Story story{parsed(router), "me"};
        story.apply();
        CHECK(story.kernel.state.sysctls.at(setting) == "2");

        go_over(story, parsed(plain), "me");

        CHECK(story.kernel.state.sysctls.at(setting) == "1");
    }

}  // TEST_SUITE
