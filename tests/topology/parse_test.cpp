// From bytes to values: what a file says arrives, what it leaves out has its default, and no bytes
// whatever crash, hang or blow up the parser.

#include "tests/support/examples.hpp"
#include "topology/json_document.hpp"
#include "topology/topology.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

using namespace overlay;
using test::example;
using test::file_text;
using test::parsed;
namespace fs = std::filesystem;

namespace {

std::vector<fs::path> examples() {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(fs::path{OVERLAY_SOURCE_DIR} / "examples")) {
        if (entry.path().extension() == ".json") out.push_back(entry.path());
    }
    std::sort(out.begin(), out.end());
    return out;
}

std::string only_message(const std::string& source) {
    const ParsedFile file = parse_topology(source, "t.json");
    CHECK_FALSE(file.topology);
    REQUIRE(file.diagnostics.size() == 1);
    return file.diagnostics[0].message;
}

std::string repeated(std::string_view piece, std::size_t times) {
    std::string out;
    out.reserve(piece.size() * times);
    for (std::size_t i = 0; i < times; ++i) out += piece;
    return out;
}

}  // namespace

TEST_SUITE("parse") {

    TEST_CASE("every example is accepted") {
        REQUIRE(examples().size() >= 8);
        for (const fs::path& path : examples()) {
            const std::string source = file_text(path);
            const ParsedFile file = parse_topology(source, path.filename().string());
            INFO(text(file.diagnostics, path.filename().string(), source));
            CHECK(file.topology.has_value());
            CHECK_FALSE(has_errors(file.diagnostics));
        }
    }

    TEST_CASE("the blog's network arrives as it was written") {
        const Topology home = example("home.json");

        CHECK(home.network == "home");
        CHECK(home.node_names() ==
              std::vector<std::string>{"linode", "home", "macbook", "office", "yichen"});
        CHECK(home.hub.bridge->name.value.str() == "taps_bridge");
        CHECK(text(home.hub.bridge->addresses[1].value) == "2001:db8::1/64");
        CHECK(home.hub.router_advertisement->prefixes[0].router_address);
        CHECK(home.hub.masquerade->out.value.str() == "eth0");
        CHECK(home.hub.mss_clamp.value);
        CHECK(home.hub.wireguard->listen_port.value == 23450);
        const LinkSpec& link = home.find("home")->links[0];
        CHECK(link.type.value == LinkType::GretapGue);
        CHECK(text(link.local->value) == "192.168.88.6");
        CHECK(text(link.nat->address.value) == "2.3.4.5");
        CHECK(link.ttl.value == 225);
        CHECK(home.find("home")->bridge->existing.value);
        CHECK(text(home.find("home")->lan[0].value) == "192.168.88.0/24");
    }

    TEST_CASE("mac and offload that stand at the spoke belong to its only link") {
        const Topology home = example("home.json");
        const LinkSpec& office = home.find("office")->links[0];
        CHECK(office.mac.mode == Setting<MacAddress>::Mode::Stated);
        CHECK(text(office.mac.value) == "12:ab:34:cd:56:ef");
        REQUIRE(office.offload.features.contains("tx"));
        CHECK_FALSE(office.offload.features.at("tx").value);
    }

    TEST_CASE("what the smallest file leaves out has its default") {
        const Topology smallest = example("smallest.json");
        const WireguardEndpoint& hub = *smallest.hub.wireguard;
        CHECK(hub.interface.value.str() == "wg-smallest");
        CHECK(hub.listen_port.value == 51820);
        CHECK(hub.private_key_file.value == "/etc/overlay/smallest.key");
        CHECK(smallest.hub.underlay.mtu.value == Mtu{1500});
        CHECK(smallest.hub.underlay.accept_ra.value);
        CHECK(smallest.hub.guards.dhcp.value);
        const LinkSpec& link = smallest.spokes[0].links[0];
        CHECK(link.keepalive_seconds.value == 25);
        CHECK(link.ttl.value == 64);
        CHECK(link.udp_checksum.value);
        CHECK(link.key.mode == Setting<std::uint32_t>::Mode::Derived);
    }

    TEST_CASE("\"kernel\" and \"none\" leave a matter to the kernel") {
        const Topology verbatim = example("home-verbatim.json");
        const LinkSpec& link = verbatim.find("macbook")->links[0];
        CHECK(link.key.mode == Setting<std::uint32_t>::Mode::Kernel);
        CHECK(link.mtu.mode == Setting<Mtu>::Mode::Kernel);
        CHECK(link.mac.mode == Setting<MacAddress>::Mode::Kernel);
        CHECK(verbatim.hub.bridge->mac.mode == Setting<MacAddress>::Mode::Kernel);
        CHECK_FALSE(verbatim.hub.guards.mss.value);
        CHECK(link.keepalive_seconds.value == 0);
        CHECK(text(link.allowed_ips[0].value) == "0.0.0.0/0");
    }

    TEST_CASE("spokes and findings do not depend on the order in the file") {
        const Topology home = example("home.json");
        CHECK(std::is_sorted(home.spokes.begin(), home.spokes.end(),
                             [](const Node& a, const Node& b) { return a.name < b.name; }));
        const ParsedFile bad = parse_topology("{ \"b\": 1, \"a\": 2 }", "t.json");
        CHECK(std::is_sorted(bad.diagnostics.begin(), bad.diagnostics.end(),
                             [](const Diagnostic& a, const Diagnostic& b) { return a.at < b.at; }));
    }

    TEST_CASE("every value knows its place in lines and code points") {
        const JsonDocument document =
            parse_json("{ \"\xc3\xa4\": \"\\u00e4\",\r\n\t\"b\": [10, {}] }", "t.json");
        REQUIRE(document.root);
        const JsonMember& first = document.root->members[0];
        CHECK(first.key_at == Span{1, 3, 3});
        CHECK(first.value.at == Span{1, 8, 8});
        CHECK(first.value.string == "\xc3\xa4");
        const JsonValue& list = document.root->members[1].value;
        CHECK(list.at == Span{2, 7, 1});
        CHECK(list.elements[0].at == Span{2, 8, 2});
        CHECK(list.elements[1].at == Span{2, 12, 1});
    }

    TEST_CASE("the whole range of 64-bit integers is read, and nothing beyond it") {
        const auto number = [](const std::string& digits) { return parse_json(digits, "t"); };
        CHECK(number("9223372036854775807").root->integer == INT64_MAX);
        CHECK(number("-9223372036854775808").root->integer == INT64_MIN);
        CHECK(number("9223372036854775808").diagnostics.size() == 1);
        CHECK(number("-9223372036854775809").diagnostics.size() == 1);
        CHECK(number("0.5").diagnostics.size() == 1);
        CHECK(number("-0").root->integer == 0);
    }

    TEST_CASE("nesting is refused at the level beyond the limit, however deep it goes on") {
        CHECK(parse_json(repeated("[", 32) + repeated("]", 32), "t").diagnostics.empty());
        const JsonDocument deep = parse_json(repeated("[", 1'000'000), "t");
        CHECK_FALSE(deep.root);
        REQUIRE(deep.diagnostics.size() == 1);
        CHECK(deep.diagnostics[0].message == "nested deeper than 32 levels");
        CHECK(deep.diagnostics[0].at == Span{1, 33, 1});
        CHECK_FALSE(parse_json(repeated("{\"a\":", 200'000), "t").root);
    }

    TEST_CASE("an object or list with too many members is refused at the first that is too many") {
        CHECK(parse_json("[" + repeated("0,", 4095) + "0]", "t").diagnostics.empty());
        const JsonDocument list = parse_json("[" + repeated("0,", 500'000) + "0]", "t");
        REQUIRE(list.diagnostics.size() == 1);
        CHECK(list.diagnostics[0].message == "this array has more than 4096 elements");
        CHECK(list.diagnostics[0].at == Span{1, 8194, 1});

        std::string object = "{";
        for (int i = 0; i < 50'000; ++i) object += "\"k" + std::to_string(i) + "\":0,";
        const JsonDocument keys = parse_json(object, "t");
        REQUIRE(keys.diagnostics.size() == 1);
        CHECK(keys.diagnostics[0].message == "this object has more than 4096 keys");
        CHECK(keys.diagnostics[0].path == "k4096");
    }

    TEST_CASE("a file with too many values is refused although each list is short") {
        const std::string lists = "[" + repeated("[" + repeated("0,", 99) + "0],", 1000) + "0]";
        const JsonDocument document = parse_json(lists, "t");
        REQUIRE(document.diagnostics.size() == 1);
        CHECK(document.diagnostics[0].message == "the file has more than 65536 values");
    }

    TEST_CASE("strings and keys end at 4 KiB, files at 1 MiB") {
        CHECK(parse_json("\"" + repeated("x", 4096) + "\"", "t").diagnostics.empty());
        CHECK(only_message("\"" + repeated("x", 4097) + "\"") ==
              "this string has 4097 bytes; at most 4096 are allowed");
        const JsonDocument long_key = parse_json("{\"" + repeated("x", 1'000'000) + "\":1}", "t");
        REQUIRE(long_key.diagnostics.size() == 1);
        CHECK(long_key.diagnostics[0].message ==
              "this string has 1000000 bytes; at most 4096 are allowed");
        CHECK(only_message(repeated(" ", 1'048'577)) ==
              "the file has 1048577 bytes; at most 1048576 are allowed");
        CHECK(parse_json(repeated(" ", 1'048'574) + "{}", "t").diagnostics.empty());
    }

    TEST_CASE("line feeds, tabs and carriage returns in a row stay what they are") {
        CHECK(parse_json("// one\t\n{\r\n\r\n\t\"a\": 1 // two\r\n\n\n}", "t").diagnostics.empty());
        CHECK(only_message("\"a\n\n\"") == "this string has no closing '\"' on its line");
        CHECK(only_message("\"a\t\t\"") == "a control character in a string is written as \\u0009");
        const JsonDocument late = parse_json(repeated("\n", 1'000'000) + "x", "t");
        REQUIRE(late.diagnostics.size() == 1);
        CHECK(late.diagnostics[0].at.line == 1'000'001);
    }

    TEST_CASE("keys that repeat a thousand times are reported, up to a limit") {
        const ParsedFile file =
            parse_topology("{" + repeated("\"a\":0,", 4000) + "\"a\":0}", "t.json");
        CHECK_FALSE(file.topology);
        CHECK(file.diagnostics.size() >= 200);
        CHECK(file.diagnostics.size() <= 401);
        CHECK(file.diagnostics[0].message == "too many findings; these are the first of them");
    }

    TEST_CASE("many findings on one long line, and many networks, are judged without pairing them") {
        std::string spokes, keys, prefixes, addresses;
        for (int i = 0; i < 300; ++i) spokes += ",\"s" + std::to_string(i) + "\":1";
        for (int i = 0; i < 4000; ++i)
            keys += ",\"k" + std::to_string(i) + repeated("y", 225) + "\":1";
        for (int i = 0; i < 4000; ++i) {
            const std::string net = ",\"2001:db8:" + std::to_string(i) + "::";
            addresses += net + "1/64\"";
            prefixes += ",{\"prefix\":\"2001:db9:" + std::to_string(i) + "::/64\"}";
        }
        const std::string long_line = "{/*" + repeated(" x\"", 300'000) +
                                      "*/\"version\":1,\"network\":\"n\",\"hub\":{},\"spokes\":{" +
                                      spokes.substr(1) + "}}";
        const std::string advert =
            "{\"version\":1,\"network\":\"n\",\"hub\":{\"name\":\"h\",\"underlay\":{\"addresses\":["
            "\"192.0.2.1\"]},\"bridge\":{\"addresses\":[" +
            addresses.substr(1) + "]},\"router_advertisement\":{\"prefixes\":[" + prefixes.substr(1) +
            "]}},\"spokes\":{}}";
        for (const std::string& source : {long_line, "{" + keys.substr(1) + "}", advert}) {
            const ParsedFile file = parse_topology(source, "t.json");
            CHECK(file.diagnostics.size() == 201);
            CHECK(text(file.diagnostics, "t.json", source).size() < 200'000);
        }
    }

    TEST_CASE("what stands in the place of a key file's name and is a key is never shown") {
        const std::string key = "8TYMD/dmDLgbAp1VSvhemGEe6e8Yr/7GGjRCAce6ZGA";
        for (const std::string& wrong : {key, key + "=", " " + key + "=", key + "=\\n",
                                        "PrivateKey = " + key + "="}) {
            CAPTURE(wrong);
            const std::string source = "{\"hub\":{\"wireguard\":{\"private_key_file\":\"" + wrong +
                                       "\",\"interface\":\"" + wrong + "\"}},\"spokes\":{\"" + wrong +
                                       "\":{\"link\":{\"key\":\"" + wrong + "\"}}}}";
            const ParsedFile file = parse_topology(source, "t.json");
            const std::string said = text(file.diagnostics, "t.json", source);
            CHECK(said.find("this is a key, not the name of a file") != std::string::npos);
            CHECK(said.find("8TYM") == std::string::npos);
            for (const Diagnostic& found : file.diagnostics) {
                CHECK((found.path + found.message + found.hint).find("8TYM") == std::string::npos);
            }
        }
    }

    TEST_CASE("a secret without quotes, or in a file that is a key file, is never shown, not even in part") {
        const std::string key = "iACYbKhFQ4UTmcpCXBl05hvr1jY9vY7AO06smZhZqE0=";
        for (const std::string& source :
             {key + "\n", key.substr(0, 20) + "/" + key.substr(21), "{\"private_key\": " + key + "}",
              "{\"version\": [" + key + "]}", "{\"a\": t" + key + "}", std::string{"{\"psk\": iACYbKhF}"}}) {
            CAPTURE(source);
            const ParsedFile file = parse_topology(source, "t.json");
            REQUIRE(file.diagnostics.size() == 1);
            CHECK(text(file.diagnostics, "t.json", source).find("iACYbKhF") == std::string::npos);
        }
    }

    TEST_CASE("no truncation of an example crashes the parser or passes for a topology") {
        for (const fs::path& path : examples()) {
            const std::string source = file_text(path);
            const std::size_t last_brace = source.rfind('}');
            for (std::size_t size = 0; size <= last_brace; size += 1 + size / 97) {
                CAPTURE(path.filename().string());
                CAPTURE(size);
                CHECK_FALSE(parse_topology(std::string_view{source}.substr(0, size), "t").topology);
            }
        }
    }

    TEST_CASE(
        "no changed byte of an example crashes the parser, and every finding can be printed") {
        const char* stated = std::getenv("OVERLAY_SEED");
        const unsigned seed = stated != nullptr
                                  ? static_cast<unsigned>(std::strtoul(stated, nullptr, 10))
                                  : std::random_device{}();
        CAPTURE(seed);
        std::mt19937 random{seed};
        for (const fs::path& path : examples()) {
            const std::string source = file_text(path);
            for (int round = 0; round < 60; ++round) {
                std::string changed = source;
                for (int flips = 0; flips < 3; ++flips) {
                    changed[random() % changed.size()] = static_cast<char>(random() % 256);
                }
                const ParsedFile file = parse_topology(changed, "t");
                CHECK(text(file.diagnostics, "t", changed).empty() == file.diagnostics.empty());
                CHECK((file.topology || has_errors(file.diagnostics)));
            }
        }
    }
}
