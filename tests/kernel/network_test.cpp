// Addresses, routes and sysctls on a real kernel, judged by `ip` and `sysctl`.

#include "kernel/lab.hpp"

#include <algorithm>

using namespace overlay;
using namespace overlay::test;

namespace {

/// A namespace with `u0` up, which has 192.0.2.1/24 and 2001:db8::1/64.
void add_uplink() {
    (void)output_of({"ip", "link", "add", "u0", "type", "dummy"});
    (void)output_of({"sysctl", "-qw", "net.ipv6.conf.u0.dad_transmits=0"});
    (void)output_of({"ip", "link", "set", "u0", "up"});
    (void)output_of({"ip", "addr", "add", "192.0.2.1/24", "dev", "u0"});
    (void)output_of({"ip", "addr", "add", "2001:db8::1/64", "dev", "u0", "nodad"});
}

std::string sysctl(const std::string& key) { return output_of({"sysctl", "-n", key}); }

}  // namespace

TEST_SUITE("addresses on a kernel") {

    TEST_CASE("addresses of both families come and go as ip would have them") {
        Lab lab;
        add_uplink();
        const auto judge = [&](const Address& address) {
            CHECK(lab.snapshot().addresses.contains(address));
            auto link = json_of({"ip", "-j", "addr", "show", "dev", "u0"}).at(0);
            for (auto judged : link["addr_info"]) {
                if (judged["local"] != text(address.prefix.address())) continue;
                CHECK(judged["prefixlen"] == address.prefix.length());
                CHECK_FALSE(judged.contains("broadcast"));
                CHECK(judged["valid_life_time"] == 4294967295);
                CHECK(judged["preferred_life_time"] == 4294967295);
                CHECK(judged["scope"] == "global");
                CHECK(judged.contains("noprefixroute") == address.no_prefix_route);
                return;
            }
            FAIL("ip does not show the address");
        };

        for (const auto* words :
             {"192.168.0.1/16", "192.0.2.77/24", "2001:db8:9::1/64", "10.9.8.7/8"}) {
            for (const bool no_prefix_route : {false, true}) {
                const Address address{.link = if_name("u0"),
                                      .prefix = prefix(words),
                                      .no_prefix_route = no_prefix_route};
                CAPTURE(words);
                lab.there_and_back(AddAddress{address}, [&] { judge(address); });
            }
        }
    }

    TEST_CASE(
        "an address with a lifetime is found as not permanent, a link-local one as permanent") {
        Lab lab;
        add_uplink();
        (void)output_of({"ip", "addr", "add", "198.51.100.1/24", "dev", "u0", "valid_lft", "600",
                         "preferred_lft", "300"});

        const auto addresses = lab.snapshot().addresses;

        CHECK(addresses.contains({if_name("u0"), prefix("198.51.100.1/24"), false, false}));
        CHECK(std::ranges::any_of(addresses, [](const Address& address) {
            return address.link == if_name("u0") && address.permanent &&
                   address.prefix.address().is_link_local();
        }));
    }

    TEST_CASE("an address's place is that in the kernel's list, by link and family") {
        Lab lab;
        add_uplink();
        const auto place_of = [&](const char* words) {
            for (const Address& each : lab.snapshot().addresses) {
                if (each.prefix == prefix(words)) return each.details.place;
            }
            return std::uint32_t{0};
        };
        for (const char* words : {"203.0.113.1/24", "10.70.0.1/24", "2001:db8:ff::1/64", "2001:db8:ff::9/64",
                                  "2001:db8:ff::5/64"})
            lab.execute(AddAddress{{if_name("u0"), prefix(words), true, false}});

        CHECK(place_of("10.70.0.1/24") == place_of("203.0.113.1/24") + 1);   // IPv4: the oldest first
        CHECK(place_of("2001:db8:ff::5/64") == 1);                           // IPv6: the youngest
        CHECK(place_of("2001:db8:ff::9/64") == 2);
        CHECK(place_of("2001:db8:ff::1/64") == 3);
    }

    TEST_CASE("what an address has besides comes back with it") {
        Lab lab;
        add_uplink();
        const auto address_of = [&](const char* words) {
            const auto all = lab.snapshot().addresses;
            const auto found = std::ranges::find_if(
                all, [&](const Address& a) { return a.prefix == prefix(words); });
            REQUIRE(found != all.end());
            return *found;
        };
        const auto said = [] { return json_of({"ip", "-j", "address", "show", "dev", "u0"}); };
        for (const char* words :
             {"10.0.0.1/24 brd 10.0.0.255 label u0:1 metric 50 scope link",
              "10.0.0.1/24 peer 10.0.9.0/24", "10.0.0.1/24 valid_lft 9000 preferred_lft 8000"}) {
            CAPTURE(words);
            (void)output_of({"sh", "-c", std::string{"ip address add dev u0 "} + words});
            const auto before = said();
            const Address found = address_of("10.0.0.1/24");

            lab.execute(RemoveAddress{found});
            CHECK(said() != before);
            lab.execute(AddAddress{found});

            CHECK(said() == before);
            lab.execute(RemoveAddress{found});
        }
    }

    TEST_CASE(
        "refused: an address on a missing link, an address twice, an address that is not there") {
        Lab lab;
        add_uplink();

        const Error missing = lab.refusal(AddAddress{{if_name("nowhere"), prefix("10.0.0.1/8")}});
        CHECK(missing.kind == Error::Kind::NotFound);
        CHECK(missing.reason == "there is no link nowhere");
        for (const auto* words : {"192.0.2.1/24", "2001:db8::1/64"}) {
            CAPTURE(words);
            const Error twice = lab.refusal(AddAddress{{if_name("u0"), prefix(words)}});
            CHECK(twice.kind == Error::Kind::Conflict);
            CHECK(twice.code == EEXIST);
        }
        const Error gone = lab.refusal(RemoveAddress{{if_name("u0"), prefix("192.0.2.200/24")}});
        CHECK(gone.code == EADDRNOTAVAIL);
    }
}

