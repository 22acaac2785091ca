// Links and the underlay they cross: what a type needs at both ends, whether each end can find the
// other, and whether the kernel could tell two tunnels apart.

#include "topology/network_set.hpp"
#include "topology/validate_parts.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <tuple>

namespace overlay {
namespace {

std::string family_name(Family family) { return family == Family::Ipv4 ? "IPv4" : "IPv6"; }

void check_outer_address(Findings& findings, const Located<IpAddress>& address,
                         const std::string& path) {
    const IpAddress& value = address.value;
    std::string why = why_no_host(value);
    if (why.empty() && value.is_link_local() && value.family() == Family::Ipv6)
        why = "needs a zone, which tunnels lack";
    if (!why.empty()) findings.error(address.at, path, fmt::format("{} {}", text(value), why));
}

void check_one_each(Findings& findings, const std::vector<Located<IpAddress>>& addresses,
                    const std::string& path) {
    std::map<Family, const Located<IpAddress>*> first;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        const std::string element = fmt::format("{}[{}]", path, i);
        check_outer_address(findings, addresses[i], element);
        const auto [found, is_new] = first.emplace(addresses[i].value.family(), &addresses[i]);
        if (is_new) continue;
        findings.error(addresses[i].at, element,
                       fmt::format("one address per family; {} stands at {}",
                                   text(found->second->value), findings.place(found->second->at)));
    }
}

/// Where the file gives the node that address, on its uplink or its Ethernet.
std::optional<Span> place_of_own(const Node& node, const IpAddress& address) {
    for (const auto& own : node.underlay.addresses) {
        if (own.value == address) return own.at;
    }
    for (const LinkSpec& link : node.links) {
        if (link.local && link.local->value == address) return link.local->at;
    }
    for (const auto* ethernet : {&node.addresses, node.bridge ? &node.bridge->addresses : nullptr}) {
        if (ethernet == nullptr) continue;
        for (const auto& own : *ethernet) {
            if (own.value.address() == address) return own.at;
        }
    }
    return std::nullopt;
}

/// The old way to the Internet: a neighbour on the uplink, so not the hub inside the tunnel.
void check_gateway(const Topology& topology, const Node& node, const Located<IpAddress>& gateway,
                   const std::string& path, Findings& findings) {
    const IpAddress& value = gateway.value;
    if (const std::string why = why_no_host(value); !why.empty()) {
        findings.error(gateway.at, path, fmt::format("{} {}", text(value), why));
    } else if (value.family() == Family::Ipv6 && value.is_link_local() &&
               !node.underlay.interface) {
        findings.error(gateway.at, path,
                       fmt::format("{} is link-local: on which interface?", text(value)),
                       "add \"interface\" to the underlay");
    }
    if (const std::optional<Span> own = place_of_own(node, value)) {
        findings.error(gateway.at, path,
                       fmt::format("{} is this node's own address ({})", text(value),
                                   findings.place(*own)),
                       "the gateway is a neighbour on the uplink");
    }
    std::vector<Located<IpPrefix>> inside = located_tunnel_networks(topology);
    if (topology.hub.bridge) {
        const auto& bridge = topology.hub.bridge->addresses;
        inside.insert(inside.end(), bridge.begin(), bridge.end());
    }
    for (const auto& address : inside) {
        if (node.is_hub || address.value.address() != value) continue;
        findings.error(gateway.at, path,
                       fmt::format("{} is the hub's address inside the overlay ({})", text(value),
                                   findings.place(address.at)),
                       "the gateway is the way to the hub without the tunnel");
    }
}

}  // namespace

bool is_private(const IpAddress& address) {
    static const std::array<IpPrefix, 6> ranges{
        *IpPrefix::parse("10.0.0.0/8"),     *IpPrefix::parse("172.16.0.0/12"),
        *IpPrefix::parse("192.168.0.0/16"), *IpPrefix::parse("100.64.0.0/10"),
        *IpPrefix::parse("fc00::/7"),       *IpPrefix::parse("127.0.0.0/8")};
    return address.is_link_local() ||
           std::any_of(ranges.begin(), ranges.end(),
                       [&](const IpPrefix& range) { return range.contains(address); });
}

