#pragma once
// Whether a node's way to the Internet is as the file has it. A wrong one makes nothing fail: interfaces and
// tunnels come up, and stay silent. So diff, apply and doctor say it.

#include "topology/intent.hpp"

#include <string>
#include <vector>

namespace overlay {

struct UnderlayDoubt {
    std::string subject;      ///< "uplink eth9", "underlay address 198.51.100.1"
    std::string evidence;     ///< a sentence that stands alone
    std::string fix;
    bool is_certain = true;   ///< false: right behind a NAT, of which the node itself sees nothing
};

/// Pure. An address that the node has by the file itself, on its bridge say, is none to doubt.
[[nodiscard]] std::vector<UnderlayDoubt> doubts_about_underlay(const NodeIntent& intent,
                                                               const KernelState& found);

}  // namespace overlay
