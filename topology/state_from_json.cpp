// Reading a snapshot. It may have been edited or cut by hand, so nothing is taken on trust. A
// repeated key, of which the library silently keeps the last, is found while parsing.

#include "topology/state_json.hpp"

#include "topology/state_reader.hpp"

#include <set>

namespace overlay {

namespace reading {

constexpr int max_depth = 12;  // links → one → gretap → a value needs 4; the rest is room

void read(const At& at, BridgeAttributes& out) {
    Object object{at};
    object.optional("stp", out.stp);
    object.optional("mcast_snooping", out.multicast_snooping);
    object.optional("vlan_filtering", out.vlan_filtering);
    object.finish();
}

void read(const At& at, GretapAttributes& out) {
    Object object{at};
    object.required("local", out.local);
    object.required("remote", out.remote);
    object.required("dev", out.device);
    object.nullable("ikey", out.input.key);
    object.nullable("okey", out.output.key);
    object.required("icsum", out.input.checksum);
    object.required("ocsum", out.output.checksum);
    object.required("iseq", out.input.sequence);
    object.required("oseq", out.output.sequence);
    object.required("ttl", out.ttl);
    object.required("tos", out.tos);
    object.required("pmtudisc", out.pmtudisc);
    object.required("ignore_df", out.ignore_df);
    object.nullable("encaplimit", out.encap_limit);
    object.required("flowlabel", out.flow_label);
    object.required("fwmark", out.fwmark);
    object.required("encap", out.encap.type);
    object.required("encap_sport", out.encap.source_port);
    object.required("encap_dport", out.encap.destination_port);
    object.required("encap_csum", out.encap.checksum);
    object.required("encap_csum6", out.encap.checksum6);
    object.required("encap_remcsum", out.encap.remote_checksum);
    // Absent from what was written before we looked for them.
    object.if_there("dscp_inherit", out.copies_dscp);
    object.if_there("fwmark_inherit", out.inherits_fwmark);
    object.if_there("allow_localremote", out.allows_local_remote);
    object.required("external", out.collect_metadata);
    object.finish();
}

void read(const At& at, BridgePort& out) {
    Object object{at};
    object.required("hairpin", out.hairpin);
    object.required("guard", out.guard);
    object.required("root_block", out.root_block);
    object.required("learning", out.learning);
    object.required("flood", out.flood);
    object.required("mcast_flood", out.multicast_flood);
    object.required("bcast_flood", out.broadcast_flood);
    object.required("mcast_to_unicast", out.multicast_to_unicast);
    object.required("neigh_suppress", out.neighbour_suppression);
    // Absent from what was written before we looked for them.
    object.if_there("proxy_arp", out.proxy_arp);
    object.if_there("proxy_arp_wifi", out.proxy_arp_wifi);
    object.required("isolated", out.isolated);
    object.required("locked", out.locked);
    object.required("blocked", out.blocked);
    object.finish();
}

void read(const At& at, Link& out) {
    Object object{at};
    object.required("type", out.kind);
    object.optional("alias", out.alias);
    object.optional("mac", out.mac);
    object.optional("mtu", out.mtu);
    object.optional("up", out.up);
    object.optional("arp", out.arp);
    object.optional("master", out.master);
    object.optional("bridge", out.bridge);
    object.optional("gretap", out.gretap);
    object.optional("port", out.port);
    object.optional("link_local", out.link_local);
    object.optional("parent", out.parent);
    object.finish();
}

void read(const At& at, AddressDetails& out) {
    Object object{at};
    object.optional("peer", out.peer);
    object.optional("broadcast", out.broadcast);
    object.if_there("label", out.label);
    object.if_there("scope", out.scope);
    object.if_there("metric", out.metric);
    object.if_there("flags", out.flags);
    object.optional("valid_seconds", out.valid_seconds);
    object.optional("preferred_seconds", out.preferred_seconds);
    object.if_there("secondary", out.secondary);
    object.if_there("place", out.place);
    object.if_there("by_kernel", out.by_kernel);
    object.finish();
}

void read(const At& at, Address& out) {
    Object object{at};
    object.required("link", out.link);
    object.required("prefix", out.prefix);
    object.required("permanent", out.permanent);
    object.required("no_prefix_route", out.no_prefix_route);
    object.if_there("details", out.details);
    object.finish();
}

void read(const At& at, NextHop& out) {
    Object object{at};
    object.nullable("gateway", out.gateway);
    object.required("device", out.device);
    object.required("on_link", out.on_link);
    object.required("weight", out.weight);
    object.finish();
}

void read(const At& at, Route& out) {
    Object object{at};
    object.required("destination", out.destination);
    object.nullable("gateway", out.gateway);
    object.required("device", out.device);
    object.required("table", out.table);
    object.required("metric", out.metric);
    object.required("protocol", out.protocol);
    object.if_there("type", out.type);
    object.optional("source", out.source);
    object.if_there("on_link", out.on_link);
    if (object.has("metrics")) {
        object.map("metrics", [&](const std::string& name, const At& item) {
            read(item, out.metrics[name]);
        });
    }
    object.if_there("tos", out.tos);
    object.optional("scope", out.scope);
    object.if_there("preference", out.preference);
    object.if_there("expires", out.expires);
    object.if_there("congestion_control", out.congestion_control);
    if (object.has("hops"))
        object.list("hops", [&](const At& item) { read(item, out.hops.emplace_back()); });
    object.if_there("beyond_us", out.beyond_us);
    object.finish();
}

void read(const At& at, Neighbour& out) {
    Object object{at};
    object.required("link", out.link);
    object.required("address", out.address);
    object.optional("mac", out.mac);
    object.if_there("proxy", out.is_proxy);
    object.if_there("router", out.is_router);
    object.if_there("extern_learn", out.is_learned);
    object.if_there("protocol", out.protocol);
    object.finish();
}

void read(const At& at, FouPort& out) {
    Object object{at};
    object.required("family", out.family);
    object.required("port", out.port);
    object.required("type", out.type);
    object.required("ip_protocol", out.ip_protocol);
    object.nullable("local", out.local);
    object.nullable("peer", out.peer);
    object.required("device", out.device);
    object.if_there("datapath", out.datapath);
    object.finish();
}

void read(const At& at, WireguardPeer& out) {
    Object object{at};
    object.required("preshared_key_sha256", out.preshared_key);
    object.nullable("endpoint", out.endpoint);
    object.required("keepalive_seconds", out.keepalive_seconds);
    object.list("allowed_ips", [&](const At& item) {
        IpPrefix prefix;
        read(item, prefix);
        out.allowed_ips.insert(prefix);
    });
    object.finish();
}

void read(const At& at, WireguardDevice& out) {
    Object object{at};
    object.required("public_key", out.public_key);
    object.optional("listen_port", out.listen_port);
    object.required("fwmark", out.fwmark);
    object.map("peers", [&](const std::string& name, const At& item) {
        // Linux takes a peer of the key that is all zeros (drivers/net/wireguard/netlink.c, set_peer); no topology
        // can have one.
        const auto key = name == text(PublicKey{}) ? PublicKey{} : PublicKey::parse(name);
        if (!key) return item.wrong("its name is not a public key");
        read(item, out.peers[*key]);
    });
    object.finish();
}

// ---- firewall ----------------------------------------------------------------------------------

using Direction = rule::ClampMssToConstant::Direction;

void read(const At& at, Direction& out) {
    read_word(at, out, {{"in", Direction::In}, {"out", Direction::Out}});
}

void read(const At& at, FirewallRule& out) {
    Object object{at};
    std::string type;
    object.required("type", type);
    if (type == "masquerade") {
        rule::Masquerade& rule = out.emplace<rule::Masquerade>();
        object.required("out", rule.out);
        object.list("sources", [&](const At& item) { read(item, rule.sources.emplace_back()); });
        if (object.has("except"))   // left out where there are none
            object.list("except", [&](const At& item) { read(item, rule.except.emplace_back()); });
    } else if (type == "clamp_mss_to_route") {
        out.emplace<rule::ClampMssToRoute>();
    } else if (type == "clamp_mss_to_constant") {
        rule::ClampMssToConstant& rule = out.emplace<rule::ClampMssToConstant>();
        object.required("port", rule.port);
        object.required("direction", rule.direction);
        object.required("family", rule.family);
        object.required("mss", rule.mss);
    } else if (type == "drop_dhcp") {
        object.required("port", out.emplace<rule::DropDhcp>().port);
    } else if (type == "drop_router_advertisement") {
        object.required("port", out.emplace<rule::DropRouterAdvertisement>().port);
    } else if (type == "unknown") {
        object.required("json", out.emplace<rule::Unknown>().json);
    } else {
        at.wrong(fmt::format("unknown type of rule \"{}\"", type));
    }
    object.finish();
}

void read(const At& at, FirewallChain& out) {
    Object object{at};
    object.required("name", out.name);
    object.required("type", out.type);
    object.required("hook", out.hook);
    object.required("priority", out.priority);
    std::string policy;
    object.required("policy", policy);
    if (policy != "accept" && policy != "drop") at.wrong("its policy is not accept or drop");
    out.accept = policy == "accept";
    object.list("rules", [&](const At& item) { read(item, out.rules.emplace_back()); });
    object.finish();
}

void read(const At& at, FirewallTable& out) {
    Object object{at};
    object.required("family", out.family);
    object.required("name", out.name);
    object.required("mark", out.mark);
    object.list("chains", [&](const At& item) { read(item, out.chains.emplace_back()); });
    object.list("extras", [&](const At& item) { read(item, out.extras.emplace_back()); });
    object.finish();
}

void read(const At& at, FoundTable& out) {
    Object object{at};
    object.required("family", out.family);
    object.required("name", out.name);
    object.finish();
}

void read(const At& at, UdpSocket& out) {
    Object object{at};
    object.required("family", out.family);
    object.required("local", out.local);
    object.required("port", out.port);
    object.required("owner", out.owner);
    object.finish();
}

// ---- the whole ---------------------------------------------------------------------------------

template <class T>
auto into(std::set<T>& out) {
    return [&out](const At& item) {
        T value{};
        read(item, value);
        out.insert(std::move(value));
    };
}

void read(const At& at, KernelState& out) {
    Object object{at};
    int version = 0;
    object.required("version", version);
    if (version != 1) at.complaint.add("version", "not 1, the only one that this program knows");
    object.map("links", [&](const std::string& key, const At& item) {
        Link link{.name = interface_name(key, item)};
        read(item, link);
        out.links.insert_or_assign(link.name, std::move(link));
    });
    object.list("addresses", into(out.addresses));
    object.list("routes", into(out.routes));
    object.list("fou_ports", into(out.fou_ports));
    object.map("wireguard", [&](const std::string& key, const At& item) {
        read(item, out.wireguard[interface_name(key, item)]);
    });
    object.map("sysctls", [&](const std::string& key, const At& item) {
        read(item, out.sysctls[utf8_to_bytes(key)]);
    });
    object.map("offloads", [&](const std::string& key, const At& item) {
        const IfName name = interface_name(key, item);
        if (!item.value.is_object()) return item.wrong("not an object");
        for (const auto& [feature, value] : item.value.items()) {
            read(At{value, item.path + "." + feature, item.complaint},
                 out.offloads[{name, feature}]);
        }
    });
    object.list("tables", [&](const At& item) { read(item, out.tables.emplace_back()); });
    object.list("modules", into(out.modules));
    object.list("all_tables", into(out.all_tables));
    object.list("udp_sockets", into(out.udp_sockets));
    object.if_there("overlayd", out.overlayd);
    if (object.has("missing_modules"))   // not in snapshots of before
        object.list("missing_modules", into(out.missing_modules));
    if (object.has("neighbours")) object.list("neighbours", into(out.neighbours));
    if (object.has("alternative_names")) {
        object.map("alternative_names", [&](const std::string& key, const At& item) {
            read(item, out.alternative_names[interface_name(key, item)]);
        });
    }
    object.finish();
}

/// Parses text, watching for repeated keys and for nesting that no snapshot has.
Json parse(std::string_view source, Complaint& complaint) {
    std::vector<std::set<std::string>> open;
    const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
        if (depth > max_depth) complaint.add("", "nested too deeply");
        if (event == Json::parse_event_t::object_start) open.emplace_back();
        if (event == Json::parse_event_t::object_end && !open.empty()) open.pop_back();
        if (event == Json::parse_event_t::key && !open.empty()) {
            const auto& key = parsed.get_ref<const std::string&>();
            if (!open.back().insert(key).second) complaint.add(key, "said twice in one object");
        }
        return complaint.first().empty();
    };
    try {  // the library's way to say where the text is broken
        return Json::parse(source, watch);
    } catch (const Json::exception& error) {
        complaint.add("", fmt::format("not JSON: {}", fault_of_json(error)));
        return Json{};
    }
}

}  // namespace reading

std::string fault_of_json(const std::exception& fault) {
    const std::string_view text = fault.what();
    const std::size_t number = text.starts_with("[json.exception.") ? text.find("] ") : text.npos;
    return std::string{number == text.npos ? text : text.substr(number + 2)};
}

Result<KernelState> state_from_json(std::string_view source) {
    reading::Complaint complaint;
    const auto json = reading::parse(source, complaint);
    KernelState out;
    if (complaint.first().empty()) reading::read(reading::At{json, "", complaint}, out);
    if (!complaint.first().empty()) {
        return fail(Error::Kind::Invalid, "read the snapshot", complaint.first());
    }
    return out;
}

}  // namespace overlay
