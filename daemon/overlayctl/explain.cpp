// overlayctl explain FILE mtu LINK: the sum behind a link's MTU, line by line, with what follows
// from it.

#include "daemon/overlayctl/command.hpp"
#include "topology/derive.hpp"
#include "topology/mtu.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>

namespace overlay {

namespace {

using Json = nlohmann::ordered_json;

struct NamedLink {
    std::string id;
    const Node* spoke;
    const LinkSpec* link;
};

std::vector<NamedLink> all_links(const Topology& topology) {
    std::vector<NamedLink> out;
    for (const Node& spoke : topology.spokes) {
        for (const LinkSpec& link : spoke.links)
            out.push_back({link_id(spoke, link), &spoke, &link});
    }
    return out;
}

std::string mtu_text(const Topology& topology, const MtuEngine& mtus, const NamedLink& named) {
    const MtuBreakdown mtu = mtus.explain(*named.spoke, *named.link);
    std::vector<MtuLine> after;
    if (mtu.wireguard_hub) {
        after.push_back(
            {"WireGuard device of the hub", static_cast<std::int32_t>(mtu.wireguard_hub->bytes())});
        after.push_back({"WireGuard device of the spoke",
                         static_cast<std::int32_t>(mtu.wireguard_spoke->bytes())});
    }
    for (const auto& [whose, node] : {std::pair{"hub", &topology.hub}, std::pair{"spoke", named.spoke}}) {
        const auto bridge = mtus.bridge(*node);   // that of another's tunnel, or Ethernet's 1500
        const bool is_port = node->is_hub ? hub_end_is_bridged(topology, *named.link)
                                          : spoke_end_is_bridged(*node, *named.link);
        if (is_port && bridge && *bridge < mtu.link)
            after.push_back({fmt::format("bridge of the {}", whose), static_cast<std::int32_t>(bridge->bytes())});
    }
    after.push_back({"TCP MSS over IPv4", mtu.mss4});
    after.push_back({"TCP MSS over IPv6", mtu.mss6});
    const std::string total = named.link->type.value == LinkType::Wireguard
                                  ? "MTU of the WireGuard link"
                                  : "MTU of the tunnel, both ends";
    std::size_t width = total.size();
    for (const MtuLine& line : mtu.lines) width = std::max(width, line.label.size());
    for (const MtuLine& line : after) width = std::max(width, line.label.size());
    const auto row = [&](const std::string& label, std::int32_t bytes) {
        return fmt::format("  {:<{}}  {:>6}\n", label, width, bytes);
    };
    std::string out =
        fmt::format("{}: {} between {} and {}\n\n", named.id, text(named.link->type.value),
                    topology.hub.name, named.spoke->name);
    for (const MtuLine& line : mtu.lines) out += row(line.label, line.bytes);
    out += fmt::format("  {:-<{}}\n", "", width + 8);
    out += row(total, static_cast<std::int32_t>(mtu.link.bytes())) + "\n";
    for (const MtuLine& line : after) out += row(line.label, line.bytes);
    out += "\n";
    for (const std::string& note : mtu.notes) out += "  " + note + "\n";
    return out;
}

Json mtu_json(const Topology& topology, const MtuEngine& mtus, const NamedLink& named) {
    const MtuBreakdown mtu = mtus.explain(*named.spoke, *named.link);
    const auto number = [](const std::optional<Mtu>& value) {
        return value ? Json(value->bytes()) : Json(nullptr);
    };
    Json lines = Json::array();
    for (const MtuLine& line : mtu.lines)
        lines.push_back(Json{{"label", line.label}, {"bytes", line.bytes}});
    return Json{{"link", named.id},
                {"type", text(named.link->type.value)},
                {"hub", topology.hub.name},
                {"spoke", named.spoke->name},
                {"lines", std::move(lines)},
                {"underlay_mtu", mtu.underlay.bytes()},
                {"link_mtu", mtu.link.bytes()},
                {"wireguard_hub_mtu", number(mtu.wireguard_hub)},
                {"wireguard_spoke_mtu", number(mtu.wireguard_spoke)},
                {"mss_ipv4", mtu.mss4},
                {"mss_ipv6", mtu.mss6},
                {"notes", mtu.notes}};
}

Exit unknown_link(const std::string& wanted, const std::vector<NamedLink>& links) {
    std::vector<std::string> ids;
    for (const NamedLink& link : links) ids.push_back(link.id);
    const std::string near = closest(wanted, ids);
    return complain(fmt::format("no link \"{}\"{}; the links of this file are: {}", wanted,
                                near.empty() ? "" : ", did you mean \"" + near + "\"?",
                                fmt::join(ids, " ")));
}

}  // namespace

int run_explain(const Arguments& arguments) {
    CommandLine command{
        "explain FILE mtu [LINK] [--json]",
        "Shows how the MTU of a link comes about: from the underlay's MTU through every header to\n"
        "the tunnel's MTU and the TCP MSS. LINK is a spoke (\"office\"), or a spoke and one of "
        "its\n"
        "links (\"office.backup\"); without it, every link is shown."};
    command.positional("FILE");
    command.positional("TOPIC");
    command.optional_positional("LINK");
    command.add_json_option();
    if (const auto over = command.parse(arguments)) return *over;
    if (command.text_of("TOPIC") != "mtu") {
        return complain(
            fmt::format("\"{}\" cannot be explained; only \"mtu\" can", command.text_of("TOPIC")));
    }
    auto file = read_topology(command.text_of("FILE"), Warnings::Hidden);
    if (const Exit* over = std::get_if<Exit>(&file)) return *over;
    const Topology& topology = std::get<CheckedFile>(file).topology;

    const std::string wanted = command.text_of("LINK");
    const std::vector<NamedLink> links = all_links(topology);
    const MtuEngine mtus{topology};
    std::string shown;
    Json json = Json::array();
    for (const NamedLink& link : links) {
        if (!wanted.empty() && link.id != wanted) continue;
        shown += (shown.empty() ? "" : "\n") + mtu_text(topology, mtus, link);
        json.push_back(mtu_json(topology, mtus, link));
    }
    if (json.empty() && !wanted.empty()) return unknown_link(wanted, links);
    if (json.empty()) shown = "the file has no links\n";
    if (command.has("json"))
        shown = Json{{"version", 1}, {"links", std::move(json)}}.dump(2) + "\n";
    print(stdout, shown);
    return exit_done;
}

}  // namespace overlay
