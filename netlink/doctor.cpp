#include "netlink/doctor.hpp"

#include "netlink/families.hpp"
#include "netlink/modules.hpp"
#include "netlink/sysctl.hpp"

#include <linux/capability.h>
#include <linux/ethtool_netlink.h>
#include <linux/netlink.h>

#include <array>
#include <filesystem>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace overlay::netlink {

namespace {

struct Wanted {
    std::string_view feature;
    std::string module;
};

const std::vector<Wanted>& wanted_features() {
    static const std::vector<Wanted> all{
        {"bridge", "bridge"},       {"gretap", "ip_gre"}, {"ip6gretap", "ip6_gre"},
        {"fou", "fou"},             {"fou6", "fou6"},     {"wireguard", "wireguard"},
        {"nf_tables", "nf_tables"}, {"tun", "tun"},
    };
    return all;
}

bool has_net_admin() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
    if (::syscall(SYS_capget, &header, data.data()) != 0) return false;
    return (data[CAP_NET_ADMIN / 32].effective >> (CAP_NET_ADMIN % 32) & 1U) != 0;
}

/// The initial user namespace has a fixed inode number (Linux include/linux/proc_ns.h,
/// PROC_USER_INIT_INO = 0xEFFFFFFD).
bool in_initial_user_namespace() {
    std::error_code unreadable;
    const auto name = std::filesystem::read_symlink("/proc/self/ns/user", unreadable);
    return !unreadable && name == "user:[4026531837]";
}

bool sysctls_are_writable() {
    struct statvfs mounted {};
    if (::statvfs("/proc/sys/net", &mounted) != 0) return false;
    return (mounted.f_flag & ST_RDONLY) == 0;
}

Result<BridgeNetfilter> examine_bridge_netfilter(const Sysctls& sysctls) {
    BridgeNetfilter found;
    const auto read = [&](std::string_view key, std::optional<bool>& into) -> Result<void> {
        const auto value = sysctls.read(key);
        if (!value) return pass_on(value);
        if (*value) into = **value != "0";
        return {};
    };
    const auto first = read("net.bridge.bridge-nf-call-iptables", found.iptables);
    if (!first) return pass_on(first);
    const auto second = read("net.bridge.bridge-nf-call-ip6tables", found.ip6tables);
    if (!second) return pass_on(second);
    if (found.iptables.value_or(false) || found.ip6tables.value_or(false)) {
        found.hint = "bridged frames pass the FORWARD chain of iptables and nft here, which Docker "
                     "sets to DROP: set net.bridge.bridge-nf-call-iptables and -ip6tables to 0, or "
                     "accept what crosses the bridge in that chain (DOCKER-USER)";
    }
    return found;
}

Feature examine(const Wanted& wanted, const Modules& modules,
                const std::set<std::string>& present) {
    Feature feature{std::string{wanted.feature}, Ability::Missing, {}};
    if (present.contains(wanted.module)) feature.ability = Ability::Present;
    else if (modules.is_loadable(wanted.module)) feature.ability = Ability::Loadable;
    else feature.hint = package_hint(wanted.module);
    return feature;
}

}  // namespace

std::string_view text(Ability ability) {
    switch (ability) {
        case Ability::Present: return "present";
        case Ability::Loadable: return "loadable";
        case Ability::Missing: break;
    }
    return "missing";
}

Result<HostReport> examine_host() {
    auto generic = Socket::open(NETLINK_GENERIC);
    if (!generic) return pass_on(generic);
    Families families;
    if (const auto read = families.read(*generic); !read) return pass_on(read);
    const auto sysctls = Sysctls::open();
    if (!sysctls) return pass_on(sysctls);
    auto modules = Modules::open();
    if (!modules) return pass_on(modules);
    auto bridge_netfilter = examine_bridge_netfilter(*sysctls);
    if (!bridge_netfilter) return pass_on(bridge_netfilter);

    HostReport report;
    utsname kernel{};
    if (::uname(&kernel) == 0) report.kernel_release = kernel.release;
    auto present = modules->present();
    for (const auto* family : {"fou", "wireguard"}) {
        if (families.find(family)) present.insert(family);
    }
    for (const Wanted& wanted : wanted_features()) {
        report.features.push_back(examine(wanted, *modules, present));
    }
    const bool ethtool = families.find(ETHTOOL_GENL_NAME).has_value();
    report.features.push_back({"ethtool", ethtool ? Ability::Present : Ability::Missing,
                               ethtool ? "" : "a kernel ≥ 5.6 with CONFIG_ETHTOOL_NETLINK"});
    report.net_admin = has_net_admin();
    report.net_admin_initial = report.net_admin && in_initial_user_namespace();
    report.sysctls_writable = sysctls_are_writable();
    report.bridge_netfilter = *std::move(bridge_netfilter);
    return report;
}

}  // namespace overlay::netlink
