// Defaults from names. The expected bytes were computed apart from the code under test, by
//   python3 -c 'import hashlib; print(hashlib.sha256(b"overlay\0home\0gre
//   key\0office\0").hexdigest())'
// with network, purpose and id in their places; the hashes are quoted beside each value.

#include "topology/derive.hpp"

#include <doctest/doctest.h>

using namespace overlay;

namespace {

IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }
IpAddress address(const char* text) { return *IpAddress::parse(text); }

LinkSpec link(LinkType type, std::string id = "") {
    LinkSpec out;
    out.id = std::move(id);
    out.type.value = type;
    return out;
}

Node spoke(std::string name, LinkSpec link) {
    Node out;
    out.name = std::move(name);
    out.links = {std::move(link)};
    return out;
}

Topology home() {
    Topology out;
    out.network = "home";
    out.hub.name = "linode";
    out.hub.is_hub = true;
    out.hub.underlay.addresses = {{address("1.2.3.4"), {}}};
    out.hub.bridge.emplace();
    out.hub.gue = GueEndpoint{{}, {5555, {}}};
    out.hub.wireguard.emplace();
    out.hub.wireguard->interface.value = *IfName::parse("wg0");
    out.spokes = {spoke("office", link(LinkType::GretapWireguard))};
    return out;
}

const Topology the_home = home();
const Node& office = the_home.spokes[0];
const LinkSpec& office_link = office.links[0];

}  // namespace

