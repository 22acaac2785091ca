#include "daemon/lab/lab_holder.hpp"

#include "daemon/io/process.hpp"
#include "daemon/lab/lab_processes.hpp"
#include "netlink/fd.hpp"
#include "netlink/user_namespace.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <tuple>

namespace overlay::lab {
namespace {

using netlink::UniqueFd;

/// In the child. `report`: nothing when all went well, else what went wrong and the errno before
/// it.
[[noreturn]] void hold(int report) {
    if (::geteuid() != 0) {
        if (const auto entered = netlink::enter_own_user_namespace(); !entered) {
            const std::string said = text(entered.error());
            std::ignore = ::write(report, said.data(), said.size());
            ::_exit(1);
        }
    }
    ::setsid();
    ::prctl(PR_SET_NAME, "overlay-lab");
    std::ignore = ::chdir("/");
    const int nothing = ::open("/dev/null", O_RDWR);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nothing, fd);
    ::close_range(3, ~0U, 0);
    for (;;) ::pause();
}

/// Until the other side is closed.
std::string read_report(int fd) {
    std::string out;
    std::array<char, 512> buffer{};
    for (;;) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return out;
        out.append(buffer.data(), static_cast<std::size_t>(got));
    }
}

}  // namespace

Result<LabHolder> start_holder() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return fail(Error::Kind::Failed, "make a pipe", std::strerror(errno), errno);
    }
    const UniqueFd from_child{ends[0]};
    UniqueFd to_parent{ends[1]};
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) return fail(Error::Kind::Failed, "fork", std::strerror(errno), errno);
    if (child == 0) hold(to_parent.get());
    to_parent = UniqueFd{};
    const std::string problem = read_report(from_child.get());
    const auto user_namespace = netlink::user_namespace_of(child);
    if (problem.empty() && user_namespace) return LabHolder{child, *user_namespace};
    (void)::waitpid(child, nullptr, 0);
    return fail(
        Error{Error::Kind::Unsupported, "make a lab without being root",
              problem.empty() ? "the process that keeps it ended" : problem, 0,
              "sudo, or let users make namespaces: sysctl kernel.unprivileged_userns_clone, "
              "kernel.apparmor_restrict_unprivileged_userns"});
}

bool is_alive(const LabHolder& holder) {
    return netlink::user_namespace_of(holder.pid) == holder.user_namespace;
}

Result<void> join(const LabHolder& holder) {
    // Checked after the handle was taken: what is checked is what is joined.
    const UniqueFd process = io::open_process(holder.pid);
    if (!process || !is_alive(holder)) {
        return fail(Error::Kind::NotFound, "enter the lab", "the process that kept it is gone");
    }
    std::error_code unknown;
    const auto here = std::filesystem::current_path(unknown);
    if (auto joined = netlink::join_namespaces_of(process); !joined) return joined;
    // A new mount namespace puts a process at its root.
    if (!unknown) std::filesystem::current_path(here, unknown);
    return {};
}

Result<void> end_holder(const LabHolder& holder) {
    const UniqueFd process = io::open_process(holder.pid);
    if (!process || !is_alive(holder)) return {};
    return end(process, holder.pid);
}

}  // namespace overlay::lab
