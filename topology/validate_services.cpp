// What the nodes do with packets: bridges, router advertisements, forwarding, masquerade.

#include "topology/network_set.hpp"
#include "topology/validate_parts.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace overlay {
namespace {

const Located<IpPrefix>* bridge_address(const Node& node, Family family) {
    if (!node.bridge) return nullptr;
    for (const auto& address : node.bridge->addresses) {
        if (address.value.family() == family) return &address;
    }
    return nullptr;
}

/// Two bridged links between the same two bridges are a ring, and frames circle in it for ever.
void check_tree(const Topology& topology, const Node& spoke, Findings& findings) {
    if (!spoke.bridge || !topology.hub.bridge) return;
    const LinkSpec* first = nullptr;
    for (const LinkSpec& link : spoke.links) {
        if (!is_gretap(link)) continue;
        if (first == nullptr) {
            first = &link;
            continue;
        }
        const bool in_order = first->at <= link.at;  // report the later of the two
        const LinkSpec& kept = in_order ? *first : link;
        const LinkSpec& second = in_order ? link : *first;
        findings.error(
            second.at, link_path(spoke, second),
            fmt::format("with {} ({}) this closes a loop between {} and {}",
                        link_path(spoke, kept), findings.place(kept.at),
                        spoke.bridge->name.value.str(), topology.hub.bridge->name.value.str()),
            "only one link of a bridged spoke may carry Ethernet");
    }
}

void check_spoke_addresses(const Node& spoke, Findings& findings) {
    if (spoke.addresses.empty()) return;
    const auto gretaps = std::count_if(spoke.links.begin(), spoke.links.end(), is_gretap);
    const auto& first = spoke.addresses.front();
    const std::string path = node_path(spoke) + ".addresses";
    if (spoke.bridge) {
        findings.error(first.at, path,
                       fmt::format("this spoke has a bridge ({}); its addresses stand there",
                                   findings.place(spoke.bridge->at)),
                       "move them to \"addresses\" inside \"bridge\"");
    } else if (gretaps == 0) {
        findings.error(first.at, path,
                       "no link of this spoke carries Ethernet; there is nothing to give them to",
                       "the address inside WireGuard is \"address\" of the link");
    } else if (gretaps > 1) {
        findings.error(first.at, path, fmt::format("{} links could have them: which?", gretaps),
                       "plug the links into a bridge, or keep one");
    }
}

/// Of a borrowed bridge we keep addresses and ports; how it works is its owner's affair.
void check_existing_bridge(const Node& node, Findings& findings) {
    if (!node.bridge || !node.bridge->existing.value) return;
    const BridgeSpec& bridge = *node.bridge;
    const auto refuse = [&](bool is_stated, const Span& at, const char* key) {
        if (!is_stated) return;
        findings.error(at, fmt::format("{}.bridge.{}", node_path(node), key),
                       fmt::format("the bridge exists already ({}); whoever made it decides about "
                                   "this",
                                   findings.place(bridge.existing.at)));
    };
    const auto stands = [&](const Span& at) { return at != Span{} && at != bridge.at; };
    using Mode = Setting<MacAddress>::Mode;
    refuse(bridge.mac.mode != Mode::Derived, bridge.mac.at, "mac");
    refuse(stands(bridge.multicast_snooping.at), bridge.multicast_snooping.at,
           "multicast_snooping");
    refuse(stands(bridge.stp.at), bridge.stp.at, "stp");
}

void check_uplink_in_bridge(const Node& hub, Findings& findings) {
    if (!hub.underlay.in_bridge.value) return;
    const Span& at = hub.underlay.in_bridge.at;
    const std::string path = "hub.underlay.in_bridge";
    if (!hub.underlay.interface) {
        findings.error(at, path, "which interface? \"interface\" is missing beside it");
    }
    if (!hub.bridge) {
        findings.error(at, path, "the hub has no bridge to plug its uplink into",
                       "add \"bridge\": {} to the hub");
    } else if (hub.bridge->existing.value) {
        findings.error(
            at, path,
            fmt::format("the bridge exists already ({}); whoever made it decides about its ports",
                        findings.place(hub.bridge->existing.at)));
    }
    if (hub.router_advertisement) {
        findings.error(
            hub.router_advertisement->at, "hub.router_advertisement",
            fmt::format("with the uplink in the bridge ({}) the provider's router advertises",
                        findings.place(at)),
            "remove one of the two");
    }
    if (hub.masquerade && hub.underlay.interface &&
        hub.masquerade->out.value == hub.underlay.interface->value && hub.bridge) {
        findings.error(hub.masquerade->out.at, "hub.masquerade.out",
                       fmt::format("{} is a port of the bridge ({}); packets leave by {}",
                                   hub.masquerade->out.value.str(), findings.place(at),
                                   hub.bridge->name.value.str()));
    }
}

bool has_gretap(const Node& spoke) {
    return std::any_of(spoke.links.begin(), spoke.links.end(), is_gretap);
}

/// Linux 6.1 net/bridge/br_if.c, find_portno: port numbers have ten bits, and none is 0.
constexpr std::size_t max_bridge_ports = 1023;

void check_port_count(const Topology& topology, Findings& findings) {
    const Node& hub = topology.hub;
    if (!hub.bridge) return;
    std::size_t ports = hub.bridge->ports.size() + (hub.underlay.in_bridge.value ? 1 : 0);
    for_each_link(topology, [&](const Node&, const LinkSpec& link) { ports += is_gretap(link); });
    if (ports <= max_bridge_ports) return;
    findings.error(hub.bridge->at, "hub.bridge",
                   fmt::format("{} ports; a bridge has room for {}", ports, max_bridge_ports),
                   "links of type wireguard need none");
}

}  // namespace

