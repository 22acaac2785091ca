// overlayctl: one verb per file beside this one; this file only finds the verb.

#include "daemon/io/files.hpp"
#include "daemon/overlayctl/command.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

namespace overlay {

namespace {

struct Verb {
    std::string_view name;
    int (*run)(const Arguments&);
    std::string_view what;
    /// Its exit code tells of the kernel, and stays true though its words may be lost.
    bool changes_kernel = false;
};

constexpr std::array verbs{
    Verb{"validate", run_validate, "check the file; needs no privileges and no kernel"},
    Verb{"diff", run_diff, "show what would change on this node; exit code 2 if anything would"},
    Verb{"apply", run_apply, "make it so, all or nothing", true},
    Verb{"down", run_down, "remove exactly what we own, put former values back", true},
    Verb{"status", run_status, "links, peers, handshakes, counters, drift"},
    Verb{"snapshot", run_snapshot, "this kernel's state as JSON"},
    Verb{"render", run_render, "the node's share as ip, nft, wg, wg-quick, radvd or json"},
    Verb{"explain", run_explain, "the MTU of a link, line by line"},
    Verb{"doctor", run_doctor, "what this kernel and host can do, each finding with its fix"},
    Verb{"keygen", run_keygen, "make a private key file, print the public key"},
    Verb{"pubkey", run_pubkey, "print the public key of a private key"},
    Verb{"lab", run_lab, "the whole network on this machine, in namespaces", true},
};

void print_usage(std::FILE* to) {
    print(to, "usage: overlayctl VERB …    (overlayctl VERB --help tells more)\n       overlayctl --version\n\n");
    for (const Verb& verb : verbs)
        print(to, fmt::format("    {:<10} {}\n", verb.name, verb.what));
}

/// A program that was started with closed descriptors must not take a netlink socket for its output.
void open_standard_descriptors() {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(fd, F_GETFD) >= 0) continue;
        // The wrong way round: who uses it is told so.
        (void)::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
}

/// What was printed must have arrived, or half a snapshot would pass for a whole one.
int with_output_checked(int code, bool changes_kernel) {
    errno = 0;
    const bool lost = std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
    if (!lost) return code;
    if (errno != EPIPE)   // a reader that has seen enough is no news
        complain(io::system_error("write to standard output", errno != 0 ? errno : EIO));
    return changes_kernel || code > exit_differences ? code : exit_error;
}

int run(const Arguments& arguments) {
    if (arguments.empty()) {
        print_usage(stderr);
        return exit_error;
    }
    const std::string& name = arguments.front();
    if (name == "--help" || name == "-h" || name == "help") {
        print_usage(stdout);
        return with_output_checked(exit_done, false);
    }
    if (name == "--version") {
        print(stdout, fmt::format("overlayctl {}\n", OVERLAY_VERSION));
        return with_output_checked(exit_done, false);
    }
    std::vector<std::string> names;
    for (const Verb& verb : verbs) {
        if (verb.name == name) {
            return with_output_checked(verb.run({arguments.begin() + 1, arguments.end()}),
                                       verb.changes_kernel);
        }
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
    overlay::open_standard_descriptors();
    std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away must not stop an apply midway
    return overlay::run({argv + 1, argv + argc});
}
