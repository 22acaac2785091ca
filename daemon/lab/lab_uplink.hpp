#pragma once
// How a node meets its underlay: on which interface, with which addresses, behind which
// translation. Read off the file alone, before any address of the lab's own is chosen.

#include "topology/topology.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace overlay::lab {

struct Uplink {
    IfName interface;         ///< where its addresses are: "eth0", or the borrowed bridge itself
    IfName port;              ///< the cable's end: `interface`, or a port of that bridge
    bool on_bridge = false;   ///< the borrowed bridge is itself on the underlay (seed 004's router)
    bool behind_nat = false;
    std::vector<IpAddress> ipv4, ipv6;   ///< as stated
    std::optional<IpAddress> gateway4, gateway6;
    bool uses_ipv6 = false;   ///< a link of the node runs over IPv6
    Mtu mtu{1500};
};

[[nodiscard]] Uplink uplink_of(const Topology& topology, const Node& node);

/// `stem`0, or the first `stem`N that the file gives to no other interface of the node.
[[nodiscard]] IfName free_interface(const Topology& topology, const Node& node,
                                    std::string_view stem);

/// The public address of a spoke's translation, where the file states one.
[[nodiscard]] std::optional<IpAddress> stated_nat_address(const Node& spoke);

/// The length of the bridge's prefix that holds `address`; 24 where none does.
[[nodiscard]] std::uint8_t bridge_prefix_length(const Node& node, const IpAddress& address);

}   // namespace overlay::lab
