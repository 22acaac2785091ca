#include "daemon/io/udp_socket.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <linux/filter.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <unistd.h>

namespace overlay::io {

namespace {

constexpr int full_patience_ms = 2;
constexpr std::size_t batch = 32;   // sends in one call

bool set(int fd, int level, int option, int value) {
    return ::setsockopt(fd, level, option, &value, sizeof value) == 0;
}

/// Before Linux 4.18 there is no UDP_SEGMENT, and before 5.0 no UDP_GRO.
Offload switch_offload(int fd, int option, int value, const Offload& wanted) {
    if (!wanted.is_on() || set(fd, IPPROTO_UDP, option, value)) return wanted;
    return {.state = Offload::State::Lacking};
}

/// Beyond net.core.rmem_max where we may, up to it where we may not.
void grow_buffers(int fd, int wanted_bytes) {
    if (!set(fd, SOL_SOCKET, SO_RCVBUFFORCE, wanted_bytes)) set(fd, SOL_SOCKET, SO_RCVBUF, wanted_bytes);
    if (!set(fd, SOL_SOCKET, SO_SNDBUFFORCE, wanted_bytes)) set(fd, SOL_SOCKET, SO_SNDBUF, wanted_bytes);
}

/// TTL, "don't fragment", the traffic class of what comes; each a refinement that an old kernel may lack.
void set_ip_options(int fd, const UdpOptions& options) {
    if (options.mark != 0) set(fd, SOL_SOCKET, SO_MARK, static_cast<int>(options.mark));
    const bool whole = options.fragments == UdpOptions::Fragments::Never;
    const bool tells = options.local_address == UdpOptions::LocalAddress::Tell;
    if (options.family == Family::Ipv4) {
        set(fd, IPPROTO_IP, IP_TTL, options.ttl);
        set(fd, IPPROTO_IP, IP_MTU_DISCOVER, whole ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT);
        set(fd, IPPROTO_IP, IP_RECVTOS, 1);
        if (tells) set(fd, IPPROTO_IP, IP_PKTINFO, 1);
    } else {
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, options.ttl);
        set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, whole ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT);
        set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
        if (tells) set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
        constexpr int no_check6_rx = 102;   // Linux include/uapi/linux/udp.h: zero checksums are taken
        set(fd, IPPROTO_UDP, no_check6_rx, 1);
    }
}

template <class T>
void add_control(msghdr& message, std::size_t& used, int level, int type, const T& value) {
    auto* const start = static_cast<std::byte*>(message.msg_control) + used;
    auto* const header = static_cast<cmsghdr*>(static_cast<void*>(start));
    header->cmsg_level = level;
    header->cmsg_type = type;
    header->cmsg_len = CMSG_LEN(sizeof value);
    std::memcpy(CMSG_DATA(header), &value, sizeof value);
    used += CMSG_SPACE(sizeof value);
}

template <class T>
T control_value(const cmsghdr& header) {
    T value{};
    std::memcpy(&value, CMSG_DATA(&header), sizeof value);
    return value;
}

/// Segment size, traffic class and our own address as control messages tell them.
void read_controls(msghdr& message, Received& out) {
    for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
        if (at->cmsg_level == IPPROTO_UDP && at->cmsg_type == UDP_GRO) {
            out.segment_bytes = static_cast<std::size_t>(control_value<int>(*at));
        } else if (at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_TOS) {
            out.traffic_class = control_value<std::uint8_t>(*at);
        } else if (at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_TCLASS) {
            out.traffic_class = static_cast<std::uint8_t>(control_value<int>(*at));
        } else if (at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_PKTINFO) {
            const auto info = control_value<in_pktinfo>(*at);
            out.to = IpAddress::from_bytes(Family::Ipv4, &info.ipi_addr);
        } else if (at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_PKTINFO) {
            const auto info = control_value<in6_pktinfo>(*at);
            out.to = IpAddress::from_bytes(Family::Ipv6, &info.ipi6_addr);
        }
    }
}

