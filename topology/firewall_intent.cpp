// Two tables: inet for what is routed (masquerade, MSS by the route's MTU), bridge for what is
// bridged (MSS by the derived constant, since a frame that is too large for a bridged tunnel
// vanishes without ICMP; and guards, so that joining two LANs does not merge their DHCP servers or
// let a site become the router).

#include "topology/firewall_intent.hpp"

#include "topology/mtu.hpp"
#include "topology/step.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

namespace {

// Priorities: Linux include/uapi/linux/netfilter_ipv4.h (NF_IP_PRI_*), netfilter_bridge.h.
constexpr int priority_source_nat = 100;
constexpr int priority_mangle = -150;
constexpr int priority_guard = -300;  // before br_netfilter's own work at 0 and any bridge nat

/// What masquerade must leave as it is: packets of the tunnels themselves, whose far end knows this
/// node by the address that they leave from. Where that is not the interface's first one, masquerade
/// would put the first in its place (Linux net/netfilter/nf_nat_masquerade.c), and nobody would know
/// whose they are.
std::vector<IpAddress> own_outer_addresses(const Node& node) {
    std::vector<IpAddress> out;
    const auto keep = [&out](const IpAddress& address) {
        if (address.family() == Family::Ipv4) out.push_back(address);
    };
    for (const auto& address : node.underlay.addresses) keep(address.value);
    for (const LinkSpec& link : node.links) {
        if (link.local) keep(link.local->value);
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

/// Sources that the file states are taken at its word.
rule::Masquerade masquerade_rule(const Node& node) {
    rule::Masquerade masquerade{node.masquerade->out.value, {}, {}};
    for (const auto& source : node.masquerade->sources)
        masquerade.sources.push_back(source.value.network());
    std::sort(masquerade.sources.begin(), masquerade.sources.end());
    if (masquerade.sources.empty()) masquerade.except = own_outer_addresses(node);
    return masquerade;
}

FirewallTable inet_table(const Node& node) {
    FirewallTable table{.family = TableFamily::Inet};
    if (node.mss_clamp.value) {
        // Postrouting, not forward: so that the hub's own connections are covered, too.
        table.chains.push_back(
            {"clamp", "filter", "postrouting", priority_mangle, true, {rule::ClampMssToRoute{}}});
    }
    if (node.masquerade) {
        // Not "masquerade": a keyword, which nft (1.0.6) prints in a listing but cannot read back.
        table.chains.push_back(
            {"source_nat", "nat", "postrouting", priority_source_nat, true, {masquerade_rule(node)}});
    }
    return table;
}

struct TunnelPort {
    IfName name;
    std::uint16_t mss4, mss6;
};

std::vector<TunnelPort> tunnel_ports(const Topology& topology, const Node& node) {
    std::vector<TunnelPort> out;
    const MtuEngine mtus{topology};
    for (const Node& spoke : topology.spokes) {
        if (!node.is_hub && spoke.name != node.name) continue;
        for (const LinkSpec& link : spoke.links) {
            const bool bridged = node.is_hub ? hub_end_is_bridged(topology, link)
                                             : spoke_end_is_bridged(spoke, link);
            if (!bridged) continue;
            const MtuBreakdown mtu = mtus.explain(spoke, link);
            out.push_back({node.is_hub ? hub_interface(topology, spoke, link)
                                       : spoke_interface(topology, spoke, link),
                           mtu.mss4, mtu.mss6});
        }
    }
    return out;
}

FirewallTable bridge_table(const Node& node, const std::vector<TunnelPort>& ports) {
    using Direction = rule::ClampMssToConstant::Direction;
    FirewallTable table{.family = TableFamily::Bridge};
    // Not forward: so that the connections of a site's own router are covered, too.
    FirewallChain in{"clamp_in", "filter", "prerouting", priority_mangle, true, {}};
    FirewallChain out{"clamp_out", "filter", "postrouting", priority_mangle, true, {}};
    FirewallChain guard{"guard", "filter", "prerouting", priority_guard, true, {}};
    const auto clamp = [](FirewallChain& chain, const TunnelPort& port, Direction direction) {
        for (const auto& [family, mss] :
             {std::pair{Family::Ipv4, port.mss4}, {Family::Ipv6, port.mss6}}) {
            chain.rules.push_back(rule::ClampMssToConstant{port.name, direction, family, mss});
        }
    };
    for (const TunnelPort& port : ports) {
        if (node.guards.mss.value) {
            clamp(in, port, Direction::In);
            clamp(out, port, Direction::Out);
        }
        if (node.guards.dhcp.value) guard.rules.push_back(rule::DropDhcp{port.name});
        if (node.is_hub && node.guards.router_advertisement.value) {
            guard.rules.push_back(rule::DropRouterAdvertisement{port.name});
        }
    }
    for (FirewallChain* chain : {&in, &out, &guard}) {
        if (!chain->rules.empty()) table.chains.push_back(std::move(*chain));
    }
    return table;
}

}  // namespace

std::string table_name(std::string_view network) { return fmt::format("overlay_{}", network); }
std::string table_mark(std::string_view network) { return fmt::format("overlay:{}", network); }

void add_firewall(const Topology& topology, const Node& node, NodeIntent& intent) {
    for (FirewallTable& table :
         std::vector{inet_table(node), bridge_table(node, tunnel_ports(topology, node))}) {
        if (table.chains.empty()) continue;
        table.name = table_name(topology.network);
        table.mark = table_mark(topology.network);
        const std::string key = table.family == TableFamily::Inet ? "masquerade" : "guards";
        Span at = node.at;
        if (table.family == TableFamily::Inet && node.masquerade) at = node.masquerade->at;
        const std::string prefix = node.is_hub ? "hub." : "spokes." + node.name + ".";
        intent.origins.emplace(object_of(Step{ReplaceTable{std::nullopt, table}}),
                               Origin{at, prefix + key});
        intent.desired.tables.push_back(std::move(table));
    }
}

}  // namespace overlay
