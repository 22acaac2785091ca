#include "daemon/doctor/doctor.hpp"

#include "topology/derive.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using namespace overlay::doctor;

namespace {

/// A host on which nothing is wrong.
HostFacts sound() {
    HostFacts facts;
    facts.kernel_release = "6.1.0";
    facts.has_net_admin = true;
    facts.in_initial_user_namespace = true;
    facts.present_modules = {"bridge",  "fou",       "fou6",      "ip_gre",
                             "ip6_gre", "nf_tables", "wireguard", "tun"};
    return facts;
}

IfName name(const char* text) { return *IfName::parse(text); }

/// A node with a FOU port, a bridge of its own and a borrowed uplink.
NodeIntent node() {
    NodeIntent intent;
    intent.network = "home";
    intent.desired.modules = {"fou"};
    intent.desired.fou_ports = {FouPort{.port = 5555}};
    intent.desired.links[name("br0")] =
        Link{.name = name("br0"), .kind = LinkKind::Bridge, .alias = "overlay:home:bridge"};
    intent.desired.links[name("eth0")] = Link{.name = name("eth0")};
    intent.borrowed = {name("eth0")};
    return intent;
}

HostFacts sound_for_node() {
    HostFacts facts = sound();
    facts.state.links[name("eth0")] = Link{.name = name("eth0")};
    return facts;
}

/// "error interface br0", one per finding that is not ok.
std::vector<std::string> complaints(const HostFacts& facts, const NodeIntent* intent) {
    std::vector<std::string> out;
    for (const Finding& finding : judge(facts, intent)) {
        if (finding.severity == Severity::Ok) continue;
        out.push_back(std::string{text(finding.severity)} + " " + finding.subject);
        CHECK_MESSAGE(finding.evidence != "", finding.subject);
        CHECK_MESSAGE(finding.fix != "", finding.subject);
    }
    return out;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_SUITE("doctor") {

    TEST_CASE("a sound host has no complaint") {
        const NodeIntent intent = node();
        CHECK(complaints(sound(), nullptr) == Lines{});
        CHECK(complaints(sound_for_node(), &intent) == Lines{});
    }

    TEST_CASE("a missing module is an error only for the node that needs it") {
        const NodeIntent intent = node();
        HostFacts facts = sound_for_node();
        facts.present_modules = {"bridge"};

        CHECK(complaints(facts, &intent) == Lines{"error module fou"});
        CHECK(complaints(facts, nullptr).size() == 7);
        facts.loadable_modules = {"fou"};
        CHECK(complaints(facts, &intent) == Lines{});
    }

    TEST_CASE("a FOU port cannot be made in a user namespace of one's own") {
        const NodeIntent intent = node();
        HostFacts facts = sound_for_node();
        facts.in_initial_user_namespace = false;

        CHECK(complaints(facts, &intent) == Lines{"error user namespace"});
    }

    TEST_CASE("an interface that should be there, and one that should not") {
        const NodeIntent intent = node();
        HostFacts facts = sound();
        facts.state.links[name("br0")] =
            Link{.name = name("br0"), .kind = LinkKind::Bridge, .alias = ""};

        CHECK(complaints(facts, &intent) == Lines{"error interface eth0", "error interface br0"});
        facts = sound_for_node();
        facts.state.links[name("br0")] = intent.desired.links.at(name("br0"));
        CHECK(complaints(facts, &intent) == Lines{});
    }

    TEST_CASE("a UDP port names its owner, unless that is this network") {
        const NodeIntent intent = node();
        HostFacts facts = sound_for_node();
        facts.state.udp_sockets = {UdpSocket{.port = 5555}};
        facts.udp_owners[5555] = "pid 812 (dnsmasq)";

        REQUIRE(complaints(facts, &intent) == Lines{"error UDP port 5555"});
        for (const Finding& finding : judge(facts, &intent)) {
            if (finding.severity == Severity::Error)
                CHECK(finding.evidence == "bound by pid 812 (dnsmasq)");
        }
        for (const Datapath datapath : {Datapath::Kernel, Datapath::Userspace}) {
            FouPort carried = *intent.desired.fou_ports.begin();
            carried.datapath = datapath;
            facts.state.fou_ports = {carried};
            CHECK(complaints(facts, &intent) == Lines{});
        }
        NodeIntent in_user_space = node();
        in_user_space.desired.fou_ports = {FouPort{.port = 5555, .datapath = Datapath::Userspace}};
        facts.state.fou_ports = {FouPort{.port = 5555}};   // a kernel's, which may be a stranger's
        CHECK(complaints(facts, &in_user_space) == Lines{"error UDP port 5555"});
    }

    TEST_CASE("an uplink and addresses that are not there stop no apply; behind a NAT they may be right") {
        NodeIntent intent = node();
        intent.underlay = {name("eth9"), {*IpAddress::parse("203.0.113.1")},
                           {*IpAddress::parse("2001:db8::1")}};
        HostFacts facts = sound_for_node();

        CHECK(complaints(facts, &intent) == Lines{"warning uplink eth9",
                                                  "warning underlay address 203.0.113.1",
                                                  "note underlay address 2001:db8::1"});
        facts.state.links[name("eth9")] = Link{.name = name("eth9")};
        for (const char* prefix : {"203.0.113.1/24", "2001:db8::1/64"})
            facts.state.addresses.insert({name("eth9"), *IpPrefix::parse(prefix), true, false});
        CHECK(complaints(facts, &intent) == Lines{});
        intent.underlay.interface = name("eth8");
        intent.borrowed.insert(name("eth8"));
        CHECK(complaints(facts, &intent) == Lines{"error interface eth8"});
    }

    TEST_CASE("an IPv6 default route learnt by RA is lost by forwarding unless accept_ra is 2") {
        NodeIntent intent = node();
        intent.desired.sysctls["net.ipv6.conf.all.forwarding"] = "1";
        HostFacts facts = sound_for_node();
        Route route{.destination = *IpPrefix::parse("::/0"), .gateway = {}, .device = name("eth0")};
        route.protocol = 9;
        facts.state.routes = {route};
        facts.state.sysctls["net.ipv6.conf.eth0.accept_ra"] = "1";

        CHECK(complaints(facts, &intent) == Lines{"warning uplink eth0"});
        intent.desired.sysctls["net.ipv6.conf.eth0.accept_ra"] = "2";
        CHECK(complaints(facts, &intent) == Lines{});
    }

    TEST_CASE("a forward chain that drops is told to the node that forwards") {
        NodeIntent intent = node();
        HostFacts facts = sound_for_node();
        facts.dropping_forward_chains = {"bridge mine forward", "ip filter FORWARD"};

        CHECK(complaints(facts, &intent) == Lines{"warning nft chain bridge mine forward"});
        intent.desired.sysctls["net.ipv4.conf.all.forwarding"] = "1";
        CHECK(complaints(facts, &intent) == Lines{"warning nft chain bridge mine forward",
                                                  "warning nft chain ip filter FORWARD"});
    }

    TEST_CASE("sysctls that cannot be written stop the node that needs one") {
        NodeIntent intent = node();
        HostFacts facts = sound_for_node();
        facts.sysctls_are_writable = false;

        CHECK(complaints(facts, &intent) == Lines{"warning /proc/sys/net"});
        intent.desired.sysctls["net.ipv4.conf.all.forwarding"] = "1";
        CHECK(complaints(facts, &intent) == Lines{"error /proc/sys/net"});
    }

    TEST_CASE("filters on bridged frames and other managers are told") {
        HostFacts facts = sound();
        facts.bridged_frames_meet_iptables = true;
        facts.processes = {"NetworkManager", "systemd-network", "bash"};

        CHECK(complaints(facts, nullptr) ==
              Lines{"warning br_netfilter", "note NetworkManager", "note systemd-networkd"});
    }

}  // TEST_SUITE
