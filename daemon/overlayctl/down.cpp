// overlayctl down: removes exactly what we own and puts former values back.

#include "daemon/overlayctl/command.hpp"
#include "daemon/reconcile/applied.hpp"
#include "topology/render_plan.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

int run_down(const Arguments& arguments) {
    CommandLine command{
        "down [NETWORK] [--json]",
        "Removes exactly what apply made on this node, and puts back what it changed on things\n"
        "that are not ours. NETWORK may be left out when just one is applied here."};
    command.optional_positional("NETWORK");
    command.add_json_option();
    command.add_directory_options();
    if (const auto over = command.parse(arguments)) return *over;

    std::string network = command.text_of("NETWORK");
    const auto applied = LedgerStore{command.directories().state}.networks();
    if (!applied) return complain(applied.error());
    const std::vector<std::string>& networks = *applied;
    if (command.has("NETWORK") && !is_network_name(network))
        return complain(fmt::format("\"{}\" is not the name of a network", network));
    if (network.empty()) {
        if (networks.size() > 1) {
            return complain(
                fmt::format("which network? applied here are: {}", fmt::join(networks, " ")));
        }
        if (networks.empty()) {
            print(stdout, command.has("json") ? plan_json(Plan{}, "") : "nothing is applied here\n");
            return exit_done;
        }
        network = networks.front();
    }
    const Outcome outcome =
        apply(NodeIntent{.network = network}, Secrets{}, {.directories = command.directories()});
    if (outcome.verdict == Outcome::Verdict::Done) {
        const auto forgotten = forget_applied(command.directories().state, network);
        if (!forgotten) return complain(forgotten.error());
    }
    // What lost its ledger is still known by its marks, so this is known only now.
    const bool unknown = std::find(networks.begin(), networks.end(), network) == networks.end();
    if (unknown && outcome.plan.is_empty() && outcome.verdict == Outcome::Verdict::Done) {
        complain(fmt::format("network {} is not applied here{}{}", network,
                             networks.empty() ? "" : "; applied here are: ",
                             fmt::join(networks, " ")));
    }
    return report(outcome, {"", command.has("json")});
}

}  // namespace overlay
