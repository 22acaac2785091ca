// Attributes by name. The names are those of `ip`, `wg`, `bridge` and `ethtool`.

#include "topology/attributes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>

namespace overlay {

namespace {

using Changes = std::vector<AttributeChange>;

std::string on_off(bool value) { return value ? "on" : "off"; }

template <class T>
std::string optional_text(const std::optional<T>& value) {
    if (!value) return "";
    if constexpr (std::is_same_v<T, bool>) {
        return on_off(*value);
    } else if constexpr (std::is_same_v<T, std::string>) {
        return *value;
    } else {
        return std::string{text(*value)};
    }
}

class Lister {
  public:
    /// Always listed when the values differ.
    void item(std::string name, std::string before, std::string after) {
        if (before != after) out.push_back({std::move(name), std::move(before), std::move(after)});
    }
    Changes out;
};

// ---- links --------------------------------------------------------------------------------------

std::string key_text(const std::optional<std::uint32_t>& key) {
    return key ? std::to_string(*key) : "none";
}

std::string encap_text(const GreEncap& encap) {
    switch (encap.type) {
        case GreEncap::Type::None: return "none";
        case GreEncap::Type::Fou: return "fou";
        case GreEncap::Type::Gue: return "gue";
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

std::string limit_text(const std::optional<std::uint8_t>& limit) {
    return limit ? std::to_string(*limit) : "none";
}

/// `one` is absent on the side where the link does not exist.
void list_gretap(Lister& list, const GretapAttributes* a, const GretapAttributes* b) {
    const auto both = [&](std::string name, auto&& value) {
        list.item(std::move(name), a ? value(*a) : "", b ? value(*b) : "");
    };
    const bool ipv6 = (b ? b : a)->local.family() == Family::Ipv6;
    const bool encap = (a && a->encap.type != GreEncap::Type::None) ||
                       (b && b->encap.type != GreEncap::Type::None);
    using G = GretapAttributes;
    both("local", [](const G& g) { return text(g.local); });
    both("remote", [](const G& g) { return text(g.remote); });
    both("dev", [](const G& g) { return g.device.str(); });
    both("ikey", [](const G& g) { return key_text(g.input.key); });
    both("okey", [](const G& g) { return key_text(g.output.key); });
    both("icsum", [](const G& g) { return on_off(g.input.checksum); });
    both("ocsum", [](const G& g) { return on_off(g.output.checksum); });
    both("iseq", [](const G& g) { return on_off(g.input.sequence); });
    both("oseq", [](const G& g) { return on_off(g.output.sequence); });
    both("ttl", [](const G& g) { return g.ttl == 0 ? "inherit" : std::to_string(g.ttl); });
    both("tos", [](const G& g) { return std::to_string(g.tos); });
    if (!ipv6) both("pmtudisc", [](const G& g) { return on_off(g.pmtudisc); });
    if (!ipv6) both("ignore-df", [](const G& g) { return on_off(g.ignore_df); });
    if (ipv6) both("encaplimit", [](const G& g) { return limit_text(g.encap_limit); });
    if (ipv6) both("flowlabel", [](const G& g) { return std::to_string(g.flow_label); });
    const bool marked = (a && a->fwmark != 0) || (b && b->fwmark != 0);
    if (marked) both("fwmark", [](const G& g) { return std::to_string(g.fwmark); });
    // Nobody asks for these: shown where a hand has set one.
    const auto either = [&](std::string name, bool G::*flag) {
        if (!(a && a->*flag) && !(b && b->*flag)) return;
        both(std::move(name), [flag](const G& g) { return on_off(g.*flag); });
    };
    either("dscp inherit", &G::copies_dscp);
    either("fwmark inherit", &G::inherits_fwmark);
    either("allow-localremote", &G::allows_local_remote);
    both("encap", [](const G& g) { return encap_text(g.encap); });
    if (!encap) return;
    both("encap-sport", [](const G& g) { return std::to_string(g.encap.source_port); });
    both("encap-dport", [](const G& g) { return std::to_string(g.encap.destination_port); });
    both("encap-csum", [](const G& g) { return on_off(g.encap.checksum); });
    both("encap-csum6", [](const G& g) { return on_off(g.encap.checksum6); });
    both("encap-remcsum", [](const G& g) { return on_off(g.encap.remote_checksum); });
}

void list_port(Lister& list, const BridgePort& a, const BridgePort& b) {
    const auto both = [&](std::string name, bool BridgePort::*flag) {
        list.item(std::move(name), on_off(a.*flag), on_off(b.*flag));
    };
    both("hairpin", &BridgePort::hairpin);
    both("guard", &BridgePort::guard);
    both("root_block", &BridgePort::root_block);
    both("learning", &BridgePort::learning);
    both("flood", &BridgePort::flood);
    both("mcast_flood", &BridgePort::multicast_flood);
    both("bcast_flood", &BridgePort::broadcast_flood);
    both("mcast_to_unicast", &BridgePort::multicast_to_unicast);
    both("neigh_suppress", &BridgePort::neighbour_suppression);
    both("proxy_arp", &BridgePort::proxy_arp);
    both("proxy_arp_wifi", &BridgePort::proxy_arp_wifi);
    both("isolated", &BridgePort::isolated);
    both("locked", &BridgePort::locked);
    both("blocked", &BridgePort::blocked);
}

void list_link(Lister& list, const Link& a, const Link& b) {
    list.item("alias", optional_text(a.alias), optional_text(b.alias));
    list.item("mac", optional_text(a.mac), optional_text(b.mac));
    list.item("mtu", optional_text(a.mtu), optional_text(b.mtu));
    const BridgeAttributes none;
    const BridgeAttributes& before = a.bridge ? *a.bridge : none;
    const BridgeAttributes& after = b.bridge ? *b.bridge : none;
    list.item("stp", optional_text(before.stp), optional_text(after.stp));
    list.item("mcast_snooping", optional_text(before.multicast_snooping),
              optional_text(after.multicast_snooping));
    list.item("vlan_filtering", optional_text(before.vlan_filtering),
              optional_text(after.vlan_filtering));
    if (a.gretap || b.gretap) {
        list_gretap(list, a.gretap ? &*a.gretap : nullptr, b.gretap ? &*b.gretap : nullptr);
    }
    if (a.port && b.port) list_port(list, *a.port, *b.port);
    const auto master = [](const std::optional<IfName>& m) {
        return !m ? "" : m->empty() ? "none" : m->str();
    };
    list.item("master", master(a.master), master(b.master));
    list.item("up", optional_text(a.up), optional_text(b.up));
    if (a.arp && b.arp) list.item("arp", on_off(*a.arp), on_off(*b.arp));   // a new one has it
}

void list_kind(Lister& list, const Link& link, bool after) {
    const std::string kind{text(link.kind)};
    after ? list.item("type", "", kind) : list.item("type", kind, "");
}

// ---- the rest -----------------------------------------------------------------------------------

std::string prefixes_text(const std::set<IpPrefix>& prefixes) {
    std::vector<std::string> parts;
    for (const IpPrefix& prefix : prefixes) parts.push_back(text(prefix));
    return fmt::format("{}", fmt::join(parts, ","));
}

std::string fingerprint_text(const Fingerprint& fingerprint) {
    return fingerprint.is_none() ? "none" : "sha256:" + text(fingerprint).substr(0, 16);
}

void list_peer(Lister& list, const std::optional<WireguardPeer>& a,
               const std::optional<WireguardPeer>& b) {
    const auto both = [&](std::string name, auto&& value) {
        list.item(std::move(name), a ? value(*a) : "", b ? value(*b) : "");
    };
    using P = WireguardPeer;
    both("preshared-key", [](const P& p) { return fingerprint_text(p.preshared_key); });
    both("endpoint", [](const P& p) { return p.endpoint ? text(*p.endpoint) : "none"; });
    both("persistent-keepalive", [](const P& p) {
        return p.keepalive_seconds == 0 ? "off" : std::to_string(p.keepalive_seconds);
    });
    both("allowed-ips", [](const P& p) { return prefixes_text(p.allowed_ips); });
}

std::string key_name(const PublicKey& key) { return key.is_zero() ? "none" : "of " + text(key); }

void list_wireguard(Lister& list, const WireguardDevice& a, const WireguardDevice& b) {
    list.item("private-key", key_name(a.public_key), key_name(b.public_key));
    const auto port = [](const WireguardDevice& d) {
        return d.listen_port ? std::to_string(*d.listen_port) : "";
    };
    if (b.listen_port) list.item("listen-port", port(a), port(b));
    list.item("fwmark", std::to_string(a.fwmark), std::to_string(b.fwmark));
}

std::string neighbour_text(const Neighbour& neighbour) {
    std::string out = neighbour.is_proxy ? "proxy" : "permanent";
    if (neighbour.mac) out += " lladdr " + text(*neighbour.mac);
    if (neighbour.is_router) out += " router";
    if (neighbour.is_learned) out += " extern_learn";
    if (neighbour.protocol != 0) out += fmt::format(" proto {}", neighbour.protocol);
    return out;
}

std::string route_text(const Route& route) {
    std::string out = route.gateway ? "via " + text(*route.gateway) + " " : "";
    if (route.type != RouteType::Unicast) out = fmt::format("{} ", text(route.type));
    if (!route.device.empty()) out += fmt::format("dev {} ", route.device.str());
    out += fmt::format("table {} metric {} proto {}", route.table, route.metric, route.protocol);
    if (route.source) out += " src " + text(*route.source);
    if (route.on_link) out += " onlink";
    for (const auto& [name, value] : route.metrics) out += fmt::format(" {} {}", name, value);
    if (route.tos != 0) out += fmt::format(" tos {:#x}", route.tos);
    if (route.scope) out += fmt::format(" scope {}", *route.scope);
    if (route.preference != 0) out += fmt::format(" pref {}", route.preference);
    if (route.expires) out += " expires";
    if (!route.congestion_control.empty()) out += " congctl " + route.congestion_control;
    for (const NextHop& hop : route.hops) {
        out += hop.gateway ? fmt::format(" nexthop via {}", text(*hop.gateway)) : " nexthop";
        out += fmt::format(" dev {} weight {}", hop.device.str(), hop.weight);
        if (hop.on_link) out += " onlink";
    }
    if (!route.beyond_us.empty()) out += " with " + route.beyond_us;
    return out;
}

std::string address_text(const Address& address) {
    std::string out = address.permanent ? "permanent" : "with a lifetime";
    if (address.no_prefix_route) out += " noprefixroute";
    if (address.details.peer) out += " peer " + text(*address.details.peer);
    if (address.details.scope != 0) out += fmt::format(" scope {}", address.details.scope);
    if (address.details.metric != 0) out += fmt::format(" metric {}", address.details.metric);
    return out;
}

std::string port_text(const FouPort& port) {
    std::string out =
        port.type == GreEncap::Type::Gue ? "gue" : fmt::format("ipproto {}", port.ip_protocol);
    if (port.local) out += " local " + text(*port.local);
    if (port.peer) out += " peer " + text(*port.peer);
    if (!port.device.empty()) out += " dev " + port.device.str();
    if (port.datapath == Datapath::Userspace) out += " userspace";
    return out;
}

/// One line per rule, so that a table's change reads as a change of rules.
std::vector<std::string> table_lines(const std::optional<FirewallTable>& table) {
    std::vector<std::string> out;
    if (!table) return out;
    for (const FirewallChain& chain : table->chains) {
        out.push_back(fmt::format("chain {}: type {} hook {} priority {} policy {}", chain.name,
                                  chain.type, chain.hook, chain.priority,
                                  chain.accept ? "accept" : "drop"));
        for (const FirewallRule& r : chain.rules) out.push_back(chain.name + ": " + rule_text(r));
    }
    for (const std::string& extra : table->extras) out.push_back("not ours: " + extra);
    return out;
}

void list_table(Lister& list, const ReplaceTable& step) {
    std::vector<std::string> before = table_lines(step.from);
    const std::vector<std::string> after = table_lines(step.to);
    for (const std::string& line : after) {
        const auto same = std::find(before.begin(), before.end(), line);
        if (same == before.end()) {
            list.item("rule", "", line);
        } else {
            before.erase(same);
        }
    }
    for (const std::string& line : before) list.item("rule", line, "");
    if (list.out.empty()) list.item("rules", "in another order or with another mark", "as planned");
}

}  // namespace

std::string rule_text(const FirewallRule& any) {
    return std::visit(
        Overloaded{
            [](const rule::Masquerade& r) {
                std::vector<std::string> sources;
                for (const IpPrefix& source : r.sources) sources.push_back(text(source));
                const std::string from =
                    sources.empty() ? ""
                                    : fmt::format(" ip saddr {{ {} }}", fmt::join(sources, ", "));
                std::string but;
                for (const IpAddress& address : r.except)
                    but += fmt::format(" ip saddr != {}", text(address));
                return fmt::format("oifname \"{}\" meta nfproto ipv4{}{} masquerade", r.out.str(),
                                   from, but);
            },
            [](const rule::ClampMssToRoute&) {
                return std::string{"tcp flags syn / syn,rst tcp option maxseg size set rt mtu"};
            },
            [](const rule::ClampMssToConstant& r) {
                const bool in = r.direction == rule::ClampMssToConstant::Direction::In;
                return fmt::format(
                    "{} \"{}\" meta protocol {} tcp flags syn / syn,rst "
                    "tcp option maxseg size set {}",
                    in ? "iifname" : "oifname", r.port.str(),
                    r.family == Family::Ipv4 ? "ip" : "ip6", r.mss);
            },
            [](const rule::DropDhcp& r) {
                return fmt::format(
                    "iifname \"{}\" meta protocol ip udp dport {{ 67, 68 }} counter drop",
                    r.port.str());
            },
            [](const rule::DropRouterAdvertisement& r) {
                return fmt::format(
                    "iifname \"{}\" meta protocol ip6 icmpv6 type nd-router-advert "
                    "counter drop",
                    r.port.str());
            },
            [](const rule::Unknown& r) { return "not ours: " + r.json; },
        },
        any);
}

Changes attribute_changes(const Step& step) {
    Lister list;
    std::visit(
        Overloaded{
            [](const LoadModule&) {},
            [](const KeepModule&) {},
            [&](const ReplaceTable& s) { list_table(list, s); },
            [&](const SetSysctl& s) {
                list.item("value", s.from, s.to);
                for (const SysctlValue& v : s.cascade) list.item("and " + v.key, v.from, v.to);
            },
            [&](const AddFouPort& s) { list.item("type", "", port_text(s.port)); },
            [&](const RemoveFouPort& s) { list.item("type", port_text(s.port), ""); },
            [&](const CreateLink& s) {
                list_kind(list, s.link, true);
                list_link(list, Link{}, s.link);
            },
            [&](const DeleteLink& s) { list_kind(list, s.link, false); },
            [&](const RenameLink& s) { list.item("name", s.from.str(), s.to.str()); },
            [&](const ChangeLink& s) { list_link(list, s.from, s.to); },
            [&](const AddAddress& s) { list.item("lifetime", "", address_text(s.address)); },
            [&](const RemoveAddress& s) { list.item("lifetime", address_text(s.address), ""); },
            [&](const AddRoute& s) { list.item("route", "", route_text(s.route)); },
            [&](const RemoveRoute& s) { list.item("route", route_text(s.route), ""); },
            [&](const AddNeighbour& s) { list.item("type", "", neighbour_text(s.neighbour)); },
            [&](const RemoveNeighbour& s) { list.item("type", neighbour_text(s.neighbour), ""); },
            [&](const SetWireguard& s) { list_wireguard(list, s.from, s.to); },
            [&](const SetPeer& s) { list_peer(list, s.from, s.to); },
            [&](const SetOffload& s) { list.item(s.key.feature, on_off(s.from), on_off(s.to)); },
            [&](const RunOverlayd& s) {
                const auto runs = [](bool value) { return value ? "yes" : "no"; };
                list.item("running", runs(s.from), runs(s.to));
            },
        },
        step);
    return std::move(list.out);
}

LinkDifference difference(const Link& desired, const Link& found) {
    LinkDifference out{{.name = desired.name, .kind = desired.kind}, {}};
    out.to = out.from;
    const auto keep = [&](auto member) {
        if (desired.*member && desired.*member != found.*member) {
            out.from.*member = found.*member;
            out.to.*member = desired.*member;
        }
    };
    keep(&Link::alias);
    keep(&Link::mac);
    keep(&Link::mtu);
    keep(&Link::up);
    if (found.arp) keep(&Link::arp);
    keep(&Link::master);
    keep(&Link::gretap);
    // A port that moves to another bridge starts anew there.
    const bool stays = !desired.master || desired.master == found.master;
    if (found.port && stays) keep(&Link::port);
    if (desired.bridge) {
        BridgeAttributes from, to;
        const BridgeAttributes now = found.bridge.value_or(BridgeAttributes{});
        const auto keep_bridge = [&](auto member) {
            if ((*desired.bridge).*member && (*desired.bridge).*member != now.*member) {
                from.*member = now.*member;
                to.*member = (*desired.bridge).*member;
            }
        };
        keep_bridge(&BridgeAttributes::stp);
        keep_bridge(&BridgeAttributes::multicast_snooping);
        keep_bridge(&BridgeAttributes::vlan_filtering);
        if (from != to) {
            out.from.bridge = from;
            out.to.bridge = to;
        }
    }
    return out;
}

}  // namespace overlay
