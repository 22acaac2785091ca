#pragma once
// What `ethtool -K` has asked of a device. A TAP forgets it when its reader says what he can take (Linux
// drivers/net/tun.c, set_offload), so the reader looks before and puts it back.

#include "topology/values.hpp"

#include <cstdint>
#include <vector>

namespace overlay::netlink {

/// Bits of features by their number in ETH_SS_FEATURES, 32 to a word. Empty where the kernel does not tell.
using Features = std::vector<std::uint32_t>;

[[nodiscard]] Features requested_features(const IfName& device);
/// What differs from it now is asked anew.
void request_features(const IfName& device, const Features& wanted);

}  // namespace overlay::netlink
