// A device of ours for Debian's `wg`: the protocol core, its UAPI socket and a UDP socket, and no
// interface. tests/interop/uapi.py drives it.
//
//   uapi_driver NAME SECONDS
//
// It prints "ready" when `wg` finds it, and ends with its standard input, at the latest after
// SECONDS.

#include "daemon/io/uapi_socket.hpp"
#include "daemon/wireguard/uapi.hpp"

#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

using namespace overlay;
using namespace overlay::wireguard;

namespace {

Moment now() { return {Clock::now(), WallClock::now()}; }

sockaddr_in6 address_of(const Path& path) {
    sockaddr_in6 out{};
    out.sin6_family = AF_INET6;
    out.sin6_port = htons(path.remote.port);
    out.sin6_scope_id = path.interface;
    const bool is_ipv4 = path.remote.address.family() == Family::Ipv4;
    if (is_ipv4) out.sin6_addr.s6_addr[10] = out.sin6_addr.s6_addr[11] = 0xff;
    std::memcpy(&out.sin6_addr.s6_addr[is_ipv4 ? 12 : 0], path.remote.address.data(),
                path.remote.address.size_bytes());
    return out;
}

Path path_of(const sockaddr_in6& from) {
    const bool is_ipv4 = IN6_IS_ADDR_V4MAPPED(&from.sin6_addr);
    return {.remote = {IpAddress::from_bytes(is_ipv4 ? Family::Ipv4 : Family::Ipv6,
                                             &from.sin6_addr.s6_addr[is_ipv4 ? 12 : 0]),
                       ntohs(from.sin6_port)},
            .local = {},
            .interface = from.sin6_scope_id};
}

/// One socket for both families.
class Socket final : public UapiHost {
  public:
    [[nodiscard]] SocketSettings socket_settings() const override { return settings_; }

    [[nodiscard]] int change_socket(const SocketSettings& wanted) override {
        const bool keeps_port =
            wanted.listen_port != 0 && wanted.listen_port == settings_.listen_port;
        if (keeps_port && fd_)
            return set_mark(fd_.get(), wanted.fwmark) ? (settings_ = wanted, 0) : errno;
        netlink::UniqueFd fresh{::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        sockaddr_in6 here{};
        here.sin6_family = AF_INET6;
        here.sin6_port = htons(wanted.listen_port);
        const int both = 0;
        if (!fresh ||
            ::setsockopt(fresh.get(), IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof both) != 0 ||
            !set_mark(fresh.get(), wanted.fwmark) ||
            ::bind(fresh.get(), reinterpret_cast<sockaddr*>(&here), sizeof here) != 0)
            return errno;
        socklen_t size = sizeof here;
        (void)::getsockname(fresh.get(), reinterpret_cast<sockaddr*>(&here), &size);
        fd_ = std::move(fresh);
        settings_ = {.listen_port = ntohs(here.sin6_port), .fwmark = wanted.fwmark};
        return 0;
    }

    [[nodiscard]] std::uint32_t interface_index(const std::string& name) const override {
        return ::if_nametoindex(name.c_str());
    }

    [[nodiscard]] int fd() const { return fd_.get(); }

    void send(Outbox& out) {
        for (const Outbox::Datagram& each : out.datagrams()) {
            const sockaddr_in6 to = address_of(each.to);
            const Bytes bytes = out.bytes_of(each);
            (void)::sendto(fd_.get(), bytes.data(), bytes.size(), 0,
                           reinterpret_cast<const sockaddr*>(&to), sizeof to);
        }
        out.clear();
    }

    void receive(Device& device, Outbox& out) {
        std::array<std::byte, 2048> buffer{};
        sockaddr_in6 from{};
        socklen_t size = sizeof from;
        const ssize_t got = ::recvfrom(fd_.get(), buffer.data(), buffer.size(), 0,
                                       reinterpret_cast<sockaddr*>(&from), &size);
        if (got < 0) return;
        (void)device.receive(MutableBytes{buffer}.first(static_cast<std::size_t>(got)),
                             path_of(from), now(), out);
    }

  private:
    static bool set_mark(int fd, std::uint32_t mark) {
        return ::setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0;
    }
    netlink::UniqueFd fd_;
    SocketSettings settings_;
};

int poll_timeout(Clock::time_point next) {
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(wait.count(), 0, 1000));
}

}  // namespace

int main(int argc, char** argv) {
    OVERLAY_ASSERT(argc == 3 && crypto_available());
    SystemRandom random;
    Device device{Secret32{}, {}, random};
    Socket host;
    OVERLAY_ASSERT(host.change_socket({}) == 0);
    Outbox out;
    Uapi uapi{device, host};
    auto socket = io::UapiSocket::open(*IfName::parse(argv[1]), {}, [&](std::string_view request) {
        return uapi.answer(request, now(), out);
    });
    if (!socket) {
        std::puts(text(socket.error()).c_str());
        return 1;
    }
    std::puts("ready");
    (void)std::fflush(stdout);

    const Clock::time_point end = Clock::now() + std::chrono::seconds{std::stoi(argv[2])};
    while (Clock::now() < end) {
        std::array<pollfd, 3> ready{pollfd{host.fd(), POLLIN, 0}, pollfd{socket->fd(), POLLIN, 0},
                                    pollfd{STDIN_FILENO, POLLIN, 0}};
        const auto next = std::min({device.next_deadline(), socket->next_deadline(), end});
        (void)::poll(ready.data(), ready.size(), poll_timeout(next));
        if (ready[0].revents != 0) host.receive(device, out);
        if (ready[1].revents != 0) socket->on_readable(Clock::now());
        if (ready[2].revents != 0) break;
        device.on_time(now(), out);
        socket->on_time(Clock::now());
        host.send(out);
    }
}