TEST_SUITE("neighbours on a kernel") {

    TEST_CASE("written neighbours and proxies of both families come and go, and ip agrees") {
        Lab lab;
        add_uplink();
        const auto mac = MacAddress::parse("02:00:00:00:0f:09");
        for (const char* address : {"192.0.2.9", "203.0.113.9", "2001:db8::9", "fe80::9"}) {
            CAPTURE(address);
            Neighbour wanted{.link = if_name("u0"), .address = ip(address), .mac = mac, .protocol = 186};
            wanted.is_router = wanted.address.family() == Family::Ipv6;
            lab.there_and_back(AddNeighbour{wanted}, [&] {
                CHECK(lab.snapshot().neighbours.contains(wanted));
                const auto judged = json_of({"ip", "-N", "-j", "neigh", "show", "to", address, "dev", "u0"}).at(0);
                CHECK(judged["lladdr"] == text(*mac));
                CHECK(judged["state"] == nlohmann::json::array({"PERMANENT"}));
                CHECK(judged.contains("router") == wanted.is_router);
                CHECK(judged["protocol"] == "186");
            });
            const Neighbour proxy{.link = if_name("u0"), .address = ip(address), .mac = {}, .is_proxy = true};
            lab.there_and_back(AddNeighbour{proxy}, [&] {
                CHECK(lab.snapshot().neighbours.contains(proxy));
                const bool ipv6 = proxy.address.family() == Family::Ipv6;
                const auto judged = json_of({"ip", ipv6 ? "-6" : "-4", "-j", "neigh", "show", "proxy", "dev", "u0"});
                REQUIRE(judged.size() == 1);
                CHECK(judged[0]["dst"] == address);
            });
        }
    }

    TEST_CASE("what ip has written is found as it was, what the kernel learnt is not, and gives way") {
        Lab lab;
        add_uplink();
        const auto add = [](const std::vector<std::string>& words) {
            std::vector<std::string> command{"ip", "neigh", "add"};
            command.insert(command.end(), words.begin(), words.end());
            (void)output_of(command);
        };
        add({"192.0.2.9", "lladdr", "02:00:00:00:0f:09", "dev", "u0", "nud", "permanent", "extern_learn"});
        add({"192.0.2.10", "lladdr", "02:00:00:00:0f:0a", "dev", "u0", "nud", "reachable"});
        add({"proxy", "2001:db8::70", "dev", "u0"});
        const Neighbour written{.link = if_name("u0"),
                                .address = ip("192.0.2.9"),
                                .mac = MacAddress::parse("02:00:00:00:0f:09"),
                                .is_learned = true};
        const Neighbour proxy{.link = if_name("u0"), .address = ip("2001:db8::70"), .mac = {}, .is_proxy = true};
        CHECK(lab.snapshot().neighbours == std::set<Neighbour>{written, proxy});

        Neighbour instead{.link = if_name("u0"), .address = ip("192.0.2.10"), .mac = written.mac};
        lab.execute(AddNeighbour{instead});
        CHECK(lab.snapshot().neighbours.contains(instead));
        lab.execute(RemoveNeighbour{instead});
        CHECK(lab.refusal(RemoveNeighbour{instead}).kind == Error::Kind::NotFound);
    }

}  // TEST_SUITE

