#include "daemon/io/uapi_socket.hpp"

#include "daemon/wireguard/uapi.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace overlay::io {

namespace {

using wireguard::never;
using wireguard::SecretText;

constexpr std::size_t turn_bytes = 64 * 1024;  // of one client: the loop has packets to carry
constexpr std::size_t turn_events = 32;
constexpr int turn_accepts = 16;
constexpr std::chrono::seconds descriptor_pause{1};
constexpr std::chrono::milliseconds lock_patience{40};   // another of us is done sooner

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un out{};
    out.sun_family = AF_UNIX;
    if (path.size() >= sizeof out.sun_path)
        return fail(Error::Kind::Invalid, "listen at " + path, "the path is too long");
    std::copy(path.begin(), path.end(), std::begin(out.sun_path));
    return out;
}

UniqueFd new_socket() {
    return UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
}

int connect_to(const UniqueFd& socket, const sockaddr_un& address) {
    return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

/// The folder, held locked: of two of us that start at once, one is first. Whoever may write to it
/// could put another socket in the place of ours, and be told our keys. Whoever may read it can hold it locked for
/// ever, and the loop has packets to carry.
Result<UniqueFd> open_folder(const std::string& folder) {
    if (auto made = make_directories(folder, 0700); !made) return pass_on(made);
    UniqueFd fd{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    struct stat info {};
    if (!fd || ::fstat(fd.get(), &info) != 0) return fail(system_error("open " + folder, errno));
    if (!lock_within(fd.get(), lock_patience)) {
        if (errno != EWOULDBLOCK) return fail(system_error("lock " + folder, errno));
        return fail(Error::Kind::Busy, "lock " + folder, "another process holds it locked", EWOULDBLOCK);
    }
    const bool is_foreign = info.st_uid != 0 && info.st_uid != ::geteuid();
    if (is_foreign || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return fail(Error::Kind::NotPermitted, "listen in " + folder,
                    "others may write to this folder", EPERM);
    }
    return fd;
}

/// "process 123 (wireguard-go)", of whoever listens at the other end.
std::string listener_name(int connected) {
    ucred owner{};
    socklen_t size = sizeof owner;
    if (::getsockopt(connected, SOL_SOCKET, SO_PEERCRED, &owner, &size) != 0 || owner.pid == 0)
        return "another process";
    const auto name = read_file(fmt::format("/proc/{}/comm", owner.pid), 64);
    const std::string shown = name ? name->substr(0, name->find('\n')) : "?";
    return fmt::format("process {} ({})", owner.pid, shown);
}

/// A socket whose process died refuses connections.
Result<void> remove_stale(const std::string& path, const sockaddr_un& address) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) {
        if (errno == ENOENT) return {};
        return fail(system_error("look at " + path, errno));
    }
    if (!S_ISSOCK(info.st_mode))
        return fail(Error::Kind::Conflict, "listen at " + path, "it exists and is not a socket");
    const UniqueFd probe = new_socket();
    if (!probe) return fail(system_error("make a socket", errno));
    if (connect_to(probe, address) == 0) {
        return fail(Error::Kind::Conflict, "listen at " + path,
                    listener_name(probe.get()) + " serves this device", EADDRINUSE);
    }
    if (errno == ECONNREFUSED) return remove_file(path);
    return fail(system_error("ask who listens at " + path, errno));
}

}  // namespace

// ---- the listening socket -----------------------------------------------------------------------

UapiSocket::UapiSocket(const UapiSocketOptions& options, Answer answer)
    : options_{options}, answer_{std::move(answer)}, poll_{::epoll_create1(EPOLL_CLOEXEC)} {}

Result<UapiSocket> UapiSocket::open(const IfName& device, const UapiSocketOptions& options,
                                    Answer answer) {
    UapiSocket out{options, std::move(answer)};
    if (!out.poll_) return fail(system_error("make an event loop", errno));
    const auto locked = open_folder(options.folder);
    if (!locked) return pass_on(locked);
    if (auto made = out.listen(options.folder + "/" + device.str() + ".sock"); !made)
        return pass_on(made);
    return out;
}

Result<void> UapiSocket::listen(const std::string& path) {
    const auto address = address_of(path);
    if (!address) return pass_on(address);
    if (auto removed = remove_stale(path, *address); !removed) return removed;
    UniqueFd socket = new_socket();
    // The mode of the descriptor becomes that of the name: no moment in which others may connect.
    if (!socket || ::fchmod(socket.get(), 0600) != 0 ||
        ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0)
        return fail(system_error("listen at " + path, errno));
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return fail(system_error("look at " + path, errno));
    path_ = path;
    file_ = {info.st_dev, info.st_ino};
    if (::listen(socket.get(), static_cast<int>(options_.max_clients)) != 0)
        return fail(system_error("listen at " + path, errno));
    listener_ = std::move(socket);
    watch(listener_.get(), EPOLLIN, EPOLL_CTL_ADD);
    return {};
}

UapiSocket::~UapiSocket() {
    struct stat info {};
    if (path_.empty() || ::lstat(path_.c_str(), &info) != 0) return;
    if (FileId{info.st_dev, info.st_ino} == file_) (void)::unlink(path_.c_str());
}

