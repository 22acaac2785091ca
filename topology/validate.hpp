#pragma once
// The rules of meaning: what a file may say only if the rest of the file agrees. Judged on stated
// and on derived values alike, since a collision of two defaults is as real as one of two stated
// values.

#include "topology/topology.hpp"

namespace overlay {

/// Errors and warnings; empty when the network can be built. Needs a topology whose shape is right.
[[nodiscard]] std::vector<Diagnostic> validate(const Topology& topology);

}  // namespace overlay
