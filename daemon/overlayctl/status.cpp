// overlayctl status: what is applied here and how it does: links, peers, handshakes, counters,
// drift.

#include "daemon/overlayctl/command.hpp"
#include "daemon/reconcile/applied.hpp"
#include "daemon/reconcile/key_files.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <thread>

namespace overlay {

namespace po = boost::program_options;

namespace {

using Json = nlohmann::ordered_json;

struct NetworkStatus {
    Applied applied;
    Prepared prepared;
    netlink::Activity activity;
    control::Overlayd::Reports reports;   ///< of links in user space
};

/// nullopt: the ledger knows this network, but nothing was applied to the end.
Result<std::optional<NetworkStatus>> read_status(const std::string& network,
                                                 const Directories& directories) {
    const auto applied = load_applied(directories.state, network);
    if (!applied) return pass_on(applied);
    if (!*applied) return std::optional<NetworkStatus>{};
    const ParsedFile parsed = parse_topology((*applied)->source, (*applied)->file_name);
    const Node* node = parsed.topology ? parsed.topology->find((*applied)->node) : nullptr;
    if (node == nullptr) {
        return fail(Error::Kind::Invalid, "read what was applied for " + network,
                    "this version does not accept it any more");
    }
    const std::string& file = (*applied)->file_name;
    LoadedKeys keys = load_keys(*parsed.topology, *node, file.substr(0, file.rfind('/')),
                                WhichKeys::PresharedOnly);
    auto prepared = prepare(compile(*parsed.topology, *node, keys.preshared),
                            std::move(keys.secrets), directories);
    if (!prepared) return pass_on(prepared);
    auto activity = prepared->kernel.activity();
    if (!activity) return pass_on(activity);
    if (const auto added = prepared->overlayd.add_to(*activity); !added) return pass_on(added);
    auto reports = prepared->overlayd.reports();
    if (!reports) return pass_on(reports);
    return std::optional<NetworkStatus>{NetworkStatus{**applied, std::move(*prepared),
                                                      std::move(*activity), std::move(*reports)}};
}

std::string size_text(std::uint64_t bytes) {
    constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < units.size()) {
        value /= 1024;
        ++unit;
    }
    return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::string age_text(std::int64_t since_seconds) {
    if (since_seconds == 0) return "never";
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto age = std::chrono::duration_cast<std::chrono::seconds>(now).count() - since_seconds;
    return fmt::format("{} s ago", age < 0 ? 0 : age);
}

std::string link_text(const NetworkStatus& status, const Link& wanted) {
    const auto found = status.prepared.found.links.find(wanted.name);
    if (found == status.prepared.found.links.end())
        return fmt::format("  {:<16} missing\n", wanted.name.str());
    const Link& link = found->second;
    const auto moved = status.activity.links.find(wanted.name);
    const netlink::LinkActivity counters =
        moved == status.activity.links.end() ? netlink::LinkActivity{} : moved->second;
    return fmt::format("  {:<16} {:<10} {:<4} mtu {:<5} in {:>10}  out {:>10}  dropped {}/{}\n",
                       link.name.str(), text(link.kind), link.up.value_or(false) ? "up" : "down",
                       link.mtu ? link.mtu->bytes() : 0, size_text(counters.rx_bytes),
                       size_text(counters.tx_bytes), counters.rx_dropped, counters.tx_dropped);
}

/// Nothing when there is none.
std::string drops_text(const control::Overlayd::Drops& drops) {
    std::string out;
    for (const auto& [reason, count] : drops) out += fmt::format(" {} {}", reason, count);
    return out.empty() ? "" : "    dropped by overlayd:" + out + "\n";
}

std::string port_text(const NetworkStatus& status, const FouPort& port) {
    const std::string name = object_of(AddFouPort{port});
    const auto found = status.reports.ports.find(name);
    const std::string drops = found == status.reports.ports.end() ? "" : drops_text(found->second);
    return drops.empty() ? "" : fmt::format("  {}\n{}", name, drops);
}

/// What overlayd dropped, and which offloads it does without; nothing when there is none.
std::string report_text(const NetworkStatus& status, const IfName& name) {
    const auto found = status.reports.links.find(name);
    if (found == status.reports.links.end()) return "";
    std::string offloads;
    for (const auto& [offload, state] : found->second.offloads) {
        if (state != "on") offloads += fmt::format(" {} {}", offload, state);
    }
    return drops_text(found->second.drops) +
           (offloads.empty() ? "" : "    offloads of overlayd:" + offloads + "\n");
}

std::string peers_text(const NetworkStatus& status, const IfName& device) {
    std::string out;
    const auto found = status.activity.peers.find(device);
    if (found == status.activity.peers.end()) return out;
    for (const auto& [key, peer] : found->second) {
        const auto origin =
            status.prepared.intent.origins.find(object_of(SetPeer{device, key, {}, {}}));
        const std::string who =
            origin == status.prepared.intent.origins.end() ? text(key) : origin->second.path;
        out += fmt::format("    {:<28} handshake {:<12} in {:>10}  out {:>10}  {}\n", who,
                           age_text(peer.last_handshake_seconds), size_text(peer.rx_bytes),
                           size_text(peer.tx_bytes),
                           peer.endpoint ? text(*peer.endpoint) : "no endpoint yet");
    }
    return out;
}

std::string status_text(const NetworkStatus& status) {
    const Prepared& prepared = status.prepared;
    std::string out = fmt::format("network {}, node {}, from {}\n", prepared.intent.network,
                                  prepared.intent.node, status.applied.file_name);
    for (const auto& [name, link] : prepared.intent.desired.links) {
        out += link_text(status, link) + report_text(status, name) + peers_text(status, name);
    }
    for (const FouPort& port : prepared.intent.desired.fou_ports) out += port_text(status, port);
    const PlanCounts counts = count(prepared.plan);
    const std::size_t drift = counts.add + counts.change + counts.recreate + counts.remove;
    out +=
        drift == 0 && prepared.plan.refusals.empty()
            ? "  drift: none\n"
            : fmt::format("  drift: {} objects differ from what was applied:\n{}", drift,
                          plan_text(prepared.plan, status.applied.file_name, colour_of_stdout()));
    return out;
}

Json link_json(const NetworkStatus& status, const IfName& name) {
    Json out{{"name", name.str()}, {"present", false}};
    const auto found = status.prepared.found.links.find(name);
    if (found == status.prepared.found.links.end()) return out;
    out["present"] = true;
    out["kind"] = text(found->second.kind);
    out["up"] = found->second.up.value_or(false);
    out["mtu"] = found->second.mtu ? found->second.mtu->bytes() : 0;
    if (const auto moved = status.activity.links.find(name); moved != status.activity.links.end()) {
        const netlink::LinkActivity& c = moved->second;
        out["counters"] = {{"rx_bytes", c.rx_bytes},     {"tx_bytes", c.tx_bytes},
                           {"rx_packets", c.rx_packets}, {"tx_packets", c.tx_packets},
                           {"rx_dropped", c.rx_dropped}, {"tx_dropped", c.tx_dropped},
                           {"rx_errors", c.rx_errors},   {"tx_errors", c.tx_errors}};
    }
    if (const auto report = status.reports.links.find(name); report != status.reports.links.end()) {
        out["overlayd_drops"] = report->second.drops;
        out["overlayd_offloads"] = report->second.offloads;
    }
    const auto peers = status.activity.peers.find(name);
    if (peers == status.activity.peers.end()) return out;
    out["peers"] = Json::array();
    for (const auto& [key, peer] : peers->second) {
        out["peers"].push_back(
            {{"public_key", text(key)},
             {"endpoint", peer.endpoint ? Json(text(*peer.endpoint)) : Json(nullptr)},
             {"last_handshake", peer.last_handshake_seconds},
             {"rx_bytes", peer.rx_bytes},
             {"tx_bytes", peer.tx_bytes}});
    }
    return out;
}

Json status_json(const NetworkStatus& status) {
    Json links = Json::array();
    for (const auto& [name, link] : status.prepared.intent.desired.links)
        links.push_back(link_json(status, name));
    Json ports = Json::array();
    for (const FouPort& port : status.prepared.intent.desired.fou_ports) {
        Json& each = ports.emplace_back(Json{{"port", port.port}, {"family", text(port.family)}});
        const auto drops = status.reports.ports.find(object_of(AddFouPort{port}));
        if (drops != status.reports.ports.end()) each["overlayd_drops"] = drops->second;
    }
    return {{"network", status.prepared.intent.network},
            {"node", status.prepared.intent.node},
            {"file", status.applied.file_name},
            {"links", links},
            {"fou_ports", ports},
            {"drift", Json::parse(plan_json(status.prepared.plan, status.applied.file_name))}};
}

int print_status(const CommandLine& command) {
    const Directories directories = command.directories();
    const auto networks = LedgerStore{directories.state}.networks();
    if (!networks) return complain(networks.error());
    Json all = Json::array();
    std::string shown;
    for (const std::string& network : *networks) {
        const auto status = read_status(network, directories);
        if (!status) return complain(status.error());
        if (!*status) {
            shown += fmt::format(
                "network {}: an apply did not come to its end; apply again, or down\n", network);
            all.push_back({{"network", network}, {"node", nullptr}});
            continue;
        }
        command.has("json") ? all.push_back(status_json(**status))
                            : void(shown += status_text(**status));
    }
    if (command.has("json"))
        shown = Json{{"version", 1}, {"networks", all}}.dump(2, ' ', false,
                                                             Json::error_handler_t::replace) +
                "\n";
    if (shown.empty()) shown = "nothing is applied here\n";
    print(stdout, shown);
    std::fflush(stdout);
    return exit_done;
}

}  // namespace

int run_status(const Arguments& arguments) {
    CommandLine command{
        "status [--json] [--watch]",
        "Shows each applied network: its links and counters, WireGuard peers and handshakes, and\n"
        "what has drifted from the file."};
    command.add_json_option();
    command.add_directory_options();
    command.options().add_options()("watch", "again every 2 seconds, until interrupted");
    if (const auto over = command.parse(arguments)) return *over;
    if (!command.has("watch")) return print_status(command);
    for (;;) {
        std::fputs("\x1b[H\x1b[2J", stdout);
        if (const int code = print_status(command); code != exit_done) return code;
        if (std::ferror(stdout) != 0) return exit_done;  // nobody reads on; main() says so
        std::this_thread::sleep_for(std::chrono::seconds{2});
    }
}

}  // namespace overlay
