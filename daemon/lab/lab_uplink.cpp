#include "daemon/lab/lab_uplink.hpp"

#include "daemon/lab/lab_addresses.hpp"
#include "topology/derive.hpp"

#include <algorithm>
#include <set>

namespace overlay::lab {
namespace {

void add_once(Uplink& uplink, const IpAddress& address) {
    auto& list = address.family() == Family::Ipv4 ? uplink.ipv4 : uplink.ipv6;
    if (std::find(list.begin(), list.end(), address) == list.end()) list.push_back(address);
}

bool bridge_holds(const Node& node, const IpAddress& address) {
    const auto& addresses = node.bridge->addresses;
    return std::any_of(addresses.begin(), addresses.end(),
                       [&](const auto& stated) { return stated.value.address() == address; });
}

bool is_on_bridge(const Node& node, const Uplink& uplink) {
    if (!node.bridge || !node.bridge->existing.value || node.underlay.in_bridge.value) return false;
    if (node.underlay.interface) {
        return node.underlay.interface->value == node.bridge->name.value;
    }
    return std::any_of(uplink.ipv4.begin(), uplink.ipv4.end(),
                       [&](const IpAddress& address) { return bridge_holds(node, address); });
}

/// Names of what the file has `apply` make, or plug in.
std::set<IfName> own_interfaces(const Topology& topology, const Node& node) {
    std::set<IfName> out;
    if (node.bridge) {
        out.insert(node.bridge->name.value);
        for (const auto& port : node.bridge->ports) out.insert(port.value);
    }
    const auto add = [&](const Node& spoke, const LinkSpec& link) {
        const bool is_layer_3 = link.type.value == LinkType::Wireguard;
        if (node.is_hub && !is_layer_3) out.insert(hub_interface(topology, spoke, link));
        if (node.is_hub) return;
        out.insert(spoke_interface(topology, spoke, link));
        if (link.type.value != LinkType::GretapGue) {
            out.insert(spoke_wireguard_interface(topology, spoke, link));
        }
    };
    if (node.is_hub && node.wireguard) out.insert(node.wireguard->interface.value);
    for (const Node& spoke : topology.spokes) {
        if (!node.is_hub && spoke.name != node.name) continue;
        for (const LinkSpec& link : spoke.links) add(spoke, link);
    }
    return out;
}

/// A hub masquerades towards the Internet.
IfName unstated_uplink(const Topology& topology, const Node& node) {
    if (node.is_hub && node.masquerade) {
        const IfName& out = node.masquerade->out.value;
        if (!own_interfaces(topology, node).contains(out)) return out;
    }
    return free_interface(topology, node, "eth");
}

bool states_nat(const Node& node) {
    return std::any_of(node.links.begin(), node.links.end(),
                       [](const LinkSpec& link) { return link.nat.has_value(); });
}

/// Of a bridge that is itself on the underlay: eth0, where the file has it as a port.
IfName bridge_uplink(const Topology& topology, const Node& node) {
    const IfName eth0 = *IfName::parse("eth0");
    const auto& ports = node.bridge->ports;
    const bool is_port = std::any_of(ports.begin(), ports.end(),
                                     [&](const auto& port) { return port.value == eth0; });
    return is_port ? eth0 : free_interface(topology, node, "eth");
}

}  // namespace

IfName free_interface(const Topology& topology, const Node& node, std::string_view stem) {
    const std::set<IfName> taken = own_interfaces(topology, node);
    for (int number = 0;; ++number) {
        const auto wanted = IfName::parse(std::string{stem} + std::to_string(number));
        OVERLAY_ASSERT(wanted);
        const bool is_uplink = node.underlay.interface && node.underlay.interface->value == *wanted;
        if (!taken.contains(*wanted) && !is_uplink) return *wanted;
    }
}

Uplink uplink_of(const Topology& topology, const Node& node) {
    Uplink uplink;
    uplink.mtu = node.underlay.mtu.value;
    for (const auto& address : node.underlay.addresses) add_once(uplink, address.value);
    for (const LinkSpec& link : node.links) {
        if (link.local) add_once(uplink, link.local->value);
        uplink.uses_ipv6 |= underlay_family(topology, link) == Family::Ipv6;
    }
    uplink.uses_ipv6 |= !uplink.ipv6.empty();
    for (const auto& gateway : node.underlay.gateways) {
        auto& slot = gateway.value.family() == Family::Ipv4 ? uplink.gateway4 : uplink.gateway6;
        slot = gateway.value;
    }
    uplink.on_bridge = is_on_bridge(node, uplink);
    uplink.port =
        node.underlay.interface ? node.underlay.interface->value : unstated_uplink(topology, node);
    if (uplink.on_bridge) uplink.port = bridge_uplink(topology, node);
    uplink.interface = uplink.on_bridge ? node.bridge->name.value : uplink.port;
    const bool has_public = std::any_of(uplink.ipv4.begin(), uplink.ipv4.end(),
                                        [](const IpAddress& a) { return !is_private(a); });
    uplink.behind_nat = !node.is_hub && (states_nat(node) || !has_public);
    return uplink;
}

std::optional<IpAddress> stated_nat_address(const Node& spoke) {
    for (const LinkSpec& link : spoke.links) {
        if (link.nat) return link.nat->address.value;
    }
    for (const LinkSpec& link : spoke.links) {
        if (link.endpoint && link.endpoint->value.address.family() == Family::Ipv4) {
            return link.endpoint->value.address;
        }
    }
    return std::nullopt;
}

std::uint8_t bridge_prefix_length(const Node& node, const IpAddress& address) {
    if (node.bridge) {
        for (const auto& stated : node.bridge->addresses) {
            if (stated.value.contains(address)) return stated.value.length();
        }
    }
    return 24;
}

}  // namespace overlay::lab
