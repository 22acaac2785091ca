#pragma once
// Who carries a node's packets: the kernel, or overlayd where the kernel lacks what an endpoint needs. Decided for
// a whole endpoint (a GUE port, a WireGuard device) with the Ethernet links on it, since packets of one UDP port
// arrive at one place.
//
//     in the kernel      in user space
//     gretap             TAP, with the same attributes
//     wireguard          TUN, with the same device and peers
//     FOU port           the same port, held by overlayd

#include "topology/intent.hpp"

namespace overlay {

/// Rewrites the desired state for every endpoint that overlayd carries here: kinds, ports, modules, overlayd
/// itself. A note says which and why. `found`: what modules this kernel has, and lacks.
void choose_datapaths(NodeIntent& intent, const KernelState& found);

}  // namespace overlay
