// Firewall tables on a real kernel: what is written reads back as itself, a refused table changes
// nothing, strangers stay untouched. What the rules do to packets is firewall_wire_test.cpp's.

#include "netlink/firewall.hpp"
#include "support/network_namespace.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include <unistd.h>

using namespace overlay;
using overlay::netlink::Firewall;
using overlay::support::Inside;
using overlay::support::NetworkNamespace;
using overlay::support::must_run;
using Direction = rule::ClampMssToConstant::Direction;

namespace {

IfName port(std::string_view name) { return *IfName::parse(name); }
IpPrefix prefix(std::string_view text) { return *IpPrefix::parse(text); }

FirewallTable inet(std::vector<FirewallRule> nat) {
    return {TableFamily::Inet, "overlay_home", "overlay:home",
            {{"clamp", "filter", "postrouting", -150, true, {rule::ClampMssToRoute{}}},
             {"masquerade", "nat", "postrouting", 100, true, std::move(nat)}},
            {}};
}

FirewallTable bridge(std::vector<FirewallRule> guards, std::vector<FirewallRule> clamps) {
    return {TableFamily::Bridge, "overlay_home", "overlay:home",
            {{"clamp", "filter", "forward", -150, true, std::move(clamps)},
             {"guard", "filter", "prerouting", -300, true, std::move(guards)}},
            {}};
}

FirewallTable simple_table() { return inet({rule::Masquerade{port("eth0"), {}}}); }

std::string file_text(const char* path) {
    std::ifstream file{path};
    std::stringstream content;
    content << file.rdbuf();
    return content.str();
}

/// Writes the table, reads all, and takes it away again.
std::vector<FirewallTable> round_trip(Firewall& firewall, const FirewallTable& table) {
    const auto added = firewall.replace(std::nullopt, table);
    REQUIRE_MESSAGE(added.has_value(), (added ? "" : text(added.error())));
    const auto found = firewall.snapshot();
    REQUIRE(found);
    REQUIRE(firewall.replace(table, std::nullopt));
    return found->tables;
}

std::mt19937_64 seeded() {
    const char* given = std::getenv("OVERLAY_SEED");
    const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10)
                                                : std::random_device{}();
    MESSAGE("OVERLAY_SEED=", seed);
    return std::mt19937_64{seed};
}

class RandomTables {
  public:
    explicit RandomTables(std::mt19937_64 engine) : engine_{engine} {}

    FirewallTable next() {
        if (below(2) == 0) {
            // One masquerade per uplink, as a topology gives; sources sorted, each once.
            std::vector<FirewallRule> nat;
            const std::uint64_t uplinks = 1 + below(3);
            for (std::uint64_t i = 0; i < uplinks; ++i) nat.push_back(masquerade(i));
            return inet(std::move(nat));
        }
        std::vector<FirewallRule> guards, clamps;
        for (std::uint64_t count = 1 + below(5); count > 0; --count) guards.push_back(guard());
        for (std::uint64_t count = 1 + below(5); count > 0; --count) clamps.push_back(clamp());
        return bridge(std::move(guards), std::move(clamps));
    }

  private:
    std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }

    IfName name() {
        static constexpr std::string_view first = "abcXYZ0189";
        static constexpr std::string_view rest = "abcXYZ0189._-";
        std::string out{first[below(first.size())]};
        for (std::uint64_t more = 1 + below(14); more > 0; --more) out += rest[below(rest.size())];
        const auto parsed = IfName::parse(out);
        return parsed ? *parsed : name();   // what a file may not say, such as "a..b": again
    }

    FirewallRule masquerade(std::uint64_t uplink) {
        std::set<IpPrefix> sources;
        for (std::uint64_t count = below(4); count > 0; --count) {
            const auto bits = static_cast<std::uint32_t>(engine_());
            const auto length = static_cast<std::uint8_t>(below(33));
            const IpAddress address = IpAddress::from_bytes(Family::Ipv4, &bits);
            sources.insert(IpPrefix::of(address, length).network());
        }
        return rule::Masquerade{port("up" + std::to_string(uplink)),
                                {sources.begin(), sources.end()}};
    }

    FirewallRule guard() {
        if (below(2) == 0) return rule::DropDhcp{name()};
        return rule::DropRouterAdvertisement{name()};
    }

    FirewallRule clamp() {
        return rule::ClampMssToConstant{name(), below(2) == 0 ? Direction::In : Direction::Out,
                                        below(2) == 0 ? Family::Ipv4 : Family::Ipv6,
                                        static_cast<std::uint16_t>(below(65536))};
    }

    std::mt19937_64 engine_;
};

}  // namespace

