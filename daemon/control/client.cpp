#include "daemon/control/client.hpp"

#include "daemon/io/files.hpp"
#include "daemon/io/unix_address.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include <sys/socket.h>
#include <sys/time.h>

namespace overlay::control {

namespace {

constexpr timeval patience{20, 0};   // a device of thousands of peers, on a small router

Result<void> send_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return fail(io::system_error("write to overlayd", errno));
        text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return {};
}

Result<std::string> receive_answer(int fd) {
    std::string received;
    std::array<char, 65536> buffer{};
    for (;;) {
        if (Answer answer = take_answer(received); answer.complete) return std::move(answer.body);
        const ssize_t size = ::recv(fd, buffer.data(), buffer.size(), 0);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return fail(io::system_error("read from overlayd", errno));
        if (size == 0)
            return fail(Error::Kind::Failed, "read from overlayd", "it has hung up", ECONNRESET);
        received.append(buffer.data(), static_cast<std::size_t>(size));
    }
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
        Error error = io::system_error(doing, why);
        if (error.code == ECONNREFUSED) error.kind = Error::Kind::NotFound;   // its socket outlived it
        return fail(std::move(error));
    }
    return Client{std::move(fd)};
}

Result<std::string> Client::ask(const Request& request) {
    if (const auto sent = send_all(fd_.get(), to_text(request)); !sent) return pass_on(sent);
    return receive_answer(fd_.get());
}

Result<void> Client::wait_for_end() {
    char byte = 0;
    const ssize_t size = ::recv(fd_.get(), &byte, 1, 0);
    if (size == 0 || (size < 0 && errno == ECONNRESET)) return {};
    return fail(io::system_error("wait for overlayd's end", size < 0 ? errno : EPROTO));
}

}  // namespace overlay::control
