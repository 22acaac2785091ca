// overlayctl apply: makes the node as the file says, all or nothing.

#include "daemon/overlayctl/command.hpp"
#include "daemon/reconcile/applied.hpp"
#include "daemon/reconcile/key_files.hpp"

#include <filesystem>

namespace overlay {

namespace po = boost::program_options;

int run_apply(const Arguments& arguments) {
    CommandLine command{
        "apply FILE [--node NODE] [--plan PLAN] [--no-disrupt] [--json]",
        "Makes this node as the file says. A step that fails undoes all before it (exit code 4).\n"
        "A second apply changes nothing and writes nothing. Objects that are neither ours nor "
        "named\n"
        "\"existing\" in the file are never touched; one in the way is exit code 6."};
    command.positional("FILE");
    command.add_node_option();
    command.add_json_option();
    command.add_directory_options();
    command.options().add_options()(
        "plan", po::value<std::string>()->value_name("PLAN"),
        "apply exactly the plan of `diff --out`; refuse if the world has moved")(
        "no-disrupt", "refuse if any step would disrupt traffic");
    if (const auto over = command.parse(arguments)) return *over;

    auto file = read_topology(command.text_of("FILE"));
    if (const Exit* over = std::get_if<Exit>(&file)) return *over;
    const CheckedFile& checked = std::get<CheckedFile>(file);
    const auto chosen = choose_node(checked.topology, command.text_of("node"));
    if (const Exit* over = std::get_if<Exit>(&chosen)) return *over;
    const Node& node = *std::get<const Node*>(chosen);

    ApplyOptions options{.directories = command.directories()};
    if (command.has("no-disrupt")) options.disruption = ApplyOptions::Disruption::Refused;
    if (command.has("plan")) {
        auto reviewed = io::read_file(command.text_of("plan"), 64 * 1024 * 1024);
        if (!reviewed) return complain(reviewed.error());
        options.reviewed_plan = std::move(*reviewed);
    }
    LoadedKeys keys = load_keys(checked.topology, node, checked.directory, WhichKeys::All);
    if (has_errors(keys.diagnostics)) {
        print_diagnostics(keys.diagnostics, checked);
        return exit_invalid_file;
    }
    NodeIntent intent = compile(checked.topology, node, keys.preshared);
    const std::string& state = options.directories.state;
    const Outcome outcome = apply(std::move(intent), std::move(keys.secrets), options);
    if (outcome.verdict == Outcome::Verdict::Done) {
        const Applied applied{std::filesystem::absolute(checked.name), node.name, checked.source};
        if (const auto saved = save_applied(state, checked.topology.network, applied); !saved)
            complain(saved.error());
    }
    return report(outcome, {checked.name, command.has("json")});
}

}  // namespace overlay