void validate_bridges(const Topology& topology, Findings& findings) {
    const Node& hub = topology.hub;
    check_uplink_in_bridge(hub, findings);
    check_existing_bridge(hub, findings);
    for (const Node& spoke : topology.spokes) check_existing_bridge(spoke, findings);
    check_port_count(topology, findings);
    const bool any_gretap = std::any_of(topology.spokes.begin(), topology.spokes.end(), has_gretap);
    if (hub.bridge && !any_gretap && !topology.spokes.empty()) {
        findings.warning(hub.bridge->at, "hub.bridge",
                         "no spoke is plugged into it: no link carries Ethernet");
    }
    for (const Node& spoke : topology.spokes) {
        check_tree(topology, spoke, findings);
        check_spoke_addresses(spoke, findings);
        if (spoke.bridge && !has_gretap(spoke)) {
            findings.warning(spoke.bridge->at, node_path(spoke) + ".bridge",
                             "nothing is plugged into it: no link of this spoke carries Ethernet");
        }
    }
}

// ---- router advertisement -----------------------------------------------------------------------

namespace {

/// " (file:line)"; empty: it is a default, and located at what it belongs to.
std::string place_if_stated(const Span& at, const Span& whole, const Findings& findings) {
    return at == whole ? "" : fmt::format(" ({})", findings.place(at));
}

void check_prefix(const AdvertisedPrefix& prefix, const std::string& path, Findings& findings) {
    const IpPrefix& value = prefix.prefix.value;
    const Span& at = prefix.prefix.at;
    if (value.family() == Family::Ipv4) {
        findings.error(at, path,
                       fmt::format("{} is not IPv6; router advertisements are", text(value)));
        return;
    }
    if (value.has_host_bits()) {
        findings.error(at, path, fmt::format("{} has bits behind its prefix length", text(value)),
                       fmt::format("the network is {}", text(value.network())));
    }
    if (!why_no_network(value).empty()) {
        findings.error(at, path,
                       fmt::format("{} cannot be advertised", text(value)));  // RFC 4861 §4.6.2
    }
    if (prefix.autonomous && value.length() != 64) {
        findings.error(
            at, path,
            fmt::format("hosts form their own addresses in a /64 only, not in {}", text(value)),
            "use a /64, or \"autonomous\": false");  // RFC 4862 §5.5.3, RFC 2464 §4
    }
    const auto& [valid, preferred] = std::tie(prefix.valid_seconds, prefix.preferred_seconds);
    if (preferred.value > valid.value) {
        findings.error(preferred.at, path + ".preferred_lifetime",
                       fmt::format("preferred_lifetime {} is longer than valid_lifetime {}{}", preferred.value,
                                   valid.value, place_if_stated(valid.at, prefix.at, findings)));
    }
}

/// Whether one of the sorted addresses lies in the network.
bool holds_one_of(const IpPrefix& network, const std::set<IpAddress>& addresses) {
    const auto first = addresses.lower_bound(network.network().address());
    return first != addresses.end() && network.contains(*first);
}

void check_prefixes(const Node& hub, const RouterAdvertisement& advert, Findings& findings) {
    std::set<IpAddress> addresses;
    if (hub.bridge) {
        for (const auto& address : hub.bridge->addresses) addresses.insert(address.value.address());
    }
    NetworkSet seen;
    std::map<IpAddress, Located<IpPrefix>> seen_from;  // by their first address
    for (std::size_t i = 0; i < advert.prefixes.size(); ++i) {
        const AdvertisedPrefix& prefix = advert.prefixes[i];
        const IpPrefix& value = prefix.prefix.value;
        const std::string path = fmt::format("hub.router_advertisement.prefixes[{}]", i);
        check_prefix(prefix, path, findings);
        const Located<IpPrefix>* other = seen.find(value.address());
        const auto inside = seen_from.lower_bound(value.network().address());
        if (other == nullptr && inside != seen_from.end() && value.contains(inside->first))
            other = &inside->second;
        if (other != nullptr) {
            findings.error(prefix.prefix.at, path,
                           fmt::format("{} overlaps {} ({})", text(value), text(other->value),
                                       findings.place(other->at)));
        }
        seen.add(prefix.prefix);
        seen_from.emplace(value.network().address(), prefix.prefix);
        if (holds_one_of(value, addresses) || value.family() == Family::Ipv4) continue;
        findings.warning(
            prefix.prefix.at, path,
            fmt::format(
                "no address of the hub's bridge lies in {}: the hub has no route back into it",
                text(value)));
    }
}

/// RFC 4861 §6.2.1.
void check_times(const RouterAdvertisement& advert, Findings& findings) {
    const std::string path = "hub.router_advertisement";
    const auto& [max, min, lifetime] =
        std::tie(advert.max_interval_seconds, advert.min_interval_seconds, advert.lifetime_seconds);
    const std::string place_of_max = place_if_stated(max.at, advert.at, findings);
    if (min.value * 4 > max.value * 3) {
        findings.error(min.at, path + ".min_interval",
                       fmt::format("min_interval {} is more than three quarters of max_interval {}{}", min.value,
                                   max.value, place_of_max),
                       fmt::format("at most {}", max.value * 3 / 4));
    }
    if (lifetime.value != 0 && lifetime.value < max.value) {
        findings.error(lifetime.at, path + ".lifetime",
                       fmt::format("lifetime {} ends before the next advertisement, max_interval {}{}",
                                   lifetime.value, max.value, place_of_max),
                       "0 means \"no default router\"");
    }
}

}  // namespace

