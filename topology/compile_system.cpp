// What the kernel must be told as a whole: forwarding, accept_ra, modules.

#include "topology/compiler.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

void Compiler::sysctl(std::string key, std::string value, Span at, std::string path) {
    origin(SetSysctl{key, {}, {}, {}}, at, std::move(path));
    out_.desired.sysctls.insert_or_assign(std::move(key), std::move(value));
}

/// Interfaces that route: the uplink, the bridge or the lone tunnel, WireGuard with layer-3
/// peers.
std::set<IfName> Compiler::routing_interfaces() const {
    std::set<IfName> out;
    if (node_.underlay.interface && !node_.underlay.in_bridge.value) {
        out.insert(node_.underlay.interface->value);
    }
    for (const auto& [name, link] : out_.desired.links) {
        const bool is_port = link.master && !link.master->empty();
        if (!is_port) out.insert(name);
    }
    return out;
}

/// Linux has no IPv6 on a device that is narrower than IPv6 allows, and no sysctls for it
/// (net/ipv6/addrconf.c, addrconf_notify). A bridge is as narrow as its narrowest port.
bool Compiler::has_sysctls(const IfName& device, Family family) const {
    constexpr std::uint32_t ipv6_minimum_bytes = 1280;   // RFC 8200 §5
    const auto is_too_narrow = [](const Link& link) {
        return link.mtu && link.mtu->bytes() < ipv6_minimum_bytes;
    };
    const auto found = out_.desired.links.find(device);
    if (family == Family::Ipv4 || found == out_.desired.links.end()) return true;
    if (found->second.mtu) return !is_too_narrow(found->second);
    return std::none_of(out_.desired.links.begin(), out_.desired.links.end(), [&](const auto& each) {
        return each.second.master == device && is_too_narrow(each.second);
    });
}

void Compiler::sysctls() {
    for (const auto& family : node_.forwarding) {
        sysctl(conf_sysctl(family.value, "all", "forwarding"), "1", family.at, here("forwarding"));
        for (const IfName& name : routing_interfaces()) {
            if (!has_sysctls(name, family.value)) continue;
            sysctl(conf_sysctl(family.value, name.str(), "forwarding"), "1", family.at,
                   here("forwarding"));
        }
        if (family.value == Family::Ipv6) accept_ra(family.at);
    }
    for (const Address& address : out_.desired.addresses) {
        if (address.prefix.family() != Family::Ipv6) continue;
        sysctl(conf_sysctl(Family::Ipv6, address.link.str(), "disable_ipv6"), "0", node_.at,
               node_.is_hub ? "hub" : "spokes." + node_.name);
    }
    // An interface of WireGuard that goes up clears this for the whole host, and nobody sets it again
    // (Linux drivers/net/wireguard/device.c, wg_open). So it is ours to show and to put back.
    if (!out_.desired.wireguard.empty()) {
        sysctl("net.ipv4.conf.all.send_redirects", "0", node_.at,
               node_.is_hub ? "hub.wireguard" : "spokes." + node_.name);
    }
}

/// A forwarding host ignores Router Advertisements unless accept_ra is 2 (Linux
/// Documentation/networking/ip-sysctl.rst), and would lose its own default route.
void Compiler::accept_ra(Span at) {
    if (!node_.underlay.accept_ra.value) return;
    if (out_.uplink_move) {
        if (!has_sysctls(out_.uplink_move->bridge, Family::Ipv6)) return;
        sysctl(conf_sysctl(Family::Ipv6, out_.uplink_move->bridge.str(), "accept_ra"), "2", at,
               here("underlay.in_bridge"));
        return;
    }
    std::set<IfName> hears;
    if (node_.underlay.interface) hears.insert(node_.underlay.interface->value);
    if (!node_.is_hub && node_.bridge) hears.insert(node_.bridge->name.value);
    if (!node_.is_hub && !node_.bridge) {
        for (const auto& [name, link] : out_.desired.links) {
            if (link.gretap) hears.insert(name);
        }
    }
    for (const IfName& name : hears) {
        if (!has_sysctls(name, Family::Ipv6)) continue;
        sysctl(conf_sysctl(Family::Ipv6, name.str(), "accept_ra"), "2", at,
               here("underlay.accept_ra"));
    }
}

void Compiler::modules() {
    for (const FouPort& port : out_.desired.fou_ports) {
        out_.desired.modules.insert(port.family == Family::Ipv4 ? "fou" : "fou6");
    }
    for (const auto& [name, link] : out_.desired.links) {
        if (link.kind == LinkKind::Gretap) out_.desired.modules.insert("ip_gre");
        if (link.kind == LinkKind::Ip6gretap) out_.desired.modules.insert("ip6_gre");
        if (link.kind == LinkKind::Wireguard) out_.desired.modules.insert("wireguard");
    }
    if (!out_.desired.tables.empty()) out_.desired.modules.insert("nf_tables");
    for (const std::string& module : out_.desired.modules) {
        origin(LoadModule{module}, node_.at, node_.is_hub ? "hub" : "spokes." + node_.name);
    }
}

}  // namespace overlay
