#pragma once
// Runs a program for a test: argv, no shell; what it printed, how it ended, and a deadline after
// which it and its children are killed. For tests only: the product starts no programs.

#include <chrono>
#include <string>
#include <vector>

namespace overlay::support {

struct CommandOptions {
    std::chrono::milliseconds timeout = std::chrono::seconds{20};
    std::string input;          ///< what it reads from standard input
    int network_namespace = -1; ///< a descriptor of one; -1: ours
};

struct CommandResult {
    int exit_code = -1;         ///< 128 + signal when killed by one; 127: could not be started
    bool timed_out = false;
    std::string output;         ///< standard output
    std::string errors;         ///< standard error
    [[nodiscard]] bool ok() const { return exit_code == 0 && !timed_out; }
};

[[nodiscard]] CommandResult run_command(const std::vector<std::string>& argv,
                                        const CommandOptions& options = {});

/// run_command of words separated by blanks; aborts the test program, saying why, unless it
/// succeeds.
std::string must_run(const std::string& words, const CommandOptions& options = {});

}  // namespace overlay::support