void validate_router_advertisement(const Topology& topology, Findings& findings) {
    const Node& hub = topology.hub;
    if (!hub.router_advertisement) return;
    const RouterAdvertisement& advert = *hub.router_advertisement;
    const std::string path = "hub.router_advertisement";
    if (!hub.bridge) {
        findings.error(advert.at, path, "the hub has no bridge to advertise on",
                       "add \"bridge\" to the hub");
    } else if (bridge_address(hub, Family::Ipv6) == nullptr && !hub.underlay.in_bridge.value) {
        findings.error(
            hub.bridge->at, "hub.bridge",
            fmt::format("an IPv6 address is missing: the hub advertises itself as router ({})",
                        findings.place(advert.at)),
            "such as the first address of the advertised prefix");
    }
    if (advert.lifetime_seconds.value != 0 && !forwards(hub, Family::Ipv6)) {
        findings.error(
            advert.at, path,
            "the hub does not forward IPv6: hosts would have a router that drops what they send",
            "add \"ipv6\" to hub.forwarding");
    }
    check_prefixes(hub, advert, findings);
    check_times(advert, findings);
    for (std::size_t i = 0; i < advert.rdnss.size(); ++i) {
        const auto& server = advert.rdnss[i];
        const std::string element = fmt::format("{}.rdnss[{}]", path, i);
        if (server.value.family() == Family::Ipv4) {
            findings.error(server.at, element, fmt::format("{} is not IPv6", text(server.value)));
        } else if (!why_no_host(server.value).empty()) {
            findings.error(server.at, element,
                           fmt::format("{} is no server's address", text(server.value)));
        }
    }
}

