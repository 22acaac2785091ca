// libnftables' listings → typed firewall tables: objects are sorted into chains, rules and extras;
// a rule is guessed from the values in it, written again by firewall_write.cpp, and believed when
// the result is what was listed. Listings differ between versions of libnftables in ways that mean
// nothing; normalised() knows those.

#include "netlink/firewall_expressions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include <net/if.h>

namespace overlay::netlink {

namespace {

using Direction = rule::ClampMssToConstant::Direction;

bool matches_field(const Json& statement, std::string_view protocol, std::string_view name) {
    const Json wanted = {{"payload", {{"protocol", protocol}, {"field", name}}}};
    return statement.contains("match") && statement["match"].value("left", Json{}) == wanted;
}

/// The same expression, whichever version of libnftables has listed it and however much it counted.
Json normalised(const Json& value) {
    if (value.is_array()) {
        static const Json left = {{"meta", {{"key", "protocol"}}}};
        static const Json ipv6_frames = {
            {"match", {{"op", "=="}, {"left", left}, {"right", "ip6"}}}};
        Json out = Json::array();
        for (const Json& element : value) {
            // 1.0.6 leaves `meta protocol ip6` out before `icmpv6`, which implies it.
            if (element.is_object() && matches_field(element, "icmpv6", "type") && !out.empty() &&
                out.back() == ipv6_frames) {
                out.erase(out.size() - 1);
            }
            out.push_back(normalised(element));
        }
        return out;
    }
    if (!value.is_object()) return value;
    // Flags: {"|": ["syn", "rst"]} as documented, ["syn", "rst"] as 1.0.6 lists them.
    if (value.size() == 1 && value.contains("|")) return normalised(value["|"]);
    Json out = Json::object();
    for (const auto& [key, member] : value.items()) {
        const bool counts = key == "counter" && member.is_object();
        out[key] = counts ? Json(nullptr) : normalised(member);
    }
    return out;
}

/// The values that a rule's expression holds, wherever they stand.
struct Seen {
    IfName interface;
    std::optional<IpPrefix> source;
    std::vector<IpAddress> except;   ///< sources, too
    std::uint16_t mss = 0;
};

std::optional<IpPrefix> prefix_of(const Json& value) {
    if (value.is_string()) {
        const auto address = IpAddress::parse(value.get<std::string>());
        return address ? std::optional{IpPrefix::host(*address)} : std::nullopt;
    }
    if (!value.is_object() || !value.contains("prefix")) return std::nullopt;
    const Json& prefix = value["prefix"];
    if (!prefix.contains("len") || !prefix["len"].is_number_unsigned()) return std::nullopt;
    return IpPrefix::parse(fmt::format("{}/{}", prefix.value("addr", ""),
                                       prefix["len"].get<std::uint64_t>()));
}

/// None when no device can have it. nft refuses such a name; whoever writes rules without nft may say 16 bytes.
IfName device_name(const std::string& listed) {
    const bool fits = listed.size() < IFNAMSIZ && listed.find('\0') == std::string::npos;
    return fits ? IfName::from_kernel(listed) : IfName{};
}

Seen values_in(const Json& expression) {
    Seen seen;
    for (const Json& statement : expression) {
        if (!statement.is_object()) continue;
        if (statement.contains("match")) {
            const Json& right = statement["match"].value("right", Json{});
            const Json left = statement["match"].value("left", Json{});
            if (left.contains("meta") && right.is_string() &&
                left["meta"].value("key", "").ends_with("ifname")) {
                seen.interface = device_name(right.get<std::string>());
            }
            if (matches_field(statement, "ip", "saddr")) {
                seen.source = prefix_of(right);
                if (seen.source) seen.except.push_back(seen.source->address());
            }
        }
        if (statement.contains("mangle")) {
            const Json value = statement["mangle"].value("value", Json{});
            if (value.is_number_unsigned() && value.get<std::uint64_t>() <= 0xffff) {
                seen.mss = value.get<std::uint16_t>();
            }
        }
    }
    return seen;
}

/// Every rule of ours that could hold these values.
std::vector<FirewallRule> guesses(const Seen& seen) {
    std::vector<FirewallRule> out{
        rule::Masquerade{seen.interface, {}, {}}, rule::ClampMssToRoute{},
        rule::DropDhcp{seen.interface}, rule::DropRouterAdvertisement{seen.interface}};
    if (seen.source) out.push_back(rule::Masquerade{seen.interface, {*seen.source}, {}});
    if (seen.source) out.push_back(rule::Masquerade{seen.interface, {}, seen.except});
    for (const Direction direction : {Direction::In, Direction::Out}) {
        for (const Family family : {Family::Ipv4, Family::Ipv6}) {
            out.push_back(rule::ClampMssToConstant{seen.interface, direction, family, seen.mss});
        }
    }
    return out;
}

/// `object`: a listed rule. Without handle and counts, which are not part of what it says.
rule::Unknown unknown(const Json& object) {
    Json kept = Json::object();
    for (const auto& [key, member] : object.items()) {
        if (key == "family" || key == "table" || key == "chain" || key == "handle") continue;
        kept[key] = key == "expr" ? normalised(member) : member;
    }
    return {kept.dump()};
}

FirewallRule rule_of(const Json& object, const std::string& mark) {
    static constexpr std::array known{"family", "table", "chain", "handle", "comment", "expr"};
    for (const auto& [key, member] : object.items()) {
        if (std::find(known.begin(), known.end(), key) == known.end()) return unknown(object);
    }
    if (object.value("comment", "") != mark) return unknown(object);
    const Json found = normalised(object.at("expr"));
    for (const FirewallRule& guess : guesses(values_in(object.at("expr")))) {
        if (normalised(expressions(guess).front()) == found) return guess;
    }
    return unknown(object);
}

/// Appends, or joins a masquerade's further source to the rule before it (see firewall_json.hpp).
void append(std::vector<FirewallRule>& rules, FirewallRule next) {
    auto* more = std::get_if<rule::Masquerade>(&next);
    auto* last = rules.empty() ? nullptr : std::get_if<rule::Masquerade>(&rules.back());
    if (more != nullptr && last != nullptr && more->out == last->out && !more->sources.empty() &&
        !last->sources.empty() && last->sources.back() < more->sources.front()) {
        last->sources.push_back(more->sources.front());
        return;
    }
    rules.push_back(std::move(next));
}

class Reader {
  public:
    explicit Reader(const FoundTable& table) {
        table_.name = table.name;
        table_.family = table.family == "bridge" ? TableFamily::Bridge : TableFamily::Inet;
    }