void validate_underlay(const Topology& topology, Findings& findings) {
    const auto visit = [&](const Node& node) {
        const std::string path = node_path(node) + ".underlay";
        check_one_each(findings, node.underlay.addresses, path + ".addresses");
        std::map<Family, Span> gateways;
        for (std::size_t i = 0; i < node.underlay.gateways.size(); ++i) {
            const auto& gateway = node.underlay.gateways[i];
            check_gateway(topology, node, gateway, fmt::format("{}.gateways[{}]", path, i), findings);
            const auto [found, is_new] = gateways.emplace(gateway.value.family(), gateway.at);
            if (is_new) continue;
            findings.error(gateway.at, fmt::format("{}.gateways[{}]", path, i),
                           fmt::format("one gateway per family; the other stands at {}",
                                       findings.place(found->second)));
        }
    };
    visit(topology.hub);
    for (const Node& spoke : topology.spokes) visit(spoke);
}

namespace {

class LinkRules {
  public:
    LinkRules(const Topology& topology, Findings& findings)
        : topology_{topology},
          findings_{findings},
          endpoints_{findings, "where the hub reaches",
                     "each spoke behind one router needs a port of its own"},
          gre_{findings, "that of", "leave \"key\" out: each link then has its own"} {
        const Node& hub = topology.hub;
        const auto add = [&](const std::vector<Located<IpPrefix>>& networks, const Node& owner) {
            for (const auto& network : networks) far_networks_.add(network, &owner);
        };
        if (hub.bridge) add(hub.bridge->addresses, hub);
        add(located_tunnel_networks(topology), hub);
        add(hub.lan, hub);
        for (const Node& spoke : topology.spokes) {
            if (is_routed(spoke)) add(spoke.lan, spoke);
        }
    }

    void check(const Node& spoke, const LinkSpec& link) {
        const std::string path = link_path(spoke, link);
        check_hub_has(link, path);
        const auto remote = hub_underlay_address(topology_, link);
        if (!remote) {
            findings_.error(link.underlay ? link.underlay->at : link.at,
                            link.underlay ? path + ".underlay" : path,
                            fmt::format("the hub has no {} underlay address ({})",
                                        family_name(underlay_family(topology_, link)),
                                        findings_.place(topology_.hub.underlay.at)),
                            "add one to hub.underlay.addresses");
        }
        if (is_gue(link))
            check_gue(spoke, link, path);
        else
            check_endpoint(spoke, link, path);
        if (!remote) return;
        if (is_gretap(link)) check_gre_key(spoke, link, path, *remote);
        check_own_way(spoke, link, path, *remote);
    }

  private:
    void check_hub_has(const LinkSpec& link, const std::string& path) {
        const Node& hub = topology_.hub;
        const std::string type{text(link.type.value)};
        if (is_gue(link) && !hub.gue) {
            findings_.error(link.type.at, path + ".type",
                            fmt::format("{} needs \"gue\" at the hub", type),
                            "add \"gue\": {} to the hub");
        }
        if (uses_wireguard(link) && !hub.wireguard) {
            findings_.error(link.type.at, path + ".type",
                            fmt::format("{} needs \"wireguard\" at the hub", type),
                            "add \"wireguard\": { \"public_key\": \"…\" } to the hub");
        }
        if (is_gretap(link) && !hub.bridge) {
            findings_.error(link.type.at, path + ".type",
                            fmt::format("{} needs a bridge at the hub to be plugged into", type),
                            "add \"bridge\": {} to the hub");
        }
    }

    void check_family(const Located<IpAddress>& address, const LinkSpec& link,
                      const std::string& path) {
        const Family family = underlay_family(topology_, link);
        if (address.value.family() == family) return;
        findings_.error(address.at, path,
                        fmt::format("{} is not {}, which this link uses outside",
                                    text(address.value), family_name(family)));
    }

    /// True: it is, and that was reported.
    bool is_hubs_own(const Located<IpAddress>& address, const std::string& path) {
        for (const auto& own : topology_.hub.underlay.addresses) {
            if (own.value != address.value) continue;
            findings_.error(address.at, path,
                            fmt::format("{} is the hub's own address ({})", text(address.value),
                                        findings_.place(own.at)),
                            "a tunnel needs two ends");
            return true;
        }
        return false;
    }

