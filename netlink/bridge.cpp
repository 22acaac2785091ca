#include "netlink/bridge.hpp"

#include <linux/if_link.h>

namespace overlay::netlink {

void put_bridge(Message& request, const BridgeAttributes& bridge) {
    if (bridge.stp) request.put_u32(IFLA_BR_STP_STATE, *bridge.stp ? 1 : 0);
    if (bridge.multicast_snooping) {
        request.put_u8(IFLA_BR_MCAST_SNOOPING, *bridge.multicast_snooping ? 1 : 0);
    }
    if (bridge.vlan_filtering) {
        request.put_u8(IFLA_BR_VLAN_FILTERING, *bridge.vlan_filtering ? 1 : 0);
    }
}

BridgeAttributes decode_bridge(const Attributes& data) {
    BridgeAttributes bridge;
    // 2 means that a user-space daemon runs STP.
    if (const auto stp = data.u32(IFLA_BR_STP_STATE)) bridge.stp = *stp != 0;
    if (const auto snooping = data.u8(IFLA_BR_MCAST_SNOOPING)) {
        bridge.multicast_snooping = *snooping != 0;
    }
    if (const auto filtering = data.u8(IFLA_BR_VLAN_FILTERING)) {
        bridge.vlan_filtering = *filtering != 0;
    }
    return bridge;
}

}  // namespace overlay::netlink