TEST_SUITE("routes on a kernel") {

    TEST_CASE("routes of both families come and go, and ip agrees") {
        const Route base{.device = if_name("u0")};
        const auto route = [&](const char* to, const char* via) {
            Route made = base;
            made.destination = prefix(to);
            if (*via != 0) made.gateway = ip(via);
            if (made.destination.family() == Family::Ipv6) made.metric = 1024;
            return made;
        };
        std::vector<Route> routes{route("0.0.0.0/0", "192.0.2.254"),
                                  route("0.0.0.0/1", ""),
                                  route("198.51.100.7/32", "192.0.2.254"),
                                  route("::/0", "2001:db8::fe"),
                                  route("8000::/1", ""),
                                  route("2001:db8:7::/48", "2001:db8::fe")};
        routes.push_back(route("10.0.0.0/8", "192.0.2.254"));
        routes.back().metric = 50;
        routes.back().table = 1000;
        routes.push_back(route("10.0.0.0/8", "192.0.2.254"));
        routes.back().protocol = 16;  // dhcp, as in /etc/iproute2/rt_protos
        Lab lab;
        add_uplink();

        for (const Route& wanted : routes) {
            CAPTURE(text(wanted.destination));
            lab.there_and_back(AddRoute{wanted}, [&] {
                CHECK(lab.snapshot().routes.contains(wanted));
                const bool ipv6 = wanted.destination.family() == Family::Ipv6;
                auto judged =
                    json_of({"ip", "-N", "-j", ipv6 ? "-6" : "-4", "route", "show", "table",
                             std::to_string(wanted.table), "exact", text(wanted.destination)});
                REQUIRE(judged.size() == 1);
                CHECK(judged[0]["dev"] == "u0");
                CHECK(judged[0].value("gateway", "") ==
                      (wanted.gateway ? text(*wanted.gateway) : ""));
                CHECK(judged[0].value("metric", 0U) == wanted.metric);
                CHECK(judged[0]["protocol"] == std::to_string(wanted.protocol));
            });
        }
    }

    TEST_CASE("what a route has besides is read, written and removed with it") {
        Lab lab;
        add_uplink();
        const Route plain{.destination = prefix("10.0.0.0/8"), .device = if_name("u0")};
        const auto with = [&](auto change) {
            Route other = plain;
            change(other);
            return other;
        };
        const std::vector<std::pair<Route, const char*>> rows{
            {with([](Route& r) { r.metrics = {{"mtu", 1000}, {"advmss", 900}}; }),
             "10.0.0.0/8 dev u0 proto 79 scope link mtu 1000 advmss 900"},
            {with([](Route& r) { r.metrics = {{"lock", 4}, {"mtu", 1000}}; }),
             "10.0.0.0/8 dev u0 proto 79 scope link mtu lock 1000"},
            {with([](Route& r) { r.source = ip("192.0.2.1"); }),
             "10.0.0.0/8 dev u0 proto 79 scope link src 192.0.2.1"},
            {with([](Route& r) {
                 r.gateway = ip("203.0.113.1");
                 r.on_link = true;
             }),
             "10.0.0.0/8 via 203.0.113.1 dev u0 proto 79 onlink"},
            {with([](Route& r) {
                 r.type = RouteType::Blackhole;
                 r.device = IfName{};
             }),
             "blackhole 10.0.0.0/8 proto 79"}};

        for (const auto& [wanted, said] : rows) {
            CAPTURE(said);
            lab.there_and_back(AddRoute{wanted}, [&] {
                CHECK(lab.snapshot().routes.contains(wanted));
                const std::string judged = output_of({"ip", "route", "show", "10.0.0.0/8"});
                std::string words = judged.substr(0, judged.find_last_not_of(" \n") + 1);
                while (words.find("  ") != std::string::npos) words.erase(words.find("  "), 1);
                CHECK(words == said);
            });
        }
    }

    TEST_CASE("a multipath route is found as one with its ways, and put back as it was") {
        Lab lab;
        add_uplink();
        (void)output_of({"ip", "route", "add", "10.0.0.0/8", "proto", "4", "nexthop", "via",
                         "192.0.2.8", "dev", "u0", "weight", "3", "nexthop", "via", "192.0.2.9", "dev",
                         "u0"});
        const std::string before = output_of({"ip", "route", "show", "10.0.0.0/8"});
        Route wanted{.destination = prefix("10.0.0.0/8"), .protocol = 4};
        wanted.hops = {{.gateway = ip("192.0.2.8"), .device = if_name("u0"), .weight = 3},
                       {.gateway = ip("192.0.2.9"), .device = if_name("u0")}};

        CHECK(lab.snapshot().routes.contains(wanted));
        lab.execute(RemoveRoute{wanted});
        CHECK(output_of({"ip", "route", "show", "10.0.0.0/8"}).empty());
        lab.execute(AddRoute{wanted});
        CHECK(output_of({"ip", "route", "show", "10.0.0.0/8"}) == before);
    }

    TEST_CASE(
        "the routes that the kernel makes itself are found, those of the local table are not") {
        Lab lab;
        add_uplink();

        const auto routes = lab.snapshot().routes;

        Route ipv4{prefix("192.0.2.0/24"), std::nullopt, if_name("u0"), 254, 0, 2};
        ipv4.source = ip("192.0.2.1");
        CHECK(routes.contains(ipv4));
        CHECK(routes.contains({prefix("2001:db8::/64"), std::nullopt, if_name("u0"), 254, 256, 2}));
        CHECK(std::ranges::none_of(routes, [](const Route& route) { return route.table == 255; }));
    }

    TEST_CASE(
        "refused with the kernel's words: a duplicate, an unreachable gateway, a removal twice") {
        Lab lab;
        add_uplink();
        const Route wanted{.destination = prefix("10.0.0.0/8"),
                           .gateway = ip("192.0.2.254"),
                           .device = if_name("u0")};
        lab.execute(AddRoute{wanted});

        CHECK(lab.refusal(AddRoute{wanted}).kind == Error::Kind::Conflict);
        Route astray = wanted;
        astray.destination = prefix("11.0.0.0/8");
        astray.gateway = ip("203.0.113.1");
        const Error error = lab.refusal(AddRoute{astray});
        CHECK(error.reason == "Network is unreachable: Nexthop has invalid gateway");
        CHECK(error.doing == "add route 11.0.0.0/8 dev u0");
        lab.execute(RemoveRoute{wanted});
        CHECK(lab.refusal(RemoveRoute{wanted}).kind == Error::Kind::NotFound);
    }

    TEST_CASE("removing our route leaves a foreign one to the same place alone") {
        Lab lab;
        add_uplink();
        (void)output_of({"ip", "-6", "route", "add", "2001:db8:7::/48", "dev", "u0", "proto", "4"});

        const Error error = lab.refusal(RemoveRoute{
            {.destination = prefix("2001:db8:7::/48"), .device = if_name("u0"), .metric = 1024}});

        CHECK(error.kind == Error::Kind::NotFound);
        CHECK(output_of({"ip", "-6", "route", "show", "2001:db8:7::/48"}).size() > 0);
    }
}

