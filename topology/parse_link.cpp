// A link: one connection between a spoke and the hub. Which keys it may have follows from its type;
// a key of another type is called that, not unknown.

#include "topology/parse_parts.hpp"

#include <fmt/format.h>

#include <array>

namespace overlay {
namespace {

struct LinkKey {
    std::string_view name;
    bool gretap_gue;
    bool gretap_wireguard;
    bool wireguard;

    [[nodiscard]] bool belongs_to(LinkType type) const {
        switch (type) {
            case LinkType::GretapGue: return gretap_gue;
            case LinkType::GretapWireguard: return gretap_wireguard;
            case LinkType::Wireguard: return wireguard;
        }
        return false;
    }
};

constexpr std::array<LinkKey, 26> link_keys{{
    {"type", true, true, true},
    {"underlay", true, true, true},
    {"interface", true, true, true},
    {"datapath", true, true, true},
    {"hub_interface", true, true, false},
    {"key", true, true, false},
    {"ttl", true, true, false},
    {"mtu", true, true, false},
    {"mac", true, true, false},
    {"hub_mac", true, true, false},
    {"offload", true, true, false},
    {"hub_offload", true, true, false},
    {"local", true, false, false},
    {"nat", true, false, false},
    {"port", true, false, false},
    {"udp_checksum", true, false, false},
    {"address", false, true, true},
    {"public_key", false, true, true},
    {"private_key_file", false, true, true},
    {"preshared_key_file", false, true, true},
    {"wireguard_interface", false, true, false},
    {"wireguard_mtu", false, true, true},
    {"listen_port", false, true, true},
    {"endpoint", false, true, true},
    {"keepalive", false, true, true},
    {"allowed_ips", false, true, true},
}};

/// Where a key of another type belongs, in words.
std::string other_home(const LinkKey& key, LinkType type) {
    std::vector<std::string> homes;
    for (const LinkType home :
         {LinkType::GretapGue, LinkType::GretapWireguard, LinkType::Wireguard}) {
        if (key.belongs_to(home)) homes.emplace_back(text(home));
    }
    return fmt::format("\"{}\" belongs to {} links; this link is of type {}", key.name,
                       listed(homes), text(type));
}

/// Without a known type every key of a link passes: the type is the one thing to mend first.
KeyTable keys_of(std::optional<LinkType> type) {
    KeyTable keys;
    for (const LinkKey& key : link_keys) {
        if (!type || key.belongs_to(*type))
            keys.allowed.emplace_back(key.name);
        else
            keys.misplaced.emplace(key.name, other_home(key, *type));
    }
    return keys;
}

/// Looks ahead without reporting, since the type decides which keys are known.
std::optional<LinkType> type_of(const Item& item, const Reading& reading) {
    const JsonMember* member = item.value->find("type", reading.occurrence);
    if (member == nullptr || member->value.kind != JsonValue::Kind::String) return std::nullopt;
    for (const LinkType type :
         {LinkType::GretapGue, LinkType::GretapWireguard, LinkType::Wireguard}) {
        if (member->value.string == text(type)) return type;
    }
    return std::nullopt;
}

void parse_nat(Findings& findings, const Item& item, LinkSpec& link) {
    const ObjectReader object{findings, item, KeyTable{{"address", "port"}, {}}};
    link.nat = Nat{.at = object.at(), .address = {}, .port = {}};
    object.require("address", link.nat->address, "the public address of the spoke's router");
    object.number("port", link.nat->port, port_range);
}

void parse_gretap(const ObjectReader& object, LinkSpec& link) {
    Findings& findings = object.findings();
    object.read("hub_interface", link.hub_interface);
    object.setting("key", link.key, "none", Range{0, 4294967295});
    object.number("ttl", link.ttl, Range{1, 255});
    object.setting("mtu", link.mtu, "kernel", mtu_range);
    object.setting("mac", link.mac, "kernel");
    object.setting("hub_mac", link.hub_mac, "kernel");
    if (const auto item = object.find("offload")) parse_offload(findings, *item, link.offload);
    if (const auto item = object.find("hub_offload"))
        parse_offload(findings, *item, link.hub_offload);
}

void parse_gue(const ObjectReader& object, LinkSpec& link) {
    object.read("local", link.local);
    object.number("port", link.port, port_range);
    object.read("udp_checksum", link.udp_checksum);
    if (const auto item = object.find("nat")) parse_nat(object.findings(), *item, link);
}

void parse_wireguard(const ObjectReader& object, std::optional<LinkType> type, LinkSpec& link) {
    object.list("address", link.addresses, ListForm::OneOrList, Empty::Refused);
    object.read("public_key", link.public_key);
    if (type) object.require("public_key", "`overlayctl keygen` on the spoke makes a key pair");
    read_key_file(object, "private_key_file", link.private_key_file);
    read_key_file(object, "preshared_key_file", link.preshared_key_file);
    object.read("wireguard_interface", link.wireguard_interface);
    object.setting("wireguard_mtu", link.wireguard_mtu, "kernel", mtu_range);
    object.number("listen_port", link.listen_port, port_range);
    object.read("endpoint", link.endpoint);
    object.number("keepalive", link.keepalive_seconds, Range{0, 65535});
    object.reach("allowed_ips", link.allowed_ips, ListForm::OneOrList, Empty::Refused);
}

}  // namespace

void parse_link(Findings& findings, const Item& item, std::string id, Node& spoke) {
    const auto type = type_of(item, findings.reading());
    const ObjectReader object{findings, item, keys_of(type)};
    LinkSpec link;
    link.id = std::move(id);
    link.at = object.at();
    object.require("type", link.type, "\"gretap-gue\", \"gretap-wireguard\" or \"wireguard\"");
    object.read("underlay", link.underlay);
    object.read("interface", link.interface);
    object.read("datapath", link.datapath);
    // Without a known type every part is read for what is wrong in it.
    if (!type || *type != LinkType::Wireguard) parse_gretap(object, link);
    if (!type || *type == LinkType::GretapGue) parse_gue(object, link);
    if (!type || *type != LinkType::GretapGue) parse_wireguard(object, type, link);
    spoke.links.push_back(std::move(link));
}

}  // namespace overlay
