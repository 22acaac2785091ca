// Firewall tables as libnftables' JSON, without a kernel. The listings under vectors/nft were made
// by nft from rules typed by hand; their first comment says how.

#include "netlink/firewall_json.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <sstream>

using namespace overlay;
using namespace overlay::netlink;
using Direction = rule::ClampMssToConstant::Direction;

namespace {

std::string vector_file(const std::string& name) {
    std::ifstream file{std::string{OVERLAY_SOURCE_DIR} + "/tests/vectors/nft/" + name};
    REQUIRE_MESSAGE(file.good(), name);
    std::stringstream content;
    content << file.rdbuf();
    return content.str();
}

const FoundTable inet_home{"inet", "overlay_home"};
const FoundTable bridge_home{"bridge", "overlay_home"};

IfName port(std::string_view name) { return *IfName::parse(name); }
IpAddress address(std::string_view text) { return *IpAddress::parse(text); }
IpPrefix prefix(std::string_view text) { return *IpPrefix::parse(text); }

FirewallTable table_with(TableFamily family, FirewallRule rule) {
    return {family, "overlay_home", "overlay:home",
            {{"chain", "filter", "forward", -150, true, {std::move(rule)}}}, {}};
}

/// What the kernel and libnftables would list of one rule, from `expr` typed by hand.
std::string listing_of_rule(const std::string& expr, const std::string& comment = "overlay:home") {
    return R"({"nftables": [{"metainfo": {"version": "1.0.6"}},
      {"table": {"family": "bridge", "name": "overlay_home", "handle": 1}},
      {"chain": {"family": "bridge", "table": "overlay_home", "name": "chain", "handle": 2,
                 "type": "filter", "hook": "forward", "prio": -150, "policy": "accept"}},
      {"rule": {"family": "bridge", "table": "overlay_home", "chain": "chain", "handle": 3,
                "comment": ")" + comment + R"(", "expr": )" + expr + "}}]}";
}

const char* const guard_expr = R"([
  {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "gt-office"}},
  {"match": {"op": "==", "left": {"meta": {"key": "protocol"}}, "right": "ip"}},
  {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}},
             "right": {"set": [67, 68]}}},
  {"counter": {"packets": 812, "bytes": 99123}}, {"drop": null}])";

FirewallRule only_rule(const std::string& listing) {
    const auto table = table_from_nft_json(bridge_home, {listing});
    REQUIRE(table);
    REQUIRE(table->chains.size() == 1);
    REQUIRE(table->chains[0].rules.size() == 1);
    return table->chains[0].rules[0];
}

bool is_unknown(const FirewallRule& rule) { return std::holds_alternative<rule::Unknown>(rule); }

std::string replaced(std::string text, std::string_view old_part, std::string_view new_part) {
    const auto at = text.find(old_part);
    REQUIRE(at != std::string::npos);
    return text.replace(at, old_part.size(), new_part);
}

}  // namespace