    /// `objects` must outlive the reader.
    void add(const Json& objects) {
        for (const Json& object : objects) {
            for (const auto& [kind, body] : object.items()) sort_in(kind, body);
        }
    }

    FirewallTable finish() {
        table_.mark = mark();
        for (const Json* rule : rules_) {
            const std::string name = rule->at("chain").get<std::string>();
            const auto chain = std::find_if(
                table_.chains.begin(), table_.chains.end(),
                [&name](const FirewallChain& each) { return each.name == name; });
            if (chain == table_.chains.end()) continue;   // made between two messages of the dump
            append(chain->rules, rule_of(*rule, table_.mark));
        }
        std::sort(table_.chains.begin(), table_.chains.end(),
                  [](const auto& a, const auto& b) { return a.name < b.name; });
        std::sort(table_.extras.begin(), table_.extras.end());
        return std::move(table_);
    }

  private:
    void sort_in(const std::string& kind, const Json& body) {
        if (kind == "metainfo") return;
        if (kind == "rule") {
            rules_.push_back(&body);
        } else if (kind == "chain") {
            add_chain(body);
        } else if (kind == "table") {
            add_table(body);
        } else {
            table_.extras.push_back(fmt::format("{} {}", kind, body.value("name", "")));
        }
    }

    void add_table(const Json& body) {
        for (const auto& [key, member] : body.items()) {
            if (key == "name" || key == "family" || key == "handle") continue;
            table_.extras.push_back("table's " + key);
        }
    }

    void add_chain(const Json& body) {
        static constexpr std::array known{"family", "table", "name", "handle",
                                          "type",   "hook",  "prio", "policy"};
        FirewallChain chain;
        chain.name = body.at("name").get<std::string>();
        chain.type = body.value("type", "");
        chain.hook = body.value("hook", "");
        chain.accept = body.value("policy", "accept") == "accept";
        const Json priority = body.value("prio", Json(0));
        if (priority.is_number_integer()) {
            chain.priority = priority.get<int>();
        } else {
            table_.extras.push_back(fmt::format("chain {}'s priority {}", chain.name,
                                                priority.dump()));
        }
        for (const auto& [key, member] : body.items()) {
            if (std::find(known.begin(), known.end(), key) != known.end()) continue;
            table_.extras.push_back(fmt::format("chain {}'s {}", chain.name, key));
        }
        table_.chains.push_back(std::move(chain));
    }

    [[nodiscard]] std::string mark() const {
        for (const Json* rule : rules_) {
            if (rule->contains("comment")) return rule->at("comment").get<std::string>();
        }
        return {};
    }

    FirewallTable table_;
    std::vector<const Json*> rules_;
};

/// Runs `read`; whatever is not as libnftables-json(5) says becomes an error.
template <class Read>
auto from_listing(const Read& read) -> Result<std::invoke_result_t<Read>> {
    try {
        return read();
    } catch (const Json::exception& error) {
        return fail(Error::Kind::Failed, "read libnftables' listing", error.what());
    }
}

}  // namespace

Result<std::vector<std::string>> chain_names_from_nft_json(const FoundTable& table,
                                                           std::string_view listing) {
    return from_listing([&] {
        std::vector<std::string> names;
        const Json parsed = Json::parse(listing);
        for (const Json& object : parsed.at("nftables")) {
            if (!object.contains("chain")) continue;
            const Json& chain = object.at("chain");
            if (chain.at("family") != table.family || chain.at("table") != table.name) continue;
            names.push_back(chain.at("name").get<std::string>());
        }
        return names;
    });
}

Result<FirewallTable> table_from_nft_json(const FoundTable& table,
                                          const std::vector<std::string>& listings) {
    return from_listing([&] {
        Reader reader{table};
        std::vector<Json> parsed;
        for (const std::string& listing : listings) parsed.push_back(Json::parse(listing));
        for (const Json& listing : parsed) reader.add(listing.at("nftables"));
        return reader.finish();
    });
}

}  // namespace overlay::netlink
