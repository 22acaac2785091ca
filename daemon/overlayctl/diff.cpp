// overlayctl diff: what would change on this node. Never writes to the kernel and loads no module.

#include "daemon/overlayctl/command.hpp"
#include "daemon/reconcile/key_files.hpp"
#include "topology/state_json.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace overlay {

namespace po = boost::program_options;

namespace {

/// The plan against the running kernel, or against a snapshot taken elsewhere.
Result<Plan> make_plan(const CheckedFile& file, const Node& node, const CommandLine& command) {
    LoadedKeys keys = load_keys(file.topology, node, file.directory, WhichKeys::PresharedOnly);
    NodeIntent intent = compile(file.topology, node, keys.preshared);
    if (!command.has("against")) {
        auto prepared = prepare(std::move(intent), std::move(keys.secrets), command.directories());
        if (!prepared) return pass_on(prepared);
        return std::move(prepared->plan);
    }
    const std::string path = command.text_of("against");
    const auto text = io::read_file(path, 64 * 1024 * 1024);
    if (!text) return pass_on(text);
    const auto found = state_from_json(*text);
    if (!found) {
        Error error = found.error();
        error.doing = path + ": " + error.doing;
        return fail(std::move(error));
    }
    return plan_against(intent, *found, command.directories());
}

}  // namespace

int run_diff(const Arguments& arguments) {
    CommandLine command{
        "diff FILE [--node NODE] [--json] [--against SNAPSHOT] [--out PLAN]",
        "Shows what apply would change on this node, object by object, with the impact on\n"
        "traffic and the place in the file. Exit code 0: nothing; 2: something; 6: apply would "
        "refuse."};
    command.positional("FILE");
    command.add_node_option();
    command.add_json_option();
    command.add_directory_options();
    command.options().add_options()(
        "against", po::value<std::string>()->value_name("SNAPSHOT"),
        "compare with the output of `overlayctl snapshot`, not with this kernel")(
        "out", po::value<std::string>()->value_name("PLAN"), "write the plan, for `apply --plan`");
    if (const auto over = command.parse(arguments)) return *over;

    auto file = read_topology(command.text_of("FILE"));
    if (const Exit* over = std::get_if<Exit>(&file)) return *over;
    const CheckedFile& checked = std::get<CheckedFile>(file);
    const auto node = choose_node(checked.topology, command.text_of("node"));
    if (const Exit* over = std::get_if<Exit>(&node)) return *over;

    const auto made = make_plan(checked, *std::get<const Node*>(node), command);
    if (!made) return complain(made.error());
    if (command.has("out")) {
        const auto saved = io::replace_file(command.text_of("out"), plan_json(*made, ""), 0644);
        if (!saved) return complain(saved.error());
    }
    const std::string shown = command.has("json")
                                  ? plan_json(*made, checked.name)
                                  : plan_text(*made, checked.name, colour_of_stdout());
    print(stdout, shown);
    if (!made->refusals.empty()) return exit_refused;
    return made->is_empty() ? exit_done : exit_differences;
}

}  // namespace overlay