TEST_SUITE("derive") {

    TEST_CASE("a link is called by its spoke, and by its own name where a spoke has several") {
        CHECK(link_path(office, office_link) == "spokes.office.link");
        CHECK(link_id(office, office_link) == "office");
        CHECK(link_path(office, link(LinkType::GretapGue, "backup")) ==
              "spokes.office.links.backup");
        CHECK(link_id(office, link(LinkType::GretapGue, "backup")) == "office.backup");
        CHECK(ownership_mark("home", "office.backup") == "overlay:home:office.backup");
    }

    TEST_CASE("interfaces are named after the far end, unless the file names them") {
        CHECK(hub_interface(the_home, office, office_link).str() == "gt-office");
        CHECK(spoke_interface(the_home, office, office_link).str() == "gt-linode");
        CHECK(spoke_wireguard_interface(the_home, office, office_link).str() == "wg-linode");
        const LinkSpec routed = link(LinkType::Wireguard, "r");
        CHECK(hub_interface(the_home, office, routed).str() == "wg0");
        CHECK(spoke_interface(the_home, office, routed).str() == "wg-linode-r");
        LinkSpec named = office_link;
        named.hub_interface = {*IfName::parse("gretap_office"), {}};
        named.interface = {*IfName::parse("gretap_linode"), {}};
        CHECK(hub_interface(the_home, office, named).str() == "gretap_office");
        CHECK(spoke_interface(the_home, office, named).str() == "gretap_linode");
    }

    TEST_CASE("a name beyond 15 bytes ends in five characters of its hash") {
        CHECK(short_interface_name("gt-fifteenbytes").str() == "gt-fifteenbytes");
        // sha256("gt-sixteen-bytes") = 4980aa788a2e…
        CHECK(short_interface_name("gt-sixteen-bytes").str() == "gt-sixteen4980a");
    }

    TEST_CASE("a private key is where the file says, else below /etc/overlay by the network's name") {
        CHECK(default_key_file("home") == "/etc/overlay/home.key");
        LinkSpec stated = office_link;
        CHECK(private_key_file(the_home, stated) == "/etc/overlay/home.key");
        stated.private_key_file = {"office.key", {}};
        CHECK(private_key_file(the_home, stated) == "office.key");
    }

    TEST_CASE("of several links each has a key file of its own, called by the link") {
        Topology topology;
        topology.network = "home";
        LinkSpec link;
        CHECK(private_key_file(topology, link) == "/etc/overlay/home.key");
        link.id = "backup";
        CHECK(private_key_file(topology, link) == "/etc/overlay/home.backup.key");
        link.private_key_file = Located<std::string>{"b.key", {}};
        CHECK(private_key_file(topology, link) == "b.key");
    }

    TEST_CASE("what can leave by the hub: IPv4, and global IPv6 that the hub forwards") {
        Topology topology;
        const auto at = [&](const char* text) {
            return can_exit(topology, *IpAddress::parse(text));
        };
        CHECK(at("172.16.0.2"));
        CHECK_FALSE(at("2001:db8::2"));
        topology.hub.forwarding = {{Family::Ipv6, {}}};
        CHECK(at("2000::"));
        CHECK(at("3fff:ffff::1"));
        CHECK_FALSE(at("4000::"));
        CHECK_FALSE(at("1fff:ffff::1"));
        CHECK_FALSE(at("fd00::2"));
    }

    TEST_CASE("the GRE key is the first word of a hash, a stated one, or none") {
        // sha256("overlay\0home\0gre key\0office\0") = 27478a03f68a…
        CHECK(gre_key(the_home, office, office_link) == 658999811U);
        LinkSpec stated = office_link;
        stated.key = {Setting<std::uint32_t>::Mode::Stated, 7, {}};
        CHECK(gre_key(the_home, office, stated) == 7U);
        stated.key.mode = Setting<std::uint32_t>::Mode::Kernel;
        CHECK_FALSE(gre_key(the_home, office, stated));
        CHECK_FALSE(gre_key(the_home, office, link(LinkType::Wireguard)));
    }

    TEST_CASE("MACs are local unicast ones from a hash, different at the two ends") {
        // sha256("overlay\0home\0spoke mac\0office\0") = c0513e2030097f9a…
        CHECK(text(*link_mac(the_home, office, office_link, false)) == "c2:51:3e:20:30:09");
        // sha256("overlay\0home\0hub mac\0office\0") = dbcccfbc992bc8dc…
        CHECK(text(*link_mac(the_home, office, office_link, true)) == "da:cc:cf:bc:99:2b");
        // sha256("overlay\0home\0bridge mac\0linode\0") = b8bc2de01acb6166…
        CHECK(text(*bridge_mac(the_home, the_home.hub)) == "ba:bc:2d:e0:1a:cb");
    }

    TEST_CASE(
        "the MAC of a borrowed bridge, or of one that holds the uplink, is not ours to choose") {
        Topology topology = home();
        topology.hub.bridge->existing.value = true;
        CHECK_FALSE(bridge_mac(topology, topology.hub));
        topology.hub.bridge->existing.value = false;
        topology.hub.underlay.in_bridge.value = true;
        CHECK_FALSE(bridge_mac(topology, topology.hub));
    }

    TEST_CASE("the hub's address inside WireGuard begins a /16 that the network's name picks") {
        // sha256("overlay\0home\0tunnel network\0\0") = fa790b37552f…; 0xfa mod 64 = 58
        CHECK(hub_tunnel_addresses(the_home) == std::vector{prefix("100.122.0.1/16")});
        Topology stated = home();
        stated.hub.wireguard->addresses = {{prefix("172.16.0.1/24"), {}},
                                           {prefix("fd00::1/64"), {}}};
        CHECK(hub_tunnel_addresses(stated) ==
              std::vector{prefix("172.16.0.1/24"), prefix("fd00::1/64")});
    }

    TEST_CASE(
        "a spoke's address inside WireGuard is the host that its name picks in each of the hub's "
        "networks") {
        Topology topology = home();
        topology.hub.wireguard->addresses = {{prefix("172.16.0.1/24"), {}},
                                             {prefix("fd00::1/64"), {}}};
        // sha256("overlay\0home\0tunnel address\0office\0") =
        // febb78c4b5e60efd1c589503d0db8368c43ec218… IPv4: byte 3 behind 172.16.0; IPv6: bytes 8
        // to 15.
        CHECK(spoke_tunnel_addresses(topology, office, office_link) ==
              std::vector{prefix("172.16.0.196/24"), prefix("fd00::1c58:9503:d0db:8368/64")});
    }

    TEST_CASE(
        "in a network of four addresses the one that is left is taken, in a smaller one none") {
        Topology topology = home();
        for (const char* name :
             {"a", "b", "c", "d", "e", "f", "g", "h"}) {  // all four hashes occur
            CAPTURE(name);
            const Node other = spoke(name, link(LinkType::Wireguard));
            topology.hub.wireguard->addresses = {{prefix("10.0.0.1/30"), {}}};
            CHECK(spoke_tunnel_addresses(topology, other, other.links[0]) ==
                  std::vector{prefix("10.0.0.2/30")});
            topology.hub.wireguard->addresses = {{prefix("10.0.0.6/30"), {}}};
            CHECK(spoke_tunnel_addresses(topology, other, other.links[0]) ==
                  std::vector{prefix("10.0.0.5/30")});
            topology.hub.wireguard->addresses = {{prefix("10.0.0.0/31"), {}}};
            CHECK(spoke_tunnel_addresses(topology, other, other.links[0]).empty());
        }
    }

    TEST_CASE("adding a spoke changes no value of another") {
        Topology more = home();
        more.spokes.insert(more.spokes.begin(), spoke("aaa", link(LinkType::GretapWireguard)));
        const Node& same = more.spokes[1];
        CHECK(gre_key(more, same, same.links[0]) == gre_key(the_home, office, office_link));
        CHECK(spoke_tunnel_addresses(more, same, same.links[0]) ==
              spoke_tunnel_addresses(the_home, office, office_link));
    }

    TEST_CASE("the underlay's family is the stated one, else IPv4 where the hub has it") {
        Topology topology = home();
        CHECK(underlay_family(topology, office_link) == Family::Ipv4);
        LinkSpec six = office_link;
        six.underlay = {Family::Ipv6, {}};
        CHECK(underlay_family(topology, six) == Family::Ipv6);
        CHECK_FALSE(hub_underlay_address(topology, six));
        topology.hub.underlay.addresses = {{address("2001:db8::1"), {}}};
        CHECK(underlay_family(topology, office_link) == Family::Ipv6);
        CHECK(hub_underlay_address(topology, office_link) == address("2001:db8::1"));
    }

    TEST_CASE(
        "the hub sends GUE to the NAT if there is one, else to the spoke itself, else nowhere") {
        LinkSpec gue = link(LinkType::GretapGue);
        Node home_spoke = spoke("home", gue);
        CHECK(spoke_gue_port(the_home, gue) == 5555);
        CHECK_FALSE(spoke_gue_endpoint(the_home, home_spoke, gue));
        home_spoke.underlay.addresses = {{address("2001:db8::9"), {}}, {address("10.0.0.9"), {}}};
        CHECK(spoke_gue_endpoint(the_home, home_spoke, gue) == Endpoint{address("10.0.0.9"), 5555});
        gue.local = {address("10.0.0.8"), {}};
        gue.port = {7000, {}};
        CHECK(spoke_gue_endpoint(the_home, home_spoke, gue) == Endpoint{address("10.0.0.8"), 7000});
        gue.nat = Nat{{}, {address("2.3.4.5"), {}}, {6000, {}}};
        CHECK(spoke_gue_endpoint(the_home, home_spoke, gue) == Endpoint{address("2.3.4.5"), 6000});
        CHECK(spoke_underlay_address(the_home, home_spoke, gue) == address("10.0.0.8"));
    }

    TEST_CASE("an Ethernet link is plugged in where there is a bridge, a routed one never") {
        Node bridged = office;
        bridged.bridge.emplace();
        CHECK(spoke_end_is_bridged(bridged, office_link));
        CHECK_FALSE(spoke_end_is_bridged(office, office_link));
        CHECK_FALSE(spoke_end_is_bridged(bridged, link(LinkType::Wireguard)));
        CHECK(hub_end_is_bridged(the_home, office_link));
        CHECK_FALSE(hub_end_is_bridged(the_home, link(LinkType::Wireguard)));
    }
}