/// As whom to send. The interface stays open: the routes decide, and may have changed.
void add_source(msghdr& message, std::size_t& used, const IpAddress& from) {
    if (from.family() == Family::Ipv4) {
        in_pktinfo info{};
        std::memcpy(&info.ipi_spec_dst, from.data(), sizeof info.ipi_spec_dst);
        add_control(message, used, IPPROTO_IP, IP_PKTINFO, info);
    } else {
        in6_pktinfo info{};
        std::memcpy(&info.ipi6_addr, from.data(), sizeof info.ipi6_addr);
        add_control(message, used, IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
}

}  // namespace

SocketAddress SocketAddress::of(const Endpoint& endpoint, std::uint32_t interface) {
    SocketAddress out;
    if (endpoint.address.family() == Family::Ipv4) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = htons(endpoint.port);
        std::memcpy(&in.sin_addr, endpoint.address.data(), sizeof in.sin_addr);
        std::memcpy(&out.storage, &in, sizeof in);
        out.size_bytes = sizeof in;
    } else {
        sockaddr_in6 in{};
        in.sin6_family = AF_INET6;
        in.sin6_port = htons(endpoint.port);
        std::memcpy(&in.sin6_addr, endpoint.address.data(), sizeof in.sin6_addr);
        if (endpoint.address.is_link_local()) in.sin6_scope_id = interface;
        std::memcpy(&out.storage, &in, sizeof in);
        out.size_bytes = sizeof in;
    }
    return out;
}

IpAddress SocketAddress::address() const {
    if (storage.ss_family == AF_INET) {
        sockaddr_in in{};
        std::memcpy(&in, &storage, sizeof in);
        return IpAddress::from_bytes(Family::Ipv4, &in.sin_addr);
    }
    sockaddr_in6 in{};
    std::memcpy(&in, &storage, sizeof in);
    return IpAddress::from_bytes(Family::Ipv6, &in.sin6_addr);
}

std::uint16_t SocketAddress::port() const {
    sockaddr_in in{};   // the port stands at the same place in both
    std::memcpy(&in, &storage, sizeof in);
    return ntohs(in.sin_port);
}

std::uint32_t SocketAddress::interface() const {
    if (storage.ss_family != AF_INET6) return 0;
    sockaddr_in6 in{};
    std::memcpy(&in, &storage, sizeof in);
    return in.sin6_scope_id;
}

// ---- opening ------------------------------------------------------------------------------------

Result<UdpSocket> UdpSocket::open(const UdpOptions& options, const Offloads& offloads) {
    return open_at(options, offloads, false);
}

Result<UdpSocket> UdpSocket::open_at(const UdpOptions& options, const Offloads& offloads, bool beside_another) {
    const std::string doing = "open UDP port " + std::to_string(options.port);
    const bool is_ipv4 = options.family == Family::Ipv4;
    UniqueFd fd{::socket(is_ipv4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!fd) return fail(system_error(doing, errno));
    set_ip_options(fd.get(), options);
    grow_buffers(fd.get(), options.kernel_buffer_bytes);
    if (beside_another) set(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    const std::array<std::uint8_t, 16> any{};
    const IpAddress local =
        options.local ? *options.local : IpAddress::from_bytes(options.family, any.data());
    SocketAddress address = SocketAddress::of({local, options.port});
    auto* const generic = static_cast<sockaddr*>(static_cast<void*>(&address.storage));
    if (::bind(fd.get(), generic, address.size_bytes) != 0)
        return fail(system_error(doing, errno));
    if (::getsockname(fd.get(), generic, &address.size_bytes) != 0)
        return fail(system_error(doing, errno));
    UdpSocket out{std::move(fd), options};
    out.options_.port = address.port();
    constexpr int named_by_each_train = 0;
    out.gso_ = switch_offload(out.fd(), UDP_SEGMENT, named_by_each_train, offloads.udp_gso);
    out.gro_ = switch_offload(out.fd(), UDP_GRO, 1, offloads.udp_gro);
    return out;
}

/// The kernel asks a program which socket of a port is to have a datagram: here the first to be bound has the number
/// 0. That one was bound alone, so that a port which is taken is refused. Later whoever says SO_REUSEPORT as the same
/// user gets in, also by chance (port 0), and is sent nothing; but this port cannot be had again while they are there.
std::optional<UdpSocket> UdpSocket::open_for_all_but(std::byte octet) {
    const auto alone = [&]() -> std::optional<UdpSocket> {
        set(fd(), SOL_SOCKET, SO_REUSEPORT, 0);
        return std::nullopt;
    };
    if (!set(fd(), SOL_SOCKET, SO_REUSEPORT, 1)) return std::nullopt;
    auto other = open_at(options_, {.udp_gso = gso_, .udp_gro = gro_}, true);
    if (!other) return alone();
    const auto wanted = std::to_integer<std::uint32_t>(octet);
    std::array<sock_filter, 4> program{{BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),   // none there: returns 0
                                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, wanted, 0, 1),
                                        BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 1)}};
    const sock_fprog chooser{program.size(), program.data()};
    if (::setsockopt(fd(), SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &chooser, sizeof chooser) != 0) return alone();
    return std::move(*other);
}

