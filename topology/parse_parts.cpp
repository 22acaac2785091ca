// The objects inside a node: underlay, bridge, router advertisement, masquerade, guards, WireGuard.

#include "topology/parse_parts.hpp"

#include "topology/derive.hpp"
#include "topology/key_text.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

void parse_underlay(Findings& findings, const Item& item, Node& node) {
    KeyTable keys{{"interface", "addresses", "gateways", "mtu", "accept_ra"}, {}};
    if (node.is_hub)
        keys.allowed.emplace_back("in_bridge");
    else
        keys.misplaced["in_bridge"] = "\"in_bridge\" belongs to the hub's underlay";
    const ObjectReader object{findings, item, keys};
    Underlay& underlay = node.underlay;
    underlay.at = object.at();
    object.read("interface", underlay.interface);
    if (node.is_hub)
        object.require("addresses", "where spokes find the hub: \"addresses\": [\"192.0.2.1\"]");
    object.list("addresses", underlay.addresses, ListForm::List,
                node.is_hub ? Empty::Refused : Empty::Allowed);
    object.list("gateways", underlay.gateways);
    object.number("mtu", underlay.mtu, mtu_range);
    object.read("accept_ra", underlay.accept_ra);
    object.read("in_bridge", underlay.in_bridge);
}

void parse_bridge(Findings& findings, const Item& item, const std::string& network, Node& node) {
    const ObjectReader object{findings, item,
                              KeyTable{{"name", "existing", "addresses", "ports", "mac", "mtu",
                                        "multicast_snooping", "stp"},
                                       {}}};
    node.bridge.emplace();
    BridgeSpec& bridge = *node.bridge;
    bridge.at = object.at();
    object.read("existing", bridge.existing);
    bridge.name = {short_interface_name("br-" + network), object.at()};
    if (bridge.existing.value)
        object.require("name", bridge.name, "which bridge is it that exists?");
    else
        object.read("name", bridge.name);
    object.reach("addresses", bridge.addresses);
    object.list("ports", bridge.ports);
    object.setting("mac", bridge.mac, "kernel");
    object.setting("mtu", bridge.mtu, "kernel", mtu_range);
    object.read("multicast_snooping", bridge.multicast_snooping);
    object.read("stp", bridge.stp);
}

namespace {

constexpr Range lifetime_range{0, 4294967295};  // RFC 4861 §4.6.2: all ones is infinity

void parse_advertised_prefix(Findings& findings, const Item& item, RouterAdvertisement& advert) {
    const ObjectReader object{findings, item,
                              KeyTable{{"prefix", "on_link", "autonomous", "router_address",
                                        "valid_lifetime", "preferred_lifetime"},
                                       {}}};
    AdvertisedPrefix prefix;
    prefix.at = object.at();
    object.require("prefix", prefix.prefix);
    object.read("on_link", prefix.on_link);
    object.read("autonomous", prefix.autonomous);
    object.read("router_address", prefix.router_address);
    object.number("valid_lifetime", prefix.valid_seconds, lifetime_range);
    std::uint32_t& preferred = prefix.preferred_seconds.value;
    preferred = std::min(preferred, prefix.valid_seconds.value);
    object.number("preferred_lifetime", prefix.preferred_seconds, lifetime_range);
    advert.prefixes.push_back(prefix);
}

/// RFC 1035 §2.3.4: labels of 1 to 63 bytes, 253 in all. The characters are those of host names,
/// since names from an advertisement end up in scripts of the hosts that hear it, and radvd takes no other.
bool is_domain_name(std::string_view name) {
    if (name.empty() || name.size() > 253) return false;
    while (!name.empty()) {
        const std::size_t dot = name.find('.');
        const std::string_view label = name.substr(0, dot);
        if (!is_node_name(label) || label.back() == '-' || label.find('_') != label.npos) return false;
        if (dot == std::string_view::npos) return true;
        name.remove_prefix(dot + 1);
    }
    return false;  // ended in a dot
}

void parse_times(const ObjectReader& object, RouterAdvertisement& advert) {
    // RFC 4861 §6.2.1, with the upper limits of RFC 8319 §4. The default of the smaller interval is
    // a third of the greater, that of the lifetime three times it.
    object.number("max_interval", advert.max_interval_seconds, Range{4, 65535});
    const std::uint32_t max_interval = advert.max_interval_seconds.value;
    advert.min_interval_seconds.value = std::max(max_interval / 3, 3U);
    advert.lifetime_seconds.value = std::min(max_interval * 3, 65535U);
    object.number("min_interval", advert.min_interval_seconds, Range{3, 49151});
    object.number("lifetime", advert.lifetime_seconds, Range{0, 65535});
}

}  // namespace

