#pragma once
// The firewall that a node needs, as typed tables.

#include "topology/intent.hpp"

namespace overlay {

/// "overlay_<network>", in both families.
[[nodiscard]] std::string table_name(std::string_view network);
/// The comment on every rule of ours: "overlay:<network>".
[[nodiscard]] std::string table_mark(std::string_view network);

/// Adds the node's tables to `intent.desired`, whose links must be complete.
void add_firewall(const Topology& topology, const Node& node, NodeIntent& intent);

}  // namespace overlay
