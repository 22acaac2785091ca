#pragma once
// The parameters of a gretap or ip6gretap as IFLA_INFO_DATA, both ways. A request always carries all of
// them: the kernel zeroes what is left out, applies the encapsulation first and refuses afterwards
// (Linux 6.1 net/ipv4/ip_gre.c ipgre_changelink, net/ipv6/ip6_gre.c ip6gre_tap_changelink).

#include "netlink/message.hpp"
#include "topology/state.hpp"

namespace overlay::netlink {

/// In GretapAttributes.flow_label, which has 20 bits on the wire: taken from the inner packet.
inline constexpr std::uint32_t flow_label_inherit = 1U << 20;

/// Writes the content of IFLA_INFO_DATA. `device_index`: of `tunnel.device`, 0 for none.
void put_gretap(Message& request, const GretapAttributes& tunnel, std::uint32_t device_index);

/// Reads the content of IFLA_INFO_DATA; `device` stays empty (see gretap_device_index).
[[nodiscard]] GretapAttributes decode_gretap(const Attributes& data, Family underlay);
[[nodiscard]] std::uint32_t gretap_device_index(const Attributes& data);

}  // namespace overlay::netlink
