#include "daemon/io/tap.hpp"

#include "netlink/features.hpp"
#include "netlink/tuntap.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace overlay::io {

namespace {

// Linux include/uapi/linux/if_tun.h since 6.2; older headers and kernels do without.
constexpr unsigned long offload_uso4 = 0x20, offload_uso6 = 0x40;

struct Taken {
    Offload tso;
    bool udp = false;
};

/// The most that this kernel takes, from the best to nothing: each missing one is refused with EINVAL. Nothing is
/// said, too: a device outlives its readers, and does for the next what the last one could take.
Taken request_offloads(int fd, const IfName& name, const Offload& tso) {
    const netlink::Features asked = netlink::requested_features(name);
    const unsigned long tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, udp = offload_uso4 | offload_uso6;
    Taken out{.tso = {.state = Offload::State::Lacking}};
    for (const unsigned long wanted : {tcp | udp, tcp, 0UL}) {
        if (wanted != 0 && !tso.is_on()) continue;
        if (::ioctl(fd, TUNSETOFFLOAD, wanted) != 0) continue;
        if (wanted != 0 || !tso.is_on()) out.tso = tso;
        out.udp = (wanted & udp) != 0;
        break;
    }
    netlink::request_features(name, asked);
    return out;
}

}  // namespace

std::optional<std::size_t> mtu_of(const IfName& name) {
    const UniqueFd any{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ifreq request{};
    std::memcpy(request.ifr_name, name.c_str(), name.str().size());
    if (!any || ::ioctl(any.get(), SIOCGIFMTU, &request) != 0) return std::nullopt;
    return static_cast<std::size_t>(request.ifr_mtu);
}

Result<Tap> Tap::open(const IfName& name, Kind kind, const Offloads& offloads) {
    const std::string doing = "open " + name.str();
    // TUNSETIFF would make the device: a name that is not there is a mistake, or a race that we lost.
    if (::if_nametoindex(name.c_str()) == 0) return fail(system_error(doing, ENODEV));
    UniqueFd fd{::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
    if (!fd) return fail(netlink::tun_node_error(doing, errno));
    ifreq request{};
    std::memcpy(request.ifr_name, name.c_str(), name.str().size());
    request.ifr_flags = static_cast<short>((kind == Kind::Tap ? IFF_TAP : IFF_TUN) | IFF_NO_PI | IFF_VNET_HDR);
    if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return fail(system_error(doing, errno));
    int header_bytes = sizeof(wire::VnetHeader);
    if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &header_bytes) != 0)
        return fail(system_error(doing + ": virtio headers", errno));
    const Taken taken = request_offloads(fd.get(), name, offloads.device_tso);
    return Tap{std::move(fd), taken.tso, taken.udp};
}

Result<Tap> Tap::beside() const {
    UniqueFd fd{::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0)};
    if (!fd) return fail(system_error("open the device once more", errno));
    return Tap{std::move(fd), tso_, takes_udp_};
}

Result<std::size_t> Tap::read(std::span<std::byte> to) {
    for (;;) {
        const ssize_t n = ::read(fd_.get(), to.data(), to.size());
        if (n >= 0) return static_cast<std::size_t>(n);
        if (errno == EINTR) continue;
        if (errno == EAGAIN) return std::size_t{0};
        return fail(system_error("read from the device", errno));
    }
}

int Tap::write(std::span<const iovec> slices) {
    for (;;) {
        if (::writev(fd_.get(), slices.data(), static_cast<int>(slices.size())) >= 0) return 0;
        if (errno != EINTR) return errno;
    }
}

}  // namespace overlay::io
