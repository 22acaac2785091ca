// Typed firewall tables → libnftables JSON. Each rule kind has one form here, which is also what
// firewall_read.cpp compares listings with.

#include "netlink/firewall_expressions.hpp"

namespace overlay::netlink {

namespace {

Json equals(Json left, Json right) {
    return {{"match", {{"op", "=="}, {"left", std::move(left)}, {"right", std::move(right)}}}};
}

Json differs(Json left, Json right) {
    return {{"match", {{"op", "!="}, {"left", std::move(left)}, {"right", std::move(right)}}}};
}

Json meta(std::string_view key) { return {{"meta", {{"key", key}}}}; }

Json field(std::string_view protocol, std::string_view name) {
    return {{"payload", {{"protocol", protocol}, {"field", name}}}};
}

/// Behind one VLAN tag, too, of 802.1Q or 802.1ad, priority tags (VLAN 0) included: a receiving device
/// takes the outer tag off into the packet's notes before the bridge sees it (Linux net/core/dev.c,
/// __netif_receive_skb_core: skb_vlan_untag), and `ether type` would be the noted tag's (net/netfilter/
/// nft_payload.c, nft_payload_copy_vlan). A second tag hides what is in it from all of nft.
Json frames_of(Family family) {
    return equals(meta("protocol"), family == Family::Ipv4 ? "ip" : "ip6");
}

/// First packets of a connection: SYN or SYN+ACK, not RST.
Json opens_connection() {
    const Json flags = Json::array({"syn", "rst"});
    return equals({{"&", Json::array({field("tcp", "flags"), {{"|", flags}}})}}, "syn");
}

Json set_mss(Json value) {
    const Json option = {{"tcp option", {{"name", "maxseg"}, {"field", "size"}}}};
    return {{"mangle", {{"key", option}, {"value", std::move(value)}}}};
}

Json counter() { return {{"counter", nullptr}}; }
Json drop() { return {{"drop", nullptr}}; }
Json masquerade() { return {{"masquerade", nullptr}}; }

/// nft lists a host as a plain address, whichever way it was written.
Json address_set(const IpPrefix& prefix) {
    const std::string address = text(prefix.address());
    if (prefix.length() == prefix.address().max_prefix_length()) return address;
    return {{"prefix", {{"addr", address}, {"len", prefix.length()}}}};
}

std::vector<Json> expressions_of(const rule::Masquerade& rule) {
    const Json leaves = equals(meta("oifname"), rule.out.str());
    if (rule.sources.empty()) {
        Json all = Json::array({leaves, equals(meta("nfproto"), "ipv4")});
        for (const IpAddress& address : rule.except)
            all.push_back(differs(field("ip", "saddr"), text(address)));
        // Any `ip saddr` implies `meta nfproto ipv4`, which nft would leave out of its listing.
        if (!rule.except.empty()) all.erase(1);
        all.push_back(masquerade());
        return {std::move(all)};
    }
    std::vector<Json> out;
    for (const IpPrefix& source : rule.sources) {
        out.push_back(Json::array(
            {leaves, equals(field("ip", "saddr"), address_set(source.network())), masquerade()}));
    }
    return out;
}

std::vector<Json> expressions_of(const rule::ClampMssToRoute&) {
    return {Json::array({opens_connection(), set_mss({{"rt", {{"key", "mtu"}}}})})};
}

std::vector<Json> expressions_of(const rule::ClampMssToConstant& rule) {
    const bool in = rule.direction == rule::ClampMssToConstant::Direction::In;
    return {Json::array({equals(meta(in ? "iifname" : "oifname"), rule.port.str()),
                         frames_of(rule.family), opens_connection(), set_mss(rule.mss)})};
}

std::vector<Json> expressions_of(const rule::DropDhcp& rule) {
    // RFC 2131 §4.1: 67 is the server's port, 68 the client's.
    const Json ports = {{"set", Json::array({67, 68})}};
    return {Json::array({equals(meta("iifname"), rule.port.str()), frames_of(Family::Ipv4),
                         equals(field("udp", "dport"), ports), counter(), drop()})};
}

std::vector<Json> expressions_of(const rule::DropRouterAdvertisement& rule) {
    return {Json::array({equals(meta("iifname"), rule.port.str()), frames_of(Family::Ipv6),
                         equals(field("icmpv6", "type"), "nd-router-advert"), counter(), drop()})};
}

std::vector<Json> expressions_of(const rule::Unknown& rule) {
    const Json parsed = Json::parse(rule.json, nullptr, false);
    if (!parsed.is_object() || !parsed.contains("expr")) return {Json::array()};
    return {parsed["expr"]};
}

Json command(std::string_view verb, std::string_view kind, Json object) {
    return {{verb, {{kind, std::move(object)}}}};
}

Json table_object(const FirewallTable& table) {
    return {{"family", text(table.family)}, {"name", table.name}};
}

Json chain_object(const FirewallTable& table, const FirewallChain& chain) {
    Json out = {{"family", text(table.family)}, {"table", table.name}, {"name", chain.name}};
    if (chain.hook.empty()) return out;   // found only: a chain that others jump to
    out["type"] = chain.type;
    out["hook"] = chain.hook;
    out["prio"] = chain.priority;
    out["policy"] = chain.accept ? "accept" : "drop";
    return out;
}

/// A foreign rule keeps its own comment, or its lack of one.
std::optional<std::string> comment_of(const FirewallRule& rule, const FirewallTable& table) {
    const auto* unknown = std::get_if<rule::Unknown>(&rule);
    if (unknown == nullptr) return table.mark;
    const Json parsed = Json::parse(unknown->json, nullptr, false);
    if (!parsed.is_object() || !parsed.contains("comment")) return std::nullopt;
    return parsed["comment"].get<std::string>();
}

void add_rules(const FirewallTable& table, const FirewallChain& chain, Json& commands) {
    for (const FirewallRule& rule : chain.rules) {
        for (const Json& expression : expressions(rule)) {
            Json object = {{"family", text(table.family)}, {"table", table.name},
                           {"chain", chain.name}, {"expr", expression}};
            if (const auto comment = comment_of(rule, table)) object["comment"] = *comment;
            commands.push_back(command("add", "rule", std::move(object)));
        }
    }
}

void add_table(const FirewallTable& table, std::string_view verb, Json& commands) {
    commands.push_back(command(verb, "table", table_object(table)));
    for (const FirewallChain& chain : table.chains) {
        commands.push_back(command("add", "chain", chain_object(table, chain)));
    }
    for (const FirewallChain& chain : table.chains) add_rules(table, chain, commands);
}

std::string whole(Json commands) { return Json{{"nftables", std::move(commands)}}.dump(); }

}  // namespace

std::vector<Json> expressions(const FirewallRule& rule) {
    return std::visit([](const auto& each) { return expressions_of(each); }, rule);
}

std::string to_nft_json(const FirewallTable& table) {
    Json commands = Json::array();
    add_table(table, "add", commands);
    return whole(std::move(commands));
}

std::string replace_as_nft_json(const std::optional<FirewallTable>& from,
                                const std::optional<FirewallTable>& to) {
    Json commands = Json::array();
    if (from) {
        // Added first, so that the removal does not fail when a hand has removed it already.
        commands.push_back(command("add", "table", table_object(*from)));
        commands.push_back(command("delete", "table", table_object(*from)));
    }
    if (to) {
        const bool ours = from && from->family == to->family && from->name == to->name;
        add_table(*to, ours ? "add" : "create", commands);
    }
    return whole(std::move(commands));
}

std::string list_table_as_nft_json(const FoundTable& table) {
    return whole(Json::array(
        {command("list", "table", {{"family", table.family}, {"name", table.name}})}));
}

std::string list_chains_as_nft_json(std::string_view family) {
    return whole(Json::array({command("list", "chains", {{"family", family}})}));
}

std::string list_chain_as_nft_json(const FoundTable& table, std::string_view chain) {
    return whole(Json::array({command(
        "list", "chain", {{"family", table.family}, {"table", table.name}, {"name", chain}})}));
}

}  // namespace overlay::netlink
