// The judgement: pure. A missing thing is an error when the node needs it, and a note when nobody
// said so.

#include "daemon/doctor/doctor.hpp"
#include "topology/derive.hpp"
#include "topology/underlay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace overlay::doctor {

namespace {

constexpr std::array all_modules{"bridge",    "fou",       "fou6", "ip_gre", "ip6_gre",
                                 "nf_tables", "wireguard", "tun"};

using Findings = std::vector<Finding>;

bool has_kernel_port(const NodeIntent& intent) {
    return std::ranges::any_of(intent.desired.fou_ports, [](const FouPort& port) {
        return port.datapath == Datapath::Kernel;
    });
}

void privileges(const HostFacts& facts, const NodeIntent* intent, Findings& out) {
    if (!facts.has_net_admin) {
        out.push_back({Severity::Warning, "privileges", "this process lacks CAP_NET_ADMIN",
                       "apply and down need it: run them as root"});
    }
    const bool wants_fou = intent == nullptr || has_kernel_port(*intent);
    if (!facts.in_initial_user_namespace && wants_fou) {
        // Linux 6.1 net/ipv4/fou_core.c: GENL_ADMIN_PERM, not GENL_UNS_ADMIN_PERM.
        out.push_back(
            {intent ? Severity::Error : Severity::Warning, "user namespace",
             "this is not the host's own user namespace; FOU ports can be made only there",
             "run on the host, or in a container that shares its user namespace"});
    }
    if (!facts.sysctls_are_writable) {
        const bool needed = intent != nullptr && !intent->desired.sysctls.empty();
        out.push_back({needed ? Severity::Error : Severity::Warning, "/proc/sys/net",
                       "mounted read-only here, as in a container",
                       "run on the host, or in a container that may write sysctls (privileged)"});
    }
}

void module(const HostFacts& facts, const std::string& name, Severity if_missing, Findings& out) {
    const std::string subject = "module " + name;
    if (name == "tun" && facts.present_modules.contains(name) && !facts.has_tun_node) {
        out.push_back({if_missing, subject, "in the kernel, but /dev/net/tun is not there, as in a container",
                       "give the container the device; or: mkdir -p /dev/net && mknod /dev/net/tun c 10 200"});
    } else if (facts.present_modules.contains(name)) {
        out.push_back({Severity::Ok, subject, "in the kernel", ""});
    } else if (facts.loadable_modules.contains(name)) {
        out.push_back({Severity::Ok, subject, "not loaded; apply will load it", ""});
    } else {
        const auto package = facts.packages.find(name);
        out.push_back({if_missing, subject,
                       fmt::format("kernel {} has it not", facts.kernel_release),
                       package == facts.packages.end() ? "a kernel that has it" : package->second});
    }
}

void bridge_filter(const HostFacts& facts, Findings& out) {
    if (!facts.bridged_frames_meet_iptables) return;
    out.push_back(
        {Severity::Warning, "br_netfilter",
         "bridged frames pass iptables' FORWARD chain, which Docker sets to DROP",
         "sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0, or "
         "accept bridged traffic there: iptables -I FORWARD -m physdev --physdev-is-bridged -j "
         "ACCEPT (Docker: in DOCKER-USER)"});
}

bool forwards(const NodeIntent& intent) {
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        const auto found =
            intent.desired.sysctls.find(conf_sysctl(family, "all", "forwarding"));
        if (found != intent.desired.sysctls.end() && found->second == "1") return true;
    }
    return false;
}

/// A bridge chain sees what our bridges pass on, the others what the node routes.
void forward_policies(const HostFacts& facts, const NodeIntent* intent, Findings& out) {
    for (const std::string& chain : facts.dropping_forward_chains) {
        const bool meets_bridged = chain.starts_with("bridge ");
        if (intent != nullptr && !meets_bridged && !forwards(*intent)) continue;
        out.push_back({Severity::Warning, "nft chain " + chain,
                       fmt::format("drops {} that none of its rules accepts (Docker does this)",
                                   meets_bridged ? "bridged frames" : "forwarded packets"),
                       "accept this network's interfaces there, both as input and as output; on a "
                       "Docker host in the chain DOCKER-USER"});
    }
}

void managers(const HostFacts& facts, Findings& out) {
    struct Manager {
        std::string_view process, name, what, fix;
    };
    static constexpr std::array known{
        Manager{"NetworkManager", "NetworkManager", "may take over interfaces that it did not make",
                "unmanaged-devices=interface-name:NAME;… in the [keyfile] section of its "
                "configuration"},
        Manager{"systemd-network", "systemd-networkd",
                "removes routes that it did not make when it restarts",
                "ManageForeignRoutes=no in /etc/systemd/networkd.conf"},
        Manager{"netifd", "netifd", "owns the bridges of its own configuration",
                "declare such a bridge \"existing\": true in the file"},
        Manager{"connmand", "ConnMan", "may take over interfaces that it did not make",
                "NetworkInterfaceBlacklist in its main.conf"},
    };
    for (const Manager& manager : known) {
        if (!facts.processes.contains(std::string{manager.process})) continue;
        out.push_back({Severity::Note, std::string{manager.name},
                       fmt::format("runs here and {}", manager.what), std::string{manager.fix}});
    }
}

// ---- what one node needs -----------------------------------------------------------------------

bool is_ours(const HostFacts& facts, const NodeIntent& intent, const IfName& name) {
    const auto link = facts.state.links.find(name);
    return link != facts.state.links.end() && link->second.alias &&
           link->second.alias->starts_with(ownership_mark(intent.network, ""));
}

