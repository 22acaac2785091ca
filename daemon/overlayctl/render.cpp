// overlayctl render: the node's share of the file in the words of ip, nft, wg, radvd, or as JSON.
// Needs no privileges, no kernel and no key files: what a node would get can be read anywhere.

#include "daemon/overlayctl/command.hpp"
#include "topology/derive.hpp"
#include "topology/render.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdio>

namespace overlay {

namespace po = boost::program_options;

namespace {

constexpr std::array formats{"ip", "nft", "wg", "wg-quick", "radvd", "json"};

struct Wanted {
    std::string format;
    std::string link;  ///< "" when not stated
};

/// The device of the node's one `wireguard` link, or of the one that was asked for.
OrExit<IfName> phone_device(const Topology& topology, const Node& node, const std::string& wanted) {
    std::vector<const LinkSpec*> links;
    std::vector<std::string> ids;
    for (const LinkSpec& link : node.links) {
        if (link.type.value != LinkType::Wireguard) continue;
        if (wanted.empty() || wanted == link_id(node, link)) links.push_back(&link);
        ids.push_back(link_id(node, link));
    }
    if (links.size() == 1) return spoke_wireguard_interface(topology, node, *links.front());
    if (ids.empty()) {
        return complain(fmt::format(
            "{} has no link of type wireguard, which is all that wg-quick can make", node.name));
    }
    return complain(fmt::format("{} has the wireguard links {}: choose with --link", node.name,
                                fmt::join(ids, ", ")));
}

OrExit<std::string> radvd_text(const CheckedFile& file, const std::string& stated) {
    if (!stated.empty()) {
        const auto node = choose_node(file.topology, stated);
        if (const Exit* over = std::get_if<Exit>(&node)) return *over;
    }
    if (!stated.empty() && stated != file.topology.hub.name) {
        return complain(
            fmt::format("only the hub ({}) sends router advertisements", file.topology.hub.name));
    }
    std::string out = render_radvd(file.topology);
    if (out.empty()) return complain("the file has no hub.router_advertisement");
    return out;
}

OrExit<std::string> node_text(const CheckedFile& file, const Node& node, const Wanted& wanted) {
    const NodeIntent intent = compile(file.topology, node, {});
    if (wanted.format == "ip") return render_ip(intent);
    if (wanted.format == "nft") return render_nft(intent);
    if (wanted.format == "wg") return render_wg(intent);
    if (wanted.format == "json") return render_json(intent);
    const auto device = phone_device(file.topology, node, wanted.link);
    if (const Exit* over = std::get_if<Exit>(&device)) return *over;
    return render_wg_quick(intent, std::get<IfName>(device));
}

OrExit<std::string> rendered(const CommandLine& command, const Wanted& wanted) {
    auto file = read_topology(command.text_of("FILE"), Warnings::Hidden);
    if (const Exit* over = std::get_if<Exit>(&file)) return *over;
    const CheckedFile& checked = std::get<CheckedFile>(file);
    if (wanted.format == "radvd") return radvd_text(checked, command.text_of("node"));
    const auto node = choose_node(checked.topology, command.text_of("node"));
    if (const Exit* over = std::get_if<Exit>(&node)) return *over;
    return node_text(checked, *std::get<const Node*>(node), wanted);
}

}  // namespace

int run_render(const Arguments& arguments) {
    CommandLine command{
        "render FILE --format FORMAT [--node NODE] [--link LINK]",
        "Prints one node's share of the file for another program:\n"
        "  ip        a shell script of ip, wg, nft, sysctl, modprobe and ethtool commands\n"
        "  nft       the firewall tables, for nft -f\n"
        "  wg        for wg setconf, one section per device\n"
        "  wg-quick  one `wireguard` link, for wg-quick and the phone apps\n"
        "  radvd     radvd.conf of the hub\n"
        "  json      the desired state, with the place in the file of each object\n"
        "Keys are named by their files, never shown. Nothing is run or changed."};
    command.positional("FILE");
    command.add_node_option();
    command.options().add_options()("format,f", po::value<std::string>()->value_name("FORMAT"),
                                    "ip, nft, wg, wg-quick, radvd or json")(
        "link", po::value<std::string>()->value_name("LINK"),
        "wg-quick: which link, if there are several");
    if (const auto over = command.parse(arguments)) return *over;

    const Wanted wanted{command.text_of("format"), command.text_of("link")};
    if (std::find(formats.begin(), formats.end(), wanted.format) == formats.end()) {
        return complain(
            fmt::format("--format {} {}",
                        wanted.format.empty() ? "is missing: one of"
                                              : "\"" + wanted.format + "\": not one of",
                        fmt::join(formats, ", ")));
    }
    const auto out = rendered(command, wanted);
    if (const Exit* over = std::get_if<Exit>(&out)) return *over;
    const std::string& shown = std::get<std::string>(out);
    print(stdout, shown);
    return exit_done;
}

}  // namespace overlay
