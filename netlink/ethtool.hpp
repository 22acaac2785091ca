#pragma once
// Offload features of devices by ethtool's generic-netlink family, in the five groups of `ethtool -K`.
//
// Each feature has bits for: the device can change it (HW), it was asked for (WANTED), it is on
// (ACTIVE). We report what was asked for: `tx off` takes TSO's ACTIVE bits down with it but leaves its
// WANTED bits, so a cascade is no drift (Linux net/core/dev.c, netdev_fix_features). A group that the
// device cannot change at all is reported as it is.

#include "netlink/links.hpp"

#include <map>
#include <string>
#include <vector>

namespace overlay::netlink {

/// The kernel's names of feature bits, by bit number: the same for the whole life of a kernel.
using FeatureNames = std::vector<std::string>;
[[nodiscard]] Result<FeatureNames> read_feature_names(Socket& generic, std::uint16_t family);

[[nodiscard]] Result<std::map<OffloadKey, bool>> snapshot_offloads(Socket& generic,
                                                                   std::uint16_t family,
                                                                   const FeatureNames& names);

struct OffloadChange {
    OffloadKey key;
    bool to = false;
};
[[nodiscard]] Result<void> set_offload(Socket& generic, std::uint16_t family,
                                       const FeatureNames& names, const OffloadChange& change);
/// A change of a gretap switches its segmentation on, whatever was requested (Linux net/ipv4/ip_gre.c,
/// ipgre_link_update), and a request that says what is requested already has no effect (net/ethtool/features.c): what
/// is on against the request is requested and given up.
[[nodiscard]] Result<void> let_go_of_unwanted(Socket& generic, std::uint16_t family, const FeatureNames& names,
                                              const IfName& link);

/// One device's answer. Public for tests.
[[nodiscard]] std::map<OffloadKey, bool> decode_offloads(const Attributes& attributes,
                                                         const FeatureNames& names);

}  // namespace overlay::netlink
