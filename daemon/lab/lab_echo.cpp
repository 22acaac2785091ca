#include "daemon/lab/lab_echo.hpp"

#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

namespace overlay::lab {
namespace {

using netlink::UniqueFd;

constexpr std::size_t icmp_header_bytes = 8;
constexpr int answers_bytes = 1 << 20;

// <linux/icmp.h> has it, which does not go together with <netinet/ip_icmp.h>.
constexpr int icmp_filter_option = 1;

union SocketAddress {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
};

struct SocketName {
    SocketAddress address{};
    socklen_t size = 0;
};

SocketName name_of(const IpAddress& address) {
    SocketName out;
    if (address.family() == Family::Ipv4) {
        out.address.v4.sin_family = AF_INET;
        std::memcpy(&out.address.v4.sin_addr, address.data(), 4);
        out.size = sizeof(sockaddr_in);
    } else {
        out.address.v6.sin6_family = AF_INET6;
        std::memcpy(&out.address.v6.sin6_addr, address.data(), 16);
        out.size = sizeof(sockaddr_in6);
    }
    return out;
}

std::uint16_t own_id() { return static_cast<std::uint16_t>(::getpid()); }

std::uint16_t big_endian_at(std::span<const char> bytes, std::size_t at) {
    return static_cast<std::uint16_t>((static_cast<std::uint8_t>(bytes[at]) << 8U) |
                                      static_cast<std::uint8_t>(bytes[at + 1]));
}

void put_big_endian(std::string& bytes, std::size_t at, std::uint16_t value) {
    bytes[at] = static_cast<char>(value >> 8U);
    bytes[at + 1] = static_cast<char>(value & 0xffU);
}

/// RFC 1071.
std::uint16_t checksum(std::span<const char> bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += big_endian_at(bytes, i);
    if (bytes.size() % 2 != 0)
        sum += static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes.back()) << 8U);
    while (sum > 0xffffU) sum = (sum & 0xffffU) + (sum >> 16U);
    return static_cast<std::uint16_t>(~sum);
}

/// The kernel itself writes the checksum of ICMPv6 (RFC 3542 §3.1).
std::string request(Family family, std::uint16_t sequence, Mtu size) {
    const std::size_t ip_header_bytes = family == Family::Ipv4 ? 20 : 40;
    OVERLAY_ASSERT(size.bytes() >= ip_header_bytes + icmp_header_bytes);
    std::string out(size.bytes() - ip_header_bytes, 'o');
    out[0] = static_cast<char>(family == Family::Ipv4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST);
    out[1] = 0;
    put_big_endian(out, 2, 0);
    put_big_endian(out, 4, own_id());
    put_big_endian(out, 6, sequence);
    if (family == Family::Ipv4) put_big_endian(out, 2, checksum(out));
    return out;
}

/// The sequence of our own echo message of that type; nullopt: it is somebody else's.
std::optional<std::uint16_t> sequence_in(std::span<const char> message, int type) {
    if (message.size() < icmp_header_bytes) return std::nullopt;
    const bool is_ours = static_cast<std::uint8_t>(message[0]) == type && message[1] == 0 &&
                         big_endian_at(message, 4) == own_id();
    return is_ours ? std::optional{big_endian_at(message, 6)} : std::nullopt;
}

bool set_option(const UniqueFd& fd, int level, int option, int value) {
    return ::setsockopt(fd.get(), level, option, &value, sizeof value) == 0;
}

/// Answers only, nothing larger than the path's MTU, and errors told one by one.
bool prepare(const UniqueFd& fd, Family family) {
    // Beyond net.core.rmem_max where that is allowed.
    if (!set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, answers_bytes)) {
        (void)set_option(fd, SOL_SOCKET, SO_RCVBUF, answers_bytes);
    }
    if (family == Family::Ipv4) {
        const int all_but_answers = static_cast<int>(~(1U << ICMP_ECHOREPLY));
        return set_option(fd, SOL_RAW, icmp_filter_option, all_but_answers) &&
               set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO) &&
               set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
    }
    icmp6_filter filter{};
    ICMP6_FILTER_SETBLOCKALL(&filter);
    ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
    return ::setsockopt(fd.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter) == 0 &&
           set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO) &&
           set_option(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1) &&
           set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
}

/// The kernel's record of an error in a control message; nullptr: there is none.
const sock_extended_err* error_in(msghdr& message) {
    for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr;
         each = CMSG_NXTHDR(&message, each)) {
        const bool is_error = (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_RECVERR) ||
                              (each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_RECVERR);
        if (is_error) {
            return static_cast<const sock_extended_err*>(static_cast<void*>(CMSG_DATA(each)));
        }
    }
    return nullptr;
}