TEST_SUITE("firewall") {

TEST_CASE("an inet table typed by hand in nft's language reads as our rules") {
    const auto table = table_from_nft_json(inet_home, {vector_file("inet.json")});

    REQUIRE(table);
    const FirewallTable expected{
        TableFamily::Inet, "overlay_home", "overlay:home",
        {{"clamp", "filter", "postrouting", -150, true, {rule::ClampMssToRoute{}}},
         {"masquerade_out", "nat", "postrouting", 100, true,
          {rule::Masquerade{port("eth0"), {}},
           rule::Masquerade{port("eth0"), {}, {address("203.0.113.2"), address("203.0.113.9")}},
           rule::Masquerade{port("eth1"), {prefix("10.0.0.0/8"), prefix("192.168.7.9/32")}}}}},
        {}};
    CHECK(*table == expected);
}

TEST_CASE("a bridge table typed by hand in nft's language reads as our rules") {
    const auto table = table_from_nft_json(bridge_home, {vector_file("bridge.json")});

    REQUIRE(table);
    const FirewallTable expected{
        TableFamily::Bridge, "overlay_home", "overlay:home",
        {{"clamp", "filter", "forward", -150, true,
          {rule::ClampMssToConstant{port("gt-office"), Direction::Out, Family::Ipv4, 1404},
           rule::ClampMssToConstant{port("gt-office"), Direction::In, Family::Ipv6, 1384}}},
         {"guard", "filter", "prerouting", -300, true,
          {rule::DropDhcp{port("gt-office")}, rule::DropRouterAdvertisement{port("gt-office")}}}},
        {}};
    CHECK(*table == expected);
}

TEST_CASE("what a foreign hand did to our table is seen, all of it") {
    const auto table = table_from_nft_json(inet_home, {vector_file("odd.json")});

    REQUIRE(table);
    CHECK(table->extras == std::vector<std::string>{"counter hits", "map verdicts", "set allowed"});
    REQUIRE(table->chains.size() == 3);
    const FirewallChain& clamp = table->chains[0];
    CHECK(clamp.name == "clamp");
    CHECK_FALSE(clamp.accept);
    REQUIRE(clamp.rules.size() == 5);
    CHECK(clamp.rules[0] == FirewallRule{rule::ClampMssToRoute{}});
    for (std::size_t i = 1; i < clamp.rules.size(); ++i) {   // no comment, counter, wrong MSS, jump
        CAPTURE(i);
        CHECK(is_unknown(clamp.rules[i]));
    }
    REQUIRE(table->chains[1].rules.size() == 3);
    for (const FirewallRule& rule : table->chains[1].rules) CHECK(is_unknown(rule));
    CHECK(table->chains[2].name == "plain");
    CHECK(table->chains[2].hook.empty());
}

TEST_CASE("counts do not matter, everything else of a rule does") {
    const FirewallRule guard = rule::DropDhcp{port("gt-office")};
    struct Change {
        const char *old_part, *new_part;
    };
    const std::array<Change, 8> changes{{{"iifname", "oifname"},
                                         {"\"==\"", "\"!=\""},
                                         {"\"ip\"", "\"ip6\""},
                                         {"udp", "tcp"},
                                         {"dport", "sport"},
                                         {"68", "69"},
                                         {"[67, 68]", "[67]"},
                                         {"drop", "accept"}}};

    CHECK(only_rule(listing_of_rule(guard_expr)) == guard);
    for (const Change& change : changes) {
        CAPTURE(change.old_part);
        CHECK(is_unknown(
            only_rule(listing_of_rule(replaced(guard_expr, change.old_part, change.new_part)))));
    }
    CHECK(is_unknown(only_rule(listing_of_rule(
        replaced(guard_expr, "{\"drop\"", R"({"log": {"prefix": "x"}}, {"drop")")))));
}

TEST_CASE("a rule that names what no device can be called is not ours") {
    const auto guard_of = [](std::string_view name) {
        return only_rule(listing_of_rule(replaced(guard_expr, "gt-office", name)));
    };
    const std::string_view longest = "abcdefghijklmno";   // IFNAMSIZ 16, with its NUL

    CHECK(guard_of(longest) == FirewallRule{rule::DropDhcp{port(longest)}});
    CHECK(is_unknown(guard_of("abcdefghijklmnop")));
    CHECK(is_unknown(guard_of("a\\u0000b")));
}

TEST_CASE("a router advertisement guard is recognised with and without its implied protocol") {
    const std::string with = R"([
      {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "a"}},
      {"match": {"op": "==", "left": {"meta": {"key": "protocol"}}, "right": "ip6"}},
      {"match": {"op": "==", "left": {"payload": {"protocol": "icmpv6", "field": "type"}},
                 "right": "nd-router-advert"}},
      {"counter": null}, {"drop": null}])";
    const std::string without = R"([
      {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "a"}},
      {"match": {"op": "==", "left": {"payload": {"protocol": "icmpv6", "field": "type"}},
                 "right": "nd-router-advert"}},
      {"counter": null}, {"drop": null}])";

    CHECK(only_rule(listing_of_rule(with)) ==
          FirewallRule{rule::DropRouterAdvertisement{port("a")}});
    CHECK(only_rule(listing_of_rule(without)) ==
          FirewallRule{rule::DropRouterAdvertisement{port("a")}});
    CHECK(is_unknown(only_rule(listing_of_rule(replaced(with, "\"ip6\"", "\"ip\"")))));
}

TEST_CASE("flags listed as newer libnftables does are the same flags") {
    const std::string documented = R"([
      {"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}},
                                            {"|": ["syn", "rst"]}]}, "right": "syn"}},
      {"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}},
                  "value": {"rt": {"key": "mtu"}}}}])";

    CHECK(only_rule(listing_of_rule(documented)) == FirewallRule{rule::ClampMssToRoute{}});
    CHECK(is_unknown(only_rule(listing_of_rule(replaced(documented, "\"rst\"", "\"fin\"")))));
}

