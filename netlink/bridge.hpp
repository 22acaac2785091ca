#pragma once
// The attributes of a bridge as IFLA_INFO_DATA and of its ports as IFLA_INFO_SLAVE_DATA, both ways. Only
// those of a bridge that are set are written, and the kernel keeps the others (Linux
// net/bridge/br_netlink.c, br_changelink).

#include "netlink/message.hpp"
#include "topology/state.hpp"

namespace overlay::netlink {

void put_bridge(Message& request, const BridgeAttributes& bridge);
/// A kernel built without multicast snooping or VLANs leaves that attribute out.
[[nodiscard]] BridgeAttributes decode_bridge(const Attributes& data);

/// Everything but the state, which the kernel lets nobody set while the port is down or under STP.
void put_bridge_port(Message& request, const BridgePort& port);
void put_port_state(Message& request, const BridgePort& port);
/// What an older kernel does not know has its default. `blocked` says what the state is, whatever the
/// reason.
[[nodiscard]] BridgePort decode_bridge_port(const Attributes& data);

}  // namespace overlay::netlink
