#include "daemon/lab/lab_processes.hpp"

#include "daemon/io/files.hpp"
#include "daemon/io/process.hpp"
#include "netlink/fd.hpp"
#include "netlink/namespaces.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace overlay::lab {
namespace {

using io::ends_within;
using io::open_process;
using netlink::Namespace;
using netlink::UniqueFd;

/// How long a daemon has to find its configuration wrong, and a process to end when told.
constexpr int grace_ms = 300;
constexpr int end_ms = 3000;

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

std::vector<char*> argument_pointers(std::vector<std::string>& arguments) {
    std::vector<char*> out;
    for (std::string& each : arguments) out.push_back(each.data());
    out.push_back(nullptr);
    return out;
}

std::string read_all(int fd) {
    std::string out;
    std::array<char, 4096> buffer{};
    for (;;) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return out;
        out.append(buffer.data(), static_cast<std::size_t>(got));
    }
}

int wait_for(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return code_of(status);
}

std::string executable_of(pid_t process) {
    std::error_code ignored;
    const auto path =
        std::filesystem::read_symlink("/proc/" + std::to_string(process) + "/exe", ignored);
    return path.string();
}

[[noreturn]] void exec_or_exit(const std::vector<std::string>& arguments) {
    auto copy = arguments;
    const auto pointers = argument_pointers(copy);
    ::execvp(pointers.front(), pointers.data());
    std::fprintf(stderr, "%s: %s\n", pointers.front(), std::strerror(errno));
    ::_exit(errno == ENOENT ? 127 : 126);
}

}   // namespace

Result<ChildOutcome> run_in_child(const std::string& name_space, const std::function<int()>& work) {
    const auto there = Namespace::open(name_space);
    if (!there) return pass_on(there);
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return fail(Error::Kind::Failed, "make a pipe", std::strerror(errno), errno);
    }
    const UniqueFd from_child{ends[0]};
    UniqueFd to_parent{ends[1]};
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) return fail(Error::Kind::Failed, "fork", std::strerror(errno), errno);
    if (child == 0) {
        ::dup2(to_parent.get(), STDOUT_FILENO);
        ::dup2(to_parent.get(), STDERR_FILENO);
        if (const auto entered = netlink::enter_for_good(*there); !entered) {
            std::fprintf(stderr, "%s\n", text(entered.error()).c_str());
            ::_exit(1);
        }
        const int code = work();
        std::fflush(nullptr);
        ::_exit(code);
    }
    to_parent = UniqueFd{};
    ChildOutcome outcome;
    outcome.output = read_all(from_child.get());
    outcome.code = wait_for(child);
    return outcome;
}

Result<LabProcess> start_daemon(const Daemon& daemon) {
    const std::string doing = "start " + daemon.arguments.front() + " in " + daemon.name_space;
    const auto there = Namespace::open(daemon.name_space);
    if (!there) return pass_on(there);
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) return fail(Error::Kind::Failed, doing, std::strerror(errno), errno);
    if (child == 0) {
        ::setsid();
        const int nothing = ::open("/dev/null", O_RDWR);
        const int log =
            ::open(daemon.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0644);
        ::dup2(nothing, STDIN_FILENO);
        ::dup2(log, STDOUT_FILENO);
        ::dup2(log, STDERR_FILENO);
        ::close_range(3, ~0U, static_cast<int>(CLOSE_RANGE_CLOEXEC));
        if (!netlink::enter_for_good(*there)) ::_exit(126);
        exec_or_exit(daemon.arguments);
    }
    const UniqueFd process = open_process(child);
    if (ends_within(process, grace_ms)) {
        const int code = wait_for(child);
        const auto said = io::read_file(daemon.log.string(), 65536);
        return fail(
            Error::Kind::Failed, doing,
            "it ended at once with code " + std::to_string(code) + ": " + said.value_or(""));
    }
    return LabProcess{child, daemon.host, executable_of(child)};
}

Result<void> end_process(const LabProcess& process, const std::function<bool()>& is_inside) {
    const UniqueFd handle = open_process(process.pid);
    // The number may by now belong to somebody else: checked after the handle was taken, so that
    // the process which is checked is the one that is signalled.
    const bool is_ours = handle && is_inside() && executable_of(process.pid) == process.executable;
    return is_ours ? end(handle, process.pid) : Result<void>{};
}

Result<void> end(const UniqueFd& process, pid_t pid) {
    const std::string doing = "end process " + std::to_string(pid);
    for (const int signal : {SIGTERM, SIGKILL}) {
        if (::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) != 0 &&
            errno != ESRCH) {
            return fail(Error::Kind::Failed, doing, std::strerror(errno), errno);
        }
        if (ends_within(process, end_ms)) {
            (void)::waitpid(pid, nullptr, WNOHANG);  // ours only when `up` itself gave up
            return {};
        }
    }
    return fail(Error::Kind::Failed, doing, "it does not end");
}

int become(const std::string& name_space, const std::vector<std::string>& arguments) {
    const auto there = Namespace::open(name_space);
    const auto entered = there ? netlink::enter_for_good(*there) : Result<void>{pass_on(there)};
    if (!entered) {
        std::fprintf(stderr, "overlayctl: %s\n", text(entered.error()).c_str());
        return 1;
    }
    auto copy = arguments;
    const auto pointers = argument_pointers(copy);
    ::execvp(pointers.front(), pointers.data());
    const int saved = errno;
    std::fprintf(stderr, "overlayctl: %s: %s\n", pointers.front(), std::strerror(saved));
    return saved == ENOENT ? 127 : 126;
}

}   // namespace overlay::lab
