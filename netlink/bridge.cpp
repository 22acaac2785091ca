#include "netlink/bridge.hpp"

#include <linux/if_bridge.h>
#include <linux/if_link.h>

#include <array>

namespace overlay::netlink {

namespace {

struct PortFlag {
    std::uint16_t type;
    bool BridgePort::*flag;
};

constexpr std::array port_flags{
    PortFlag{IFLA_BRPORT_MODE, &BridgePort::hairpin},
    PortFlag{IFLA_BRPORT_GUARD, &BridgePort::guard},
    PortFlag{IFLA_BRPORT_PROTECT, &BridgePort::root_block},
    PortFlag{IFLA_BRPORT_LEARNING, &BridgePort::learning},
    PortFlag{IFLA_BRPORT_UNICAST_FLOOD, &BridgePort::flood},
    PortFlag{IFLA_BRPORT_MCAST_FLOOD, &BridgePort::multicast_flood},
    PortFlag{IFLA_BRPORT_BCAST_FLOOD, &BridgePort::broadcast_flood},
    PortFlag{IFLA_BRPORT_MCAST_TO_UCAST, &BridgePort::multicast_to_unicast},
    PortFlag{IFLA_BRPORT_NEIGH_SUPPRESS, &BridgePort::neighbour_suppression},
    PortFlag{IFLA_BRPORT_PROXYARP, &BridgePort::proxy_arp},
    PortFlag{IFLA_BRPORT_PROXYARP_WIFI, &BridgePort::proxy_arp_wifi},
    PortFlag{IFLA_BRPORT_ISOLATED, &BridgePort::isolated},
    PortFlag{IFLA_BRPORT_LOCKED, &BridgePort::locked},
};

}  // namespace

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
    // A kernel that cannot do it does not say that it does not.
    bridge.multicast_snooping = data.u8(IFLA_BR_MCAST_SNOOPING).value_or(0) != 0;
    bridge.vlan_filtering = data.u8(IFLA_BR_VLAN_FILTERING).value_or(0) != 0;
    return bridge;
}

void put_bridge_port(Message& request, const BridgePort& port) {
    for (const auto& [type, flag] : port_flags) request.put_u8(type, port.*flag ? 1 : 0);
}

void put_port_state(Message& request, const BridgePort& port) {
    request.put_u8(IFLA_BRPORT_STATE, port.blocked ? BR_STATE_DISABLED : BR_STATE_FORWARDING);
}

BridgePort decode_bridge_port(const Attributes& data) {
    BridgePort port;
    const auto state = data.u8(IFLA_BRPORT_STATE);
    port.blocked = state && *state != BR_STATE_FORWARDING;
    for (const auto& [type, flag] : port_flags) {
        if (const auto value = data.u8(type)) port.*flag = *value != 0;
    }
    return port;
}

}  // namespace overlay::netlink
