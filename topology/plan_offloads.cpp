// Offloads: those that the file states, and the one that the kernel takes away by itself when a device
// forwards or becomes a bridge's port.

#include "topology/planner.hpp"

#include <algorithm>

namespace overlay {

namespace {

/// The cause of a change that is no sysctl: the device is a port of our bridge.
constexpr const char* as_port = "master";

/// No Ethernet tunnel and no TAP receives checksums that are verified already: "rx" is off and fixed
/// (Linux net/ipv4/ip_gre.c, GRE_FEATURES; net/ipv6/ip6_gre.c, GRE6_FEATURES; drivers/net/tun.c,
/// tun_net_init: no NETIF_F_RXCSUM). What they have else, a new one has on.
bool is_on_when_new(const std::string& feature) { return feature != "rx"; }

}  // namespace

/// The link's features were listed. A group that is missing from them is in part on, in part off: a
/// hand has switched one of its features.
bool Planner::is_read(const IfName& link) const {
    return std::ranges::any_of(found_.offloads,
                               [&](const auto& each) { return each.first.link == link; });
}

void Planner::offloads() {
    auto& formers = plan_.ledger_after.offloads;
    for (const auto& [key, value] : desired_.offloads) {
        const auto found = found_.offloads.find(key);
        const bool known = survives(key.link) && is_read(key.link);
        bool now = is_on_when_new(key.feature);
        if (known) now = found != found_.offloads.end() ? found->second : !value;
        if (now == value) continue;
        add(Phase::Attributes, SetOffload{key, now, value}, known ? Action::Change : Action::Add,
            Impact::Live);
        formers.try_emplace(key, Former<bool>{now, value, ""});
    }
    for (const auto& [key, former] : made_.offloads) {
        if (desired_.offloads.contains(key) || still_causes(former.cause, key.link)) continue;
        formers.erase(key);
        if (neighbour([&](const Ledger& other) { return other.offloads.contains(key); })) continue;
        const auto found = found_.offloads.find(key);
        if (!survives(key.link) || found == found_.offloads.end() || found->second != former.ours)
            continue;
        // Earlier versions noted a true "rx", which never was.
        if (key.feature == "rx" && former.before) continue;
        const Phase phase = former.cause.empty() ? Phase::Attributes : Phase::RestoreSysctls;
        add(phase, SetOffload{key, former.ours, former.before}, Action::Change, Impact::Live,
            "former value");
    }
}

/// A packet that is forwarded must not be merged by its receiver beyond recognition: the kernel takes
/// large receive offload from a device that forwards IPv4 or joins a bridge, and never gives it back
/// (Linux net/core/dev.c, dev_disable_lro). So we take it first, visibly, and remember.
void Planner::lro_goes(const IfName& link, const std::string& cause) {
    const OffloadKey key{link, "lro"};
    const auto found = found_.offloads.find(key);
    if (found == found_.offloads.end() || !found->second || deleted_.contains(link)) return;
    const Former<bool> former{true, false, cause};
    if (!plan_.ledger_after.offloads.try_emplace(key, former).second) {
        const bool planned = std::any_of(
            plan_.steps.begin(), plan_.steps.end(), [&](const PlannedStep& each) {
                const auto* set = std::get_if<SetOffload>(&each.step);
                return set != nullptr && set->key == key;
            });
        if (planned) return;
    }
    add(Phase::AcceptRa, SetOffload{key, true, false}, Action::Change, Impact::Live,
        cause == as_port ? "a bridge's port has none" : "a router has none");
}

void Planner::lro_goes_with_forwarding(const std::string& key, const std::string& interface) {
    for (const auto& [offload, is_on] : found_.offloads) {
        if (interface == "all" || interface == offload.link.str()) lro_goes(offload.link, key);
    }
}

void Planner::lro_goes_with_bridge(const IfName& port) { lro_goes(port, as_port); }

/// Whether what changed an offload is still wanted.
bool Planner::still_causes(const std::string& cause, const IfName& link) const {
    if (cause.empty()) return false;
    if (cause != as_port) return desired_.sysctls.contains(cause);
    const auto port = desired_.links.find(link);
    return port != desired_.links.end() && port->second.master && !port->second.master->empty();
}

}  // namespace overlay
