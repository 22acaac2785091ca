#pragma once
// What only the lab needs of the kernel: cables between namespaces, and the translation of a home
// router. Everything else the lab does with Kernel and its steps.

#include "netlink/namespaces.hpp"
#include "topology/values.hpp"

#include <cstdint>
#include <vector>

namespace overlay::netlink {

struct VethEnd {
    const Namespace& where;
    IfName name;
};

/// A veth pair, each end made in its namespace, down. Errors: Conflict when a name is taken.
[[nodiscard]] Result<void> create_veth(const VethEnd& near, const VethEnd& far, Mtu mtu);

struct PortForward {
    std::uint16_t port = 0;   ///< UDP, on the outer side
    Endpoint to;              ///< IPv4
};

/// Translates what leaves by `out` and forwards ports that arrive there, in the calling thread's
/// namespace, as a table `ip lab_nat`. IPv4 only. Sources: libnftables-json(5), nftables 1.0.6.
[[nodiscard]] Result<void> install_nat(const IfName& out, const std::vector<PortForward>& forwards);

}   // namespace overlay::netlink