void parse_router_advertisement(Findings& findings, const Item& item, Node& node) {
    const ObjectReader object{findings, item,
                              KeyTable{{"prefixes", "rdnss", "dnssl", "mtu", "max_interval",
                                        "min_interval", "lifetime", "managed", "other_config"},
                                       {}}};
    node.router_advertisement.emplace();
    RouterAdvertisement& advert = *node.router_advertisement;
    advert.at = object.at();
    object.require("prefixes", "\"prefixes\": [{ \"prefix\": \"2001:db8::/64\" }]");
    for (const Item& prefix : object.elements("prefixes", ListForm::List, Empty::Refused)) {
        parse_advertised_prefix(findings, prefix, advert);
    }
    object.list("rdnss", advert.rdnss);
    object.list("dnssl", advert.dnssl);
    for (const Item& name : object.elements("dnssl", ListForm::List, Empty::Allowed)) {
        if (name.value->kind != JsonValue::Kind::String || is_domain_name(name.value->string))
            continue;
        findings.error(name.at(), name.path,
                       fmt::format("{} is not a domain name", in_quotes(name.value->string)),
                       "such as \"home.example\"");
    }
    object.setting("mtu", advert.mtu, "kernel", Range{1280, 65535});  // RFC 8200 §5
    parse_times(object, advert);
    object.read("managed", advert.managed);
    object.read("other_config", advert.other_config);
}

void parse_masquerade(Findings& findings, const Item& item, Node& node) {
    const ObjectReader object{findings, item, KeyTable{{"out", "sources"}, {}}};
    node.masquerade.emplace();
    node.masquerade->at = object.at();
    object.require("out", node.masquerade->out, "the interface towards the Internet");
    object.list("sources", node.masquerade->sources, ListForm::List, Empty::Refused);
}

void parse_guards(Findings& findings, const Item& item, Node& node) {
    KeyTable keys{{"dhcp", "mss"}, {}};
    if (node.is_hub)
        keys.allowed.emplace_back("router_advertisement");
    else
        keys.misplaced["router_advertisement"] =
            "\"router_advertisement\" belongs to the hub's guards; a spoke wants to hear the hub's";
    const ObjectReader object{findings, item, keys};
    object.read("dhcp", node.guards.dhcp);
    object.read("mss", node.guards.mss);
    object.read("router_advertisement", node.guards.router_advertisement);
}

namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

}  // namespace

void read_key_file(const ObjectReader& object, std::string_view key,
                   std::optional<Located<std::string>>& field) {
    object.read(key, field);
    if (!field) return;
    const std::string path = joined(object.path(), key);
    if (field->value.empty()) {
        object.findings().error(field->at, path, "the name of a file is missing");
    } else if (holds_a_key(field->value)) {  // never shown: it may be the secret
        object.findings().error(field->at, path,
                                "this is a key, not the name of a file that holds one",
                                "treat a private key that stood here as known to others");
    } else if (std::any_of(field->value.begin(), field->value.end(), is_control)) {
        object.findings().error(field->at, path,
                                "a file name with a control character is not allowed");
    }
}

void parse_hub_wireguard(Findings& findings, const Item& item, const std::string& network,
                         Node& node) {
    const ObjectReader object{
        findings, item,
        KeyTable{{"interface", "listen_port", "address", "private_key_file", "public_key", "mtu",
                  "datapath"},
                 {}}};
    node.wireguard.emplace();
    WireguardEndpoint& device = *node.wireguard;
    device.at = object.at();
    device.interface.value = short_interface_name("wg-" + network);
    object.read("interface", device.interface);
    object.number("listen_port", device.listen_port, port_range);
    object.list("address", device.addresses, ListForm::OneOrList, Empty::Refused);
    std::optional<Located<std::string>> file;
    read_key_file(object, "private_key_file", file);
    device.private_key_file =
        file.value_or(Located<std::string>{default_key_file(network), object.at()});
    object.require("public_key", device.public_key, "`overlayctl keygen` makes a key pair");
    object.setting("mtu", device.mtu, "kernel", mtu_range);
    object.read("datapath", device.datapath);
}

void parse_offload(Findings& findings, const Item& item, Offload& offload) {
    const ObjectReader object{findings, item, KeyTable{{"tx", "rx", "tso", "gso", "gro"}, {}}};
    for (const auto& [key_at, feature] : object.members()) {
        const auto on = read_boolean(findings, feature);
        const std::string name = feature.path.substr(feature.path.rfind('.') + 1);
        if (on) offload.features[name] = Located<bool>{*on, feature.at()};
    }
}

}  // namespace overlay
