// overlayctl: one verb per file beside this one; this file only finds the verb.

#include "daemon/overlayctl/command.hpp"

#include <fmt/format.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <string_view>

namespace overlay {

namespace {

struct Verb {
    std::string_view name;
    int (*run)(const Arguments&);
    std::string_view what;
};

constexpr std::array verbs{
    Verb{"validate", run_validate, "check the file; needs no privileges and no kernel"},
    Verb{"diff", run_diff, "show what would change on this node; exit code 2 if anything would"},
    Verb{"apply", run_apply, "make it so, all or nothing"},
    Verb{"down", run_down, "remove exactly what we own, put former values back"},
    Verb{"status", run_status, "links, peers, handshakes, counters, drift"},
    Verb{"snapshot", run_snapshot, "this kernel's state as JSON"},
    Verb{"render", run_render, "the node's share as ip, nft, wg, wg-quick, radvd or json"},
    Verb{"explain", run_explain, "the MTU of a link, line by line"},
    Verb{"doctor", run_doctor, "what this kernel and host can do, each finding with its fix"},
    Verb{"keygen", run_keygen, "make a private key file, print the public key"},
    Verb{"pubkey", run_pubkey, "print the public key of a private key"},
    Verb{"lab", run_lab, "the whole network on this machine, in namespaces"},
};

void print_usage(std::FILE* to) {
    fmt::print(to, "usage: overlayctl VERB …    (overlayctl VERB --help tells more)\n\n");
    for (const Verb& verb : verbs) fmt::print(to, "    {:<10} {}\n", verb.name, verb.what);
}

int run(const Arguments& arguments) {
    if (arguments.empty()) {
        print_usage(stderr);
        return exit_error;
    }
    const std::string& name = arguments.front();
    if (name == "--help" || name == "-h" || name == "help") {
        print_usage(stdout);
        return exit_done;
    }
    if (name == "--version") {
        fmt::print("overlayctl {}\n", OVERLAY_VERSION);
        return exit_done;
    }
    std::vector<std::string> names;
    for (const Verb& verb : verbs) {
        if (verb.name == name) return verb.run({arguments.begin() + 1, arguments.end()});
        names.emplace_back(verb.name);
    }
    const std::string near = closest(name, names);
    return complain(
        fmt::format("no verb \"{}\"{}", name,
                    near.empty() ? "; see overlayctl --help" : ", did you mean \"" + near + "\"?"));
}

}  // namespace

}  // namespace overlay

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away must not stop an apply midway
    return overlay::run({argv + 1, argv + argc});
}
