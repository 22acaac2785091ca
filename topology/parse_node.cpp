// What the hub and the spokes share, and what only one kind of them may have.

#include "topology/derive.hpp"
#include "topology/parse_parts.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {
namespace {

const std::vector<std::string> hub_only{"name", "router_advertisement", "gue", "wireguard"};
const std::vector<std::string> spoke_only{"link", "links", "addresses", "exit", "mac", "offload"};
const std::vector<std::string> any_node{"underlay",   "bridge",    "lan",   "forwarding",
                                        "masquerade", "mss_clamp", "guards"};

KeyTable node_keys(const std::vector<std::string>& own, const std::vector<std::string>& other,
                   std::string_view message) {
    KeyTable keys;
    keys.allowed = own;
    keys.allowed.insert(keys.allowed.end(), any_node.begin(), any_node.end());
    for (const std::string& key : other) {
        keys.misplaced[key] = fmt::format(fmt::runtime(message), key);
    }
    return keys;
}

KeyTable hub_keys() {
    return node_keys(hub_only, spoke_only, "\"{}\" belongs to a spoke, not to the hub");
}

KeyTable spoke_keys() {
    KeyTable keys = node_keys(spoke_only, hub_only, "\"{}\" belongs to the hub, not to a spoke");
    keys.misplaced["name"] = "the name of a spoke is its key in \"spokes\"";
    return keys;
}

void parse_shared(Findings& findings, const ObjectReader& object, const std::string& network,
                  Node& node) {
    if (const auto item = object.find("underlay")) parse_underlay(findings, *item, node);
    if (const auto item = object.find("bridge")) parse_bridge(findings, *item, network, node);
    object.list("lan", node.lan, ListForm::OneOrList, Empty::Refused);
    for (const Item& item : object.elements("forwarding", ListForm::List, Empty::Allowed)) {
        const auto read = read_text<Family>(findings, item);
        const auto family = read.value_or(stand_in<Family>(findings.reading().guess, item.at()));
        const bool again = std::any_of(node.forwarding.begin(), node.forwarding.end(),
                                       [&](const auto& known) { return known.value == family; });
        if (!again)
            node.forwarding.push_back(Located<Family>{family, item.at()});
        else if (read)
            findings.error(item.at(), item.path, fmt::format("\"{}\" stands twice", text(family)));
    }
    if (const auto item = object.find("masquerade")) parse_masquerade(findings, *item, node);
    node.mss_clamp.at = object.at();
    if (const auto item = object.find("mss_clamp")) {
        node.mss_clamp = {read_switch(findings, *item, Switch{"pmtu", "off"}), item->at()};
    }
    node.guards = Guards{{true, object.at()}, {true, object.at()}, {true, object.at()}};
    if (const auto item = object.find("guards")) parse_guards(findings, *item, node);
}

void parse_name(Findings& findings, const ObjectReader& object, Node& hub) {
    hub.at = object.at();
    const auto item = object.require("name");
    if (item) hub.at = item->at();
    const auto name = item ? read_text<std::string>(findings, *item) : std::nullopt;
    if (!name) {
        hub.name = stand_in<std::string>(findings.reading().guess, hub.at);
        return;
    }
    hub.name = *name;
    if (is_node_name(*name)) return;
    findings.error(item->at(), item->path,
                   fmt::format("{} is not the name of a node", in_quotes(*name)),
                   "letters and digits, then also '_' and '-', at most 63 in all");
}

}  // namespace

bool is_node_name(std::string_view name) {
    const auto alnum = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    return !name.empty() && name.size() <= 63 && alnum(name[0]) &&
           std::all_of(name.begin(), name.end(),
                       [&](char c) { return alnum(c) || c == '_' || c == '-'; });
}

bool is_network_name(std::string_view name) {
    const auto lower = [](char c) { return c >= 'a' && c <= 'z'; };
    return !name.empty() && name.size() <= 32 && lower(name[0]) &&
           std::all_of(name.begin(), name.end(), [&](char c) {
               return lower(c) || (c >= '0' && c <= '9') || c == '_' || c == '-';
           });
}

void parse_hub(Findings& findings, const Item& item, Topology& topology) {
    Node& hub = topology.hub;
    hub.is_hub = true;
    const ObjectReader object{findings, item, hub_keys()};
    parse_name(findings, object, hub);
    object.require("underlay",
                   "where spokes find the hub: \"underlay\": { \"addresses\": [\"192.0.2.1\"] }");
    parse_shared(findings, object, topology.network, hub);
    if (const auto part = object.find("router_advertisement")) {
        parse_router_advertisement(findings, *part, hub);
    }
    if (const auto part = object.find("gue")) {
        const ObjectReader gue{findings, *part, KeyTable{{"port", "datapath"}, {}}};
        hub.gue = GueEndpoint{gue.at(), {5555, gue.at()}, {DatapathChoice::Auto, gue.at()}};
        gue.number("port", hub.gue->port, port_range);
        gue.read("datapath", hub.gue->datapath);
    }
    if (const auto part = object.find("wireguard")) {
        parse_hub_wireguard(findings, *part, topology.network, hub);
    }
}