TEST_SUITE("sysctls on a kernel") {

    TEST_CASE(
        "a sysctl of one interface, dots in its name included, is written, read and put back") {
        Lab lab;
        (void)output_of({"ip", "link", "add", "eth0.100", "type", "dummy"});
        const std::string key = "net.ipv6.conf.eth0/100.accept_ra";

        lab.there_and_back(SetSysctl{key, "1", "2", {}}, [&] {
            CHECK(sysctl("net.ipv6.conf.eth0/100.accept_ra") == "2\n");
            CHECK(lab.snapshot().sysctls.at(key) == "2");
        });
        CHECK(sysctl("net.ipv6.conf.eth0/100.accept_ra") == "1\n");
    }

    TEST_CASE(
        "forwarding for all spreads to each interface, and undoing it restores what each had") {
        Lab lab;
        add_uplink();
        (void)output_of({"ip", "link", "add", "u1", "type", "dummy"});
        (void)output_of({"sysctl", "-qw", "net.ipv4.conf.u1.forwarding=1"});
        SetSysctl step{"net.ipv4.conf.all.forwarding", "0", "1", {}};
        for (const auto* name : {"default", "lo", "u0"}) {
            step.cascade.push_back({conf_sysctl(Family::Ipv4, name, "forwarding"), "0", "1"});
        }
        step.cascade.push_back({"net.ipv4.conf.u1.forwarding", "1", "1"});

        const auto writes = lab.kernel().writes();
        lab.there_and_back(step, [&] {
            CHECK(lab.kernel().writes() == writes + 1);  // the kernel wrote the others itself
            for (const auto* name : {"default", "lo", "u0", "u1"}) {
                CAPTURE(name);
                CHECK(sysctl(std::string{"net.ipv4.conf."} + name + ".forwarding") == "1\n");
            }
        });
        CHECK(sysctl("net.ipv4.conf.u0.forwarding") == "0\n");
        CHECK(sysctl("net.ipv4.conf.u1.forwarding") == "1\n");
    }

    TEST_CASE("a key outside net, or one that climbs out, is refused and counts as no write") {
        Lab lab;
        const auto writes = lab.kernel().writes();

        for (const auto* key : {"kernel.hostname", "net.ipv4.//.//.kernel.x", "net..x", "net."}) {
            CAPTURE(key);
            CHECK(lab.refusal(SetSysctl{key, "", "x", {}}).kind == Error::Kind::Invalid);
        }
        CHECK(lab.refusal(SetSysctl{"net.ipv4.conf.gone.forwarding", "0", "1", {}}).kind ==
              Error::Kind::NotFound);
        CHECK(lab.refusal(SetSysctl{"net.ipv4.conf.all.forwarding", "0", "many", {}}).code ==
              EINVAL);
        CHECK(lab.kernel().writes() == writes + 1);
    }
}
