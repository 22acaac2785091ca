// Addresses and networks: each address once, each an address that a host may have, and networks
// that do not lie in each other's way.

#include "topology/validate_parts.hpp"

#include <algorithm>

namespace overlay {
namespace {

bool is_broadcast(const IpPrefix& prefix) {
    if (prefix.family() != Family::Ipv4 || prefix.length() >= 31) return false;  // RFC 3021
    const std::uint8_t* bytes = prefix.address().data();
    for (unsigned bit = prefix.length(); bit < 32; ++bit) {
        if ((bytes[bit / 8] & (0x80U >> (bit % 8))) == 0) return false;
    }
    return true;
}

bool is_network_address(const IpPrefix& prefix) {
    return prefix.length() + 1 < prefix.address().max_prefix_length() && !prefix.has_host_bits();
}

/// An address of an interface, with the length of its network.
void check_interface_address(Findings& findings, const Located<IpPrefix>& prefix,
                             const std::string& path) {
    const IpPrefix& value = prefix.value;
    if (const std::string why = why_no_host(value.address()); !why.empty()) {
        findings.error(prefix.at, path, fmt::format("{} {}", text(value.address()), why));
    } else if (is_network_address(value)) {
        findings.error(prefix.at, path,
                       fmt::format("{} is the network itself, not an address in it", text(value)));
    } else if (is_broadcast(value)) {
        findings.error(prefix.at, path,
                       fmt::format("{} is the broadcast address of its network", text(value)));
    } else if (value.length() == 0) {
        findings.error(prefix.at, path,
                       "a prefix length of 0 would make the whole Internet a neighbour");
    }
}

void check_network(Findings& findings, const Located<IpPrefix>& prefix, const std::string& path) {
    if (!prefix.value.has_host_bits()) return;
    findings.error(prefix.at, path,
                   fmt::format("{} has bits behind its prefix length", text(prefix.value)),
                   fmt::format("the network is {}", text(prefix.value.network())));
}

void check_lan(Findings& findings, const Located<IpPrefix>& prefix, const std::string& path) {
    if (prefix.value.length() == 0) {
        findings.error(prefix.at, path,
                       fmt::format("{} is everything, not a network behind a node",
                                   text(prefix.value)),
                       "\"exit\": \"hub\" sends everything through the hub");
    } else if (const std::string why = why_no_network(prefix.value); !why.empty()) {
        findings.error(prefix.at, path, fmt::format("{} {}", text(prefix.value), why));
    }
}

template <class Visit>
void for_each_overlay_address(const Node& node, Visit visit) {
    const std::string path = node_path(node);
    if (node.bridge) {
        for (std::size_t i = 0; i < node.bridge->addresses.size(); ++i) {
            visit(node.bridge->addresses[i], fmt::format("{}.bridge.addresses[{}]", path, i));
        }
    }
    for (std::size_t i = 0; i < node.addresses.size(); ++i) {
        visit(node.addresses[i], fmt::format("{}.addresses[{}]", path, i));
    }
}

/// Networks that a node puts on the common Ethernet or behind itself.
struct Network {
    IpPrefix prefix;
    Span at;
    std::string path;
    std::string what;  ///< "the LAN of spokes.office"
};

std::string lan_path(const Node& node, std::size_t index) {
    const std::string path = node_path(node) + ".lan";
    return node.lan.size() == 1 ? path : fmt::format("{}[{}]", path, index);
}

std::vector<Network> lans(const Node& node) {
    std::vector<Network> out;
    for (std::size_t i = 0; i < node.lan.size(); ++i) {
        out.push_back({node.lan[i].value, node.lan[i].at, lan_path(node, i),
                       "the LAN of " + node_path(node)});
    }
    return out;
}

void report_overlap(Findings& findings, const Network& a, const Network& b) {
    const Network& first = a.at <= b.at ? a : b;
    const Network& second = a.at <= b.at ? b : a;
    findings.error(second.at, second.path,
                   fmt::format("{} overlaps {}, {} ({})", text(second.prefix.network()),
                               text(first.prefix.network()), first.what, findings.place(first.at)));
}

/// Sorted by first address, a network can only overlap its predecessors that reach so far: the
/// widest one.
void check_disjoint(Findings& findings, const std::vector<Network>& networks) {
    std::vector<std::tuple<IpPrefix, Span, std::size_t>> order;  // the last: index into `networks`
    for (const Network& network : networks)
        order.emplace_back(network.prefix.network(), network.at, order.size());
    std::sort(order.begin(), order.end());
    const Network* widest = nullptr;
    for (const auto& [prefix, at, index] : order) {
        const Network& network = networks[index];
        if (widest != nullptr && widest->prefix.overlaps(network.prefix)) {
            report_overlap(findings, *widest, network);
        } else {
            widest = &network;
        }
    }
}

std::vector<Network> tunnel_networks(const Topology& topology) {
    std::vector<Network> out;
    const std::vector<Located<IpPrefix>> tunnels = located_tunnel_networks(topology);
    const bool derived = !tunnels.empty() && topology.hub.wireguard->addresses.empty();
    for (const auto& tunnel : tunnels) {
        out.push_back({tunnel.value, tunnel.at,
                       derived ? "hub.wireguard" : "hub.wireguard.address",
                       "the network inside WireGuard"});
    }
    return out;
}

/// What a spoke has besides the common Ethernet's network.
std::vector<Network> networks_of_its_own(const Node& spoke, const std::vector<Network>& ethernet) {
    std::vector<Network> out;
    for_each_overlay_address(spoke, [&](const Located<IpPrefix>& prefix, const std::string& path) {
        const bool is_common = std::any_of(
            ethernet.begin(), ethernet.end(),
            [&](const Network& network) { return network.prefix.overlaps(prefix.value); });
        if (!is_common) out.push_back({prefix.value, prefix.at, path, "a network of " + node_path(spoke)});
    });
    return out;
}

/// In the network inside WireGuard they would be a second way to the hub's address there.
std::vector<Network> networks_beside_wireguard(const Topology& topology,
                                               const std::vector<Network>& ethernet) {
    std::vector<Network> out;
    for (const Node& spoke : topology.spokes) {
        if (std::none_of(spoke.links.begin(), spoke.links.end(), uses_wireguard)) continue;
        for (Network& network : networks_of_its_own(spoke, ethernet)) out.push_back(std::move(network));
    }
    return out;
}

/// Another spoke's routed LAN would be looked for on this spoke's Ethernet, and this spoke's address in that LAN.
void check_beside_routed_lans(const Topology& topology, const std::vector<Network>& ethernet,
                              Findings& findings) {
    std::vector<std::pair<const Node*, Network>> routed;
    for (const Node& spoke : topology.spokes) {
        if (!is_routed(spoke)) continue;
        for (Network& lan : lans(spoke)) routed.emplace_back(&spoke, std::move(lan));
    }
    for (const Node& spoke : topology.spokes) {
        for (const Network& own : networks_of_its_own(spoke, ethernet)) {
            for (const auto& [owner, lan] : routed) {
                if (owner != &spoke && own.prefix.overlaps(lan.prefix)) report_overlap(findings, own, lan);
            }
        }
    }
}

/// The hub routes these LANs into WireGuard: what lies on its own uplink would be lost to it.
void check_hub_neighbours(const Topology& topology, const std::vector<Network>& routed,
                          Findings& findings) {
    const Underlay& underlay = topology.hub.underlay;
    for (const Network& lan : routed) {
        for (const auto* addresses : {&underlay.addresses, &underlay.gateways}) {
            for (const auto& address : *addresses) {
                if (!lan.prefix.contains(address.value)) continue;
                findings.error(
                    lan.at, lan.path,
                    fmt::format("the hub's uplink lies in {}: {} ({})", text(lan.prefix.network()),
                                text(address.value), findings.place(address.at)),
                    "the hub would route its own neighbours into the tunnel");
            }
        }
    }
}

/// Networks that must stay apart: routed LANs, the common Ethernet, the addresses inside WireGuard.
void validate_networks(const Topology& topology, Findings& findings) {
    std::vector<Network> all_lans = lans(topology.hub);
    std::vector<Network> routed;
    for (const Node& spoke : topology.spokes) {
        for (Network& lan : lans(spoke)) {
            if (is_routed(spoke)) routed.push_back(lan);
            all_lans.push_back(std::move(lan));
        }
    }
    check_disjoint(findings, all_lans);

    std::vector<Network> ethernet;
    if (topology.hub.bridge) {
        const auto& addresses = topology.hub.bridge->addresses;
        for (std::size_t i = 0; i < addresses.size(); ++i) {
            ethernet.push_back({addresses[i].value, addresses[i].at,
                                fmt::format("hub.bridge.addresses[{}]", i),
                                "the network of the hub's bridge"});
        }
    }
    for (const Network& bridge : ethernet) {
        for (const Network& lan : routed) {
            if (bridge.prefix.overlaps(lan.prefix)) report_overlap(findings, bridge, lan);
        }
    }
    std::vector<Network> at_spokes = networks_beside_wireguard(topology, ethernet);
    for (const Network& tunnel : tunnel_networks(topology)) {
        for (const auto* others : {&all_lans, &ethernet, &at_spokes}) {
            for (const Network& other : *others) {
                if (tunnel.prefix.overlaps(other.prefix)) report_overlap(findings, tunnel, other);
            }
        }
    }
    check_beside_routed_lans(topology, ethernet, findings);
    check_hub_neighbours(topology, routed, findings);
}

}  // namespace

void validate_addresses(const Topology& topology, Findings& findings) {
    Register<IpAddress> addresses{
        findings, "the address of", {},
        "both follow from names; state \"address\" in one of the two links, or give the hub a wider "
        "network in hub.wireguard.address"};
    const auto visit = [&](const Node& node) {
        for_each_overlay_address(
            node, [&](const Located<IpPrefix>& prefix, const std::string& path) {
                check_interface_address(findings, prefix, path);
                addresses.claim(prefix.value.address(), text(prefix.value.address()),
                                Claim{node_path(node), path, prefix.at, false});
            });
        for (std::size_t i = 0; i < node.lan.size(); ++i) {
            check_network(findings, node.lan[i], lan_path(node, i));
            check_lan(findings, node.lan[i], lan_path(node, i));
        }
    };
    visit(topology.hub);
    for (const Node& spoke : topology.spokes) visit(spoke);
    if (topology.hub.wireguard) {
        const WireguardEndpoint& device = *topology.hub.wireguard;
        for (const auto& prefix : device.addresses) {
            check_interface_address(findings, prefix, "hub.wireguard.address");
            addresses.claim(prefix.value.address(), text(prefix.value.address()),
                            Claim{"hub.wireguard", "hub.wireguard.address", prefix.at, false});
        }
    }
    for_each_link(topology, [&](const Node& spoke, const LinkSpec& link) {
        for (const auto& prefix : link.addresses) {
            check_interface_address(findings, prefix, link_path(spoke, link) + ".address");
        }
        const std::vector<IpPrefix> tunnel = spoke_tunnel_addresses(topology, spoke, link);
        for (std::size_t i = 0; i < tunnel.size(); ++i) {
            addresses.claim(tunnel[i].address(), text(tunnel[i].address()),
                            tunnel_claim(spoke, link, i));
        }
    });
    validate_networks(topology, findings);
}

std::vector<Located<IpPrefix>> located_tunnel_networks(const Topology& topology) {
    std::vector<Located<IpPrefix>> out;
    const std::vector<IpPrefix> tunnels = hub_tunnel_addresses(topology);
    for (std::size_t i = 0; i < tunnels.size(); ++i) {
        const WireguardEndpoint& device = *topology.hub.wireguard;
        out.push_back({tunnels[i], device.addresses.empty() ? device.at : device.addresses[i].at});
    }
    return out;
}

Claim tunnel_claim(const Node& spoke, const LinkSpec& link, std::size_t index) {
    const std::string path = link_path(spoke, link);
    if (link.addresses.empty()) return Claim{"spokes." + spoke.name, path, link.at, true};
    return Claim{"spokes." + spoke.name, path + ".address", link.addresses[index].at, false};
}

namespace {

void check_one_per_family(Findings& findings, const std::vector<Located<IpPrefix>>& addresses,
                          const std::string& path) {
    for (std::size_t i = 1; i < addresses.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (addresses[i].value.family() != addresses[j].value.family()) continue;
            findings.error(addresses[i].at, path,
                           fmt::format("one address per family; {} stands at {}",
                                       text(addresses[j].value), findings.place(addresses[j].at)));
            return;
        }
    }
}

void check_against_hub(Findings& findings, const std::vector<IpPrefix>& hub, const LinkSpec& link,
                       const std::string& path) {
    for (const auto& address : link.addresses) {
        const auto home = std::find_if(hub.begin(), hub.end(), [&](const IpPrefix& network) {
            return network.contains(address.value.address());
        });
        if (home == hub.end()) {
            std::vector<std::string> networks;
            for (const IpPrefix& network : hub) networks.push_back(text(network.network()));
            findings.error(address.at, path + ".address",
                           fmt::format("{} is outside the hub's network inside WireGuard, {}",
                                       text(address.value.address()), listed(networks)));
        } else if (!address.value.contains(home->address())) {
            findings.error(
                address.at, path + ".address",
                fmt::format("{} does not cover the hub's {}", text(address.value),
                            text(home->address())),
                fmt::format("write \"{}/{}\"", text(address.value.address()), home->length()));
        } else if (home->length() == address.value.length()) {
            continue;  // judged as an interface address already
        } else if (is_broadcast(IpPrefix::of(address.value.address(), home->length())) ||
                   is_network_address(IpPrefix::of(address.value.address(), home->length()))) {
            findings.error(address.at, path + ".address",
                           fmt::format("{} is no host's address in {}",
                                       text(address.value.address()), text(home->network())));
        }
    }
}

void check_allowed_ips(Findings& findings, const Topology& topology, const Node& spoke,
                       const LinkSpec& link) {
    if (link.allowed_ips.empty()) return;
    const std::string path = link_path(spoke, link) + ".allowed_ips";
    for (const auto& prefix : link.allowed_ips) check_network(findings, prefix, path);
    const auto ends = tunnel_ends(topology, spoke, link);
    if (!is_gretap(link) || !ends) return;
    const bool reached =
        std::any_of(link.allowed_ips.begin(), link.allowed_ips.end(),
                    [&](const auto& allowed) { return allowed.value.contains(ends->hub); });
    if (reached) return;
    findings.error(
        link.allowed_ips.front().at, path,
        fmt::format("the hub's own address, {}, is not among them; the tunnel would carry nothing",
                    text(ends->hub)));
}

}  // namespace

