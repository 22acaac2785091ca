// gretap and ip6gretap on a real kernel, judged by `ip -d link`.

#include "kernel/lab.hpp"

using namespace overlay;
using namespace overlay::test;

namespace {

nlohmann::json tunnel_of(const std::string& name) { return ip_link(name)["linkinfo"]["info_data"]; }

/// What ip says under that key, of the tunnel or of its encapsulation; null when it says nothing.
nlohmann::json said_of(const std::string& name, const std::string& key) {
    const auto tunnel = tunnel_of(name);
    const auto encap = tunnel.value("encap", nlohmann::json::object());
    return tunnel.value(key, encap.value(key, nlohmann::json{}));
}

Link ip6gretap_over_gue(const char* name) {
    GretapAttributes tunnel;
    tunnel.local = ip("2001:db8::1");
    tunnel.remote = ip("2001:db8:1::7");
    tunnel.input.key = 7;
    tunnel.output.key = 8;
    tunnel.ttl = 64;
    tunnel.encap = {.type = GreEncap::Type::Gue,
                    .source_port = 5555,
                    .destination_port = 5555,
                    .checksum6 = true};
    return {.name = if_name(name),
            .kind = LinkKind::Ip6gretap,
            .alias = "overlay:test:six",
            .mac = mac("02:00:00:00:00:06"),
            .mtu = Mtu{1426},
            .gretap = tunnel};
}

ChangeLink change(const Link& link, GretapAttributes to) {
    return {{.name = link.name, .kind = link.kind, .gretap = link.gretap},
            {.name = link.name, .kind = link.kind, .gretap = std::move(to)}};
}

}  // namespace