/// Which one is the kernel's choice, by addresses and ports.
Result<UdpSocket> UdpSocket::open_beside() {
    if (!set(fd(), SOL_SOCKET, SO_REUSEPORT, 1)) return fail(system_error("share a UDP port", errno));
    return open_at(options_, {.udp_gso = gso_, .udp_gro = gro_}, true);
}

int UdpSocket::set_mark(std::uint32_t mark) {
    if (!set(fd(), SOL_SOCKET, SO_MARK, static_cast<int>(mark))) return errno;
    options_.mark = mark;
    return 0;
}

// ---- sending ------------------------------------------------------------------------------------

void UdpSocket::prepare(const Train& train, mmsghdr& message, std::span<std::byte> control) const {
    message = {};
    msghdr& header = message.msg_hdr;
    header.msg_name = const_cast<sockaddr_storage*>(&train.to->storage);
    header.msg_namelen = train.to->size_bytes;
    header.msg_iov = train.slices.data();
    header.msg_iovlen = train.slices.size();
    header.msg_control = control.data();
    std::size_t used = 0;
    const int traffic_class = train.traffic_class;
    if (options_.family == Family::Ipv4) add_control(header, used, IPPROTO_IP, IP_TOS, traffic_class);
    else add_control(header, used, IPPROTO_IPV6, IPV6_TCLASS, traffic_class);
    const int ttl = train.ttl;
    if (ttl != 0 && options_.family == Family::Ipv4) add_control(header, used, IPPROTO_IP, IP_TTL, ttl);
    if (ttl != 0 && options_.family == Family::Ipv6) add_control(header, used, IPPROTO_IPV6, IPV6_HOPLIMIT, ttl);
    if (!train.from.is_unspecified()) add_source(header, used, train.from);
    if (train.segments > 1) {
        const auto segment_bytes = static_cast<std::uint16_t>(train.segment_bytes);
        add_control(header, used, IPPROTO_UDP, UDP_SEGMENT, segment_bytes);
    }
    header.msg_controllen = used;
}

std::size_t UdpSocket::send(std::span<const Train> trains) {
    std::size_t lost = 0;
    constexpr std::size_t control_bytes =
        3 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(in6_pktinfo));
    std::array<mmsghdr, batch> messages;
    alignas(cmsghdr) std::array<std::byte, batch * control_bytes> controls;
    bool is_patient = true;   // once without success, and the rest does not wait: others have packets, too
    while (!trains.empty()) {
        if (!can_send_whole(trains.front())) {
            lost += send_one_by_one(trains.front());
            trains = trains.subspan(1);
            continue;
        }
        std::size_t count = 0;
        for (; count < std::min(trains.size(), batch) && can_send_whole(trains[count]); ++count) {
            prepare(trains[count], messages[count],
                    std::span{controls}.subspan(count * control_bytes, control_bytes));
        }
        const int sent = ::sendmmsg(fd(), messages.data(), static_cast<unsigned>(count), 0);
        if (sent > 0) {
            trains = trains.subspan(static_cast<std::size_t>(sent));
            is_patient = true;
            continue;
        }
        if (errno == EINTR) continue;
        if (errno == EAGAIN && std::exchange(is_patient, false)) {
            pollfd wait{fd(), POLLOUT, 0};
            if (::poll(&wait, 1, full_patience_ms) > 0) continue;
            errno = ENOBUFS;
        }
        lost += send_otherwise(trains.front(), errno);
        trains = trains.subspan(1);
    }
    return lost;
}

