#include "daemon/lab/lab_builder.hpp"

#include "topology/derive.hpp"

#include <set>

namespace overlay::lab {

void Builder::add_node(const Node& node) {
    Uplink uplink = uplink_of(topology_, node);
    add_host(node.name, LabHost::Role::Node, node.name);
    if (uplink.on_bridge && uplink.ipv4.empty()) take_bridge_address(node, uplink);
    if (node.bridge && node.bridge->existing.value) add_borrowed_bridge(node, uplink);
    if (uplink.behind_nat) {
        connect_to_nat(node, uplink);
    } else {
        if (uplink.uses_ipv6 && uplink.ipv6.empty()) uplink.ipv6 = {pool_.public_ipv6()};
        const bool is_plain = !node.underlay.in_bridge.value;
        InternetPort at{node.name,   uplink.interface,
                        uplink.port, uplink.ipv4,
                        {},          {},
                        {},          is_plain && (node.is_hub || uplink.uses_ipv6),
                        uplink.mtu};
        if (is_plain) at.ipv6 = uplink.ipv6;
        at.gateway4 = uplink.gateway4;
        at.gateway6 = uplink.gateway6;
        connect_to_internet(at);
        if (!is_plain) advertise_on_link(node, uplink);
    }
    add_lans(node, uplink);
}

void Builder::take_bridge_address(const Node& node, Uplink& uplink) {
    for (const auto& stated : node.bridge->addresses) {
        if (stated.value.family() != Family::Ipv4 || !uplink.ipv4.empty()) continue;
        uplink.ipv4.push_back(stated.value.address());
    }
}

void Builder::add_borrowed_bridge(const Node& node, const Uplink& uplink) {
    LabHost& machine = host(node.name);
    const IfName& bridge = node.bridge->name.value;
    LabBridge made{bridge, fixed_mac(topology_.network + "/" + node.name + "/" + bridge.str()), {}};
    if (uplink.on_bridge) made.ports.push_back(uplink.port);
    machine.bridges.push_back(std::move(made));
    for (const auto& stated : node.bridge->addresses) add_address(machine, bridge, stated.value);
}

void Builder::advertise_on_link(const Node& hub, const Uplink& uplink) {
    const IfName port = internet_ports_.at(hub.name);
    LabHost& internet = host(internet_);
    LabAdvert advert{port, {}};
    const auto add = [&](const IpAddress& stated) {
        const bool is_public_ipv6 = stated.family() == Family::Ipv6 && !is_private(stated);
        if (is_public_ipv6) add_once(advert.prefixes, IpPrefix::of(stated, 64).network());
    };
    for (const IpAddress& stated : uplink.ipv6) add(stated);
    if (hub.bridge) {
        for (const auto& stated : hub.bridge->addresses) add(stated.value.address());
    }
    if (advert.prefixes.empty()) advert.prefixes = {prefix("2001:2:0:2::/64")};
    add_address(internet, port, IpPrefix::of(router_link_local_, 64));
    for (const IpPrefix& network : advert.prefixes) {
        add_route(internet, network, std::nullopt, port);
    }
    for (const IpAddress& stated : uplink.ipv6) {
        add_address(host(hub.name), uplink.interface, IpPrefix::of(stated, 64));
    }
    if (!uplink.ipv6.empty()) {
        route_ipv6_by(host(hub.name), uplink.interface, {internet_, port}, uplink.gateway6);
    }
    internet.advert = std::move(advert);
}

void Builder::add_lans(const Node& node, const Uplink& uplink) {
    std::vector<LanSite> sites;
    std::vector<IpPrefix> routed;
    for (const auto& stated : node.lan) {
        if (!node.bridge || !is_in_bridge(node, stated.value)) routed.push_back(stated.value);
    }
    if (node.bridge) add_bridged_sites(node, uplink, sites);
    if (!routed.empty()) sites.push_back(routed_site(node, routed));
    std::size_t count = 0;
    for (const LanSite& site : sites) {
        ++count;
        add_lan_host(site, node.name + ".lan" + (count > 1 ? std::to_string(count) : ""));
    }
}

bool Builder::is_in_bridge(const Node& node, const IpPrefix& lan) {
    if (node.bridge->existing.value) return true;
    const auto& addresses = node.bridge->addresses;
    return std::any_of(addresses.begin(), addresses.end(),
                       [&](const auto& stated) { return stated.value.overlaps(lan); });
}

void Builder::add_bridged_sites(const Node& node, const Uplink& uplink,
                                std::vector<LanSite>& sites) {
    const BridgeSpec& bridge = *node.bridge;
    const LanSite common{node.name, {}, bridged_subnets(node), bridged_gateways(node, uplink)};
    for (const auto& port : bridge.ports) {
        if (port.value == uplink.port) continue;
        sites.push_back(common);
        sites.back().port = port.value;
    }
    if (!sites.empty() || !bridge.existing.value) return;
    sites.push_back(common);
    sites.back().port = free_interface(topology_, node, "lan");
    host(node.name).bridges.front().ports.push_back(sites.back().port);
}

std::vector<IpPrefix> Builder::bridged_subnets(const Node& node) const {
    const auto first_ipv4 = [](const auto& list) {
        std::vector<IpPrefix> out;
        for (const auto& stated : list) {
            if (stated.value.family() == Family::Ipv4 && out.empty())
                out = {stated.value.network()};
        }
        return out;
    };
    auto found = first_ipv4(node.lan);
    if (found.empty()) found = first_ipv4(node.bridge->addresses);
    if (found.empty() && topology_.hub.bridge) found = first_ipv4(topology_.hub.bridge->addresses);
    return found;
}

std::vector<IpAddress> Builder::bridged_gateways(const Node& node, const Uplink& uplink) {
    if (uplink.on_bridge && uplink.gateway4) return {*uplink.gateway4};
    std::vector<IpAddress> out;
    for (const auto& stated : node.bridge->addresses) {
        if (stated.value.family() == Family::Ipv4) out.push_back(stated.value.address());
    }
    return out;
}

LanSite Builder::routed_site(const Node& node, const std::vector<IpPrefix>& subnets) {
    LanSite site{node.name, lan_port(node), {}, {}};
    for (const IpPrefix& subnet : subnets) {
        const IpAddress mine = pool_.gateway_of(subnet.network());
        add_address(host(node.name), site.port, IpPrefix::of(mine, subnet.length()));
        site.subnets.push_back(subnet);
        site.gateways.push_back(mine);
    }
    return site;
}

IfName Builder::lan_port(const Node& node) const {
    const IfName usual = free_interface(topology_, node, "lan");
    if (!node.masquerade) return usual;
    const IfName& out = node.masquerade->out.value;
    bool is_other = out == uplink_of(topology_, node).interface;
    is_other |= node.bridge && node.bridge->name.value == out;
    for (const LinkSpec& link : node.links)
        is_other |= out == spoke_interface(topology_, node, link);
    return is_other ? usual : out;
}

void Builder::add_lan_host(const LanSite& site, const std::string& lan_name) {
    LabHost& lan = add_host(lan_name, LabHost::Role::Lan, site.node);
    const IfName eth0 = name("eth0");
    std::set<Family> routed;
    for (const IpPrefix& subnet : site.subnets) {
        const auto mine = pool_.host_of(subnet);
        if (!mine) continue;
        add_address(lan, eth0, *mine);
        for (const IpAddress& gateway : site.gateways) {
            const bool fits = subnet.contains(gateway) && !routed.contains(subnet.family());
            if (!fits) continue;
            routed.insert(subnet.family());
            add_route(lan, default_route(subnet.family()), gateway, eth0);
        }
    }
    add_cable({site.node, site.port}, {lan_name, eth0}, Mtu{1500});
}

}  // namespace overlay::lab
