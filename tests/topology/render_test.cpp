#include "topology/render.hpp"

#include "support/run_command.hpp"
#include "topology/derive.hpp"
#include "topology/state_json.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>
#include <sstream>

using namespace overlay;

namespace {

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

struct ToolRun {
    int exit_code = -1;
    std::string output;  ///< and errors
};

/// nft, radvd, ip and a shell judge what is rendered for them. They may be where root looks only.
ToolRun run_tool(std::vector<std::string> argv, const std::string& input) {
    const std::string path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    argv.insert(argv.begin(), {"/usr/bin/env", path});
    const auto run = support::run_command(argv, {.input = input});
    return {run.exit_code, run.output + run.errors};
}

/// False, with a message, when the tool is missing here. With OVERLAY_REQUIRE=tools it is a
/// failure.
bool is_available(const std::string& what, const std::vector<std::string>& probe) {
    if (run_tool(probe, "").exit_code == 0) return true;
    const char* required = std::getenv("OVERLAY_REQUIRE");
    const bool must = required != nullptr && contains(required, "tools");
    CHECK_MESSAGE(!must, what << " is required and missing");
    MESSAGE("skipped: no " << what << " here");
    return false;
}

std::string file(const std::string& name) {
    std::ifstream in{std::string{OVERLAY_SOURCE_DIR} + "/" + name};
    REQUIRE_MESSAGE(in.good(), name);
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
}

Topology topology(const std::string& source) {
    ParsedFile parsed = parse_topology(source, "test.json");
    REQUIRE_MESSAGE(!has_errors(parsed.diagnostics), text(parsed.diagnostics, "test.json", source));
    return std::move(*parsed.topology);
}

NodeIntent intent_of(const std::string& source, const std::string& node) {
    const Topology whole = topology(source);
    const Node* found = whole.find(node);
    REQUIRE(found != nullptr);
    return compile(whole, *found, {});
}

const std::string blog_file = "tests/golden/render/blog.json";

NodeIntent blog(const std::string& node) { return intent_of(file(blog_file), node); }

constexpr const char* hub_key = "JFcFDUEB0ZUVhUhfYPNT8Ma9FoeMVf2x03CYFyE5jTg=";
constexpr const char* office_key = "8TYMD/dmDLgbAp1VSvhemGEe6e8Yr/7GGjRCAce6ZGA=";
constexpr const char* phone_key = "fgZdAIh6/KIzpTYZtjtirOKPAujfmCqumPb+F7XGzmM=";

/// A dual-stack network with everything that the blog's has not.
std::string rich_file() {
    return R"({
      "version": 1, "network": "rich",
      "hub": {
        "name": "hub",
        "underlay": { "interface": "eth0", "addresses": ["192.0.2.1", "2001:db8:f::1"],
                      "in_bridge": true },
        "bridge": { "name": "br0" },
        "forwarding": ["ipv4", "ipv6"],
        "gue": { "port": 5555 },
        "wireguard": { "interface": "wg_rich", "listen_port": 51820, "address": "10.9.0.1/24",
                       "private_key_file": "/etc/keys/it's mine.key", "public_key": ")" +
           std::string{hub_key} + R"(" }
      },
      "spokes": {
        "far": { "link": { "type": "gretap-gue", "underlay": "ipv6", "local": "2001:db8:e::2",
                           "nat": { "address": "2001:db8:e::2", "port": 6000 },
                           "hub_interface": "g6", "ttl": 200, "key": 7 },
                 "bridge": { "name": "br1", "addresses": ["10.1.0.2/16"] } },
        "phone": { "link": { "type": "wireguard", "address": "10.9.0.3/24", "public_key": ")" +
           std::string{phone_key} + R"(",
                             "preshared_key_file": "phone.psk", "interface": "wg0" } }
      }
    })";
}

/// The command of a script that begins with `start`, continuation lines joined, runs of blanks as
/// one.
std::string command(const std::string& script, const std::string& start) {
    std::string joined;
    for (std::size_t i = 0; i < script.size(); ++i) {
        if (script.compare(i, 2, "\\\n") == 0) {
            ++i;
        } else if (script[i] != ' ' || joined.empty() || joined.back() != ' ') {
            joined += script[i];
        }
    }
    const auto at = ("\n" + joined).find("\n" + start);
    return at == std::string::npos ? "" : joined.substr(at, joined.find('\n', at) - at);
}