/// What the kernel refused as it was: without what it may have refused, or not at all.
std::size_t UdpSocket::send_otherwise(const Train& train, int reason) {
    const bool is_about_train = reason == EINVAL || reason == EMSGSIZE || reason == EIO;
    // EIO: the device that the route leads to computes no checksums. The others are said of this train
    // only: segments larger than the path takes (EINVAL before Linux 6.14) may still go in fragments.
    if (train.segments > 1 && reason == EIO) gso_ = {.state = Offload::State::Refused, .error_number = reason};
    if (train.segments > 1 && is_about_train) return send_one_by_one(train);
    const bool is_about_source =
        reason == EINVAL || reason == EADDRNOTAVAIL || reason == ENETUNREACH;
    if (is_about_source && !train.from.is_unspecified()) {   // it may be gone from this machine
        Train other = train;
        other.from = {};
        return send({&other, 1});
    }
    return train.segments;
}

/// Cuts the train's slices where one datagram ends and the next begins; many of them in one call all the same.
std::size_t UdpSocket::send_one_by_one(const Train& train) {
    constexpr std::size_t max_slices = 8;
    std::array<iovec, batch * max_slices> slices;
    std::array<Train, batch> ones;
    std::size_t lost = 0, at = 0, used_of_slice = 0, count = 0;
    for (std::size_t n = 0; n < train.segments; ++n) {
        Train& one = ones[count] = train;
        one.segments = 1;
        one.size_bytes = 0;
        const std::span own = std::span{slices}.subspan(count * max_slices, max_slices);
        std::size_t used = 0;
        while (one.size_bytes < train.segment_bytes && at < train.slices.size()) {
            OVERLAY_ASSERT(used < max_slices);
            const iovec& slice = train.slices[at];
            const std::size_t size = std::min(slice.iov_len - used_of_slice,
                                              train.segment_bytes - one.size_bytes);
            own[used++] = {static_cast<std::byte*>(slice.iov_base) + used_of_slice, size};
            one.size_bytes += size;
            used_of_slice += size;
            if (used_of_slice < slice.iov_len) continue;
            ++at;
            used_of_slice = 0;
        }
        one.slices = own.first(used);
        if (++count < batch && n + 1 < train.segments) continue;
        lost += send(std::span{ones}.first(count));
        count = 0;
    }
    return lost;
}

// ---- receiving ----------------------------------------------------------------------------------

ReceiveRoom::ReceiveRoom(std::size_t buffers)
    : memory_(buffers * buffer_bytes),
      received_(buffers),
      messages_(buffers),
      controls_(buffers * control_bytes) {
    OVERLAY_ASSERT(buffers <= max_buffers);
}

std::span<const Received> UdpSocket::receive(ReceiveRoom& room) {
    std::array<iovec, ReceiveRoom::max_buffers> slices;
    const std::size_t buffers = room.messages_.size();
    for (std::size_t i = 0; i < buffers; ++i) {
        slices[i] = {room.memory_.data() + i * ReceiveRoom::buffer_bytes, ReceiveRoom::buffer_bytes};
        msghdr& header = room.messages_[i].msg_hdr;
        header = {};
        header.msg_name = &room.received_[i].from.storage;
        header.msg_namelen = sizeof room.received_[i].from.storage;
        header.msg_iov = &slices[i];
        header.msg_iovlen = 1;
        header.msg_control = room.controls_.data() + i * ReceiveRoom::control_bytes;
        header.msg_controllen = ReceiveRoom::control_bytes;
    }
    const int count =
        ::recvmmsg(fd(), room.messages_.data(), static_cast<unsigned>(buffers), MSG_DONTWAIT, nullptr);
    if (count <= 0) return {};
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
        Received& out = room.received_[i];
        out.bytes = {room.memory_.data() + i * ReceiveRoom::buffer_bytes, room.messages_[i].msg_len};
        out.from.size_bytes = room.messages_[i].msg_hdr.msg_namelen;
        out.segment_bytes = out.bytes.size();
        out.to = {};
        out.traffic_class = 0;
        read_controls(room.messages_[i].msg_hdr, out);
    }
    return {room.received_.data(), static_cast<std::size_t>(count)};
}

}  // namespace overlay::io