// ---- forwarding, masquerade ---------------------------------------------------------------------

namespace {

void check_masquerade(const Node& node, Findings& findings) {
    if (!node.masquerade) return;
    const std::string path = node_path(node) + ".masquerade";
    std::map<IpPrefix, Span> seen;
    for (std::size_t i = 0; i < node.masquerade->sources.size(); ++i) {
        const auto& source = node.masquerade->sources[i];
        const std::string element = fmt::format("{}.sources[{}]", path, i);
        if (source.value.family() == Family::Ipv6) {
            findings.error(
                source.at, element,
                fmt::format("{} is not IPv4; only IPv4 is masqueraded", text(source.value)),
                "IPv6 hosts keep their own addresses");
        } else if (source.value.has_host_bits()) {
            findings.error(source.at, element,
                           fmt::format("{} has bits behind its prefix length", text(source.value)),
                           fmt::format("the network is {}", text(source.value.network())));
        }
        const auto [first, is_new] = seen.emplace(source.value.network(), source.at);
        if (is_new) continue;
        findings.error(source.at, element,
                       fmt::format("{} is there already ({})", text(source.value), findings.place(first->second)));
    }
    if (forwards(node, Family::Ipv4)) return;
    findings.error(node.masquerade->at, path,
                   "this node does not forward IPv4: there would be nothing to masquerade",
                   "add \"forwarding\": [\"ipv4\"]");
}

/// Between two routed LANs every packet passes the hub, and each needs a way into the tunnel.
void check_routed_lans(const Topology& topology, Findings& findings) {
    for (const Node& spoke : topology.spokes) {
        const LinkSpec* link = routed_link(spoke);
        if (link == nullptr) continue;
        for (const auto& lan : spoke.lan) {
            const Family of = lan.value.family();
            if (lan.value.length() == 0) continue;  // refused
            if (!has_family_inside(topology, spoke, *link, of)) {
                const std::string family = of == Family::Ipv4 ? "IPv4" : "IPv6";
                findings.warning(
                    lan.at, node_path(spoke) + ".lan",
                    fmt::format("nobody will reach {}: {} has no {} address inside WireGuard",
                                text(lan.value), link_path(spoke, *link), family),
                    fmt::format("add one to \"address\" of {}",
                                link->addresses.empty() ? "hub.wireguard" : "the hub and the link"));
                continue;
            }
            if (forwards(topology.hub, lan.value.family())) continue;
            const std::string family{text(lan.value.family())};
            findings.warning(lan.at, node_path(spoke) + ".lan",
                             fmt::format("only the hub will reach {}: it does not forward {}",
                                         text(lan.value), family),
                             fmt::format("add \"{}\" to hub.forwarding", family));
        }
    }
}

}  // namespace

void validate_routing(const Topology& topology, Findings& findings) {
    check_masquerade(topology.hub, findings);
    for (const Node& spoke : topology.spokes) {
        check_masquerade(spoke, findings);
    }
    check_routed_lans(topology, findings);
}

}  // namespace overlay
