// Writing only; reading is in state_from_json.cpp, in the same order.

#include "topology/state_json.hpp"

#include "topology/kernel_text.hpp"

#include <nlohmann/json.hpp>

namespace overlay {

namespace {

using Json = nlohmann::ordered_json;

template <class T>
void put(Json& out, const char* key, const std::optional<T>& value) {
    if (value) out[key] = *value;
}

template <class T>
Json text_or_null(const std::optional<T>& value) {
    return value ? Json(text(*value)) : Json(nullptr);
}

Json name_or_null(const IfName& name) {
    return name.empty() ? Json(nullptr) : Json(bytes_to_utf8(name.str()));
}

Json number_or_null(const auto& value) { return value ? Json(*value) : Json(nullptr); }

// ---- links -------------------------------------------------------------------------------------

const char* encap_type(GreEncap::Type type) {
    switch (type) {
        case GreEncap::Type::None: return "none";
        case GreEncap::Type::Fou: return "fou";
        case GreEncap::Type::Gue: return "gue";
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

Json gretap_json(const GretapAttributes& gretap) {
    const GreEncap& encap = gretap.encap;
    return Json{{"local", text(gretap.local)},
                {"remote", text(gretap.remote)},
                {"dev", name_or_null(gretap.device)},
                {"ikey", number_or_null(gretap.input.key)},
                {"okey", number_or_null(gretap.output.key)},
                {"icsum", gretap.input.checksum},
                {"ocsum", gretap.output.checksum},
                {"iseq", gretap.input.sequence},
                {"oseq", gretap.output.sequence},
                {"ttl", gretap.ttl},
                {"tos", gretap.tos},
                {"pmtudisc", gretap.pmtudisc},
                {"ignore_df", gretap.ignore_df},
                {"encaplimit", number_or_null(gretap.encap_limit)},
                {"flowlabel", gretap.flow_label},
                {"fwmark", gretap.fwmark},
                {"encap", encap_type(encap.type)},
                {"encap_sport", encap.source_port},
                {"encap_dport", encap.destination_port},
                {"encap_csum", encap.checksum},
                {"encap_csum6", encap.checksum6},
                {"encap_remcsum", encap.remote_checksum},
                {"dscp_inherit", gretap.copies_dscp},
                {"fwmark_inherit", gretap.inherits_fwmark},
                {"allow_localremote", gretap.allows_local_remote},
                {"external", gretap.collect_metadata}};
}

Json port_json(const BridgePort& port) {
    return Json{{"hairpin", port.hairpin},
                {"guard", port.guard},
                {"root_block", port.root_block},
                {"learning", port.learning},
                {"flood", port.flood},
                {"mcast_flood", port.multicast_flood},
                {"bcast_flood", port.broadcast_flood},
                {"mcast_to_unicast", port.multicast_to_unicast},
                {"neigh_suppress", port.neighbour_suppression},
                {"proxy_arp", port.proxy_arp},
                {"proxy_arp_wifi", port.proxy_arp_wifi},
                {"isolated", port.isolated},
                {"locked", port.locked},
                {"blocked", port.blocked}};
}

Json link_json(const Link& link) {
    Json out{{"type", text(link.kind)}};
    if (link.alias) out["alias"] = bytes_to_utf8(*link.alias);
    if (link.mac) out["mac"] = text(*link.mac);
    if (link.mtu) out["mtu"] = link.mtu->bytes();
    put(out, "up", link.up);
    put(out, "arp", link.arp);
    if (link.master) out["master"] = name_or_null(*link.master);
    if (link.bridge) {
        Json& bridge = out["bridge"] = Json::object();
        put(bridge, "stp", link.bridge->stp);
        put(bridge, "mcast_snooping", link.bridge->multicast_snooping);
        put(bridge, "vlan_filtering", link.bridge->vlan_filtering);
    }
    if (link.gretap) out["gretap"] = gretap_json(*link.gretap);
    if (link.port) out["port"] = port_json(*link.port);
    if (link.link_local) out["link_local"] = text(*link.link_local);
    if (link.parent) out["parent"] = bytes_to_utf8(link.parent->str());
    return out;
}

// ---- what hangs on links -----------------------------------------------------------------------

/// What is as usual is left out.
Json details_json(const AddressDetails& details) {
    Json out = Json::object();
    if (details.peer) out["peer"] = text(*details.peer);
    if (details.broadcast) out["broadcast"] = text(*details.broadcast);
    if (!details.label.empty()) out["label"] = bytes_to_utf8(details.label);
    if (details.scope != 0) out["scope"] = details.scope;
    if (details.metric != 0) out["metric"] = details.metric;
    if (details.flags != 0) out["flags"] = details.flags;
    put(out, "valid_seconds", details.valid_seconds);
    put(out, "preferred_seconds", details.preferred_seconds);
    if (details.secondary) out["secondary"] = true;
    if (details.place != 0) out["place"] = details.place;
    if (details.by_kernel) out["by_kernel"] = true;
    return out;
}

Json address_json(const Address& address) {
    Json out{{"link", bytes_to_utf8(address.link.str())},
             {"prefix", text(address.prefix)},
             {"permanent", address.permanent},
             {"no_prefix_route", address.no_prefix_route}};
    if (Json details = details_json(address.details); !details.empty())
        out["details"] = std::move(details);
    return out;
}

Json hop_json(const NextHop& hop) {
    return Json{{"gateway", text_or_null(hop.gateway)},
                {"device", name_or_null(hop.device)},
                {"on_link", hop.on_link},
                {"weight", hop.weight}};
}

Json route_json(const Route& route) {
    Json out{{"destination", text(route.destination)},
             {"gateway", text_or_null(route.gateway)},
             {"device", name_or_null(route.device)},
             {"table", route.table},
             {"metric", route.metric},
             {"protocol", route.protocol}};
    if (route.type != RouteType::Unicast) out["type"] = text(route.type);
    if (route.source) out["source"] = text(*route.source);
    if (route.on_link) out["on_link"] = true;
    if (!route.metrics.empty()) out["metrics"] = route.metrics;
    if (route.tos != 0) out["tos"] = route.tos;
    put(out, "scope", route.scope);
    if (route.preference != 0) out["preference"] = route.preference;
    if (route.expires) out["expires"] = true;
    if (!route.congestion_control.empty())
        out["congestion_control"] = bytes_to_utf8(route.congestion_control);
    for (const NextHop& hop : route.hops) out["hops"].push_back(hop_json(hop));
    if (!route.beyond_us.empty()) out["beyond_us"] = bytes_to_utf8(route.beyond_us);
    return out;
}

Json neighbour_json(const Neighbour& neighbour) {
    Json out{{"link", bytes_to_utf8(neighbour.link.str())}, {"address", text(neighbour.address)}};
    if (neighbour.mac) out["mac"] = text(*neighbour.mac);
    if (neighbour.is_proxy) out["proxy"] = true;
    if (neighbour.is_router) out["router"] = true;
    if (neighbour.is_learned) out["extern_learn"] = true;
    if (neighbour.protocol != 0) out["protocol"] = neighbour.protocol;
    return out;
}

Json fou_port_json(const FouPort& port) {
    Json out{{"family", text(port.family)},        {"port", port.port},
             {"type", encap_type(port.type)},      {"ip_protocol", port.ip_protocol},
             {"local", text_or_null(port.local)},  {"peer", text_or_null(port.peer)},
             {"device", name_or_null(port.device)}};
    if (port.datapath == Datapath::Userspace) out["datapath"] = "userspace";
    return out;
}

Json peer_json(const WireguardPeer& peer) {
    const Fingerprint& psk = peer.preshared_key;
    Json allowed = Json::array();
    for (const IpPrefix& prefix : peer.allowed_ips) allowed.push_back(text(prefix));
    return Json{{"preshared_key_sha256", psk.is_none() ? Json(nullptr) : Json(text(psk))},
                {"endpoint", text_or_null(peer.endpoint)},
                {"keepalive_seconds", peer.keepalive_seconds},
                {"allowed_ips", std::move(allowed)}};
}

Json wireguard_json(const WireguardDevice& device) {
    const PublicKey& key = device.public_key;
    Json out{{"public_key", key.is_zero() ? Json(nullptr) : Json(text(key))}};
    put(out, "listen_port", device.listen_port);
    out["fwmark"] = device.fwmark;
    Json& peers = out["peers"] = Json::object();
    for (const auto& [peer_key, peer] : device.peers) peers[text(peer_key)] = peer_json(peer);
    return out;
}

// ---- firewall ----------------------------------------------------------------------------------

Json rule_json(const FirewallRule& any) {
    const auto port = [](const IfName& name) { return bytes_to_utf8(name.str()); };
    return std::visit(
        Overloaded{
            [&](const rule::Masquerade& r) {
                Json sources = Json::array();
                for (const IpPrefix& source : r.sources) sources.push_back(text(source));
                Json out{{"type", "masquerade"}, {"out", port(r.out)}, {"sources", sources}};
                for (const IpAddress& address : r.except) out["except"].push_back(text(address));
                return out;
            },
            [](const rule::ClampMssToRoute&) {
                return Json{{"type", "clamp_mss_to_route"}};
            },
            [&](const rule::ClampMssToConstant& r) {
                const bool in = r.direction == rule::ClampMssToConstant::Direction::In;
                return Json{{"type", "clamp_mss_to_constant"},
                            {"port", port(r.port)},
                            {"direction", in ? "in" : "out"},
                            {"family", text(r.family)},
                            {"mss", r.mss}};
            },
            [&](const rule::DropDhcp& r) {
                return Json{{"type", "drop_dhcp"}, {"port", port(r.port)}};
            },
            [&](const rule::DropRouterAdvertisement& r) {
                return Json{{"type", "drop_router_advertisement"}, {"port", port(r.port)}};
            },
            [](const rule::Unknown& r) {
                return Json{{"type", "unknown"}, {"json", bytes_to_utf8(r.json)}};
            },
        },
        any);
}

Json table_json(const FirewallTable& table) {
    Json chains = Json::array();
    for (const FirewallChain& chain : table.chains) {
        Json rules = Json::array();
        for (const FirewallRule& rule : chain.rules) rules.push_back(rule_json(rule));
        chains.push_back(Json{{"name", bytes_to_utf8(chain.name)},
                              {"type", bytes_to_utf8(chain.type)},
                              {"hook", bytes_to_utf8(chain.hook)},
                              {"priority", chain.priority},
                              {"policy", chain.accept ? "accept" : "drop"},
                              {"rules", std::move(rules)}});
    }
    Json extras = Json::array();
    for (const std::string& extra : table.extras) extras.push_back(bytes_to_utf8(extra));
    return Json{{"family", text(table.family)},
                {"name", bytes_to_utf8(table.name)},
                {"mark", bytes_to_utf8(table.mark)},
                {"chains", std::move(chains)},
                {"extras", std::move(extras)}};
}

template <class Range, class Function>
Json list(const Range& values, Function&& each) {
    Json out = Json::array();
    for (const auto& value : values) out.push_back(each(value));
    return out;
}

Json state_json(const KernelState& state) {
    Json out{{"version", 1}};
    Json& links = out["links"] = Json::object();
    for (const auto& [name, link] : state.links) links[bytes_to_utf8(name.str())] = link_json(link);
    out["addresses"] = list(state.addresses, address_json);
    out["routes"] = list(state.routes, route_json);
    out["fou_ports"] = list(state.fou_ports, fou_port_json);
    Json& devices = out["wireguard"] = Json::object();
    for (const auto& [name, device] : state.wireguard) {
        devices[bytes_to_utf8(name.str())] = wireguard_json(device);
    }
    Json& sysctls = out["sysctls"] = Json::object();
    for (const auto& [key, value] : state.sysctls)
        sysctls[bytes_to_utf8(key)] = bytes_to_utf8(value);
    Json& offloads = out["offloads"] = Json::object();
    for (const auto& [key, on] : state.offloads) {
        offloads[bytes_to_utf8(key.link.str())][key.feature] = on;
    }
    out["tables"] = list(state.tables, table_json);
    out["modules"] = list(state.modules, bytes_to_utf8);
    if (state.overlayd) out["overlayd"] = true;
    out["missing_modules"] = list(state.missing_modules, bytes_to_utf8);
    out["all_tables"] = list(state.all_tables, [](const FoundTable& table) {
        return Json{{"family", bytes_to_utf8(table.family)}, {"name", bytes_to_utf8(table.name)}};
    });
    out["udp_sockets"] = list(state.udp_sockets, [](const UdpSocket& socket) {
        return Json{{"family", text(socket.family)},
                    {"local", text(socket.local)},
                    {"port", socket.port},
                    {"owner", bytes_to_utf8(socket.owner)}};
    });
    out["neighbours"] = list(state.neighbours, neighbour_json);
    Json& names = out["alternative_names"] = Json::object();
    for (const auto& [other, name] : state.alternative_names)
        names[bytes_to_utf8(other.str())] = name_or_null(name);
    return out;
}

}  // namespace

std::string to_json(const KernelState& state) { return state_json(state).dump(2) + "\n"; }

}  // namespace overlay
