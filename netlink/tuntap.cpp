#include "netlink/tuntap.hpp"

#include "netlink/modules.hpp"
#include "netlink/socket.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace overlay::netlink {

Error tun_node_error(std::string doing, int error_number) {
    Error error = error_of_errno(std::move(doing) + ": open /dev/net/tun", error_number);
    const bool is_missing = error_number == ENOENT || error_number == ENODEV || error_number == ENXIO;
    if (!is_missing) return error;
    error.kind = Error::Kind::Unsupported;
    const bool kernel_has_it = ::access("/sys/class/misc/tun", F_OK) == 0;
    error.hint = kernel_has_it
                     ? "a container must be given the device; or: mkdir -p /dev/net && mknod /dev/net/tun c 10 200"
                     : package_hint("tun");
    return error;
}

Result<UniqueFd> create_tuntap(const IfName& name, LinkKind kind, std::string_view doing) {
    // TUNSETIFF would attach to one that is there.
    if (::if_nametoindex(name.c_str()) != 0) return fail(error_of_errno(std::string{doing}, EEXIST));
    UniqueFd fd{::open("/dev/net/tun", O_RDWR | O_CLOEXEC)};
    if (!fd) return fail(tun_node_error(std::string{doing}, errno));
    ifreq request{};
    std::memcpy(request.ifr_name, name.c_str(), name.str().size());
    const int type = kind == LinkKind::Tap ? IFF_TAP : IFF_TUN;
    request.ifr_flags = static_cast<short>(type | IFF_NO_PI | IFF_VNET_HDR);
    if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return fail(error_of_errno(std::string{doing}, errno));
    return fd;
}

Result<void> keep_tuntap(const UniqueFd& device, std::string_view doing) {
    if (::ioctl(device.get(), TUNSETPERSIST, 1) != 0) return fail(error_of_errno(std::string{doing}, errno));
    return {};
}

}  // namespace overlay::netlink
