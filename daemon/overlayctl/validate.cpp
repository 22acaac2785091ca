// overlayctl validate: the file alone; needs no privileges and no kernel.

#include "daemon/overlayctl/command.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>

namespace overlay {

namespace {

using Json = nlohmann::ordered_json;

int validate_json(const std::string& path) {
    const auto source = read_source(path);
    if (const Exit* over = std::get_if<Exit>(&source)) return *over;
    const ParsedFile parsed = parse_topology(std::get<std::string>(source), path);
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
    fmt::print("{}\n", Json{{"version", 1}, {"valid", valid}, {"findings", findings}}.dump(
                           2, ' ', false, Json::error_handler_t::replace));
    return valid ? exit_done : exit_invalid_file;
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
    if (command.has("json")) return validate_json(command.text_of("FILE"));

    auto file = read_topology(command.text_of("FILE"));
    if (const Exit* over = std::get_if<Exit>(&file)) return *over;
    const CheckedFile& checked = std::get<CheckedFile>(file);
    const auto findings = parse_topology(checked.source, checked.name).diagnostics;
    if (command.has("strict") && !findings.empty()) return exit_invalid_file;
    fmt::print("{}: valid: network {}, hub {}, {} spoke{}\n", checked.name,
               checked.topology.network, checked.topology.hub.name, checked.topology.spokes.size(),
               checked.topology.spokes.size() == 1 ? "" : "s");
    return exit_done;
}

}  // namespace overlay
