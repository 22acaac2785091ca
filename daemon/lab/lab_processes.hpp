#pragma once
// Child processes inside the lab's namespaces: work of our own that must not move the caller
// (apply), daemons that stay (radvd), and what `lab exec` was asked for. No shell anywhere.

#include "daemon/lab/lab_state.hpp"
#include "netlink/fd.hpp"
#include "topology/result.hpp"

#include <functional>
#include <string>
#include <vector>

namespace overlay::lab {

struct ChildOutcome {
    int code = 0;         ///< exit code; 128 + signal when it was killed
    std::string output;   ///< standard output and error
};

/// Runs `work` in a forked child inside the namespace; its result is the exit code.
[[nodiscard]] Result<ChildOutcome> run_in_child(const std::string& name_space,
                                                const std::function<int()>& work);

/// Starts a daemon that stays after us. Errors: it ended within `grace_ms`; the reason is its
/// output.
struct Daemon {
    std::string name_space;
    std::string host;
    std::vector<std::string> arguments;
    std::filesystem::path log;
};
[[nodiscard]] Result<LabProcess> start_daemon(const Daemon& daemon);

/// Ends the process if it still is the one that we started: same executable, and `is_inside`, which
/// is asked when the number can no longer change its meaning.
[[nodiscard]] Result<void> end_process(const LabProcess& process,
                                       const std::function<bool()>& is_inside);

/// Tells it to end, then makes it.
[[nodiscard]] Result<void> end(const netlink::UniqueFd& process, pid_t pid);

/// Replaces this process by the program, inside the namespace. Returns only when it could not
/// start: the exit code that shells use, 126 or 127, with the reason on standard error.
[[nodiscard]] int become(const std::string& name_space, const std::vector<std::string>& arguments);

}   // namespace overlay::lab
