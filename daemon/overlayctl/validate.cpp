// overlayctl validate: the file alone; needs no privileges and no kernel.

#include "daemon/io/files.hpp"
#include "daemon/overlayctl/command.hpp"
#include "topology/json_document.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>

namespace overlay {

namespace {

using Json = nlohmann::ordered_json;

/// What cannot be read has a finding, too: who reads JSON gets JSON.
ParsedFile unreadable(const Error& error) {
    ParsedFile out;
    out.diagnostics.push_back(
        {Diagnostic::Severity::Error, {}, "", error.doing + ": " + error.reason, error.hint});
    return out;
}

int validate_json(const std::string& path, bool strict) {
    const auto source = io::read_file(path, JsonLimits{}.file_bytes);
    const ParsedFile parsed = source ? parse_topology(*source, path) : unreadable(source.error());
    Json findings = Json::array();
    for (const Diagnostic& d : parsed.diagnostics) {
        findings.push_back(
            {{"severity", d.severity == Diagnostic::Severity::Error ? "error" : "warning"},
             {"file", path},
             {"line", d.at.line},
             {"column", d.at.column},
             {"path", d.path},
             {"message", d.message},
             {"hint", d.hint}});
    }
    const bool valid = parsed.topology && !has_errors(parsed.diagnostics);
    print(stdout, fmt::format("{}\n", Json{{"version", 1}, {"valid", valid}, {"findings", findings}}.dump(
                           2, ' ', false, Json::error_handler_t::replace)));
    if (!source && source.error().kind != Error::Kind::Invalid) return exit_error;
    return valid && (!strict || parsed.diagnostics.empty()) ? exit_done : exit_invalid_file;
}

}  // namespace

int run_validate(const Arguments& arguments) {
    CommandLine command{"validate FILE [--strict] [--json]",
                        "Checks the file: its shape, and that its nodes agree. Says everything it "
                        "finds in one run."};
    command.positional("FILE");
    command.add_json_option();
    command.options().add_options()("strict", "take warnings for errors");
    if (const auto over = command.parse(arguments)) return *over;
    if (command.has("json")) return validate_json(command.text_of("FILE"), command.has("strict"));

    auto file = read_topology(command.text_of("FILE"));
    if (const Exit* over = std::get_if<Exit>(&file)) return *over;
    const CheckedFile& checked = std::get<CheckedFile>(file);
    const auto findings = parse_topology(checked.source, checked.name).diagnostics;
    if (command.has("strict") && !findings.empty()) return exit_invalid_file;
    print(stdout, fmt::format("{}: valid: network {}, hub {}, {} spoke{}\n", checked.name,
               checked.topology.network, checked.topology.hub.name, checked.topology.spokes.size(),
               checked.topology.spokes.size() == 1 ? "" : "s"));
    return exit_done;
}

}  // namespace overlay
