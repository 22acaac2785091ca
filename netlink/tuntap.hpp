#pragma once
// TAP and TUN devices for overlayd. Netlink shows them and takes them away, but only /dev/net/tun makes them. They
// are persistent: a reader that dies takes frames with it, and not the bridge's port.

#include "netlink/fd.hpp"
#include "topology/state.hpp"

namespace overlay::netlink {

/// Makes the device, down, in the network namespace of the calling thread. Until keep_tuntap it goes with its
/// descriptor: whoever dies before the device bears our mark leaves none. Errors: Conflict (the name is taken),
/// NotPermitted, Unsupported (no /dev/net/tun), Failed.
[[nodiscard]] Result<UniqueFd> create_tuntap(const IfName& name, LinkKind kind, std::string_view doing);

/// Of open(2) on /dev/net/tun, with what to do where there is none: Unsupported.
[[nodiscard]] Error tun_node_error(std::string doing, int error_number);

[[nodiscard]] Result<void> keep_tuntap(const UniqueFd& device, std::string_view doing);

}  // namespace overlay::netlink
