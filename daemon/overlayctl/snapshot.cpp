// overlayctl snapshot: this kernel's state as JSON, for `diff --against` and for bug reports.

#include "daemon/overlayctl/command.hpp"
#include "daemon/reconcile/live_kernel.hpp"
#include "topology/state_json.hpp"

#include <cstdio>

namespace overlay {

int run_snapshot(const Arguments& arguments) {
    CommandLine command{"snapshot",
                        "Prints what the kernel has, in this network namespace, of all that "
                        "overlayctl knows: links,\n"
                        "addresses, routes, FOU ports, WireGuard devices, sysctls, offloads, "
                        "firewall tables. Input of\n"
                        "`diff --against`. Writes nothing and loads no module. Private and "
                        "preshared keys are not in it."};
    command.add_directory_options();
    if (const auto over = command.parse(arguments)) return *over;

    auto kernel = netlink::Kernel::open();
    if (!kernel) return complain(kernel.error());
    Secrets secrets;
    const Directories directories = command.directories();
    control::Overlayd overlayd{directories.run, directories.state};
    const auto state = LiveKernel{*kernel, overlayd, secrets}.snapshot();
    if (!state) return complain(state.error());
    const std::string json = to_json(*state);
    print(stdout, json);
    return exit_done;
}

}  // namespace overlay