    void check_gue(const Node& spoke, const LinkSpec& link, const std::string& path) {
        if (link.local) {
            check_outer_address(findings_, *link.local, path + ".local");
            check_family(*link.local, link, path + ".local");
        }
        if (link.nat) {
            check_outer_address(findings_, link.nat->address, path + ".nat.address");
            check_family(link.nat->address, link, path + ".nat.address");
        }
        if (!link.udp_checksum.value && underlay_family(topology_, link) == Family::Ipv6) {
            findings_.error(link.udp_checksum.at, path + ".udp_checksum",
                            "UDP over IPv6 must have checksums (RFC 8200 section 8.1)");
        }
        const auto own = spoke_underlay_address(topology_, spoke, link);
        if (!own) {
            findings_.error(
                link.at, path,
                link.nat ? "the spoke's own underlay address is missing: the tunnel starts there"
                         : "nothing says where the hub reaches the spoke",
                link.nat ? "add \"local\", its address behind the router"
                         : "add \"local\", and \"nat\" if a router translates it");
            return;
        }
        const Span own_at = place_of_own(spoke, link, *own);
        const bool same = is_hubs_own({*own, own_at}, link.local ? path + ".local"
                                                                  : node_path(spoke) +
                                                                        ".underlay.addresses");
        if (link.nat && is_hubs_own(link.nat->address, path + ".nat.address")) return;
        if (same) return;
        const auto endpoint = spoke_gue_endpoint(topology_, spoke, link);
        const auto hub = hub_underlay_address(topology_, link);
        if (!link.nat && is_private(*own) && hub && !is_private(*hub)) {
            findings_.warning(
                link.local ? link.local->at : link.at, path,
                fmt::format("the hub can hardly reach {}, a private address", text(*own)),
                "add \"nat\" with the public address and port of the router");
        }
        const Span at = link.nat ? link.nat->port.at : link.local ? link.local->at : link.at;
        if (!own_gue_.emplace(spoke.name, *endpoint).second)
            return;  // one socket, several links
        endpoints_.claim(*endpoint, text(*endpoint), Claim{node_path(spoke), path, at, false});
    }

    /// Where the spoke's own underlay address is said.
    static Span place_of_own(const Node& spoke, const LinkSpec& link, const IpAddress& own) {
        if (link.local) return link.local->at;
        for (const auto& address : spoke.underlay.addresses) {
            if (address.value == own) return address.at;
        }
        return link.at;
    }

    void check_endpoint(const Node& spoke, const LinkSpec& link, const std::string& path) {
        if (!link.endpoint) return;
        const Located<IpAddress> address{link.endpoint->value.address, link.endpoint->at};
        check_outer_address(findings_, address, path + ".endpoint");
        check_family(address, link, path + ".endpoint");
        if (!is_hubs_own(address, path + ".endpoint")) {
            endpoints_.claim(link.endpoint->value, text(link.endpoint->value),
                             Claim{node_path(spoke), path + ".endpoint", link.endpoint->at, false});
        }
        if (link.listen_port) return;
        findings_.error(link.endpoint->at, path + ".endpoint",
                        "the hub cannot call a spoke without a fixed port", "add \"listen_port\"");
    }

    /// The kernel finds a tunnel by (local, remote, key) only: Linux 6.1 net/ipv4/ip_tunnel.c,
    /// ip_tunnel_find.
    void check_gre_key(const Node& spoke, const LinkSpec& link, const std::string& path,
                       const IpAddress& hub_address) {
        IpAddress local = hub_address, remote;
        if (is_gue(link)) {
            const auto endpoint = spoke_gue_endpoint(topology_, spoke, link);
            if (!endpoint) return;
            remote = endpoint->address;
        } else {
            const auto ends = tunnel_ends(topology_, spoke, link);
            if (!ends) return;
            local = ends->hub;
            remote = ends->spoke;
        }
        const auto key = gre_key(topology_, spoke, link);
        const bool derived = link.key.mode == Setting<std::uint32_t>::Mode::Derived;
        const auto shown = [&](const IpAddress& far) {
            return key ? fmt::format("a tunnel to {} with GRE key {}", text(far), *key)
                       : fmt::format("a tunnel to {} without GRE key", text(far));
        };
        const Claim claim{path, derived ? path : path + ".key", link.key.at, derived};
        // IPv6 compares the keys only, not whether there is one: net/ipv6/ip6_gre.c,
        // ip6gre_tunnel_find.
        const auto known_by = local.family() == Family::Ipv6 ? std::optional{key.value_or(0)} : key;
        const bool alone =
            gre_.claim(GreIdentity{"hub", local, remote, known_by}, shown(remote), claim);
        const auto own = spoke_underlay_address(topology_, spoke, link);
        if (!alone || !is_gue(link) || !own) return;
        gre_.claim(GreIdentity{node_path(spoke), *own, local, known_by}, shown(local), claim);
    }

