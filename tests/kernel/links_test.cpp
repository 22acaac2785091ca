// Bridges, enslaving, MTU, MAC and alias on a real kernel, judged by `ip` and `bridge`.

#include "kernel/lab.hpp"
#include "topology/state_json.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

using namespace overlay;
using namespace overlay::test;

TEST_SUITE("links on a kernel") {

TEST_CASE("a bridge is created as asked, down, and reads back; deleting it leaves no trace") {
    Lab lab;
    Link wanted = bridge("br0");
    wanted.bridge->stp = true;

    lab.there_and_back(CreateLink{wanted}, [&] {
        Link found = lab.link("br0");
        CHECK(found.up == false);
        CHECK(found.arp == true);
        CHECK(found.master == IfName{});
        for (auto* const flag : {&found.up, &found.arp}) flag->reset();
        found.master.reset();
        CHECK(found == wanted);
        auto judged = ip_link("br0");
        CHECK(judged["ifalias"] == "overlay:test:bridge");
        CHECK(judged["address"] == "02:00:00:00:00:01");
        CHECK(judged["mtu"] == 1500);
        CHECK(judged["linkinfo"]["info_data"]["stp_state"] == 1);
        CHECK(judged["linkinfo"]["info_data"]["mcast_snooping"] == 0);
        CHECK(judged["linkinfo"]["info_data"]["vlan_filtering"] == 0);
    });
}

TEST_CASE("a bridge keeps its MTU when a smaller port joins, 1500 included") {
    for (const std::uint32_t mtu : {1500U, 1446U, 9000U}) {
        CAPTURE(mtu);
        Lab lab;
        Link wanted = bridge("br0");
        wanted.mtu = Mtu{mtu};
        lab.execute(CreateLink{wanted});
        lab.execute(CreateLink{gretap_over_gue("gt0")});
        lab.execute(ChangeLink{{.name = if_name("gt0"), .mtu = Mtu{1446}},
                               {.name = if_name("gt0"), .mtu = Mtu{1300}}});

        lab.execute(ChangeLink{{.name = if_name("gt0"), .master = IfName{}},
                               {.name = if_name("gt0"), .master = if_name("br0")}});

        CHECK(ip_link("br0")["mtu"] == mtu);
    }
}

TEST_CASE("a port joins its bridge and leaves it again") {
    Lab lab;
    lab.load({"ip_gre", "fou"});
    lab.execute(CreateLink{bridge("br0")});
    lab.execute(CreateLink{gretap_over_gue("gt0")});

    lab.there_and_back(ChangeLink{{.name = if_name("gt0"), .master = IfName{}},
                                  {.name = if_name("gt0"), .master = if_name("br0")}}, [&] {
        CHECK(lab.link("gt0").master == if_name("br0"));
        CHECK(json_of({"bridge", "-j", "link", "show", "dev", "gt0"})[0]["master"] == "br0");
    });
    CHECK_FALSE(ip_link("gt0").contains("master"));
}

TEST_CASE("each attribute of a link changes alone and changes back") {
    Lab lab;
    lab.execute(CreateLink{bridge("br0")});
    const IfName name = if_name("br0");
    const auto one = [&](Link from, Link to, const char* key, const nlohmann::json& expected) {
        CAPTURE(key);
        from.name = to.name = name;
        lab.there_and_back(ChangeLink{from, to}, [&] {
            auto judged = ip_link("br0");
            judged.update(judged["linkinfo"]["info_data"]);
            CHECK(judged.value(key, nlohmann::json{}) == expected);
        });
    };

    one({.mac = mac("02:00:00:00:00:01")}, {.mac = mac("02:00:00:00:00:99")}, "address",
        "02:00:00:00:00:99");
    one({.mtu = Mtu{1500}}, {.mtu = Mtu{1400}}, "mtu", 1400);
    one({.alias = "overlay:test:bridge"}, {.alias = "other"}, "ifalias", "other");
    one({.bridge = BridgeAttributes{.stp = false}}, {.bridge = BridgeAttributes{.stp = true}},
        "stp_state", 1);
    one({.bridge = BridgeAttributes{.multicast_snooping = false}},
        {.bridge = BridgeAttributes{.multicast_snooping = true}}, "mcast_snooping", 1);
    one({.bridge = BridgeAttributes{.vlan_filtering = false}},
        {.bridge = BridgeAttributes{.vlan_filtering = true}}, "vlan_filtering", 1);
}

TEST_CASE("an empty alias clears the mark") {
    Lab lab;
    lab.execute(CreateLink{bridge("br0")});

    lab.there_and_back(ChangeLink{{.name = if_name("br0"), .alias = "overlay:test:bridge"},
                                  {.name = if_name("br0"), .alias = ""}}, [&] {
        CHECK_FALSE(ip_link("br0").contains("ifalias"));
        CHECK(lab.link("br0").alias == "");
    });
}

TEST_CASE("a link without ARP gets it back, and neither flag moves the other") {
    Lab lab;
    lab.execute(CreateLink{bridge("br0")});
    const Link without{.name = if_name("br0"), .arp = false}, with{.name = if_name("br0"), .arp = true};
    for (const bool up : {false, true}) {
        lab.execute(ChangeLink{{.name = if_name("br0"), .up = !up}, {.name = if_name("br0"), .up = up}});
        lab.there_and_back(ChangeLink{with, without}, [&] {
            CHECK(lab.link("br0").arp == false);
            CHECK(lab.link("br0").up == up);
            const auto flags = ip_link("br0")["flags"];
            CHECK(std::ranges::count(flags, "NOARP") == 1);
            CHECK(std::ranges::count(flags, "UP") == (up ? 1 : 0));
        });
    }
}

TEST_CASE("a port's flags change together and change back") {
    Lab lab;
    lab.load({"ip_gre", "fou"});
    lab.execute(CreateLink{bridge("br0")});
    lab.execute(CreateLink{gretap_over_gue("gt0")});
    lab.execute(ChangeLink{{.name = if_name("gt0"), .master = IfName{}},
                           {.name = if_name("gt0"), .master = if_name("br0")}});
    CHECK(lab.link("gt0").port == BridgePort{});
    const BridgePort other{.hairpin = true,
                           .learning = false,
                           .flood = false,
                           .multicast_flood = false,
                           .broadcast_flood = false,
                           .proxy_arp = true,
                           .isolated = true};
    for (const char* name : {"br0", "gt0"}) {
        lab.execute(ChangeLink{{.name = if_name(name), .up = false}, {.name = if_name(name), .up = true}});
    }
    CHECK(lab.link("gt0").port == BridgePort{});
    const BridgePort blocked{.blocked = true};
    lab.there_and_back(ChangeLink{{.name = if_name("gt0"), .port = BridgePort{}},
                                  {.name = if_name("gt0"), .port = blocked}}, [&] {
        CHECK(lab.link("gt0").port == blocked);
        CHECK(json_of({"bridge", "-j", "link", "show", "dev", "gt0"}).at(0)["state"] == "disabled");
    });

    lab.there_and_back(ChangeLink{{.name = if_name("gt0"), .port = BridgePort{}},
                                  {.name = if_name("gt0"), .port = other}}, [&] {
        CHECK(lab.link("gt0").port == other);
        const auto judged = json_of({"bridge", "-j", "-d", "link", "show", "dev", "gt0"}).at(0);
        CHECK(judged["hairpin"] == true);
        CHECK(judged["learning"] == false);
        CHECK(judged["flood"] == false);
        CHECK(judged["mcast_flood"] == false);
        CHECK(judged["bcast_flood"] == false);
        CHECK(judged["isolated"] == true);
        CHECK(ip_link("gt0")["linkinfo"]["info_slave_data"]["proxy_arp"] == true);
    });
}

TEST_CASE("a link gets another name and its old one back") {
    Lab lab;
    lab.execute(CreateLink{bridge("br0")});

    lab.there_and_back(RenameLink{if_name("br0"), if_name("br1")}, [&] {
        CHECK(ip_link("br1")["ifalias"] == "overlay:test:bridge");
        CHECK(lab.refusal(RenameLink{if_name("br0"), if_name("br2")}).kind == Error::Kind::NotFound);
        CHECK(lab.refusal(RenameLink{if_name("br1"), if_name("lo")}).kind == Error::Kind::Conflict);
    });
}

TEST_CASE("a running bridge's link-local address is foretold, and comes back as the kernel makes it") {
    Lab lab;
    const auto addresses = [] {
        auto told = json_of({"ip", "-6", "-j", "addr", "show", "dev", "br0", "scope", "link"})[0];
        for (auto& address : told["addr_info"]) address.erase("tentative");   // until a worker has looked
        return told;
    };
    (void)output_of({"ip", "link", "add", "br0", "address", "02:00:5e:00:53:01", "type", "bridge"});
    (void)output_of({"sysctl", "-qw", "net.ipv6.conf.br0.dad_transmits=0"});
    CHECK_FALSE(lab.link("br0").link_local);
    (void)output_of({"ip", "link", "set", "br0", "up"});
    for (const char* name : {"d0", "d1"}) {
        (void)output_of({"ip", "link", "add", name, "type", "dummy"});
        (void)output_of({"ip", "link", "set", name, "up"});
    }
    (void)output_of({"ip", "link", "set", "d0", "master", "br0"});   // without a port, no carrier: Linux 6.1 waits
    for (int tries = 0; tries < 50 && !lab.link("br0").link_local; ++tries)
        std::this_thread::sleep_for(std::chrono::milliseconds{100});
    REQUIRE(lab.link("br0").link_local == ip("fe80::5eff:fe00:5301"));
    const auto before = addresses();
    CHECK(before["addr_info"][0]["local"] == "fe80::5eff:fe00:5301");

    (void)output_of({"ip", "addr", "flush", "dev", "br0", "scope", "link"});
    const Address own{if_name("br0"), prefix("fe80::5eff:fe00:5301/64"), true, false};
    lab.execute(AddAddress{own});
    CHECK(addresses() == before);

    const std::string routes = output_of({"ip", "-6", "route", "show", "dev", "br0"});
    const KernelState state = lab.snapshot();
    const auto way = std::ranges::find_if(state.routes, [](const Route& route) {
        return route.device == if_name("br0") && route.destination == prefix("fe80::/64");
    });
    REQUIRE(way != state.routes.end());
    lab.execute(RemoveRoute{*way});
    lab.there_and_back(AddRoute{*way}, [&] {   // d1 has one, too
        CHECK(output_of({"ip", "-6", "route", "show", "dev", "br0"}) == routes);
    });

    (void)output_of({"ip", "link", "set", "br0", "addrgenmode", "none"});
    CHECK_FALSE(lab.link("br0").link_local);
    (void)output_of({"ip", "link", "set", "br0", "addrgenmode", "eui64"});
    (void)output_of({"ip", "link", "set", "br0", "down"});
    CHECK_FALSE(lab.link("br0").link_local);
}

TEST_CASE("alternative names are found, but those that no link could have") {
    Lab lab;
    (void)output_of({"ip", "link", "add", "d0", "type", "dummy"});
    for (const auto* other : {"br0", "a-name-longer-than-any-link-has"})
        (void)output_of({"ip", "link", "property", "add", "dev", "d0", "altname", other});

    CHECK(lab.snapshot().alternative_names ==
          std::map<IfName, IfName>{{if_name("br0"), if_name("d0")}});
}

TEST_CASE("a tunnel that was moved to another namespace is still in the way, and the hint says so") {
    Lab lab;
    lab.load({"ip_gre", "fou"});
    lab.execute(CreateLink{gretap_over_gue("gt0")});
    (void)output_of({"ip", "netns", "add", "elsewhere"});
    (void)output_of({"ip", "link", "set", "gt0", "netns", "elsewhere"});

    const Error error = lab.refusal(CreateLink{gretap_over_gue("gt1")});

    (void)output_of({"ip", "netns", "del", "elsewhere"});
    CHECK(error.kind == Error::Kind::Conflict);
    CHECK(error.hint.find("another network namespace") != std::string::npos);
}

TEST_CASE("a link goes up and down") {
    Lab lab;
    lab.execute(CreateLink{bridge("br0")});
    const ChangeLink up{{.name = if_name("br0"), .up = false}, {.name = if_name("br0"), .up = true}};

    lab.execute(up);
    CHECK(lab.link("br0").up == true);
    CHECK(ip_link("br0").at("flags").dump().find("\"UP\"") != std::string::npos);
    lab.execute(inverse(up));
    CHECK(lab.link("br0").up == false);
}

TEST_CASE("what the kernel refuses comes back as an error that names our object") {
    Lab lab;
    lab.execute(CreateLink{bridge("br0")});

    const Error twice = lab.refusal(CreateLink{bridge("br0")});
    CHECK(twice.kind == Error::Kind::Conflict);
    CHECK(twice.doing == "create link br0");
    const Error missing = lab.refusal(ChangeLink{{.name = if_name("br7"), .mtu = Mtu{1400}},
                                                 {.name = if_name("br7"), .mtu = Mtu{1300}}});
    CHECK(missing.kind == Error::Kind::NotFound);
    CHECK(missing.reason == "there is no link br7");
    const Error mtu = lab.refusal(ChangeLink{{.name = if_name("br0"), .mtu = Mtu{1500}},
                                             {.name = if_name("br0"), .mtu = Mtu{70'000}}});
    CHECK(mtu.reason == "Invalid argument: mtu greater than device maximum");
    const IfName name = if_name("br0");
    const Error master = lab.refusal(ChangeLink{{.name = name, .master = IfName{}},
                                                {.name = name, .master = name}});
    CHECK(master.reason.find(": ") != std::string::npos);   // with the kernel's own words
}

TEST_CASE("a link that another has replaced is not deleted") {
    Lab lab;
    (void)output_of({"ip", "link", "add", "br0", "type", "bridge"});
    (void)output_of({"ip", "link", "set", "br0", "alias", "somebody else"});

    const Error error = lab.refusal(DeleteLink{bridge("br0")});

    CHECK(error.kind == Error::Kind::Conflict);
    CHECK(error.reason == "another link has taken this name (alias \"somebody else\")");
    CHECK(ip_link("br0")["ifalias"] == "somebody else");
}

TEST_CASE("devices of every kind are reported, ours or not") {
    Lab lab;
    (void)output_of({"ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"});
    (void)output_of({"ip", "link", "add", "d.0", "type", "dummy"});
    (void)output_of({"ip", "link", "add", "link", "v0", "name", "v0.7", "type", "vlan", "id", "7"});
    lab.load({"ip_gre"});
    (void)output_of({"ip", "link", "add", "g0", "type", "gre", "local", "192.0.2.1", "remote", "192.0.2.2"});

    const KernelState state = lab.snapshot();

    CHECK(state.links.at(if_name("v0")).kind == LinkKind::Veth);
    CHECK(state.links.at(if_name("d.0")).kind == LinkKind::Other);
    CHECK(state.sysctls.contains("net.ipv4.conf.d/0.forwarding"));
    CHECK(state.links.at(if_name("lo")).mtu == Mtu{65536});
    CHECK(state.links.at(if_name("v0.7")).parent == if_name("v0"));
    CHECK_FALSE(state.links.at(if_name("g0")).parent);   // which the kernel says of as interface 0
    const auto read = state_from_json(to_json(state));
    REQUIRE(read);
    CHECK(read->links == state.links);
}

}
