#pragma once
// Who should reach whom, worked out from the lab's plan and the nodes' intents alone: a walk
// through cables, bridges, tunnels, routing tables, WireGuard's allowed-ips and translations, there
// and back. `lab ping` then asks the kernel whether it is so. Pure; never looks at a kernel, so
// that a pair that should answer and does not is a finding and not a shrug.
//
// Not walked: the underlay beneath a tunnel (a tunnel is taken to work) and firewalls of others.

#include "daemon/lab/lab_plan.hpp"
#include "topology/intent.hpp"

#include <map>
#include <string>
#include <vector>

namespace overlay::lab {

/// By node. Empty: nothing is applied yet, and only the underlay is walked.
using Intents = std::map<std::string, NodeIntent>;
[[nodiscard]] Intents compile_all(const Topology& topology);
/// What this kernel cannot carry becomes overlayd's, as apply will have it.
[[nodiscard]] Result<void> choose_datapaths(Intents& intents);

/// Where a host can be reached. By advertisement: the address inside `prefix` is known only to the
/// kernel.
struct LabTarget {
    IfName interface;
    IpPrefix prefix;
    bool by_advertisement = false;
    friend bool operator==(const LabTarget&, const LabTarget&) = default;
};

struct LabPair {
    std::string from, to;
    Family family = Family::Ipv4;
    bool expected = false;
    LabTarget target;     ///< when expected
    Mtu mtu{0};           ///< of the path, both ways
    std::string reason;   ///< why not, when not expected
};

/// All ordered pairs of nodes, LAN hosts and the Internet-side host, both families.
[[nodiscard]] std::vector<LabPair> make_pairs(const LabPlan& plan, const Topology& topology,
                                              const Intents& intents);

/// The hosts of the matrix, in the plan's order.
[[nodiscard]] std::vector<std::string> matrix_hosts(const LabPlan& plan);

/// "linode -> home ipv4 192.168.88.6 mtu 1446", "host -> home ipv4 no: internet has no route to …"
[[nodiscard]] std::string text(const LabPair& pair);

}   // namespace overlay::lab