std::string offender_of(const sock_extended_err& error) {
    const auto* offender =
        static_cast<const sockaddr*>(static_cast<const void*>(SO_EE_OFFENDER(&error)));
    if (offender->sa_family == AF_INET) {
        const auto* v4 = static_cast<const sockaddr_in*>(static_cast<const void*>(offender));
        return text(IpAddress::from_bytes(Family::Ipv4, &v4->sin_addr));
    }
    if (offender->sa_family == AF_INET6) {
        const auto* v6 = static_cast<const sockaddr_in6*>(static_cast<const void*>(offender));
        return text(IpAddress::from_bytes(Family::Ipv6, &v6->sin6_addr));
    }
    return "the kernel";
}

std::string too_long(std::uint32_t mtu) { return fmt::format("message too long, mtu={}", mtu); }

std::string complaint_of(const sock_extended_err& error) {
    const int code = static_cast<int>(error.ee_errno);
    const std::string words = code == EMSGSIZE ? too_long(error.ee_info) : std::strerror(code);
    return fmt::format("From {}: {}", offender_of(error), words);
}

}  // namespace

Result<EchoSocket> EchoSocket::open(const netlink::Namespace& there, Family family) {
    const int domain = family == Family::Ipv4 ? AF_INET : AF_INET6;
    const int protocol = family == Family::Ipv4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6};
    return netlink::run_inside(there, [&]() -> Result<EchoSocket> {
        UniqueFd fd{::socket(domain, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)};
        if (fd && prepare(fd, family)) return EchoSocket{std::move(fd), family};
        const int saved = errno;
        const auto kind = saved == EPERM ? Error::Kind::NotPermitted : Error::Kind::Failed;
        return fail(kind, "open a socket to ping from", std::strerror(saved), saved);
    });
}

void EchoSocket::ask(const IpAddress& to, std::uint16_t sequence, Mtu size) {
    const std::string message = request(family_, sequence, size);
    read_complaints();
    if (send(to, message)) return;
    // It may have been the error of an earlier request, told late: ask again, once.
    read_complaints();
    told_mtu_ = 0;
    if (send(to, message)) return;
    const int saved = errno;
    read_complaints();
    const bool is_told = saved == EMSGSIZE && told_mtu_ != 0;
    complaints_.push_back({sequence, is_told ? too_long(told_mtu_) : std::strerror(saved)});
}

std::optional<Heard> EchoSocket::hear() {
    if (auto answer = read_answer()) return answer;
    read_complaints();
    if (complaints_.empty()) return std::nullopt;
    Heard first = std::move(complaints_.front());
    complaints_.pop_front();
    return first;
}

bool EchoSocket::send(const IpAddress& to, const std::string& message) {
    const SocketName name = name_of(to);
    return ::sendto(fd_.get(), message.data(), message.size(), 0, &name.address.any, name.size) >=
           0;
}

std::optional<Heard> EchoSocket::read_answer() {
    std::array<char, 65536> buffer{};
    for (;;) {
        const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno != EAGAIN) {
            read_complaints();  // what recv said was the first of them
            continue;
        }
        if (got <= 0) return std::nullopt;
        std::span<const char> message{buffer.data(), static_cast<std::size_t>(got)};
        if (family_ == Family::Ipv4) {  // with its IP header (raw(7))
            const std::size_t header_bytes = (static_cast<std::uint8_t>(message[0]) & 15U) * 4;
            message = message.subspan(std::min(header_bytes, message.size()));
        }
        const int type = family_ == Family::Ipv4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
        if (const auto sequence = sequence_in(message, type)) return Heard{*sequence, ""};
    }
}

void EchoSocket::read_complaints() {
    for (;;) {
        std::array<char, 512> data{};
        alignas(cmsghdr) std::array<char, 512> control{};
        iovec part{data.data(), data.size()};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t got = ::recvmsg(fd_.get(), &message, MSG_ERRQUEUE);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return;
        const sock_extended_err* error = error_in(message);
        if (error == nullptr) continue;
        if (error->ee_origin == SO_EE_ORIGIN_LOCAL) {  // about the request that send() refused
            if (error->ee_errno == EMSGSIZE) told_mtu_ = error->ee_info;
            continue;
        }
        const int type = family_ == Family::Ipv4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
        const auto sequence = sequence_in({data.data(), static_cast<std::size_t>(got)}, type);
        if (sequence) complaints_.push_back({*sequence, complaint_of(*error)});
    }
}

}  // namespace overlay::lab
