#pragma once
// The node's share in the words of other programs: for reading, for review, for machines without
// us. Pure text from a NodeIntent, whose names were checked when the file was read; values are
// quoted for their reader all the same. Nothing here is ever run by us.
//
// No format holds a secret: keys are named by their files.

#include "topology/intent.hpp"

#include <string>

namespace overlay {

/// A complete #!/bin/sh script of ip, wg, nft, sysctl, modprobe and ethtool, in the planner's
/// order of phases. Run on a node that has nothing of ours, it makes what apply would make
/// (tests/e2e/render_test.py compares the two on every node of every example). `diff`
/// afterwards finds links, routes and tables in place and ours (they carry marks); a FOU port has
/// no place for a mark and is refused as somebody else's until it is removed.
[[nodiscard]] std::string render_ip(const NodeIntent& intent);

/// Our tables in nft's grammar, for `nft -f`: each is replaced as a whole. "" when there is none.
[[nodiscard]] std::string render_nft(const NodeIntent& intent);

/// For `wg setconf`: one section per device, each headed by its name. "" when there is none.
[[nodiscard]] std::string render_wg(const NodeIntent& intent);

/// One device for `wg-quick` and the phone apps, with addresses and MTU. The device must be in the
/// intent.
[[nodiscard]] std::string render_wg_quick(const NodeIntent& intent, const IfName& device);

/// radvd.conf for the hub's router advertisement; "" when the file has none.
[[nodiscard]] std::string render_radvd(const Topology& topology);

/// The desired state (as `snapshot` prints states) with the place in the file of every object.
[[nodiscard]] std::string render_json(const NodeIntent& intent);

}  // namespace overlay
