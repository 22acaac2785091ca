// "exit": everything of a spoke leaves through the hub. What the hub cannot take would be lost there,
// and what has no way to the hub would leave by the spoke's own uplink unseen.

#include "topology/validate_parts.hpp"

#include <algorithm>

namespace overlay {
namespace {

std::string exit_path(const Node& spoke) { return node_path(spoke) + ".exit"; }

const Located<IpPrefix>* ipv4_gateway(const Node& hub) {
    if (!hub.bridge) return nullptr;
    for (const auto& address : hub.bridge->addresses) {
        if (address.value.family() == Family::Ipv4) return &address;
    }
    return nullptr;
}

/// The spoke's IPv4 addresses by which it reaches the hub, and with a routed link its LANs, which it may hide.
std::vector<IpPrefix> ipv4_sources(const Topology& topology, const Node& spoke) {
    std::vector<IpPrefix> out;
    if (const LinkSpec* routed = routed_link(spoke)) {
        out = spoke_tunnel_addresses(topology, spoke, *routed);
        for (const auto& lan : spoke.lan) {
            if (!spoke.masquerade) out.push_back(lan.value);
        }
    } else if (const auto* gateway = ipv4_gateway(topology.hub)) {
        for (const auto& own : spoke.bridge ? spoke.bridge->addresses : spoke.addresses) {
            if (own.value.contains(gateway->value.address())) out.push_back(own.value);
        }
    }
    std::erase_if(out, [](const IpPrefix& prefix) { return prefix.family() != Family::Ipv4; });
    return out;
}

/// What masquerades must be what leaves, and on the way out.
void check_masquerade(const Topology& topology, const Node& spoke, Findings& findings) {
    const Masquerade& masquerade = *topology.hub.masquerade;
    const auto& sources = masquerade.sources;
    for (const IpPrefix& own : ipv4_sources(topology, spoke)) {
        const bool is_lan = own.address() == own.network().address();
        const auto has = [&](const auto& source) {
            return is_lan ? source.value.overlaps(own) : source.value.contains(own.address());
        };
        if (sources.empty() || !is_private(own.address()) || std::any_of(sources.begin(), sources.end(), has)) continue;
        findings.error(spoke.exit->at, exit_path(spoke),
                       fmt::format("packets of {} would leave the hub as they are: none of masquerade.sources has "
                                   "them ({})", text(own), findings.place(sources.front().at)),
                       fmt::format("add \"{}\", or leave sources out", text(own.network())));
    }
    const IfName& out = masquerade.out.value;
    const auto& bridge = topology.hub.bridge;
    const bool may_lead_out = topology.hub.underlay.in_bridge.value ||
                              (bridge && (bridge->existing.value || !bridge->ports.empty()));
    const bool leads_inside =
        (bridge && bridge->name.value == out && !may_lead_out) ||
        (topology.hub.wireguard && topology.hub.wireguard->interface.value == out);
    if (!leads_inside) return;
    findings.error(spoke.exit->at, exit_path(spoke),
                   fmt::format("masquerade.out {} ({}) is no way out of the network", out.str(),
                               findings.place(masquerade.out.at)),
                   "name the interface that leads to the Internet");
}

void check_hub(const Topology& topology, const Node& spoke, Findings& findings) {
    const Span& at = spoke.exit->at;
    if (topology.hub.masquerade) {
        check_masquerade(topology, spoke, findings);
    } else {
        findings.error(at, exit_path(spoke),
                       "packets would leave the hub with private addresses: it does not masquerade",
                       "add \"masquerade\": { \"out\": \"…\" } to the hub");
    }
    if (!forwards(topology.hub, Family::Ipv4)) {
        findings.error(at, exit_path(spoke),
                       "the hub does not forward IPv4, so nothing can leave there",
                       "add \"ipv4\" to hub.forwarding");
    }
}

/// The exit by routes into WireGuard.
void check_routed(const Topology& topology, const Node& spoke, const LinkSpec& link,
                  Findings& findings) {
    if (!has_family_inside(topology, spoke, link, Family::Ipv4)) {
        const Span& inside = link.addresses.empty() ? link.at : link.addresses.front().at;
        findings.error(
            spoke.exit->at, exit_path(spoke),
            fmt::format("IPv4 would not leave by the hub: {} has no IPv4 address inside WireGuard "
                        "({})",
                        link_path(spoke, link), findings.place(inside)),
            "give hub.wireguard.address one of each family");
    }
    const auto& allowed = link.allowed_ips;
    for (const IpPrefix& own : spoke_tunnel_addresses(topology, spoke, link)) {
        const auto all_of_family = [&](const auto& network) {
            return network.value.length() == 0 && network.value.family() == own.family();
        };
        if (allowed.empty() || !can_exit(topology, own.address()) ||
            std::any_of(allowed.begin(), allowed.end(), all_of_family))
            continue;
        findings.error(
            allowed.front().at, link_path(spoke, link) + ".allowed_ips",
            fmt::format("WireGuard would drop what is to leave by the hub (exit at {})",
                        findings.place(spoke.exit->at)),
            fmt::format("add \"{}\", or leave allowed_ips out",
                        own.family() == Family::Ipv4 ? "0.0.0.0/0" : "::/0"));
    }
}

/// The exit by the hub's address in the common Ethernet.
void check_bridged(const Topology& topology, const Node& spoke, Findings& findings) {
    const Span& at = spoke.exit->at;
    const auto* gateway = ipv4_gateway(topology.hub);
    if (gateway == nullptr) {
        findings.error(at, exit_path(spoke),
                       "the hub's bridge has no IPv4 address that could be the gateway",
                       "add one to hub.bridge.addresses");
        return;
    }
    const auto& own = spoke.bridge ? spoke.bridge->addresses : spoke.addresses;
    const auto near = [&](const auto& address) {
        return address.value.contains(gateway->value.address());
    };
    if (std::any_of(own.begin(), own.end(), near)) return;
    findings.error(
        at, exit_path(spoke),
        fmt::format("no address of this spoke is in one network with the gateway {} ({})",
                    text(gateway->value.address()), findings.place(gateway->at)),
        spoke.bridge ? "add one to its bridge's \"addresses\"" : "add one to its \"addresses\"");
}

/// The spoke's IPv6 addresses on the way to the hub: nothing leaves by them when they cannot exit.
std::vector<IpAddress> ipv6_sources(const Topology& topology, const Node& spoke,
                                    const LinkSpec* routed) {
    std::vector<IpAddress> out;
    const auto keep = [&](const IpPrefix& prefix) {
        if (prefix.family() == Family::Ipv6) out.push_back(prefix.address());
    };
    if (routed != nullptr) {
        for (const IpPrefix& prefix : spoke_tunnel_addresses(topology, spoke, *routed)) keep(prefix);
        return out;
    }
    if (!topology.hub.bridge) return out;
    for (const auto& own : spoke.bridge ? spoke.bridge->addresses : spoke.addresses) {
        for (const auto& hub : topology.hub.bridge->addresses) {
            if (own.value.contains(hub.value.address())) keep(own.value);
        }
    }
    return out;
}

void warn_of_ipv6(const Topology& topology, const Node& spoke, const LinkSpec* routed,
                  Findings& findings) {
    const std::vector<IpAddress> sources = ipv6_sources(topology, spoke, routed);
    const auto leaves = [&](const IpAddress& source) { return can_exit(topology, source); };
    if (sources.empty() || std::any_of(sources.begin(), sources.end(), leaves)) return;
    if (!forwards(topology.hub, Family::Ipv6)) {
        findings.warning(spoke.exit->at, exit_path(spoke),
                         "only IPv4 leaves by the hub, which does not forward IPv6",
                         "add \"ipv6\" to hub.forwarding");
        return;
    }
    findings.warning(spoke.exit->at, exit_path(spoke),
                     fmt::format("only IPv4 leaves by the hub: {} is no address that the Internet "
                                 "could answer, and IPv6 is not masqueraded",
                                 text(sources.front())),
                     "give hub and spoke global IPv6 addresses");
}

}  // namespace

void validate_exit(const Topology& topology, Findings& findings) {
    for (const Node& spoke : topology.spokes) {
        if (!spoke.exit || !spoke.exit->value) continue;
        check_hub(topology, spoke, findings);
        const LinkSpec* routed = routed_link(spoke);
        if (routed != nullptr)
            check_routed(topology, spoke, *routed, findings);
        else
            check_bridged(topology, spoke, findings);
        const bool has_way =
            routed == nullptr || has_family_inside(topology, spoke, *routed, Family::Ipv4);
        if (has_way) warn_of_ipv6(topology, spoke, routed, findings);
    }
}

}  // namespace overlay
