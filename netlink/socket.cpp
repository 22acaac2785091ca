#include "netlink/socket.hpp"

#include <linux/netlink.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>

namespace overlay::netlink {

namespace {

/// The kernel handles a request inside sendto(), so an answer is ready at once; a wait this long means
/// that it is lost.
constexpr std::int64_t answer_deadline_ms = 10'000;
/// A table that changes faster than it can be read so many times in a row is not going to hold still.
constexpr int max_dump_attempts = 20;
constexpr int max_errno = 4095;   // Linux include/linux/err.h, MAX_ERRNO
/// The kernel fills at most 32 KiB per dump message (Linux net/netlink/af_netlink.c, netlink_dump).
constexpr std::size_t receive_buffer_bytes = 64 * 1024;

std::int64_t now_ms() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

void enable(int fd, int option) {
    const int on = 1;
    // Each of these is a refinement (texts, stricter checks) that an old kernel may lack.
    (void)::setsockopt(fd, SOL_NETLINK, option, &on, sizeof on);
}

/// Where the extended-ACK attributes start: after the error code and, unless capped, our own request.
std::size_t extended_ack_offset(const nlmsghdr& message) {
    if (message.nlmsg_type == NLMSG_DONE) return sizeof(int);
    std::size_t offset = sizeof(nlmsgerr);
    const bool has_request = mnl_nlmsg_get_payload_len(&message) >= offset;
    if (has_request && (message.nlmsg_flags & NLM_F_CAPPED) == 0) {
        const auto* const reply = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(&message));
        offset += reply->msg.nlmsg_len - sizeof(nlmsghdr);
    }
    return offset;
}

/// libmnl takes a length beyond 2 GiB for a negative one, and so for one that fits.
bool is_whole(const nlmsghdr* message, int left) {
    return mnl_nlmsg_ok(message, left) && message->nlmsg_len <= static_cast<std::uint32_t>(left);
}

}  // namespace

void Replies::add(const nlmsghdr& message) {
    const auto* const start = static_cast<const char*>(static_cast<const void*>(&message));
    messages_.emplace_back(start, start + message.nlmsg_len);
}

void Replies::clear() {
    for (auto& bytes : messages_) explicit_bzero(bytes.data(), bytes.size());
    messages_.clear();
}

Error::Kind kind_of_errno(int code) {
    switch (code) {
        case EPERM:
        case EACCES: return Error::Kind::NotPermitted;
        case EOPNOTSUPP:
        case EPROTONOSUPPORT:
        case EAFNOSUPPORT:
        case ENOSYS: return Error::Kind::Unsupported;
        case ENODEV:
        case ENOENT:
        case ESRCH:
        case ENXIO: return Error::Kind::NotFound;
        case EEXIST:
        case EADDRINUSE: return Error::Kind::Conflict;
        default: return Error::Kind::Failed;
    }
}

Error error_of_errno(std::string_view doing, int code) {
    return {kind_of_errno(code), std::string{doing}, std::strerror(code), code, {}};
}

std::optional<Error> error_in(const nlmsghdr& message, std::string_view doing) {
    if (mnl_nlmsg_get_payload_len(&message) < sizeof(int)) {
        return Error{Error::Kind::Failed, std::string{doing}, "the kernel's answer is cut short", 0, {}};
    }
    int code = 0;
    std::memcpy(&code, mnl_nlmsg_get_payload(&message), sizeof code);
    if (code >= 0) return std::nullopt;
    if (code < -max_errno) code = -EIO;   // no kernel says so, and its opposite may be no int

    Error error = error_of_errno(doing, -code);
    if (error.kind == Error::Kind::NotPermitted) error.hint = "root or CAP_NET_ADMIN is needed";
    if ((message.nlmsg_flags & NLM_F_ACK_TLVS) == 0) return error;
    const auto extended = Attributes::of(message, extended_ack_offset(message));
    if (const auto said = extended.string(NLMSGERR_ATTR_MSG); said && !said->empty()) {
        error.reason.append(": ").append(*said);
    }
    if (const auto missing = extended.u32(NLMSGERR_ATTR_MISS_TYPE)) {
        error.reason.append(" (attribute ").append(std::to_string(*missing)).append(" is missing)");
    }
    return error;
}

Socket::Socket(UniqueFd fd, std::uint32_t port)
    : fd_{std::move(fd)}, port_{port}, buffer_(receive_buffer_bytes) {}

Result<Socket> Socket::open(int protocol) {
    constexpr std::string_view doing = "open a netlink socket";
    UniqueFd fd{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)};
    if (!fd) return fail(error_of_errno(doing, errno));
    enable(fd.get(), NETLINK_EXT_ACK);
    enable(fd.get(), NETLINK_CAP_ACK);
    enable(fd.get(), NETLINK_GET_STRICT_CHK);

    sockaddr_nl own{};
    own.nl_family = AF_NETLINK;
    socklen_t size = sizeof own;
    auto* const address = static_cast<sockaddr*>(static_cast<void*>(&own));
    if (::bind(fd.get(), address, size) != 0) return fail(error_of_errno(doing, errno));
    if (::getsockname(fd.get(), address, &size) != 0) return fail(error_of_errno(doing, errno));
    return Socket{std::move(fd), own.nl_pid};
}

