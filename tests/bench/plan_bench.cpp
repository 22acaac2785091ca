// How long a hub with many spokes is thought about: reading the file, checking it, compiling the hub's
// share, and the plan against a fresh host and against a host where everything is done. No kernel: the
// found states come from the model kernel of the tests. docs/benchmarks.md says how to run it and what
// it said; it is no test and judges nothing but its own work (the second plan must be empty).

#include "daemon/reconcile/execute.hpp"
#include "tests/support/fake_kernel.hpp"
#include "topology/intent.hpp"
#include "topology/plan.hpp"
#include "topology/render_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <ctime>

using namespace overlay;

namespace {

constexpr int repetitions = 5;

/// Spokes of the three kinds in turn, each with a LAN of its own; nothing stated that can be derived.
std::string file_of(int spokes) {
    std::string out = R"({"version":1,"network":"bench","hub":{"name":"hub",
        "underlay":{"interface":"eth0","addresses":["203.0.113.1"]},
        "bridge":{"name":"br0","addresses":["10.0.0.1/8","2001:db8::1/64"]},
        "router_advertisement":{"prefixes":[{"prefix":"2001:db8::/64"}]},
        "forwarding":["ipv4","ipv6"],"masquerade":{"out":"eth0"},"mss_clamp":"pmtu","gue":{},
        "wireguard":{"address":"100.64.0.1/16","public_key":"9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik="}},
        "spokes":{)";
    for (int i = 0; i < spokes; ++i) {
        // 32 bytes in base64; the number in the first eight digits makes it another key.
        const std::string key = fmt::format("{:08d}{:A<35}=", i, "");
        const std::string where = fmt::format("100.64.{}.{}/16", 1 + i / 250, 1 + i % 250);
        const int high = i / 250, low = i % 250;
        out += fmt::format("{}\"spoke-{}\":", i == 0 ? "" : ",", i);
        switch (i % 3) {
            case 0:
                out += fmt::format(
                    R"({{"link":{{"type":"gretap-gue","local":"198.51.{}.{}"}},"lan":"10.{}.{}.0/24"}})",
                    100 + high, 1 + low, 1 + high, low);
                break;
            case 1:
                out += fmt::format(
                    R"({{"link":{{"type":"gretap-wireguard","address":"{}","public_key":"{}"}},
                         "lan":"10.{}.{}.0/24"}})",
                    where, key, 1 + high, low);
                break;
            default:
                out += fmt::format(
                    R"({{"link":{{"type":"wireguard","address":"{}","public_key":"{}"}},
                         "lan":"172.{}.{}.0/24"}})",
                    where, key, 16 + high, low);
        }
    }
    return out + "}}";
}

KernelState fresh_host() {
    KernelState state;
    Link uplink{.name = IfName::from_kernel("eth0")};
    uplink.alias = "";
    uplink.mtu = Mtu{1500};
    uplink.up = true;
    uplink.master = IfName{};
    state.links.emplace(uplink.name, uplink);
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        for (const char* scope : {"all", "default", "eth0"})
            state.sysctls[conf_sysctl(family, scope, "forwarding")] = "0";
    }
    for (const char* scope : {"default", "eth0"})
        state.sysctls[conf_sysctl(Family::Ipv6, scope, "accept_ra")] = "1";
    return state;
}

/// The least processor time of a few runs, in milliseconds: what the code costs, not what else the
/// machine was doing.
template <class Work>
double milliseconds(Work&& work) {
    double best = 1e12;
    for (int i = 0; i < repetitions; ++i) {
        const std::clock_t start = std::clock();
        work();
        const auto ticks = static_cast<double>(std::clock() - start);
        best = std::min(best, ticks * 1000 / CLOCKS_PER_SEC);
    }
    return best;
}

int die(const std::string& why) {
    fmt::print(stderr, "plan_bench: {}\n", why);
    return 1;
}

int measure(int spokes) {
    const std::string source = file_of(spokes);
    ParsedFile parsed;
    const double parsing = milliseconds([&] { parsed = parse_topology(source, "bench.json"); });
    if (!parsed.topology || has_errors(parsed.diagnostics))
        return die(text(parsed.diagnostics, "bench.json", source).substr(0, 2000));
    const Topology& topology = *parsed.topology;
    NodeIntent intent;
    const double compiling = milliseconds([&] { intent = compile(topology, topology.hub, {}); });

    test::FakeKernel kernel{fresh_host()};
    Plan first;
    const double planning = milliseconds([&] { first = plan(intent, kernel.state, {}); });
    if (!first.refusals.empty()) return die(first.refusals.front().reason);
    std::string shown;
    const double rendering = milliseconds([&] { shown = plan_text(first, "bench.json", Colour::Off); });
    const Report report = execute(first, kernel);
    if (report.failure) return die(text(*report.failure));
    Plan second;
    const double again =
        milliseconds([&] { second = plan(intent, kernel.state, first.ledger_after); });
    if (!second.is_empty()) return die("the second plan is not empty");
    fmt::print("{:>6} {:>8} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.1f}\n", spokes,
               first.steps.size(), parsing, compiling, planning, rendering, again);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<int> sizes;
    for (int i = 1; i < argc; ++i) {
        int size = 0;
        const char* const end = argv[i] + std::strlen(argv[i]);
        if (std::from_chars(argv[i], end, size).ptr != end || size < 1 || size > 1500)
            return die("usage: plan_bench [SPOKES]…  (1 to 1500)");
        sizes.push_back(size);
    }
    if (sizes.empty()) sizes = {100, 200, 500, 1000};
    fmt::print("milliseconds of processor time, best of {}\n", repetitions);
    fmt::print("{:>6} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}\n", "spokes", "steps", "read", "compile",
               "plan", "show", "no-op");
    for (const int size : sizes) {
        if (const int failed = measure(size)) return failed;
    }
    return 0;
}