void UapiSocket::watch(int fd, std::uint32_t events, int operation) const {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    OVERLAY_ASSERT(::epoll_ctl(poll_.get(), operation, fd, &event) == 0);
}

// ---- the loop's side ----------------------------------------------------------------------------

void UapiSocket::on_readable(Clock::time_point now) {
    std::array<epoll_event, turn_events> events{};
    const int count = ::epoll_wait(poll_.get(), events.data(), turn_events, 0);
    for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == listener_.get()) {
            accept_clients(now);
            continue;
        }
        const auto found = clients_.find(fd);  // gone, when accepting one made it make room
        if (found != clients_.end() && !serve(found->second, now)) clients_.erase(found);
    }
}

UapiSocket::Clock::time_point UapiSocket::next_deadline() const {
    Clock::time_point next = accept_again_;
    for (const auto& [fd, client] : clients_)
        next = std::min(next, client.last_active + options_.max_idle);
    return next;
}

void UapiSocket::on_time(Clock::time_point now) {
    std::erase_if(clients_, [&](const auto& each) {
        return now >= each.second.last_active + options_.max_idle;
    });
    if (now >= accept_again_) {
        accept_again_ = never;
        watch(listener_.get(), EPOLLIN, EPOLL_CTL_MOD);
    }
}

void UapiSocket::accept_clients(Clock::time_point now) {
    for (int i = 0; i < turn_accepts; ++i) {
        UniqueFd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        if (!fd) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                // It stays readable: without a pause the loop would turn for nothing.
                watch(listener_.get(), 0, EPOLL_CTL_MOD);
                accept_again_ = now + descriptor_pause;
            }
            return;
        }
        if (clients_.size() >= options_.max_clients) drop_idlest();
        const int number = fd.get();
        watch(number, EPOLLIN, EPOLL_CTL_ADD);
        clients_.insert_or_assign(
            number, Client{.fd = std::move(fd), .last_active = now, .watched = EPOLLIN});
    }
}

void UapiSocket::drop_idlest() {
    const auto idlest = std::ranges::min_element(
        clients_, {}, [](const auto& each) { return each.second.last_active; });
    if (idlest != clients_.end()) clients_.erase(idlest);
}

// ---- one client ---------------------------------------------------------------------------------

/// One step: what is left of an answer, or the next request, or bytes of it. False: the client
/// goes.
bool UapiSocket::serve(Client& client, Clock::time_point now) {
    const bool has_more = client.watched == EPOLLOUT;
    if (has_more ? !write_to(client, now) : !read_from(client, now)) return false;
    if (client.out.empty() && request_end(client) != 0 &&
        (!answer_next(client) || !write_to(client, now)))
        return false;
    // What a client sent ahead is not read again: being writable is what wakes us for it.
    const bool is_waiting = client.out.empty() && request_end(client) == 0;
    const std::uint32_t wanted = is_waiting ? EPOLLIN : EPOLLOUT;
    if (wanted != client.watched) watch(client.fd.get(), wanted, EPOLL_CTL_MOD);
    client.watched = wanted;
    return true;
}

bool UapiSocket::read_from(Client& client, Clock::time_point now) {
    const std::size_t before = client.in.size();
    client.in.resize(before + turn_bytes);
    const ssize_t got = ::recv(client.fd.get(), client.in.data() + before, turn_bytes, 0);
    client.in.resize(before + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    client.last_active = now;
    return got > 0;
}

bool UapiSocket::write_to(Client& client, Clock::time_point now) {
    if (client.out.empty()) return true;
    const ssize_t put = ::send(client.fd.get(), client.out.data() + client.sent_bytes,
                               client.out.size() - client.sent_bytes, MSG_NOSIGNAL);
    if (put < 0) return errno == EAGAIN || errno == EINTR;
    client.last_active = now;
    client.sent_bytes += static_cast<std::size_t>(put);
    if (client.sent_bytes == client.out.size()) {
        client.out = SecretText{};
        client.sent_bytes = 0;
    }
    return true;
}

/// How long the first request of `in` is; 0 when it has not all arrived. One that is too long is
/// forgotten as it arrives: its end must be found, or the client would never read its answer.
std::size_t UapiSocket::request_end(Client& client) const {
    const std::string_view in{client.in.data(), client.in.size()};
    if (in.starts_with('\n') && !client.is_too_long) return 1;
    const auto end = in.find("\n\n", client.searched_bytes);
    if (end != std::string_view::npos) return end + 2;
    client.searched_bytes = in.empty() ? 0 : in.size() - 1;
    if (in.size() > options_.max_request_bytes) {
        client.is_too_long = true;
        client.in = SecretText(client.in.end() - 1, client.in.end());
        client.searched_bytes = 0;
    }
    return 0;
}

bool UapiSocket::answer_next(Client& client) {
    const std::size_t end = request_end(client);
    const bool is_too_long =
        std::exchange(client.is_too_long, false) || end > options_.max_request_bytes;
    client.out = is_too_long ? wireguard::uapi_errno(EMSGSIZE)
                             : answer_(std::string_view{client.in.data(), end});
    client.in = SecretText(client.in.begin() + static_cast<std::ptrdiff_t>(end), client.in.end());
    client.searched_bytes = 0;
    return !client.out.empty();
}

}  // namespace overlay::io