Result<void> Socket::send(Message& request, std::string_view doing) {
    nlmsghdr* const message = request.header();
    message->nlmsg_seq = ++sequence_;
    message->nlmsg_pid = port_;
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    const auto* const to = static_cast<const sockaddr*>(static_cast<const void*>(&kernel));
    for (;;) {
        const auto sent = ::sendto(fd_.get(), message, message->nlmsg_len, 0, to, sizeof kernel);
        if (sent == static_cast<ssize_t>(message->nlmsg_len)) return {};
        if (sent < 0 && errno == EINTR) continue;
        return fail(error_of_errno(doing, sent < 0 ? errno : EMSGSIZE));
    }
}

Result<std::size_t> Socket::receive(std::string_view doing, std::int64_t deadline_ms) {
    for (;;) {
        const std::int64_t left_ms = deadline_ms - now_ms();
        if (left_ms <= 0) return fail(error_of_errno(doing, ETIMEDOUT));
        pollfd wait{fd_.get(), POLLIN, 0};
        const int ready = ::poll(&wait, 1, static_cast<int>(left_ms));
        if (ready < 0 && errno != EINTR) return fail(error_of_errno(doing, errno));
        if (ready <= 0) continue;

        sockaddr_nl from{};
        iovec into{buffer_.data(), buffer_.size()};
        msghdr header{};
        header.msg_name = &from;
        header.msg_namelen = sizeof from;
        header.msg_iov = &into;
        header.msg_iovlen = 1;
        const auto got = ::recvmsg(fd_.get(), &header, 0);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got < 0) return fail(error_of_errno(doing, errno));
        if ((header.msg_flags & MSG_TRUNC) != 0) return fail(error_of_errno(doing, EMSGSIZE));
        if (from.nl_pid == 0) return static_cast<std::size_t>(got);   // else: not the kernel
    }
}

/// Gathers answers to the last request until its end: an ACK, an error, or the end of a dump.
Result<Socket::Ended> Socket::collect(Replies& replies, std::string_view doing) {
    const std::int64_t deadline_ms = now_ms() + answer_deadline_ms;
    bool interrupted = false;
    for (;;) {
        const auto size_bytes = receive(doing, deadline_ms);
        if (!size_bytes) return pass_on(size_bytes);
        int left = static_cast<int>(*size_bytes);
        const auto* message = static_cast<const nlmsghdr*>(static_cast<void*>(buffer_.data()));
        std::optional<Result<Ended>> end;
        for (; !end && is_whole(message, left); message = mnl_nlmsg_next(message, &left)) {
            if (message->nlmsg_seq != sequence_ || message->nlmsg_pid != port_) continue;
            if ((message->nlmsg_flags & NLM_F_DUMP_INTR) != 0) interrupted = true;
            if (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE) {
                auto error = error_in(*message, doing);
                if (error) end = Result<Ended>{fail(std::move(*error))};
                else end = interrupted ? Ended::Interrupted : Ended::Complete;
            } else if (message->nlmsg_type >= NLMSG_MIN_TYPE) {
                replies.add(*message);
            }
        }
        explicit_bzero(buffer_.data(), *size_bytes);
        if (end) return *std::move(end);
    }
}

Result<void> Socket::change(Message& request, std::string_view doing) {
    request.header()->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    ++changes_;
    if (const auto sent = send(request, doing); !sent) return pass_on(sent);
    Replies none;
    const auto ended = collect(none, doing);
    if (!ended) return pass_on(ended);
    return {};
}

Result<Replies> Socket::ask(Message& request, std::string_view doing) {
    request.header()->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    if (const auto sent = send(request, doing); !sent) return pass_on(sent);
    Replies replies;
    const auto ended = collect(replies, doing);
    if (!ended) return pass_on(ended);
    return replies;
}

Result<Replies> Socket::dump(Message& request, std::string_view doing) {
    request.header()->nlmsg_flags |= NLM_F_REQUEST | NLM_F_DUMP;
    Replies replies;
    for (int attempt = 0; attempt < max_dump_attempts; ++attempt) {
        replies.clear();
        if (const auto sent = send(request, doing); !sent) return pass_on(sent);
        const auto ended = collect(replies, doing);
        if (ended && *ended == Ended::Complete) return replies;
        // Linux answers EINTR or EAGAIN where a walk cannot go on; elsewhere it sets the flag.
        if (!ended && ended.error().code != EINTR && ended.error().code != EAGAIN) {
            return pass_on(ended);
        }
    }
    return fail(Error::Kind::Busy, doing, "the table changes faster than it can be read");
}

}  // namespace overlay::netlink
