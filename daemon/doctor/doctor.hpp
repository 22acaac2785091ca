#pragma once
// What stands in the way on this host, before anything is applied: facts are read in one place
// (read_host_facts), judged in another (judge), which is pure. Every finding says what was seen and
// what to do.

#include "daemon/reconcile/reconcile.hpp"
#include "topology/intent.hpp"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace overlay::doctor {

enum class Severity { Ok, Note, Warning, Error };
[[nodiscard]] std::string_view text(Severity severity);  ///< "ok", "note", "warning", "error"

struct Finding {
    Severity severity = Severity::Ok;
    std::string subject;   ///< "module fou"
    std::string evidence;  ///< what was seen
    std::string fix;       ///< "" when there is nothing to do
    friend bool operator==(const Finding&, const Finding&) = default;
};

struct HostFacts {
    std::string kernel_release;
    bool has_net_admin = false;
    bool in_initial_user_namespace = false;
    std::set<std::string> present_modules;        ///< loaded or built in
    std::set<std::string> loadable_modules;       ///< on disk
    std::map<std::string, std::string> packages;  ///< by module: where it comes from
    bool has_tun_node = true;          ///< /dev/net/tun is there
    bool sysctls_are_writable = true;  ///< /proc/sys/net is not mounted read-only
    /// br_netfilter is loaded and bridge-nf-call-iptables or …-ip6tables is on.
    bool bridged_frames_meet_iptables = false;
    std::vector<std::string> dropping_forward_chains;  ///< "ip filter FORWARD": policy drop
    std::set<std::string> processes;                   ///< names (comm, 15 bytes) of what runs
    KernelState state;
    std::map<std::uint16_t, std::string> udp_owners;  ///< of taken ports that were asked for
};

/// Reads the host. `ports`: UDP ports whose owner matters; `directories`: where overlayd would be found. Loads no
/// module, writes nothing.
[[nodiscard]] Result<HostFacts> read_host_facts(const std::set<std::uint16_t>& ports,
                                                const Directories& directories = {});

/// UDP ports that the node will listen on.
[[nodiscard]] std::set<std::uint16_t> wanted_ports(const NodeIntent& intent);

/// The host as such; with an intent, only what this node needs, and whether it can have it.
[[nodiscard]] std::vector<Finding> judge(const HostFacts& facts, const NodeIntent* intent);

}  // namespace overlay::doctor