void interfaces(const HostFacts& facts, const NodeIntent& intent, Findings& out) {
    for (const IfName& name : intent.borrowed) {
        if (facts.state.links.contains(name)) continue;
        out.push_back({Severity::Error, "interface " + name.str(),
                       "the file says that it exists; it does not",
                       "make it, or correct its name in the file"});
    }
    for (const auto& [name, link] : intent.desired.links) {
        const bool taken = facts.state.links.contains(name) && !intent.borrowed.contains(name) &&
                           !is_ours(facts, intent, name);
        if (!taken) continue;
        out.push_back({Severity::Error, "interface " + name.str(),
                       "somebody else's interface has this name",
                       "remove or rename it, or give ours another name in the file"});
    }
}

/// Makes no apply fail, hence no error.
void underlay(const HostFacts& facts, const NodeIntent& intent, Findings& out) {
    for (const UnderlayDoubt& doubt : doubts_about_underlay(intent, facts.state)) {
        out.push_back({doubt.is_certain ? Severity::Warning : Severity::Note, doubt.subject,
                       doubt.evidence, doubt.fix});
    }
}

bool held_by_us(const HostFacts& facts, const NodeIntent& intent, std::uint16_t port) {
    for (const auto& [name, device] : facts.state.wireguard) {
        if (device.listen_port == port && is_ours(facts, intent, name)) return true;
    }
    const auto& wanted = intent.desired.fou_ports;
    return std::ranges::any_of(facts.state.fou_ports, [&](FouPort found) {
        if (found.port != port) return false;
        if (wanted.contains(found)) return true;
        // overlayd's is ours: apply gives it to the kernel.
        return std::exchange(found.datapath, Datapath::Kernel) == Datapath::Userspace && wanted.contains(found);
    });
}

void ports(const HostFacts& facts, const NodeIntent& intent, Findings& out) {
    for (const std::uint16_t port : wanted_ports(intent)) {
        const bool taken =
            std::any_of(facts.state.udp_sockets.begin(), facts.state.udp_sockets.end(),
                        [&](const UdpSocket& socket) { return socket.port == port; });
        const std::string subject = fmt::format("UDP port {}", port);
        if (!taken || held_by_us(facts, intent, port)) {
            out.push_back({Severity::Ok, subject, taken ? "held by this network" : "free", ""});
            continue;
        }
        const auto owner = facts.udp_owners.find(port);
        const bool known = owner != facts.udp_owners.end() && !owner->second.empty();
        out.push_back({Severity::Error, subject,
                       "bound" + (known ? " by " + owner->second : std::string{}),
                       "stop its owner, or state another port in the file"});
    }
}

/// A host that forwards IPv6 ignores Router Advertisements unless accept_ra is 2 (Linux
/// Documentation/networking/ip-sysctl.rst): its own default route would run out.
void router_advertisements(const HostFacts& facts, const NodeIntent& intent, Findings& out) {
    constexpr std::uint8_t protocol_ra = 9;  // rtnetlink.h, RTPROT_RA
    const auto forwarding =
        intent.desired.sysctls.find(conf_sysctl(Family::Ipv6, "all", "forwarding"));
    if (forwarding == intent.desired.sysctls.end() || forwarding->second != "1") return;
    for (const Route& route : facts.state.routes) {
        const bool learnt = route.protocol == protocol_ra && route.destination.length() == 0;
        if (!learnt) continue;
        const std::string key = conf_sysctl(Family::Ipv6, route.device.str(), "accept_ra");
        const auto now = facts.state.sysctls.find(key);
        const bool holds = intent.desired.sysctls.contains(key) ||
                           (now != facts.state.sysctls.end() && now->second == "2");
        if (holds || intent.uplink_move) continue;
        out.push_back(
            {Severity::Warning, "uplink " + route.device.str(),
             "its IPv6 default route comes from router advertisements, which a forwarding host "
             "ignores",
             "underlay.interface in the file (apply then sets accept_ra to 2), or a static route"});
    }
}

}  // namespace

std::string_view text(Severity severity) {
    switch (severity) {
        case Severity::Ok: return "ok";
        case Severity::Note: return "note";
        case Severity::Warning: return "warning";
        case Severity::Error: return "error";
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

std::set<std::uint16_t> wanted_ports(const NodeIntent& intent) {
    std::set<std::uint16_t> out;
    for (const FouPort& port : intent.desired.fou_ports) out.insert(port.port);
    for (const auto& [name, device] : intent.desired.wireguard) {
        if (device.listen_port) out.insert(*device.listen_port);
    }
    return out;
}

std::vector<Finding> judge(const HostFacts& facts, const NodeIntent* intent) {
    Findings out;
    privileges(facts, intent, out);
    if (intent != nullptr) {
        std::set<std::string> needed = intent->desired.modules;
        for (const auto& [name, link] : intent->desired.links) {
            if (link.kind == LinkKind::Bridge) needed.insert("bridge");
        }
        for (const std::string& name : needed) module(facts, name, Severity::Error, out);
        for (const std::string& note : intent->notes)
            out.push_back({Severity::Note, "data path", note,
                           "none is needed; a kernel that can would do it with less work"});
        interfaces(facts, *intent, out);
        underlay(facts, *intent, out);
        ports(facts, *intent, out);
        router_advertisements(facts, *intent, out);
    } else {
        for (const char* name : all_modules) module(facts, name, Severity::Note, out);
    }
    bridge_filter(facts, out);
    forward_policies(facts, intent, out);
    managers(facts, out);
    return out;
}

}  // namespace overlay::doctor