TEST_SUITE("gretap on a kernel") {

TEST_CASE("a gretap over GUE is created whole, and ip agrees on every parameter") {
    Lab lab;
    lab.load({"ip_gre", "fou"});
    const Link wanted = gretap_over_gue("gt0");

    lab.there_and_back(CreateLink{wanted}, [&] {
        Link found = lab.link("gt0");
        CHECK(found.arp == true);
        for (auto* const flag : {&found.up, &found.arp}) flag->reset();
        found.master.reset();
        CHECK(found == wanted);
        CHECK(ip_link("gt0")["mtu"] == 1446);
        CHECK(ip_link("gt0")["ifalias"] == "overlay:test:home");
        auto judged = tunnel_of("gt0");
        CHECK(judged["local"] == "192.0.2.1");
        CHECK(judged["remote"] == "198.51.100.7");
        CHECK(judged["ikey"] == "1.2.3.4");
        CHECK(judged["okey"] == "1.2.3.4");
        CHECK(judged["ttl"] == 225);
        CHECK(judged["pmtudisc"] == true);
        CHECK(judged["encap"]["type"] == "gue");
        CHECK(judged["encap"]["sport"] == 5555);
        CHECK(judged["encap"]["dport"] == 5556);
        CHECK(judged["encap"]["csum"] == true);
        CHECK(judged["encap"]["csum6"] == false);
        CHECK(judged["encap"]["remcsum"] == false);
    });
}

TEST_CASE("an ip6gretap over GUE is created whole, without the encapsulation limit") {
    Lab lab;
    lab.load({"ip6_gre", "fou", "fou6"});
    const Link wanted = ip6gretap_over_gue("six0");

    lab.there_and_back(CreateLink{wanted}, [&] {
        Link found = lab.link("six0");
        CHECK(found.arp == true);
        for (auto* const flag : {&found.up, &found.arp}) flag->reset();
        found.master.reset();
        CHECK(found == wanted);
        auto judged = tunnel_of("six0");
        CHECK(judged["local"] == "2001:db8::1");
        CHECK(judged["remote"] == "2001:db8:1::7");
        CHECK(judged["ikey"] == "0.0.0.7");
        CHECK(judged["okey"] == "0.0.0.8");
        CHECK(judged["ip6_tnl_f_ign_encap_limit"] == true);
        CHECK(judged["encap"]["csum6"] == true);
        CHECK(judged["encap"]["sport"] == 5555);
    });
}

TEST_CASE("each parameter of a gretap changes in place on a link that is up, and the MTU stays") {
    Lab lab;
    lab.load({"ip_gre", "fou"});
    (void)output_of({"ip", "link", "add", "u0", "type", "dummy"});
    const Link link = gretap_over_gue("gt0");
    lab.execute(CreateLink{link});
    lab.execute(ChangeLink{{.name = link.name, .up = false}, {.name = link.name, .up = true}});
    const auto one = [&](auto&& edit, const std::string& key, const nlohmann::json& expected) {
        CAPTURE(key);
        GretapAttributes to = *link.gretap;
        edit(to);
        lab.there_and_back(change(link, to), [&] {
            CHECK(lab.link("gt0").gretap == to);
            CHECK(lab.link("gt0").mtu == Mtu{1446});
            CHECK(said_of("gt0", key) == expected);
        });
    };
    using G = GretapAttributes;

    one([](G& to) { to.remote = ip("198.51.100.8"); }, "remote", "198.51.100.8");
    one([](G& to) { to.local = ip("192.0.2.2"); }, "local", "192.0.2.2");
    one([](G& to) { to.ttl = 0; }, "ttl", 0);
    one([](G& to) { to.tos = 0x10; }, "tos", "0x10");
    one([](G& to) { to.device = if_name("u0"); }, "link", "u0");
    one([](G& to) { to.input.key = 9; }, "ikey", "0.0.0.9");
    one([](G& to) { to.output.key.reset(); }, "okey", nullptr);
    one([](G& to) { to.input.checksum = true; }, "icsum", true);
    one([](G& to) { to.output.sequence = true; }, "oseq", true);
    one([](G& to) { to.pmtudisc = false; }, "pmtudisc", false);
    one([](G& to) { to.encap.destination_port = 6000; }, "dport", 6000);
    one([](G& to) { to.encap.source_port = 0; }, "sport", 0);
    one([](G& to) { to.encap.checksum = false; }, "csum", false);
    one([](G& to) { to.encap.remote_checksum = true; }, "remcsum", true);
    one([](G& to) { to.encap.type = GreEncap::Type::Fou; }, "type", "fou");
    one([](G& to) { to.encap = {}; }, "encap", nullptr);
}

TEST_CASE("each parameter of an ip6gretap changes in place") {
    Lab lab;
    lab.load({"ip6_gre", "fou", "fou6"});
    const Link link = ip6gretap_over_gue("six0");
    lab.execute(CreateLink{link});
    const auto one = [&](auto&& edit, const std::string& key, const nlohmann::json& expected) {
        CAPTURE(key);
        GretapAttributes to = *link.gretap;
        edit(to);
        lab.there_and_back(change(link, to), [&] {
            CHECK(lab.link("six0").gretap == to);
            CHECK(lab.link("six0").mtu == Mtu{1426});
            CHECK(said_of("six0", key) == expected);
        });
    };
    using G = GretapAttributes;

    one([](G& to) { to.remote = ip("2001:db8:1::8"); }, "remote", "2001:db8:1::8");
    one([](G& to) { to.encap_limit = 4; }, "encap_limit", 4);
    one([](G& to) { to.ttl = 10; }, "ttl", 10);
    one([](G& to) { to.encap.destination_port = 6000; }, "dport", 6000);
    one([](G& to) { to.encap.checksum6 = false; }, "csum6", false);
    one([](G& to) { to.flow_label = 0x12345; }, "flowlabel", "0x12345");
    one([](G& to) { to.tos = 0x20; }, "tclass", "0x20");
}

TEST_CASE("a gretap may fragment, and goes back to DF, which takes the kernel two steps") {
    Lab lab;
    lab.load({"ip_gre", "fou"});
    const Link link = gretap_over_gue("gt0");
    lab.execute(CreateLink{link});
    GretapAttributes fragmenting = *link.gretap;
    fragmenting.pmtudisc = false;
    fragmenting.ignore_df = true;

    lab.there_and_back(change(link, fragmenting), [&] {
        CHECK(tunnel_of("gt0")["pmtudisc"] == false);
        CHECK(tunnel_of("gt0")["ignore_df"] == true);
    });
}

TEST_CASE("what cannot be is refused, and leaves no link behind") {
    Lab lab;
    lab.load({"ip_gre", "fou"});
    lab.execute(CreateLink{gretap_over_gue("gt0")});

    Link same = gretap_over_gue("gt1");
    CHECK(lab.refusal(CreateLink{same}).code == EEXIST);   // one (local, remote, key) per kernel
    Link contradiction = gretap_over_gue("gt2");
    contradiction.gretap->remote = ip("198.51.100.9");
    contradiction.gretap->ignore_df = true;
    const Error error = lab.refusal(CreateLink{contradiction});
    CHECK(error.code == EINVAL);
    CHECK(error.doing == "create link gt2");
    Link bad_alias = gretap_over_gue("gt3");
    bad_alias.gretap->remote = ip("198.51.100.10");
    bad_alias.alias = std::string(300, 'x');
    CHECK(lab.refusal(CreateLink{bad_alias}).reason ==
          "Numerical result out of range: Attribute failed policy validation");
    for (const auto* name : {"gt1", "gt2", "gt3"}) {
        CAPTURE(name);
        CHECK_FALSE(lab.snapshot().links.contains(if_name(name)));
    }
}

TEST_CASE("the fallback devices of the module and metadata tunnels are reported as what they are") {
    Lab lab;
    lab.load({"ip_gre"});
    (void)output_of({"ip", "link", "add", "ext0", "type", "gretap", "external"});

    const KernelState state = lab.snapshot();

    CHECK(state.links.at(if_name("gre0")).kind == LinkKind::Other);
    CHECK(state.links.at(if_name("gretap0")).kind == LinkKind::Gretap);
    CHECK(state.links.at(if_name("ext0")).gretap->collect_metadata);
}

}