TEST_SUITE("firewall on a kernel") {

// First in this file: the others make the kernel load nf_tables.
TEST_CASE("a snapshot loads no module") {
    const NetworkNamespace here;
    const Inside inside{here};
    const std::string before = file_text("/proc/modules");
    const bool loadable = ::access("/proc/modules", F_OK) == 0;
    if (loadable && ::access("/sys/module/nf_tables", F_OK) == 0) {
        MESSAGE("nf_tables is loaded already: shown only on a freshly booted kernel");
        return;
    }

    const auto found = Firewall{}.snapshot();

    REQUIRE(found);
    CHECK(found->all.empty());
    CHECK(found->tables.empty());
    CHECK(file_text("/proc/modules") == before);
}

TEST_CASE("every kind of rule reads back as it was written") {
    const NetworkNamespace here;
    const Inside inside{here};
    Firewall firewall;
    std::vector<FirewallTable> tables{
        inet({rule::Masquerade{port("eth0"), {}}}),
        inet({rule::Masquerade{port("eth0"), {}, {*IpAddress::parse("203.0.113.2")}}}),
        inet({rule::Masquerade{port("eth0"), {},
                               {*IpAddress::parse("203.0.113.2"),
                                *IpAddress::parse("203.0.113.3")}}}),
        inet({rule::Masquerade{port("eth0"), {prefix("192.168.0.0/16")}}}),
        inet({rule::Masquerade{port("eth0"), {prefix("192.168.1.7/32")}}}),
        inet({rule::Masquerade{port("eth0"), {prefix("0.0.0.0/0")}}}),
        // Neighbours, and one inside another: nft would merge each pair in a set.
        inet({rule::Masquerade{port("eth0"), {prefix("10.0.0.0/25"), prefix("10.0.0.128/25")}}}),
        inet({rule::Masquerade{port("eth0"), {prefix("10.0.0.0/8"), prefix("10.1.0.0/16")}},
              rule::Masquerade{port("eth1"), {prefix("10.2.0.0/16")}}}),
        bridge({rule::DropDhcp{port("a")}, rule::DropRouterAdvertisement{port("a")}}, {})};
    for (const Direction direction : {Direction::In, Direction::Out}) {
        for (const Family family : {Family::Ipv4, Family::Ipv6}) {
            for (const std::uint16_t mss : std::array<std::uint16_t, 2>{1404, 65535}) {
                tables.push_back(
                    bridge({}, {rule::ClampMssToConstant{port("a"), direction, family, mss}}));
            }
        }
    }

    for (std::size_t i = 0; i < tables.size(); ++i) {
        CAPTURE(i);
        CHECK(round_trip(firewall, tables[i]) == std::vector{tables[i]});
    }
}

TEST_CASE("random tables read back as they were written") {
    const NetworkNamespace here;
    const Inside inside{here};
    Firewall firewall;
    RandomTables tables{seeded()};

    for (int round = 0; round < 60; ++round) {
        CAPTURE(round);
        const FirewallTable table = tables.next();
        CHECK(round_trip(firewall, table) == std::vector{table});
    }
}

TEST_CASE("priorities that nft lists by name come back as numbers") {
    const NetworkNamespace here;
    const Inside inside{here};
    Firewall firewall;
    for (const int priority : {-300, -200, -150, -100, 0, 50, 100, 101, 300}) {
        CAPTURE(priority);
        FirewallTable table = bridge({}, {rule::ClampMssToConstant{port("a"), Direction::In,
                                                                   Family::Ipv4, 1404}});
        table.chains[0].priority = priority;
        CHECK(round_trip(firewall, table) == std::vector{table});
    }
}

TEST_CASE("strangers' tables are named and left as they are") {
    const NetworkNamespace here;
    const Inside inside{here};
    must_run("nft add table ip nat");
    must_run("nft add chain ip nat POSTROUTING { type nat hook postrouting priority 100 ; }");
    must_run("nft add rule ip nat POSTROUTING oifname docker0 masquerade");
    must_run("nft add table bridge overlay_other");
    must_run("nft add table ip6 asleep { flags dormant ; }");
    const std::string before = must_run("nft list ruleset");
    Firewall firewall;

    REQUIRE(firewall.replace(std::nullopt, simple_table()));
    const auto found = firewall.snapshot();
    REQUIRE(firewall.replace(simple_table(), simple_table()));
    REQUIRE(firewall.replace(simple_table(), std::nullopt));

    REQUIRE(found);
    CHECK(found->all == std::set<FoundTable>{{"ip", "nat"}, {"bridge", "overlay_other"},
                                             {"ip6", "asleep"}, {"inet", "overlay_home"}});
    REQUIRE(found->tables.size() == 2);   // in order of family and name
    CHECK(found->tables[0].name == "overlay_home");
    CHECK(found->tables[1].name == "overlay_other");
    CHECK(must_run("nft list ruleset") == before);
}

TEST_CASE("a table that exists although we know of none is not touched") {
    const NetworkNamespace here;
    const Inside inside{here};
    must_run("nft add table inet overlay_home");
    must_run("nft add chain inet overlay_home theirs");
    const std::string before = must_run("nft list ruleset");
    Firewall firewall;

    const auto added = firewall.replace(std::nullopt, simple_table());

    REQUIRE_FALSE(added);
    CHECK(added.error().kind == Error::Kind::Conflict);
    CHECK(text(added.error()) ==
          "add nft table inet overlay_home: Could not process rule: File exists");
    CHECK(must_run("nft list ruleset") == before);
}

TEST_CASE("a table that the kernel refuses leaves the former one in place") {
    const NetworkNamespace here;
    const Inside inside{here};
    Firewall firewall;
    REQUIRE(firewall.replace(std::nullopt, simple_table()));
    const std::string before = must_run("nft list ruleset");
    FirewallTable refused = simple_table();
    refused.chains[0].hook = "input";   // `rt mtu` has no route there

    const auto replaced = firewall.replace(simple_table(), refused);

    REQUIRE_FALSE(replaced);
    CHECK(text(replaced.error()) ==
          "replace nft table inet overlay_home: Could not process rule: Operation not supported");
    CHECK(replaced.error().kind == Error::Kind::Unsupported);
    CHECK(must_run("nft list ruleset") == before);
    CHECK(firewall.snapshot()->tables == std::vector{simple_table()});
}

TEST_CASE("drift by hand is seen and repaired") {
    const NetworkNamespace here;
    const Inside inside{here};
    Firewall firewall;
    REQUIRE(firewall.replace(std::nullopt, simple_table()));
    for (const std::string change :
         {"nft add table inet overlay_home { flags dormant ; }",
          "nft add set inet overlay_home s { type ipv4_addr ; }",
          "nft add chain inet overlay_home c", "nft flush chain inet overlay_home clamp",
          "nft add rule inet overlay_home clamp tcp dport 22 accept",
          "nft insert rule inet overlay_home masquerade_2 oifname eth0 masquerade",
          "nft add chain inet overlay_home clamp { policy drop ; }",
          "nft delete table inet overlay_home"}) {
        CAPTURE(change);
        if (change.find("masquerade_2") != std::string_view::npos) {
            must_run("nft add chain inet overlay_home masquerade_2");
        }
        must_run(change);
        const auto drifted = firewall.snapshot();
        REQUIRE_MESSAGE(drifted, (drifted ? "" : text(drifted.error())));
        CHECK(drifted->tables != std::vector{simple_table()});

        const std::optional<FirewallTable> from =
            drifted->tables.empty() ? std::nullopt : std::optional{drifted->tables.front()};
        REQUIRE(firewall.replace(from, simple_table()));
        CHECK(firewall.snapshot()->tables == std::vector{simple_table()});
    }
}

TEST_CASE("a dormant table is told apart by its flag and keeps its rules") {
    const NetworkNamespace here;
    const Inside inside{here};
    Firewall firewall;
    REQUIRE(firewall.replace(std::nullopt, simple_table()));

    must_run("nft add table inet overlay_home { flags dormant ; }");

    FirewallTable expected = simple_table();
    expected.extras = {"flags dormant"};
    CHECK(firewall.snapshot()->tables == std::vector{expected});
}

TEST_CASE("a replaced table with a foreign rule can be put back") {
    const NetworkNamespace here;
    const Inside inside{here};
    Firewall firewall;
    REQUIRE(firewall.replace(std::nullopt, simple_table()));
    must_run("nft add rule inet overlay_home clamp tcp dport { 22, 80 } counter accept");
    must_run("nft add chain inet overlay_home theirs");
    must_run("nft add rule inet overlay_home theirs ct state established log prefix x accept");
    const std::string before = must_run("nft --stateless list ruleset");
    const auto drifted = firewall.snapshot();
    REQUIRE(drifted);
    REQUIRE(drifted->tables.size() == 1);

    REQUIRE(firewall.replace(drifted->tables[0], simple_table()));
    CHECK(must_run("nft --stateless list ruleset") != before);
    REQUIRE(firewall.replace(simple_table(), drifted->tables[0]));

    CHECK(firewall.snapshot()->tables == drifted->tables);
    // Text lists chains in the order of making, ours are made in order of name: so were these.
    CHECK(must_run("nft --stateless list ruleset") == before);
}

TEST_CASE("removing what is gone already succeeds") {
    const NetworkNamespace here;
    const Inside inside{here};
    Firewall firewall;

    CHECK(firewall.replace(simple_table(), std::nullopt));

    CHECK(firewall.snapshot()->all.empty());
}

TEST_CASE("a firewall belongs to the namespace that it was made in") {
    const NetworkNamespace home, elsewhere;
    std::optional<Firewall> firewall;
    {
        const Inside inside{home};
        firewall.emplace();
    }
    const Inside inside{elsewhere};

    REQUIRE(firewall->replace(std::nullopt, simple_table()));

    CHECK(firewall->snapshot()->tables.size() == 1);
    CHECK(must_run("nft list ruleset").empty());
    CHECK(home.run("nft list tables") == "table inet overlay_home\n");
}

}  // TEST_SUITE
