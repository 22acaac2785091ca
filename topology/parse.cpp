// From the bytes of a file to a topology and everything that is wrong with it: JSON
// (json_document), shape (this file and parse_*.cpp), meaning (validate). Meaning is judged only
// when the shape is right, because a value that was refused would make its neighbours look wrong.

#include "topology/derive.hpp"
#include "topology/parse_parts.hpp"
#include "topology/topology.hpp"
#include "topology/validate.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {
namespace {

constexpr std::int64_t known_version = 1;

void parse_version(Findings& findings, const ObjectReader& object) {
    const auto item = object.require("version", "\"version\": 1");
    if (!item || !expect(findings, *item, JsonValue::Kind::Integer)) return;
    if (item->value->integer == known_version) return;
    findings.error(item->at(), item->path,
                   fmt::format("version {} is not known; this program reads version {}",
                               item->value->integer, known_version));
}

void parse_network(Findings& findings, const ObjectReader& object, Topology& topology) {
    topology.network_at = object.at();
    const auto item = object.require("network", "a short name, such as \"network\": \"home\"");
    if (!item) return;
    const auto name = read_text<std::string>(findings, *item);
    if (!name) return;
    topology.network = *name;
    topology.network_at = item->at();
    if (is_network_name(*name)) return;
    findings.error(item->at(), item->path,
                   fmt::format("{} is not the name of a network", quoted(*name)),
                   "a lower-case letter, then also digits, '_' and '-', at most 32 in all");
}

void parse_spokes(Findings& findings, const ObjectReader& object, Topology& topology) {
    const auto item = object.require("spokes", "\"spokes\": { \"office\": { \"link\": { … } } }");
    if (!item || !expect(findings, *item, JsonValue::Kind::Object)) return;
    for (const JsonMember& member : item->value->members) {
        parse_spoke(findings, Item{&member.value, "spokes." + member.key}, member.key_at, topology);
    }
    std::sort(topology.spokes.begin(), topology.spokes.end(),
              [](const Node& a, const Node& b) { return a.name < b.name; });
}

/// Defaults that other parts of the file decide.
void fill_in_nat_ports(Topology& topology) {
    for (Node& spoke : topology.spokes) {
        for (LinkSpec& link : spoke.links) {
            if (!link.nat || link.nat->port.value != 0) continue;
            link.nat->port.value = spoke_gue_port(topology, link);
        }
    }
}

Topology parse_root(Findings& findings, const JsonValue& root, std::string_view file_name) {
    Topology topology;
    topology.file_name = std::string{file_name};
    const ObjectReader object{findings, Item{&root, ""},
                              KeyTable{{"version", "network", "hub", "spokes", "$schema"}, {}}};
    if (!object.is_object()) return topology;
    if (const auto schema = object.find("$schema")) {
        (void)expect(findings, *schema, JsonValue::Kind::String);   // for editors; says nothing to us
    }
    parse_version(findings, object);
    parse_network(findings, object, topology);
    if (const auto hub = object.require("hub")) parse_hub(findings, *hub, topology);
    parse_spokes(findings, object, topology);
    fill_in_nat_ports(topology);
    return topology;
}

}  // namespace

ParsedFile parse_topology(std::string_view source, std::string_view file_name) {
    ParsedFile out;
    JsonDocument document = parse_json(source, file_name);
    out.diagnostics = std::move(document.diagnostics);
    if (document.root) {
        Findings findings{file_name};
        Topology topology = parse_root(findings, *document.root, file_name);
        for (Diagnostic& found : findings.take()) out.diagnostics.push_back(std::move(found));
        if (!has_errors(out.diagnostics)) {
            for (Diagnostic& found : validate(topology))
                out.diagnostics.push_back(std::move(found));
            out.topology = std::move(topology);
        }
    }
    if (out.diagnostics.size() >= max_findings) {
        out.diagnostics.push_back(
            Diagnostic{.at = {},
                       .path = {},
                       .message = "too many findings; these are the first of them",
                       .hint = {}});
    }
    std::stable_sort(out.diagnostics.begin(), out.diagnostics.end(),
                     [](const Diagnostic& a, const Diagnostic& b) { return a.at < b.at; });
    return out;
}

const Node* Topology::find(std::string_view node) const {
    if (hub.name == node) return &hub;
    const auto found = std::find_if(spokes.begin(), spokes.end(),
                                    [&](const Node& spoke) { return spoke.name == node; });
    return found == spokes.end() ? nullptr : &*found;
}

std::vector<std::string> Topology::node_names() const {
    std::vector<std::string> out{hub.name};
    for (const Node& spoke : spokes) out.push_back(spoke.name);
    return out;
}

std::string_view text(LinkType type) {
    switch (type) {
        case LinkType::GretapGue: return "gretap-gue";
        case LinkType::GretapWireguard: return "gretap-wireguard";
        case LinkType::Wireguard: return "wireguard";
    }
    return "?";
}

}  // namespace overlay