std::string accepted_by_nft(const std::string& rules) {
    return run_tool({"unshare", "-Urn", "nft", "-c", "-f", "-"}, rules).output;
}

}  // namespace

TEST_SUITE("render") {

    TEST_CASE("the blog's nodes are the commands that a person reviewed") {
        for (const std::string node : {"linode", "home", "office"}) {
            CAPTURE(node);
            CHECK(render_ip(blog(node)) == file("tests/golden/render/" + node + ".sh"));
        }
        CHECK(render_nft(blog("linode")) == file("tests/golden/render/linode.nft"));
        CHECK(render_wg(blog("linode")) == file("tests/golden/render/linode.wg"));
        CHECK(render_wg(blog("office")) == file("tests/golden/render/office.wg"));
        CHECK(render_radvd(topology(file(blog_file))) == file("tests/golden/render/radvd.conf"));
    }

    TEST_CASE("every word of the blog's own tunnel commands is in ours") {
        struct Row {
            std::string node, link;
            std::vector<std::string> words;  // from the blog, its variables filled in
        };
        const std::vector<Row> rows{
            {"linode",
             "gretap_over_gue",
             {"type gretap", "remote 2.3.4.5", "local 1.2.3.4", "ttl 225", "encap gue",
              "encap-sport 5555", "encap-dport 5555"}},
            {"linode",
             "gretap_office",
             {"type gretap", "remote 172.16.0.2", "local 172.16.0.1", "ttl 225"}},
            {"home",
             "gretap_over_gue",
             {"type gretap", "remote 1.2.3.4", "local 192.168.88.6", "ttl 225", "encap gue",
              "encap-sport 5555", "encap-dport 5555"}},
            {"office",
             "gretap_linode",
             {"address 12:ab:34:cd:56:ef", "type gretap", "remote 172.16.0.1", "local 172.16.0.2",
              "ttl 225"}},
        };
        for (const Row& row : rows) {
            const std::string ours =
                command(render_ip(blog(row.node)), "ip link add dev " + row.link + " ");
            CAPTURE(ours);
            for (const std::string& word : row.words)
                CHECK_MESSAGE(contains(ours + " ", " " + word + " "), word);
        }
        const std::string hub = render_ip(blog("linode"));
        const std::string office = render_ip(blog("office"));
        CHECK(contains(hub, "\nip fou add port 5555 gue\n"));
        CHECK(contains(hub, "\nsysctl -w net.ipv4.conf.all.forwarding=1\n"));
        CHECK(contains(hub, "\nip link set dev gretap_office master taps_bridge\n"));
        CHECK(contains(hub, "\nip addr add 192.168.0.1/16 dev taps_bridge\n"));
        CHECK(contains(office, "\nethtool -K gretap_linode tx off\n"));
        CHECK(
            contains(render_ip(blog("home")), "\nip link set dev gretap_over_gue master br-lan\n"));
    }

    TEST_CASE(
        "nothing passes before the firewall stands, and nothing goes up before it is complete") {
        const std::string script = render_ip(blog("linode"));

        const auto at = [&](const std::string& part) { return script.find(part); };

        CHECK(at("modprobe nf_tables") < at("nft -f -"));
        CHECK(at("nft -f -") < at("forwarding=1"));
        CHECK(at("forwarding=1") < at("ip fou add"));
        CHECK(at("ip fou add") < at("ip link add"));
        CHECK(at("ip link add dev taps_bridge") < at("ip link add dev wg_vpns"));
        CHECK(at("ip link add dev wg_vpns") < at("ip link add dev gretap_office"));
        CHECK(at("wg set wg_vpns listen-port") < at("wg set wg_vpns peer"));
        CHECK(at(" peer ") < at(" up\n"));
    }

    TEST_CASE("an IPv6 tunnel has IPv6's own parameters") {
        const std::string ours =
            command(render_ip(intent_of(rich_file(), "hub")), "ip link add dev g6 ");

        CHECK(contains(
            ours,
            " type ip6gretap local 2001:db8:f::1 remote 2001:db8:e::2 hoplimit 200 tclass 0x00 "
            "flowlabel 0x00000 encaplimit none ikey 7 "));
        CHECK(contains(
            ours, " encap gue encap-sport 5555 encap-dport 6000 noencap-csum encap-udp6-csum "));
        CHECK(!contains(ours, "pmtudisc"));
        CHECK(
            contains(render_ip(intent_of(rich_file(), "hub")), "\nip fou add port 5555 gue -6\n"));
    }

    TEST_CASE("a bridge's MTU is changed at least once, so that it stays") {
        NodeIntent intent = intent_of(rich_file(), "hub");
        intent.desired.links.at(*IfName::parse("br0")).mtu = Mtu{1500};  // as when it is made

        const std::string script = render_ip(intent);

        CHECK(contains(script,
                       "\nip link set dev br0 mtu 1501   # changed once, it stays\n"
                       "ip link set dev br0 mtu 1500\n"));
    }

    TEST_CASE("a borrowed bridge's MTU is changed, whatever it is, before a tunnel can lower it") {
        const std::string script = render_ip(intent_of(file("examples/home.json"), "home"));

        const auto pin = script.find(
            "\nip link set dev br-lan mtu 1501   # changed once, it stays\n"
            "ip link set dev br-lan mtu 1500\n");
        REQUIRE(pin != std::string::npos);
        CHECK(pin < script.find(" master br-lan\n"));
    }

    TEST_CASE("a script that is piped into a shell ends at its first failure") {
        CHECK(contains(render_ip(blog("linode")), "\nset -e\n"));
    }

    TEST_CASE("keys are named by their files, quoted as a shell wants it") {
        const std::string hub = render_ip(intent_of(rich_file(), "hub"));
        const std::string phone = render_ip(intent_of(rich_file(), "phone"));

        CHECK(contains(hub, " private-key '/etc/keys/it'\\''s mine.key'\n"));
        CHECK(contains(hub, " preshared-key \"$KEY_DIR\"/phone.psk allowed-ips 10.9.0.3/32\n"));
        CHECK(contains(phone, " preshared-key \"$KEY_DIR\"/phone.psk endpoint 192.0.2.1:51820 "));
        CHECK(contains(phone, "\nwg set wg0 private-key /etc/overlay/rich.key\n"));
    }

    TEST_CASE("the uplink's MAC, addresses and routes move to the bridge") {
        const std::string script = render_ip(intent_of(rich_file(), "hub"));

        CHECK(contains(
            script,
            "\nip link add dev br0 address \"$(cat /sys/class/net/eth0/address)\" type bridge"));
        CHECK(contains(script, "\nip link set dev eth0 master br0\n"));
        CHECK(contains(
            script,
            "\n    ip addr add \"$prefix\" dev br0\n    ip addr del \"$prefix\" dev eth0\n"));
        CHECK(script.find("routes4=$(") < script.find("ip addr del"));
        CHECK(script.find("neighbours4=$(ip -4 neigh show dev eth0 nud permanent") < script.find("ip addr del"));
    }

    TEST_CASE("whatever ip shows of the uplink's neighbours is written again on the bridge") {
        const std::string script = render_ip(intent_of(rich_file(), "hub"));
        const auto from = script.find("printf '%s\\n' \"$neighbours4\"");
        REQUIRE(from != std::string::npos);
        const std::string loop = script.substr(from, script.find("\ndone", from) + 5 - from);
        const std::string shown =   // by iproute2 6.1
            "10.0.0.1 lladdr 02:00:00:00:00:01 PERMANENT proto static \n"
            "10.0.0.2 lladdr 02:00:00:00:00:02 router extern_learn PERMANENT proto 77 \n"
            "10.0.0.3 lladdr 02:00:00:00:00:03 extern_learn offload PERMANENT \n"
            "10.0.0.4 router proxy extern_learn proto bgp \n"
            "10.0.0.5 proxy ";

        const std::string told =
            run_tool({"sh", "-e"}, "ip() { echo \"$*\"; }\nneighbours4='" + shown + "'\n" + loop + "\n").output;

        CHECK(told ==
              "neigh replace 10.0.0.1 nud permanent dev br0 lladdr 02:00:00:00:00:01 proto static\n"
              "neigh replace 10.0.0.2 nud permanent dev br0 lladdr 02:00:00:00:00:02 router extern_learn proto 77\n"
              "neigh replace 10.0.0.3 nud permanent dev br0 lladdr 02:00:00:00:00:03 extern_learn\n"
              "neigh replace proxy 10.0.0.4 dev br0 router extern_learn proto bgp\n"
              "neigh replace proxy 10.0.0.5 dev br0\n");
        CHECK(run_tool({"sh", "-e"}, "ip() { echo \"$*\"; }\nneighbours4=\n" + loop + "\n").output == "");
    }

    TEST_CASE("every script is a script") {
        for (const std::string node : {"linode", "home", "office"}) {
            CHECK(run_tool({"sh", "-n"}, render_ip(blog(node))).output == "");
        }
        for (const std::string node : {"hub", "far", "phone"}) {
            CHECK(run_tool({"sh", "-n"}, render_ip(intent_of(rich_file(), node))).output == "");
        }
    }

    /// Without the kernel's tunnels, ip says "Unknown device type" to a command that it
    /// understands.
    TEST_CASE("ip understands every tunnel command") {
        if (!is_available("ip in a namespace", {"unshare", "-Urn", "ip", "link"})) return;
        for (const auto& [intent, link] : {std::pair{blog("linode"), "gretap_over_gue"},
                                           std::pair{blog("office"), "gretap_linode"},
                                           std::pair{intent_of(rich_file(), "hub"), "g6"}}) {
            const std::string add =
                command(render_ip(intent), std::string{"ip link add dev "} + link + " ");
            REQUIRE(add != "");
            const auto run = run_tool({"unshare", "-Urn", "sh", "-c", add}, "");
            CAPTURE(add);
            CHECK_MESSAGE((run.exit_code == 0 || contains(run.output, "Unknown device type")),
                          run.output);
        }
    }

    TEST_CASE("nft accepts the tables, whether they are there already or not") {
        if (!is_available("nft in a namespace", {"unshare", "-Urn", "nft", "list", "tables"}))
            return;
        const std::string defaults = render_nft(intent_of(file("examples/home.json"), "linode"));
        REQUIRE(contains(defaults, "table bridge overlay_home {"));

        CHECK(accepted_by_nft(defaults) == "");
        CHECK(accepted_by_nft(render_nft(intent_of(file("examples/home.json"), "home"))) == "");
        CHECK(accepted_by_nft(render_nft(blog("linode"))) == "");
        const auto twice = run_tool({"unshare", "-Urn", "sh", "-ec",
                                     "rules=$(cat); echo \"$rules\" | nft -f -; "
                                     "echo \"$rules\" | nft -f -; nft list tables"},
                                    defaults);
        CHECK(twice.output == "table inet overlay_home\ntable bridge overlay_home\n");
    }

    TEST_CASE("a masquerade with sources is a rule for each, as apply writes and reads it") {
        NodeIntent intent;
        FirewallTable table{TableFamily::Inet, "overlay_n", "overlay:n", {}, {}};
        const auto source = [](const char* text) { return *IpPrefix::parse(text); };
        table.chains.push_back({"source_nat", "nat", "postrouting", 100, true,
                                {rule::Masquerade{*IfName::parse("eth0"),
                                                  {source("10.9.0.0/16"), source("172.16.0.0/12")},
                                                  {}}}});
        intent.desired.tables.push_back(std::move(table));
        const std::string text = render_nft(intent);
        for (const char* one : {"10.9.0.0/16", "172.16.0.0/12"}) {
            CHECK(text.find(fmt::format("\t\toifname \"eth0\" meta nfproto ipv4 ip saddr {{ {} }} masquerade "
                                        "comment \"overlay:n\"\n", one)) != std::string::npos);
        }
    }

    TEST_CASE("what nft lists of our tables, nft can read back") {
        if (!is_available("nft in a namespace", {"unshare", "-Urn", "nft", "list", "tables"}))
            return;
        const auto run = run_tool(
            {"unshare", "-Urn", "sh", "-ec", "nft -f -; nft list ruleset > $0; nft -c -f $0",
             "/dev/shm/overlay-render-test.nft"},
            render_nft(intent_of(file("examples/home.json"), "linode")));
        (void)run_tool({"rm", "-f", "/dev/shm/overlay-render-test.nft"}, "");
        CHECK(run.output == "");
    }

    TEST_CASE("radvd accepts what is advertised") {
        if (!is_available("radvd", {"sh", "-c", "command -v radvd"})) return;
        std::string source = file("examples/home.json");
        const std::string servers = "\"2001:4860:4860::8888\"";
        source.replace(source.find(servers), servers.size(),
                       servers + R"(, "2001:db8::2", "2001:db8::3", "2001:db8::4")");
        source.replace(source.find("\"rdnss\""), 0,
                       R"("dnssl": ["home.example", "lan.example"], )");
        const std::string rendered = render_radvd(topology(source));

        const auto run = run_tool(
            {"sh", "-ec", "f=$(mktemp); trap 'rm -f $f' EXIT; cat > $f; radvd -c -C $f"}, rendered);

        CHECK(run.exit_code == 0);
        CHECK(contains(rendered,
                       "\tAdvLinkMTU 1398;\n"));  // 1500 - 60 (WireGuard) - 42 (gretap with key)
        CHECK(contains(rendered,
                       "\tRDNSS 2001:4860:4860::8888 2001:db8::2 2001:db8::3\n\t{\n\t};\n\tRDNSS "
                       "2001:db8::4\n"));
        CHECK(contains(rendered, "\tDNSSL home.example lan.example\n"));
    }

    TEST_CASE("a phone gets a whole wg-quick file without its private key") {
        CHECK(render_wg_quick(intent_of(rich_file(), "phone"), *IfName::parse("wg0")) ==
              "# phone of network \"rich\", for wg-quick or a WireGuard app\n"
              "[Interface]\n"
              "# PublicKey = fgZdAIh6/KIzpTYZtjtirOKPAujfmCqumPb+F7XGzmM=\n"
              "# PrivateKey = (put the private key of this public key here)\n"
              "Address = 10.9.0.3/24\n"
              "MTU = 1440\n"
              "\n"
              "[Peer]\n"
              "# hub\n"
              "PublicKey = JFcFDUEB0ZUVhUhfYPNT8Ma9FoeMVf2x03CYFyE5jTg=\n"
              "# PresharedKey = (the content of phone.psk)\n"
              "AllowedIPs = 10.9.0.0/24\n"
              "Endpoint = 192.0.2.1:51820\n"
              "PersistentKeepalive = 25\n");
    }

    TEST_CASE("wg-quick is told no network that the client has no address for: it would make a route into nowhere") {
        std::string source = file("examples/exit.json");
        const std::string one = R"("address": "10.99.0.1/24")";
        source.replace(source.find(one), one.size(), R"("address": ["10.99.0.1/24", "2001:db8:a::1/64"])");
        const NodeIntent laptop = intent_of(source, "laptop");
        const IfName device = laptop.desired.wireguard.begin()->first;
        CHECK(contains(render_wg_quick(laptop, device), "\nAllowedIPs = 0.0.0.0/0"));
        CHECK_FALSE(contains(render_wg_quick(laptop, device), "2001:db8:a::"));
        CHECK(contains(render_wg(laptop), "2001:db8:a::/64"));
    }

    TEST_CASE("JSON carries the desired state in the snapshot's format, and every object's place") {
        const NodeIntent intent = blog("office");

        const auto json = nlohmann::json::parse(render_json(intent));

        const auto desired = state_from_json(json.at("desired").dump());
        REQUIRE(desired.has_value());
        CHECK(*desired == intent.desired);
        CHECK(json.at("node") == "office");
        CHECK(json.at("private_key_files").at("wg_linode") == "office.key");
        CHECK(json.at("origins").at("link gretap_linode").at("path") == "spokes.office.link");
        CHECK(json.at("origins").at("link gretap_linode").at("line") == 32);
        CHECK(json.at("origins").contains(std::string{"peer "} + hub_key + " of wg_linode"));
        CHECK(!contains(render_json(blog("home")), office_key));  // a node's share only
    }

    TEST_CASE("a line break in a key file's name stays inside its comment") {
        NodeIntent intent = blog("office");
        intent.private_key_files[*IfName::parse("wg_linode")] = "a\nPostUp = true";

        CHECK(contains(render_wg(intent), "private-key a?PostUp = true\n"));
    }

}  // TEST_SUITE
