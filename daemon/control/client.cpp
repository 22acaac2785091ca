#include "daemon/control/client.hpp"

#include "daemon/io/files.hpp"
#include "daemon/io/unix_address.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

namespace overlay::control {

namespace {

constexpr timeval patience{20, 0};   // a device of thousands of peers, on a small router

/// A socket's timeout is EAGAIN.
Error error_of(std::string doing, int error_number, const std::string& run_directory) {
    if (error_number != EAGAIN) return io::system_error(std::move(doing), error_number);
    const std::string worker = io::FileLock::holder_id(worker_lock(run_directory));
    Error out{Error::Kind::Failed, std::move(doing), "overlayd does not answer", error_number, ""};
    if (worker.empty()) return out;
    out.reason += " (pid " + worker + ")";
    out.hint = fmt::format("kill -CONT {0} if it is stopped, or kill -KILL {0}; its log: {1}/overlayd.log", worker,
                           run_directory);
    return out;
}

/// A worker that is about to start is waited for: it is not true that nobody carries anything. 0 or an errno.
int connect_patiently(int fd, const io::UnixAddress& address, const std::string& run_directory) {
    constexpr std::chrono::milliseconds longest_pause{1500}, between_tries{20};
    const auto deadline = std::chrono::steady_clock::now() + longest_pause;
    while (::connect(fd, address.get(), io::UnixAddress::size_bytes()) != 0) {
        const int why = errno;
        const bool may_come = (why == ECONNREFUSED || why == ENOENT) &&
                              io::FileLock::is_held(supervisor_lock(run_directory)) &&
                              std::chrono::steady_clock::now() < deadline;
        if (!may_come) return why;
        std::this_thread::sleep_for(between_tries);
    }
    return 0;
}

/// While a supervisor lives nobody may say that overlayd does not run: a worker of its would carry on later.
Error for_want_of_a_worker(Error error, const std::string& run_directory) {
    const std::string supervisor = io::FileLock::holder_id(supervisor_lock(run_directory));
    if (supervisor.empty()) return error;
    error.kind = Error::Kind::Failed;
    error.reason = fmt::format("its supervisor (pid {}) runs, and no worker listens", supervisor);
    error.hint = fmt::format("kill -CONT {0} if it is stopped, or kill -KILL {0}; its log: {1}/overlayd.log",
                             supervisor, run_directory);
    return error;
}

}  // namespace

Result<Client> Client::connect(const std::string& run_directory) {
    const std::string path = socket_path(run_directory);
    const std::string doing = "connect to overlayd at " + path;
    const auto address = io::UnixAddress::of(path);
    if (!address) return pass_on(address);
    netlink::UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!fd) return fail(io::system_error(doing, errno));
    for (const int which : {SO_RCVTIMEO, SO_SNDTIMEO})
        (void)::setsockopt(fd.get(), SOL_SOCKET, which, &patience, sizeof patience);
    if (const int why = connect_patiently(fd.get(), *address, run_directory); why != 0) {
        Error error = error_of(doing, why, run_directory);
        if (error.code == ECONNREFUSED) error.kind = Error::Kind::NotFound;   // its socket outlived it
        if (error.kind == Error::Kind::NotFound) error = for_want_of_a_worker(std::move(error), run_directory);
        return fail(std::move(error));
    }
    return Client{std::move(fd), run_directory};
}

bool Client::is_elsewhere() const {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid <= 0) return false;
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self", error);
    if (error || self != std::to_string(::getpid())) return false;   // this /proc has other numbers than we
    struct stat theirs{}, ours{};
    if (::stat(fmt::format("/proc/{}/ns/net", peer.pid).c_str(), &theirs) != 0) return false;
    if (::stat("/proc/thread-self/ns/net", &ours) != 0) return false;
    return theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev;
}

Result<std::string> Client::ask(const Request& request) {
    const std::string whole = to_text(request);
    for (std::string_view text = whole; !text.empty();) {
        const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return fail(lost(error_of("write to overlayd", errno, run_directory_)));
        text.remove_prefix(static_cast<std::size_t>(sent));
    }
    std::string received;
    std::array<char, 65536> buffer{};
    for (;;) {
        if (Answer answer = take_answer(received); answer.complete) return std::move(answer.body);
        const ssize_t size = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return fail(lost(error_of("read from overlayd", errno, run_directory_)));
        if (size == 0)
            return fail(lost({Error::Kind::Failed, "read from overlayd", "it has hung up", ECONNRESET, ""}));
        received.append(buffer.data(), static_cast<std::size_t>(size));
    }
}

Error Client::lost(Error why) {
    fd_ = {};
    return why;
}

Result<void> Client::wait_for_end() {
    char byte = 0;
    const ssize_t size = ::recv(fd_.get(), &byte, 1, 0);
    if (size == 0 || (size < 0 && errno == ECONNRESET)) return {};
    return fail(error_of("wait for overlayd's end", size < 0 ? errno : EPROTO, run_directory_));
}

}  // namespace overlay::control
