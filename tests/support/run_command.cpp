// fork, exec, and one poll loop over the child's three pipes and the deadline.

#include "support/run_command.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

namespace overlay::support {

namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
    int read_end = -1, write_end = -1;
    Pipe() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
        read_end = ends[0];
        write_end = ends[1];
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    ~Pipe() {
        close(read_end);
        close(write_end);
    }
    static void close(int& end) {
        if (end >= 0) ::close(std::exchange(end, -1));
    }
};

/// In the child, between fork and exec: nothing here may allocate.
[[noreturn]] void become(char* const* argv, const std::array<int, 3>& streams,
                         int network_namespace) {
    ::setpgid(0, 0);
    for (int number = 0; number < 3; ++number) {
        ::dup2(streams[static_cast<std::size_t>(number)], number);
    }
    if (network_namespace >= 0 && ::setns(network_namespace, CLONE_NEWNET) != 0) ::_exit(126);
    ::execvp(argv[0], argv);
    const char* reason = std::strerror(errno);
    (void)!::write(2, reason, std::strlen(reason));
    ::_exit(127);
}

/// Reads what is there; closes the descriptor at its end.
void drain(int& end, std::string& into) {
    std::array<char, 4096> chunk{};
    const ssize_t size_bytes = ::read(end, chunk.data(), chunk.size());
    if (size_bytes > 0) into.append(chunk.data(), static_cast<std::size_t>(size_bytes));
    if (size_bytes == 0 || (size_bytes < 0 && errno != EINTR)) Pipe::close(end);
}

void feed(int& end, std::string_view& input) {
    const ssize_t size_bytes = input.empty() ? 0 : ::write(end, input.data(), input.size());
    if (size_bytes > 0) input.remove_prefix(static_cast<std::size_t>(size_bytes));
    if (input.empty() || (size_bytes < 0 && errno != EINTR && errno != EAGAIN)) Pipe::close(end);
}

int exit_code_of(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Until both outputs are closed and the child has ended; false at the deadline.
bool attend(pid_t child, Pipe& in, Pipe& out, Pipe& err, const CommandOptions& options,
            CommandResult& result) {
    const auto deadline = Clock::now() + options.timeout;
    std::string_view input = options.input;
    for (int status = 0; Clock::now() < deadline;) {
        std::array<pollfd, 3> ends{{{out.read_end, POLLIN, 0},
                                    {err.read_end, POLLIN, 0},
                                    {in.write_end, POLLOUT, 0}}};
        // 10 ms: the child may end without closing what its own children hold open.
        ::poll(ends.data(), ends.size(), 10);
        if (ends[0].revents != 0) drain(out.read_end, result.output);
        if (ends[1].revents != 0) drain(err.read_end, result.errors);
        if (ends[2].revents != 0) feed(in.write_end, input);
        const bool quiet = (ends[0].revents | ends[1].revents) == 0;
        const bool closed = out.read_end < 0 && err.read_end < 0;
        if ((quiet || closed) && ::waitpid(child, &status, WNOHANG) == child) {
            result.exit_code = exit_code_of(status);
            return true;
        }
    }
    return false;
}

}  // namespace

CommandResult run_command(const std::vector<std::string>& argv, const CommandOptions& options) {
    std::vector<char*> words;
    std::vector<std::string> copies = argv;
    for (std::string& word : copies) words.push_back(word.data());
    words.push_back(nullptr);

    std::signal(SIGPIPE, SIG_IGN);   // a child that does not read its input is no reason to die
    Pipe in, out, err;
    const pid_t child = ::fork();
    if (child < 0) std::abort();
    if (child == 0) {
        std::signal(SIGPIPE, SIG_DFL);
        become(words.data(), {in.read_end, out.write_end, err.write_end},
               options.network_namespace);
    }
    ::setpgid(child, child);
    Pipe::close(in.read_end);
    Pipe::close(out.write_end);
    Pipe::close(err.write_end);
    ::fcntl(in.write_end, F_SETFL, O_NONBLOCK);

    CommandResult result;
    if (attend(child, in, out, err, options, result)) return result;
    result.timed_out = true;
    ::kill(-child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    result.exit_code = exit_code_of(status);
    return result;
}

std::string must_run(const std::string& words, const CommandOptions& options) {
    std::vector<std::string> argv;
    std::istringstream split{words};
    for (std::string word; split >> word;) argv.push_back(word);
    const CommandResult result = run_command(argv, options);
    if (!result.ok()) {
        fmt::print(stderr, "{}: exit {}{}\n{}{}", words, result.exit_code,
                   result.timed_out ? ", timed out" : "", result.output, result.errors);
        std::abort();
    }
    return result.output;
}

}  // namespace overlay::support