void validate_tunnel_addresses(const Topology& topology, Findings& findings) {
    if (!topology.hub.wireguard) return;
    check_one_per_family(findings, topology.hub.wireguard->addresses, "hub.wireguard.address");
    for (const auto& address : topology.hub.wireguard->addresses) {
        if (address.value.family() == Family::Ipv4 || !address.value.address().is_link_local())
            continue;
        findings.error(address.at, "hub.wireguard.address",
                       fmt::format("{} is link-local: tunnels and routes cannot use it",
                                   text(address.value.address())),
                       "such as an address of fd00::/8");
    }
    const std::vector<IpPrefix> hub = hub_tunnel_addresses(topology);
    for_each_link(topology, [&](const Node& spoke, const LinkSpec& link) {
        if (!uses_wireguard(link)) return;
        const std::string path = link_path(spoke, link);
        check_one_per_family(findings, link.addresses, path + ".address");
        check_against_hub(findings, hub, link, path);
        check_allowed_ips(findings, topology, spoke, link);
        if (spoke_tunnel_addresses(topology, spoke, link).empty()) {
            findings.error(link.at, path,
                           "the hub's network inside WireGuard has no room for another node",
                           "shorten the prefix length of hub.wireguard.address");
        }
    });
}

}  // namespace overlay
