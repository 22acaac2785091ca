// Two networks on one node: what belongs to the host is shared, and the last to go puts it back.

#include "tests/support/plan_story.hpp"
#include "topology/derive.hpp"
#include "topology/render_plan.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using test::add_link;
using test::example;
using test::fresh_host;
using test::Host;
using test::told;

namespace {

NodeIntent intent_of(const Topology& topology, const std::string& node) {
    return compile(topology, *topology.find(node), {});
}

NodeIntent first() { return intent_of(example("home.json"), "linode"); }

/// Another hub on the same machine: names and addresses of its own, but the same uplink and GUE port.
NodeIntent second() {
    const std::vector<std::pair<std::string, std::string>> other{
        {R"("network": "home")", R"("network": "second")"},
        {"taps_bridge", "taps_two"},
        {"wg_vpns", "wg_two"},
        {"192.168.", "10.168."},
        {"23450", "23460"},
        {"172.16.0", "172.17.0"},
        {"2001:db8::", "2001:db8:2::"},
        {R"("home": {)", R"("home2": {)"},
        {R"("office": {)", R"("office2": {)"},
        {R"("macbook": {)", R"("macbook2": {)"},
        {R"("yichen": {)", R"("yichen2": {)"}};
    return intent_of(example("home.json", other), "linode");
}

void check_same(const KernelState& found, const KernelState& expected) {
    CHECK(found.links == expected.links);
    CHECK(found.addresses == expected.addresses);
    CHECK(found.routes == expected.routes);
    CHECK(found.sysctls == expected.sysctls);
    CHECK(found.fou_ports == expected.fou_ports);
    CHECK(found.wireguard == expected.wireguard);
    CHECK(found.tables == expected.tables);
    CHECK(found.offloads == expected.offloads);
}

}  // namespace

TEST_SUITE("two networks on one node") {

    TEST_CASE("neither finds a difference because of the other") {
        Host host;
        host.apply(first());
        host.apply(second());

        CHECK(told(host.plan_for(first())).find("0 to add, 0 to change") != std::string::npos);
        CHECK(told(host.plan_for(second())).find("0 to add, 0 to change") != std::string::npos);
    }

    TEST_CASE("the second finds forwarding and the GUE port in place, and remembers them") {
        Host host;
        host.apply(first());

        const Plan p = host.plan_for(second());

        CHECK(told(p).find("all.forwarding") == std::string::npos);
        CHECK(told(p).find("send_redirects") == std::string::npos);
        CHECK(told(p).find("fou port") == std::string::npos);
        CHECK(p.ledger_after.sysctls.at("net.ipv4.conf.all.forwarding").before == "0");
        CHECK(p.ledger_after.sysctls.at("net.ipv4.conf.all.send_redirects").before == "1");
        CHECK(p.ledger_after.fou_ports.size() == 1);
    }

    TEST_CASE("down of one leaves the other as it was alone; down of both leaves nothing") {
        for (const bool first_goes_first : {true, false}) {
            CAPTURE(first_goes_first);
            const NodeIntent goes = first_goes_first ? first() : second();
            const NodeIntent stays = first_goes_first ? second() : first();
            Host alone;
            alone.kernel.state.sysctls["net.ipv4.conf.docker0.forwarding"] = "1";
            alone.kernel.state.offloads[{IfName::from_kernel("eth0"), "lro"}] = true;
            const KernelState before = alone.kernel.state;
            alone.apply(stays);
            Host host;
            host.kernel.state = before;
            host.apply(first());
            host.apply(second());

            host.down(goes);
            check_same(host.kernel.state, alone.kernel.state);
            CHECK(host.plan_for(stays).is_empty());

            host.down(stays);
            check_same(host.kernel.state, before);
            CHECK(host.ledgers.at("home").is_empty());
            CHECK(host.ledgers.at("second").is_empty());
        }
    }

    TEST_CASE("an overlayd that one has started and both need ends with the last of them, whichever that is") {
        for (const bool starter_goes_first : {true, false}) {
            CAPTURE(starter_goes_first);
            NodeIntent starter = first(), other = second();
            starter.desired.overlayd = other.desired.overlayd = true;
            Host host;
            host.apply(starter);
            host.apply(other);

            host.down(starter_goes_first ? starter : other);
            CHECK(host.kernel.state.overlayd);
            CHECK(told(host.plan_for(starter_goes_first ? other : starter)).find("overlayd") == std::string::npos);

            host.down(starter_goes_first ? other : starter);
            CHECK_FALSE(host.kernel.state.overlayd);
        }
    }

    TEST_CASE("what was so before the first of them stays so after the last") {
        Host host;
        host.kernel.state.sysctls["net.ipv4.conf.all.forwarding"] = "1";
        host.kernel.state.sysctls["net.ipv4.conf.default.forwarding"] = "1";
        host.apply(first());
        host.apply(second());
        host.down(first());
        host.down(second());

        CHECK(host.kernel.state.sysctls["net.ipv4.conf.all.forwarding"] == "1");
    }

    TEST_CASE("a change by hand that both find is repaired by either, and still goes with the last") {
        Host host;
        const KernelState before = host.kernel.state;
        host.apply(first());
        host.apply(second());
        host.kernel.state.sysctls["net.ipv4.conf.all.send_redirects"] = "1";
        host.kernel.state.fou_ports.clear();

        CHECK_FALSE(host.plan_for(first()).is_empty());
        host.apply(second());
        CHECK(host.plan_for(first()).is_empty());
        host.down(second());
        CHECK(host.kernel.state.sysctls["net.ipv4.conf.all.send_redirects"] == "0");
        CHECK(host.kernel.state.fou_ports.size() == 1);
        host.down(first());
        check_same(host.kernel.state, before);
    }

    TEST_CASE("a borrowed bridge that both want the same way goes back when both are gone") {
        const NodeIntent one = intent_of(example("home.json"), "home");
        NodeIntent two = one;
        two.network = "second";
        two.desired.links.clear();
        two.desired.fou_ports.clear();
        two.desired.tables.clear();
        const IfName bridge = IfName::from_kernel("br-lan");
        NodeIntent narrow = one;
        narrow.desired.links.at(bridge).mtu = Mtu{1400};
        two.desired.links[bridge] = narrow.desired.links.at(bridge);
        Host host;
        const KernelState before = host.kernel.state;

        host.apply(narrow);
        CHECK(host.plan_for(two).is_empty());
        host.apply(two);
        host.down(narrow);
        CHECK(host.kernel.state.links.at(bridge).mtu == Mtu{1400});
        CHECK(host.kernel.state.addresses.size() == before.addresses.size() + 1);
        host.down(two);
        check_same(host.kernel.state, before);
    }

    TEST_CASE("two that want different things of one borrowed bridge are told so") {
        NodeIntent one = intent_of(example("home.json"), "home");
        const IfName bridge = IfName::from_kernel("br-lan");
        one.desired.links.at(bridge).mtu = Mtu{1400};
        NodeIntent two{.network = "second", .borrowed = {bridge}};
        two.desired.links[bridge] = Link{.name = bridge, .kind = LinkKind::Bridge, .mtu = Mtu{1300}};
        Host host;
        host.apply(one);

        const Plan p = host.plan_for(two);

        REQUIRE(p.refusals.size() == 1);
        CHECK(p.refusals[0].object == "link br-lan");
        CHECK(p.refusals[0].reason ==
              "network home has borrowed br-lan, too, and wants it otherwise");
    }

}  // TEST_SUITE
