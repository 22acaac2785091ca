// A ledger is told in the words of a snapshot: what we own, what was before, what we made of it,
// what moved.

#include "daemon/reconcile/ledger_store.hpp"

#include "daemon/io/files.hpp"
#include "topology/kernel_text.hpp"
#include "topology/state_json.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include <dirent.h>
#include <unistd.h>

namespace overlay {

namespace {

using Json = nlohmann::ordered_json;

constexpr int ledger_version = 1;
constexpr std::size_t max_ledger_bytes = 16 * 1024 * 1024;
constexpr int max_depth = 16;   // a snapshot inside has at most 12

Json as_json(const KernelState& state) { return Json::parse(to_json(state)); }

std::string name_of(const OffloadKey& key) {
    return bytes_to_utf8(fmt::format("offload {} of {}", key.feature, key.link.str()));
}

Json causes(const Ledger& ledger) {
    Json out = Json::object();
    for (const auto& [key, former] : ledger.sysctls) {
        if (!former.cause.empty()) out[bytes_to_utf8(key)] = former.cause;
    }
    for (const auto& [key, former] : ledger.offloads) {
        if (!former.cause.empty()) out[name_of(key)] = former.cause;
    }
    return out;
}

/// The library's parser has no stack to overflow, but what writes the parts as text again has.
Json parse(const std::string& text) {
    const auto watch = [](int depth, Json::parse_event_t, const Json&) {
        if (depth > max_depth) throw std::length_error{"nested too deeply"};
        return true;
    };
    return Json::parse(text, watch);
}

Result<KernelState> part(const Json& json, const char* name) {
    return state_from_json(json.at(name).dump());
}

Result<Ledger> assemble(const Json& json) {
    const auto owned = part(json, "owned");
    const auto before = part(json, "before");
    const auto ours = part(json, "ours");
    const auto moved = part(json, "moved");
    for (const auto* each : {&owned, &before, &ours, &moved}) {
        if (!*each) return pass_on(*each);
    }
    Ledger out{.network = json.at("network"), .node = json.at("node")};
    out.links = owned->links;
    for (const auto& [name, device] : owned->wireguard)   // none in ledgers of before
        out.wireguard_keys[name] = device.public_key;
    out.fou_ports = owned->fou_ports;
    out.tables = owned->all_tables;
    out.addresses = owned->addresses;
    out.routes = owned->routes;
    out.overlayd = owned->overlayd;
    for (const auto& [key, value] : before->sysctls) {
        const std::string cause = json.at("causes").value(bytes_to_utf8(key), "");
        out.sysctls[key] = {value, ours->sysctls.at(key), cause};
    }
    for (const auto& [key, value] : before->offloads)
        out.offloads[key] = {value, ours->offloads.at(key), json.at("causes").value(name_of(key), "")};
    for (const auto& [name, link] : before->links)
        out.borrowed[name] = {link, ours->links.at(name), ""};
    out.moved_addresses = moved->addresses;
    out.moved_routes = moved->routes;
    out.moved_neighbours = moved->neighbours;
    if (json.contains("bystanders")) {
        const auto bystanders = part(json, "bystanders");
        if (!bystanders) return pass_on(bystanders);
        out.bystanders = {bystanders->neighbours, bystanders->addresses, bystanders->routes};
    }
    return out;
}

Result<std::string> boot_id() {
    auto id = io::read_file("/proc/sys/kernel/random/boot_id", 128);
    if (!id) return id;
    while (!id->empty() && id->back() == '\n') id->pop_back();
    return id;
}

}  // namespace

std::string ledger_to_json(const Ledger& ledger, const std::string& boot_id) {
    KernelState owned, before, ours, moved, bystanders;
    owned.links = ledger.links;
    for (const auto& [name, key] : ledger.wireguard_keys) owned.wireguard[name].public_key = key;
    owned.fou_ports = ledger.fou_ports;
    owned.all_tables = ledger.tables;
    owned.addresses = ledger.addresses;
    owned.routes = ledger.routes;
    owned.overlayd = ledger.overlayd;
    for (const auto& [key, former] : ledger.sysctls) {
        before.sysctls[key] = former.before;
        ours.sysctls[key] = former.ours;
    }
    for (const auto& [key, former] : ledger.offloads) {
        before.offloads[key] = former.before;
        ours.offloads[key] = former.ours;
    }
    for (const auto& [name, former] : ledger.borrowed) {
        before.links[name] = former.before;
        ours.links[name] = former.ours;
    }
    moved.addresses = ledger.moved_addresses;
    moved.routes = ledger.moved_routes;
    moved.neighbours = ledger.moved_neighbours;
    bystanders.neighbours = ledger.bystanders.neighbours;
    bystanders.addresses = ledger.bystanders.addresses;
    bystanders.routes = ledger.bystanders.routes;
    Json json{
        {"version", ledger_version}, {"network", ledger.network}, {"node", ledger.node},
        {"boot_id", boot_id},        {"owned", as_json(owned)},   {"before", as_json(before)},
        {"ours", as_json(ours)},     {"causes", causes(ledger)},  {"moved", as_json(moved)}};
    if (!ledger.bystanders.is_empty()) json["bystanders"] = as_json(bystanders);
    return json.dump(2) + "\n";
}

Result<StoredLedger> ledger_from_json(const std::string& text) {
    try {  // nlohmann says "missing" and "wrong type" by exception only
        const Json json = parse(text);
        if (json.at("version") != ledger_version) {
            return fail(Error::Kind::Invalid, "read ledger",
                        "written by another version of overlayctl");
        }
        auto ledger = assemble(json);
        if (!ledger) return pass_on(ledger);
        return StoredLedger{std::move(*ledger), json.at("boot_id")};
    } catch (const std::exception& e) {
        return fail(Error::Kind::Invalid, "read ledger", "damaged: " + fault_of_json(e));
    }
}

std::string LedgerStore::path(const std::string& network) const {
    return fmt::format("{}/{}/ledger.json", directory_, network);
}

Result<Ledger> LedgerStore::load(const std::string& network) const {
    const auto text = io::read_file(path(network), max_ledger_bytes);
    if (!text && text.error().kind == Error::Kind::NotFound) return Ledger{.network = network};
    if (!text) return pass_on(text);
    auto stored = ledger_from_json(*text);
    if (!stored) {
        Error error = stored.error();
        error.doing += " " + path(network);
        error.hint =
            "without it we cannot know what was here before us; restore the file, or remove it "
            "and what it described by hand";
        return fail(std::move(error));
    }
    const auto now = boot_id();
    if (!now) return pass_on(now);
    if (stored->boot_id != *now) return Ledger{.network = network};
    return std::move(stored->ledger);
}

Result<std::vector<Ledger>> LedgerStore::load_neighbours(const std::string& network) const {
    std::vector<Ledger> out;
    const auto all = networks();
    if (!all) return pass_on(all);
    for (const std::string& other : *all) {
        if (other == network) continue;
        auto ledger = load(other);
        if (!ledger) return pass_on(ledger);
        out.push_back(std::move(*ledger));
    }
    return out;
}

Result<void> LedgerStore::save(const Ledger& ledger) const {
    if (ledger.is_empty()) {
        auto removed = io::remove_file(path(ledger.network));
        if (removed) (void)::rmdir(fmt::format("{}/{}", directory_, ledger.network).c_str());
        return removed;
    }
    const auto id = boot_id();
    if (!id) return pass_on(id);
    if (auto made = io::make_directories(fmt::format("{}/{}", directory_, ledger.network), 0700);
        !made) {
        return made;
    }
    return io::replace_file(path(ledger.network), ledger_to_json(ledger, *id), 0600);
}

Result<std::vector<std::string>> LedgerStore::networks() const {
    std::vector<std::string> out;
    DIR* directory = ::opendir(directory_.c_str());
    if (directory == nullptr && errno == ENOENT) return out;
    if (directory == nullptr) return fail(io::system_error("read " + directory_, errno));
    while (const dirent* entry = ::readdir(directory)) {
        const std::string name = entry->d_name;
        // One that cannot be looked at is there, too: whoever reads it then is told so.
        const bool is_absent =
            ::access(path(name).c_str(), F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR);
        if (name[0] != '.' && !is_absent) out.push_back(name);
    }
    ::closedir(directory);
    std::sort(out.begin(), out.end());
    return out;
}

}  // namespace overlay
