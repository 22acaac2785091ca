// From the bytes of a file to a topology and everything that is wrong with it: JSON
// (json_document), shape (this file and parse_*.cpp), meaning (validate). A value that was refused
// can make its neighbours look wrong, and one that is said twice can make them look right or wrong;
// so such a file is read several times, and of the errors of meaning only those are said that hold
// in every reading (stand_in.hpp).

#include "topology/derive.hpp"
#include "topology/parse_parts.hpp"
#include "topology/topology.hpp"
#include "topology/validate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

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
    if (item) topology.network_at = item->at();
    const auto name = item ? read_text<std::string>(findings, *item) : std::nullopt;
    const bool good = name && is_network_name(*name);
    topology.network =
        good ? *name : stand_in<std::string>(findings.reading().guess, topology.network_at);
    if (good || !name) return;
    findings.error(item->at(), item->path,
                   fmt::format("{} is not the name of a network", in_quotes(*name)),
                   "a lower-case letter, then also digits, '_' and '-', at most 32 in all");
}

void parse_spokes(Findings& findings, const ObjectReader& object, Topology& topology) {
    const auto item = object.require("spokes", "\"spokes\": { \"office\": { \"link\": { … } } }");
    if (!item || !expect(findings, *item, JsonValue::Kind::Object)) return;
    for (const JsonMember* member : members_of(findings, *item->value)) {
        parse_spoke(findings, *member, topology);
    }
    std::stable_sort(topology.spokes.begin(), topology.spokes.end(),
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
    if (!object.is_object()) return topology;  // nothing is known of anything
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

/// What one reading of the file leads to.
struct Judgement {
    Topology topology;
    std::vector<Diagnostic> shape, meaning;
    std::vector<Alternative> alternatives;
};

Judgement judge(const JsonValue& root, std::string_view file_name, const Reading& reading) {
    Findings findings{file_name, reading};
    Judgement out;
    out.topology = parse_root(findings, root, file_name);
    out.shape = findings.take();
    out.alternatives = findings.alternatives();
    if (root.kind == JsonValue::Kind::Object && out.shape.size() < max_findings)
        out.meaning = validate(out.topology);
    return out;
}

bool contains(const std::vector<Diagnostic>& all, const Diagnostic& one) {
    return std::find(all.begin(), all.end(), one) != all.end();
}

/// Adds what is not there yet.
void merge(std::vector<Diagnostic>& all, std::vector<Diagnostic> more) {
    for (Diagnostic& found : more) {
        if (!contains(all, found)) all.push_back(std::move(found));
    }
}

/// Leaves the errors that hold whatever stands where a value was refused. Warnings can wait.
void keep_certain(Judgement& judged, const JsonValue& root, std::string_view file_name,
                  Reading reading) {
    std::erase_if(judged.meaning, [](const Diagnostic& found) {
        return found.severity == Diagnostic::Severity::Warning;
    });
    for (reading.guess = 1; reading.guess < Reading::guesses; ++reading.guess) {
        if (judged.meaning.empty()) return;
        const Judgement other = judge(root, file_name, reading);
        std::erase_if(judged.meaning,
                      [&](const Diagnostic& found) { return !contains(other.meaning, found); });
    }
}

/// Inside one of several things of which only one can be meant, an error of this one is no error of
/// the others.
bool is_in(const std::vector<Alternative>& alternatives, const Diagnostic& found) {
    return std::any_of(alternatives.begin(), alternatives.end(), [&](const Alternative& each) {
        return each.begin <= found.at && found.at <= each.end;
    });
}

/// Of a file in which something is refused or said twice.
std::vector<Diagnostic> judge_refused(Judgement first, const JsonValue& root,
                                      std::string_view file_name) {
    const std::vector<Alternative> alternatives = std::move(first.alternatives);
    keep_certain(first, root, file_name, {});
    std::vector<Diagnostic> out = std::move(first.shape);
    std::vector<Diagnostic> meaning = std::move(first.meaning);
    std::size_t occurrences = 1;
    for (const Alternative& each : alternatives)
        occurrences = std::min(std::max(occurrences, each.number + 1), Reading::occurrences);
    for (std::size_t occurrence = 1; occurrence < occurrences; ++occurrence) {
        if (out.size() >= max_findings) break;
        // The last one, even if it is the tenth.
        const bool is_last = occurrence + 1 == occurrences;
        const Reading reading{.guess = 0, .occurrence = is_last ? SIZE_MAX : occurrence};
        Judgement next = judge(root, file_name, reading);
        keep_certain(next, root, file_name, reading);
        std::erase_if(meaning, [&](const Diagnostic& found) {
            return !is_in(alternatives, found) && !contains(next.meaning, found);
        });
        std::erase_if(next.meaning, [&](const Diagnostic& found) {
            return !is_in(alternatives, found);
        });
        merge(meaning, std::move(next.meaning));
        merge(out, std::move(next.shape));
    }
    merge(out, std::move(meaning));
    return out;
}

void end_with_limit(std::vector<Diagnostic>& diagnostics) {
    if (diagnostics.size() < max_findings) return;
    diagnostics.push_back(Diagnostic{.at = {},
                                     .path = {},
                                     .message = "too many findings; these are the first of them",
                                     .hint = {}});
}

}  // namespace

ParsedFile parse_topology(std::string_view source, std::string_view file_name) {
    ParsedFile out;
    JsonDocument document = parse_json(source, file_name);
    out.diagnostics = std::move(document.diagnostics);
    if (document.root) {
        Judgement judged = judge(*document.root, file_name, Reading{});
        if (out.diagnostics.empty() && judged.shape.empty()) {
            out.diagnostics = std::move(judged.meaning);
            out.topology = std::move(judged.topology);
        } else {
            merge(out.diagnostics, judge_refused(std::move(judged), *document.root, file_name));
        }
    }
    end_with_limit(out.diagnostics);
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

std::string_view text(DatapathChoice choice) {
    switch (choice) {
        case DatapathChoice::Auto: return "auto";
        case DatapathChoice::Kernel: return "kernel";
        case DatapathChoice::Userspace: return "userspace";
    }
    return "?";
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
