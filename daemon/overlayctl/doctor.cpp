// overlayctl doctor: what this kernel and host can do, and with a file, whether this node can be
// what the file says: each finding with what was seen and what to do about it.

#include "daemon/doctor/doctor.hpp"
#include "daemon/overlayctl/command.hpp"
#include "daemon/reconcile/key_files.hpp"
#include "topology/datapath.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>

namespace overlay {

namespace {

using Json = nlohmann::ordered_json;
using doctor::Finding;
using doctor::Severity;

struct Needs {
    NodeIntent intent;
    std::vector<Finding> key_findings;
};

/// What the file asks of this node. Key files are judged here, since their diagnostics are the
/// apply's own.
Needs needs_of(const CheckedFile& file, const Node& node) {
    const LoadedKeys keys = load_keys(file.topology, node, file.directory, WhichKeys::All);
    Needs out{compile(file.topology, node, keys.preshared), {}};
    for (const Diagnostic& diagnostic : keys.diagnostics) {
        out.key_findings.push_back(
            {Severity::Error, diagnostic.path, diagnostic.message, diagnostic.hint});
    }
    const SecretFiles files = secret_files(file.topology, node);
    const std::size_t count = files.private_keys.size() + files.preshared_keys.size();
    if (out.key_findings.empty() && count > 0) {
        out.key_findings.push_back(
            {Severity::Ok, "key files", fmt::format("{} as they should be", count), ""});
    }
    return out;
}

std::string findings_text(const std::vector<Finding>& findings) {
    std::string out;
    for (const Finding& finding : findings) {
        out += fmt::format("{:<8} {}: {}\n", text(finding.severity), finding.subject,
                           finding.evidence);
        if (!finding.fix.empty()) out += fmt::format("{:<8} fix: {}\n", "", finding.fix);
    }
    return out;
}

std::string findings_json(const std::vector<Finding>& findings) {
    Json list = Json::array();
    for (const Finding& finding : findings) {
        list.push_back(Json{{"severity", text(finding.severity)},
                            {"subject", finding.subject},
                            {"evidence", finding.evidence},
                            {"fix", finding.fix}});
    }
    return Json{{"version", 1}, {"findings", std::move(list)}}.dump(2) + "\n";
}

}  // namespace

int run_doctor(const Arguments& arguments) {
    CommandLine command{
        "doctor [FILE] [--node NODE] [--json]",
        "Looks at this kernel and host: modules, privileges, filters on bridged frames, other "
        "network\n"
        "managers. With FILE also at what this node needs: its key files, interfaces and UDP "
        "ports.\n"
        "Changes nothing. Exit code 6 when something is wrong that would make apply fail."};
    command.optional_positional("FILE");
    command.add_node_option();
    command.add_json_option();
    command.add_directory_options();
    if (const auto over = command.parse(arguments)) return *over;

    std::optional<Needs> needs;
    if (command.has("FILE")) {
        auto file = read_topology(command.text_of("FILE"));
        if (const Exit* over = std::get_if<Exit>(&file)) return *over;
        const CheckedFile& checked = std::get<CheckedFile>(file);
        const auto node = choose_node(checked.topology, command.text_of("node"));
        if (const Exit* over = std::get_if<Exit>(&node)) return *over;
        needs = needs_of(checked, *std::get<const Node*>(node));
    }
    const auto facts = doctor::read_host_facts(
        needs ? doctor::wanted_ports(needs->intent) : std::set<std::uint16_t>{},
        command.directories());
    if (!facts) return complain(facts.error());
    if (needs) choose_datapaths(needs->intent, facts->state);
    std::vector<Finding> findings = doctor::judge(*facts, needs ? &needs->intent : nullptr);
    if (needs)
        findings.insert(findings.end(), needs->key_findings.begin(), needs->key_findings.end());

    const std::string shown =
        command.has("json") ? findings_json(findings) : findings_text(findings);
    print(stdout, shown);
    const bool wrong = std::any_of(findings.begin(), findings.end(),
                                   [](const Finding& f) { return f.severity == Severity::Error; });
    return wrong ? exit_refused : exit_done;
}

}  // namespace overlay