namespace {

/// "mac" and "offload" may stand at the spoke when it is plain which link they mean.
void hoist_link_keys(Findings& findings, const ObjectReader& object, Node& spoke) {
    for (const std::string_view key : {"mac", "offload"}) {
        const auto item = object.find(key);
        if (!item || spoke.links.empty()) continue;
        LinkSpec& link = spoke.links.front();
        const bool is_mac = key == "mac";
        if (spoke.links.size() > 1) {
            findings.error(item->at(), item->path,
                           fmt::format("which link? {} has {}: state \"{}\" inside one of them",
                                       spoke.name, spoke.links.size(), key));
        } else if (link.type.value == LinkType::Wireguard) {
            findings.error(
                item->at(), item->path,
                fmt::format(
                    "\"{}\" belongs to gretap links; this spoke's link is of type wireguard", key));
        } else if (is_mac && link.mac.mode != Setting<MacAddress>::Mode::Derived) {
            findings.error(
                item->at(), item->path,
                fmt::format("\"mac\" stands at the link, too ({})", findings.place(link.mac.at)));
        } else if (!is_mac && !link.offload.features.empty()) {
            const Span& other = link.offload.features.begin()->second.at;
            findings.error(
                item->at(), item->path,
                fmt::format("\"offload\" stands at the link, too ({})", findings.place(other)));
        } else if (is_mac) {
            object.setting("mac", link.mac, "kernel");
        } else {
            parse_offload(findings, *item, link.offload);
        }
    }
}

void parse_named_links(Findings& findings, const Item& many, Node& spoke) {
    if (!expect(findings, many, JsonValue::Kind::Object)) return;
    for (const JsonMember* member : members_of(findings, *many.value)) {
        if (!member->key_refused && !is_node_name(member->key)) {
            findings.error(member->key_at, many.path,
                           fmt::format("{} is not the name of a link", in_quotes(member->key)),
                           "letters and digits, then also '_' and '-', at most 63 in all");
        }
        parse_link(findings, Item{&member->value, joined(many.path, member->key)}, member->key,
                   spoke);
    }
}

bool is_empty_object(const Item& item) {
    return item.value->kind == JsonValue::Kind::Object && item.value->members.empty();
}

/// Of "link" and "links" only one may stand there; if both do, readings take one or the other.
void parse_links(Findings& findings, const ObjectReader& object, Node& spoke) {
    const auto one = object.find("link");
    const auto many = object.find("links");
    const bool both = object.has_own("link") && object.has_own("links");
    if (both) {
        findings.error(many->at(), many->path,
                       fmt::format("either \"link\" or \"links\", not both (\"link\" stands at {})",
                                   findings.place(one->at())));
        findings.add(Alternative{one->at(), std::max(one->at(), one->value->end), 0});
        findings.add(Alternative{many->at(), std::max(many->at(), many->value->end), 1});
    }
    const bool named = object.has_own("links") && (!both || findings.reading().occurrence > 0);
    if (named) {
        parse_named_links(findings, *many, spoke);
        if (!both && is_empty_object(*many))
            findings.error(many->at(), many->path, "a spoke needs at least one link");
    } else {
        if (!object.has_own("links")) {
            object.require("link",
                           "how the spoke joins: \"link\": { \"type\": \"gretap-wireguard\", … }");
        }
        if (const auto link = object.find("link")) parse_link(findings, *link, "", spoke);
    }
    std::sort(spoke.links.begin(), spoke.links.end(),
              [](const LinkSpec& a, const LinkSpec& b) { return a.id < b.id; });
}

/// A spoke whose links were refused has one that nothing is known about.
void parse_links_or_guess(Findings& findings, const ObjectReader& object, Node& spoke) {
    parse_links(findings, object, spoke);
    if (!spoke.links.empty() || findings.reading().guess == 0) return;
    const JsonValue refused{.kind = JsonValue::Kind::Refused, .at = object.at()};
    parse_link(findings, Item{&refused, joined(object.path(), "link")}, "", spoke);
}

}  // namespace

void parse_spoke(Findings& findings, const JsonMember& member, Topology& topology) {
    const Item item{&member.value, "spokes." + member.key};
    Node spoke;
    spoke.name = member.key;
    spoke.at = member.key_at;
    if (!member.key_refused && !is_node_name(spoke.name)) {
        findings.error(member.key_at, "spokes",
                       fmt::format("{} is not the name of a node", in_quotes(spoke.name)),
                       "letters and digits, then also '_' and '-', at most 63 in all");
    }
    const ObjectReader object{findings, item, spoke_keys()};
    spoke.underlay.at = object.at();
    parse_shared(findings, object, topology.network, spoke);
    object.reach("addresses", spoke.addresses);
    parse_links_or_guess(findings, object, spoke);
    hoist_link_keys(findings, object, spoke);
    if (const auto exit = object.find("exit")) {
        const bool on = read_switch(findings, *exit, Switch{"hub", "off"});
        spoke.exit = Located<bool>{on, exit->at()};
    }
    topology.spokes.push_back(std::move(spoke));
}

}  // namespace overlay
