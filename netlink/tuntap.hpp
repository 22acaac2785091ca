#pragma once
// TAP and TUN devices for overlayd. Netlink shows them and takes them away, but only /dev/net/tun makes them. They
// are persistent: a reader that dies takes frames with it, and not the bridge's port.

#include "topology/state.hpp"

namespace overlay::netlink {

/// Makes the device, down, in the network namespace of the calling thread. Errors: Conflict (the name is taken),
/// NotPermitted, Unsupported (no /dev/net/tun), Failed.
[[nodiscard]] Result<void> create_tuntap(const IfName& name, LinkKind kind, std::string_view doing);

}  // namespace overlay::netlink
