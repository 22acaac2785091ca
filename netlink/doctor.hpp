#pragma once
// What this kernel and this process can do, found out without loading a module or changing
// anything: the facts for `overlayctl doctor`, which says what they mean for a topology.

#include "topology/result.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace overlay::netlink {

enum class Ability {
    Present,    ///< loaded or built in
    Loadable,   ///< its module is on disk for this kernel
    Missing,
};
[[nodiscard]] std::string_view text(Ability ability);   ///< "present", "loadable", "missing"

struct Feature {
    std::string name;      ///< "bridge", "gretap", "ip6gretap", "fou", "fou6", "wireguard", …
    Ability ability = Ability::Missing;
    std::string hint;      ///< when missing: where it comes from
};

/// bridge-nf-call-*: whether bridged frames pass the iptables or nft FORWARD chains of the host,
/// which Docker sets to DROP. Empty while br_netfilter is not loaded.
struct BridgeNetfilter {
    std::optional<bool> iptables;
    std::optional<bool> ip6tables;
    std::string hint;      ///< empty when there is nothing to do
};

struct HostReport {
    std::string kernel_release;
    std::vector<Feature> features;
    bool net_admin = false;           ///< CAP_NET_ADMIN in our own user namespace
    bool net_admin_initial = false;   ///< … in the initial one, which FOU ports need
    bool sysctls_writable = false;    ///< /proc/sys/net is not mounted read-only
    BridgeNetfilter bridge_netfilter;
};

[[nodiscard]] Result<HostReport> examine_host();

}  // namespace overlay::netlink