TEST_CASE("a rule of our shape under another comment is not ours, and keeps its comment") {
    const std::string ours = listing_of_rule(guard_expr);
    const std::string stranger = R"(,{"rule": {"family": "bridge", "table": "overlay_home",
      "chain": "chain", "handle": 4, "comment": "mine", "expr": )" +
                                 std::string{guard_expr} + "}}]}";
    const auto table =
        table_from_nft_json(bridge_home, {ours.substr(0, ours.size() - 2) + stranger});

    REQUIRE(table);
    CHECK(table->mark == "overlay:home");
    REQUIRE(table->chains[0].rules.size() == 2);
    const auto* unknown = std::get_if<rule::Unknown>(&table->chains[0].rules[1]);
    REQUIRE(unknown != nullptr);
    const auto kept = nlohmann::json::parse(unknown->json);
    CHECK(kept["comment"] == "mine");
    CHECK(kept["expr"].size() == 5);
    CHECK(kept["expr"][3] == nlohmann::json{{"counter", nullptr}});
    CHECK_FALSE(kept.contains("handle"));
    CHECK(nlohmann::json::parse(to_nft_json(*table))["nftables"][3]["add"]["rule"]["comment"] ==
          "mine");
}

TEST_CASE("a table is written as libnftables-json(5) says") {
    const FirewallTable table{TableFamily::Inet, "overlay_home", "overlay:home",
                              {{"masquerade", "nat", "postrouting", 100, true,
                                {rule::Masquerade{port("eth0"), {prefix("10.0.0.0/8")}}}}},
                              {}};

    CHECK(nlohmann::json::parse(to_nft_json(table)) == nlohmann::json::parse(R"({"nftables": [
      {"add": {"table": {"family": "inet", "name": "overlay_home"}}},
      {"add": {"chain": {"family": "inet", "table": "overlay_home", "name": "masquerade",
        "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept"}}},
      {"add": {"rule": {"family": "inet", "table": "overlay_home", "chain": "masquerade",
        "comment": "overlay:home", "expr": [
          {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "eth0"}},
          {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
                     "right": {"prefix": {"addr": "10.0.0.0", "len": 8}}}},
          {"masquerade": null}]}}}]})"));
}

TEST_CASE("a table without a predecessor must not exist; one with may be gone already") {
    const FirewallTable table = table_with(TableFamily::Bridge, rule::DropDhcp{port("a")});
    const auto verbs = [](const std::string& text) {
        std::string out;
        const auto whole = nlohmann::json::parse(text);
        for (const auto& command : whole["nftables"]) {
            out += command.begin().key() + " " + command.begin().value().begin().key() + "\n";
        }
        return out;
    };

    CHECK(verbs(replace_as_nft_json(std::nullopt, table)) == "create table\nadd chain\nadd rule\n");
    CHECK(verbs(replace_as_nft_json(table, table)) ==
          "add table\ndelete table\nadd table\nadd chain\nadd rule\n");
    CHECK(verbs(replace_as_nft_json(table, std::nullopt)) == "add table\ndelete table\n");
}

TEST_CASE("text with metacharacters stays one JSON string") {
    FirewallTable table = table_with(TableFamily::Bridge, rule::DropDhcp{});
    table.chains[0].rules = {rule::DropDhcp{IfName::from_kernel("a\"} ; flush")}};

    const auto written = nlohmann::json::parse(to_nft_json(table));

    CHECK(written["nftables"].size() == 3);
    CHECK(written["nftables"][2]["add"]["rule"]["expr"][0]["match"]["right"] == "a\"} ; flush");
}

TEST_CASE("a table can be read chain by chain, as one with flags must be") {
    const auto whole = nlohmann::json::parse(vector_file("bridge.json"))["nftables"];
    std::vector<std::string> listings;
    for (const std::string chain : {"guard", "clamp"}) {
        auto kept = nlohmann::json::array();
        for (const auto& object : whole) {
            const bool own = object.contains("chain") && object["chain"]["name"] == chain;
            const bool rule = object.contains("rule") && object["rule"]["chain"] == chain;
            if (own || rule) kept.push_back(object);
        }
        listings.push_back(nlohmann::json{{"nftables", kept}}.dump());
    }

    const auto names = chain_names_from_nft_json(bridge_home, vector_file("bridge.json"));
    const auto pieces = table_from_nft_json(bridge_home, listings);

    REQUIRE(names);
    CHECK(*names == std::vector<std::string>{"guard", "clamp"});
    REQUIRE(pieces);
    CHECK(*pieces == *table_from_nft_json(bridge_home, {vector_file("bridge.json")}));
    CHECK(chain_names_from_nft_json({"bridge", "other"}, vector_file("bridge.json"))->empty());
}

TEST_CASE("a listing that is not what libnftables documents is an error, never an exception") {
    for (const std::string text : {"", "{", "[]", "{\"nftables\": 3}",
                                   "{\"nftables\": [{\"rule\": {}}]}",
                             "{\"nftables\": [{\"chain\": {\"name\": 5}}]}", "\xff"}) {
        CAPTURE(text);
        CHECK_FALSE(table_from_nft_json(bridge_home, {text}).has_value());
    }
    CHECK_FALSE(chain_names_from_nft_json(bridge_home, "{\"nftables\": [{\"chain\": {}}]}"));
}

}  // TEST_SUITE
