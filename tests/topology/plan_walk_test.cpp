// A random walk over files: what stands after a change is what stands where the new file is the first one, a
// failure at any step leaves the old state, and down leaves nothing. Names, addresses and ports come from small
// pools, so that what one object gives up another takes. OVERLAY_SEED and OVERLAY_WALKS choose other walks.

#include "daemon/reconcile/execute.hpp"
#include "tests/support/plan_story.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <random>

using namespace overlay;
using test::add_link;
using test::check_every_failure;
using test::FakeKernel;
using test::fresh_host;
using test::told;
using test::what_differs;

namespace {

using Json = nlohmann::ordered_json;

const std::vector<std::string> public_keys{
    "m84oJmrE7NEb+ZyPkKPpelkRQSzsvUm4QprxoTL9rRE=", "wL5qkagUKtd2/WVdXKdhXzkLWJsCKF+kKRd962iaZko=",
    "KcB1MVYd+USOSfzP/y8LQJVex20gk69XFk3eAFtbjGQ=", "4sX04Pr+sO5WA8pKV8ZYY1IoTZLVHjCfbQ9FlLsW8Es="};

class Author {
  public:
    explicit Author(std::uint64_t seed) : random_{seed} {}

    /// A file without errors.
    Topology topology() {
        for (;;) {
            const std::string source = file().dump(1);
            const ParsedFile parsed = parse_topology(source, "walk.json");
            if (!parsed.topology || has_errors(parsed.diagnostics)) continue;
            text_ = source;
            return *parsed.topology;
        }
    }
    [[nodiscard]] const std::string& text() const { return text_; }

    std::uint64_t below(std::uint64_t end) { return std::uniform_int_distribution<std::uint64_t>{0, end - 1}(random_); }

  private:
    bool once_in(std::uint64_t n) { return below(n) == 0; }

    template <class T>
    T one_of(std::initializer_list<T> pool) {
        return pool.begin()[below(pool.size())];
    }

    Json some_of(std::initializer_list<const char*> pool) {
        Json out = Json::array();
        for (const char* each : pool) {
            if (once_in(2)) out.push_back(each);
        }
        return out;
    }

    void maybe(Json& object, const char* key, std::initializer_list<Json> pool) {
        if (once_in(2)) object[key] = one_of(pool);
    }

    Json file() {
        Json spokes = Json::object();
        for (std::size_t number = 1; number <= 3; ++number) {
            if (!once_in(4)) spokes[std::string(1, static_cast<char>('a' + number - 1))] = spoke(number);
        }
        return {{"version", 1}, {"network", "net"}, {"hub", hub()}, {"spokes", spokes}};
    }

    Json hub() {
        Json underlay{{"interface", "eth0"}, {"addresses", {"203.0.113.1"}}};
        if (once_in(2)) underlay["addresses"].push_back("2001:db8:ff::1");
        const bool in_bridge = once_in(6);
        if (in_bridge) underlay["in_bridge"] = true;
        Json out{{"name", "hub"}, {"underlay", underlay}};
        if (!once_in(8)) out["bridge"] = bridge(".1/16");
        const std::string way_out =
            in_bridge && out.contains("bridge") ? out["bridge"]["name"].get<std::string>() : "eth0";
        forwarding(out, way_out);
        out["gue"] = {{"port", one_of({5555, 5556, 4500})}};
        Json wireguard{{"listen_port", one_of({5555, 5556, 4500, 51820})}, {"public_key", public_keys[0]},
                       {"private_key_file", "hub.key"}, {"interface", one_of({"wg-a", "wg-b"})},
                       {"address", one_of<Json>({"10.9.0.1/24", "10.10.0.1/24", {"10.9.0.1/24", "fd09::1/64"}})}};
        out["wireguard"] = wireguard;
        maybe(out, "lan", {"172.16.1.0/24", "172.16.2.0/24", {"172.16.1.0/24", "172.16.3.0/24"}});
        return out;
    }

    /// `ending` keeps the nodes' addresses apart.
    Json bridge(const std::string& ending) {
        const bool existing = once_in(4);
        Json out{{"name", existing ? "br-lan" : one_of({"br-a", "br-b"})}};
        if (existing) out["existing"] = true;
        Json addresses = Json::array();
        for (const char* start : {"192.168.0", "192.168.1", "10.7.0"}) {
            if (once_in(2)) addresses.push_back(start + ending);
        }
        if (once_in(3)) addresses.push_back("2001:db8:1::" + ending.substr(1, 1) + "/64");
        out["addresses"] = addresses;
        out["ports"] = some_of({"eth1", "eth2"});
        maybe(out, "mtu", {"kernel", 1300, 1280});
        if (existing) return out;
        maybe(out, "mac", {"kernel", "02:00:5e:00:53:01", "02:00:5e:00:53:02"});
        maybe(out, "stp", {true, false});
        maybe(out, "multicast_snooping", {true, false});
        return out;
    }

    void forwarding(Json& node, const std::string& way_out) {
        node["forwarding"] = some_of({"ipv4", "ipv6"});
        const Json& families = node["forwarding"];
        if (once_in(2) && std::find(families.begin(), families.end(), "ipv4") != families.end()) {
            node["masquerade"] = {{"out", way_out}};
            maybe(node["masquerade"], "sources", {{"192.168.0.0/16"}, {"10.7.0.0/16", "172.16.0.0/16"}});
        }
        maybe(node, "mss_clamp", {"pmtu", "off"});
        if (once_in(3)) node["guards"] = {{"dhcp", once_in(2)}, {"mss", once_in(2)}};
    }

