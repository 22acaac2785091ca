// Reading the host: /proc for what the kernel says about us and others, netlink/ for the rest.

#include "daemon/doctor/doctor.hpp"
#include "daemon/io/files.hpp"
#include "daemon/reconcile/live_kernel.hpp"
#include "netlink/modules.hpp"
#include "netlink/nft_tables.hpp"
#include "netlink/udp_sockets.hpp"
#include "netlink/user_namespace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace overlay::doctor {

namespace {

constexpr unsigned cap_net_admin = 12;  // linux/capability.h
constexpr std::size_t max_bytes = 64 * 1024;

std::string first_line(const std::string& path) {
    const std::string content = io::read_file(path, max_bytes).value_or("");
    return content.substr(0, content.find('\n'));
}

bool has_capability(unsigned number) {
    const std::string status = io::read_file("/proc/self/status", max_bytes).value_or("");
    const std::string label = "CapEff:\t";
    const auto at = status.find(label);
    if (at == std::string::npos) return false;
    std::uint64_t bits = 0;
    const char* start = status.data() + at + label.size();
    std::from_chars(start, status.data() + status.size(), bits, 16);
    return ((bits >> number) & 1U) != 0;
}

std::set<std::string> process_names() {
    std::set<std::string> out;
    std::error_code ignored;  // processes come and go while we look
    for (const auto& entry : std::filesystem::directory_iterator{"/proc", ignored}) {
        const std::string name = entry.path().filename().string();
        const bool is_process = name.find_first_not_of("0123456789") == std::string::npos;
        if (is_process) out.insert(first_line(entry.path().string() + "/comm"));
    }
    return out;
}

bool bridge_nf_call(const char* name) {
    return first_line(std::string{"/proc/sys/net/bridge/bridge-nf-call-"} + name) == "1";
}

bool sysctls_are_writable() {
    struct statvfs mounted {};
    return ::statvfs("/proc/sys/net", &mounted) == 0 && (mounted.f_flag & ST_RDONLY) == 0;
}

/// What Docker does to its host: `iptables -P FORWARD DROP`, which nftables shows as ip filter
/// FORWARD. Asks nothing that would load nf_tables.
Result<std::vector<std::string>> dropping_forward_chains() {
    const auto presence = netlink::nf_tables_presence();
    if (!presence) return pass_on(presence);
    std::vector<std::string> out;
    if (*presence == netlink::NfTables::Absent) return out;
    const auto socket = netlink::open_netfilter_socket();
    if (!socket) return pass_on(socket);
    const auto chains = netlink::dump_base_chains(*socket);
    if (!chains) return pass_on(chains);
    for (const netlink::BaseChain& chain : *chains) {
        if (!chain.forward || !chain.drops) continue;
        out.push_back(fmt::format("{} {} {}", chain.table.family, chain.table.name, chain.name));
    }
    return out;
}

}  // namespace

Result<HostFacts> read_host_facts(const std::set<std::uint16_t>& ports,
                                  const Directories& directories) {
    HostFacts out;
    utsname names{};
    if (::uname(&names) == 0) out.kernel_release = names.release;
    out.has_net_admin = has_capability(cap_net_admin);
    out.in_initial_user_namespace = netlink::in_initial_user_namespace();
    out.bridged_frames_meet_iptables = bridge_nf_call("iptables") || bridge_nf_call("ip6tables");
    out.has_tun_node = ::access("/dev/net/tun", F_OK) == 0;
    out.sysctls_are_writable = sysctls_are_writable();
    auto dropping = dropping_forward_chains();
    if (dropping) out.dropping_forward_chains = std::move(*dropping);
    // Without CAP_NET_ADMIN nobody may list chains; the missing capability is a finding of its own.
    if (!dropping && dropping.error().kind != Error::Kind::NotPermitted) return pass_on(dropping);
    out.processes = process_names();

    auto modules = netlink::Modules::open();
    if (!modules) return pass_on(modules);
    out.present_modules = modules->present();
    for (const std::string& name : netlink::known_modules()) {
        if (modules->is_loadable(name)) out.loadable_modules.insert(name);
        out.packages[name] = netlink::package_hint(name);
    }
    auto kernel = netlink::Kernel::open();
    if (!kernel) return pass_on(kernel);
    Secrets secrets;
    control::Overlayd overlayd{directories.run, directories.state};
    auto state = LiveKernel{*kernel, overlayd, secrets}.snapshot();
    if (!state && state.error().kind == Error::Kind::NotPermitted && !out.has_net_admin)
        state.error().hint = "run doctor as root: the kernel shows nobody else what is there";
    if (!state) return pass_on(state);
    out.state = std::move(*state);
    for (const std::uint16_t port : ports) {
        for (const Family family : {Family::Ipv4, Family::Ipv6}) {
            const std::string owner = netlink::owner_of_udp_port(family, port);
            if (!owner.empty()) out.udp_owners[port] = owner;
        }
    }
    return out;
}

}  // namespace overlay::doctor