    /// A tunnel whose far end lies in a network that the tunnel itself brings would swallow its own
    /// packets.
    void check_own_way(const Node& spoke, const LinkSpec& link, const std::string& path,
                       const IpAddress& hub_address) {
        const Claim claim{{}, path, link.at, false};
        check_not_inside(hub_address, "the hub's", far_networks_.find(hub_address, &spoke), claim);
        NetworkSet own;
        const auto add = [&](const std::vector<Located<IpPrefix>>& networks) {
            for (const auto& network : networks) own.add(network);
        };
        if (is_gretap(link) && spoke.bridge) add(spoke.bridge->addresses);
        if (is_gretap(link)) add(spoke.addresses);
        check_not_inside(hub_address, "the hub's", own.find(hub_address), claim);

        std::optional<Endpoint> far;
        if (is_gue(link))
            far = spoke_gue_endpoint(topology_, spoke, link);
        else if (link.endpoint)
            far = link.endpoint->value;
        if (!far) return;
        check_not_inside(far->address, "the spoke's", far_networks_.find(far->address), claim);
    }

    void check_not_inside(const IpAddress& far, std::string_view whose,
                          const Located<IpPrefix>* network, const Claim& link) {
        if (network == nullptr) return;
        findings_.error(
            link.at, link.path,
            fmt::format("the way to {} {} would lead into the tunnel itself: it lies in {} ({})",
                        whose, text(far), text(network->value.network()),
                        findings_.place(network->at)));
    }

    /// On a node: local, remote, key.
    using GreIdentity = std::tuple<std::string, IpAddress, IpAddress, std::optional<std::uint32_t>>;

    const Topology& topology_;
    Findings& findings_;
    NetworkSet far_networks_;  ///< that links lead to: the hub's, and routed LANs of spokes
    Register<Endpoint> endpoints_;
    std::set<std::pair<std::string, Endpoint>> own_gue_;
    Register<GreIdentity> gre_;
};

void warn_of_open_gue(const Topology& topology, Findings& findings) {
    bool used = false, open = false;
    for_each_link(topology, [&](const Node&, const LinkSpec& link) {
        if (!is_gue(link)) return;
        used = true;
        const auto hub = hub_underlay_address(topology, link);
        open = open || (hub && !is_private(*hub));
    });
    const auto& gue = topology.hub.gue;
    if (!gue) return;
    if (!used) findings.warning(gue->at, "hub.gue", "no link uses it");
    if (!open) return;
    findings.warning(
        gue->at, "hub.gue",
        fmt::format(
            "GUE authenticates nobody: who can forge a spoke's address and send to port {} is "
            "inside the network",
            gue->port.value),
        "gretap-wireguard is the safe type over a public underlay");
}

/// Links of one spoke on one port: what comes in there arrives at one place.
void check_shared_ports(const Topology& topology, Findings& findings) {
    std::map<std::tuple<std::string, Family, std::uint16_t>, const LinkSpec*> first;
    for_each_link(topology, [&](const Node& spoke, const LinkSpec& link) {
        if (!is_gue(link) || link.datapath.value == DatapathChoice::Auto) return;
        const std::uint16_t port = spoke_gue_port(topology, link);
        const auto [found, is_new] =
            first.try_emplace({spoke.name, underlay_family(topology, link), port}, &link);
        const auto& other = found->second->datapath;
        if (is_new || other.value == link.datapath.value) return;
        findings.error(link.datapath.at, link_path(spoke, link) + ".datapath",
                       fmt::format("another link on port {} is carried by the {} ({})", port,
                                   other.value == DatapathChoice::Kernel ? "kernel" : "userspace",
                                   findings.place(other.at)),
                       "give one of them a \"port\" of its own, or let both say the same");
    });
}

/// Linux has no tunnel that receives checksums verified already (net/ipv4/ip_gre.c, GRE_FEATURES).
void check_offload(const Offload& offload, const std::string& path, Findings& findings) {
    const auto rx = offload.features.find("rx");
    if (rx == offload.features.end() || !rx->second.value) return;
    findings.error(rx->second.at, path + ".rx", "no Ethernet tunnel has \"rx\": it is off and fixed",
                   "leave it out");
}

}  // namespace

void validate_links(const Topology& topology, Findings& findings) {
    LinkRules rules{topology, findings};
    for_each_link(topology, [&](const Node& spoke, const LinkSpec& link) {
        rules.check(spoke, link);
        check_offload(link.offload, link_path(spoke, link) + ".offload", findings);
        check_offload(link.hub_offload, link_path(spoke, link) + ".hub_offload", findings);
    });
    warn_of_open_gue(topology, findings);
    check_shared_ports(topology, findings);
    const auto& device = topology.hub.wireguard;
    bool used = false;
    for_each_link(topology,
                  [&](const Node&, const LinkSpec& link) { used = used || uses_wireguard(link); });
    if (device && !used) findings.warning(device->at, "hub.wireguard", "no link uses it");
}

}  // namespace overlay