    Json spoke(std::size_t number) {
        const std::string id = std::to_string(number);
        Json out = Json::object();
        const std::string type = one_of({"gretap-gue", "gretap-wireguard", "wireguard"});
        const bool ethernet = type != "wireguard";
        out["link"] = link(type, number);
        if (once_in(2)) out["underlay"] = {{"interface", "eth0"}, {"addresses", {"198.51.100." + id}}};
        const std::string ending = "." + std::to_string(number + 1) + "/16";
        if (ethernet && once_in(2)) {
            out["bridge"] = bridge(ending);
        } else if (ethernet) {
            out["addresses"] = {one_of({"192.168.0", "192.168.1"}) + ending};
        } else {
            maybe(out, "lan", {"172.20." + id + ".0/24", {"172.20." + id + ".0/24", "172.21." + id + ".0/24"}});
        }
        if (once_in(2)) forwarding(out, "eth0");
        if (once_in(5)) out["exit"] = "hub";
        return out;
    }

    Json link(const std::string& type, std::size_t number) {
        const std::string id = std::to_string(number);
        Json out{{"type", type}};
        if (type == "gretap-gue") {
            out["local"] = "198.51.100." + id;
            maybe(out, "port", {5555, 5556, 4500});
            maybe(out, "key", {"none", 5, 6});
            maybe(out, "udp_checksum", {true, false});
        } else {
            out["public_key"] = public_keys[number];
            out["private_key_file"] = id + ".key";
            maybe(out, "keepalive", {0, 25, 60});
            maybe(out, "listen_port", {5555, 5556, 51820});
        }
        maybe(out, "interface", {"t1", "t2", "wg-a"});
        maybe(out, "mtu", {1280, 1300, "kernel"});
        if (type == "wireguard") return out;
        maybe(out, "hub_interface", {"h1", "h2", "h3"});
        maybe(out, "mac", {"kernel", "02:00:5e:00:53:1" + id});
        if (once_in(3)) out["hub_offload"] = {{one_of({"tx", "tso", "gro"}), false}};
        if (type == "gretap-wireguard") maybe(out, "wireguard_interface", {"wg-a", "wg-b", "t1"});
        return out;
    }

    std::mt19937_64 random_;
    std::string text_;
};

KernelState host() {
    KernelState out = fresh_host();
    for (const char* port : {"eth1", "eth2"}) add_link(out, port, LinkKind::Other);
    const auto named = IfName::from_kernel;
    for (const char* link : {"eth0", "eth1", "br-lan"}) {
        for (const char* address : {"1.2.3.9", "192.168.0.9", "2001:db8:1::9"}) {
            const IpAddress about = *IpAddress::parse(address);
            const auto mac = MacAddress::parse("02:00:00:00:0a:09");
            out.neighbours.insert({.link = named(link), .address = about, .mac = mac});
            out.neighbours.insert({.link = named(link), .address = about, .mac = {}, .is_proxy = true});
        }
    }
    out.routes.insert({.destination = *IpPrefix::parse("10.99.0.0/16"), .device = named("br-lan"), .protocol = 3});
    return out;
}

/// One node's life.
struct Life {
    FakeKernel kernel{host()};
    Ledger ledger;

    [[nodiscard]] Plan plan_for(const NodeIntent& intent) const { return plan(intent, kernel.state, ledger); }

    void go(const NodeIntent& intent) {
        const Plan p = plan_for(intent);
        CAPTURE(told(p));
        REQUIRE(p.refusals.empty());
        const Report report = execute(p, kernel);
        CAPTURE(report.failure ? overlay::text(*report.failure) : "");
        REQUIRE_FALSE(report.failure);
        ledger = p.ledger_after;
        const Plan again = plan_for(intent);
        CAPTURE(told(again));
        REQUIRE(again.is_empty());
    }
};

/// Without what the file does not decide: it is as it was before, or as a peer has told.
KernelState decided(KernelState state) {
    static const KernelState borrowed = host();
    for (auto& [name, link] : state.links) {
        if (!borrowed.links.contains(name)) link = Link{.name = name, .kind = link.kind};
        if (link.kind == LinkKind::Bridge) link.mtu.reset();   // follows its ports only where nobody ever set it
    }
    for (auto& [name, device] : state.wireguard) device = {};
    state.modules.clear();
    return state;
}

std::uint64_t stated(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// From file to file on one node, and away.
void walk(std::uint64_t seed) {
    Author author{seed};
    const std::vector<std::string> nodes{"hub", "a", "b", "c"};
    const std::string node = nodes[author.below(nodes.size())];
    Life life;
    std::string before;
    for (int files = 0; files < 3;) {
        const Topology topology = author.topology();
        if (topology.find(node) == nullptr) continue;
        ++files;
        CAPTURE(seed);
        CAPTURE(node);
        CAPTURE(before);
        CAPTURE(author.text());
        const NodeIntent intent = compile(topology, *topology.find(node), {});
        check_every_failure(life.plan_for(intent), life.kernel);
        life.go(intent);
        Life first;
        first.go(intent);
        CHECK(what_differs(decided(life.kernel.state), decided(first.kernel.state)) == "");
        before = author.text();
    }
    CAPTURE(seed);
    CAPTURE(node);
    CAPTURE(before);
    const NodeIntent nothing{.network = "net"};
    check_every_failure(life.plan_for(nothing), life.kernel);
    life.go(nothing);
    life.kernel.state.modules = host().modules;
    CHECK(what_differs(life.kernel.state, host()) == "");
    REQUIRE(life.ledger.is_empty());
}

}  // namespace

TEST_SUITE("plan: walks") {

    TEST_CASE("from any file to any other, as if it were the first; a failure undoes all, down leaves nothing") {
        const std::uint64_t first = stated("OVERLAY_SEED", 1);
        for (std::uint64_t seed = first; seed < first + stated("OVERLAY_WALKS", 60); ++seed) walk(seed);
    }

}  // TEST_SUITE
