#pragma once
// `overlayctl apply` for one node, in the namespace that the calling process is in.

#include "topology/topology.hpp"

#include <filesystem>
#include <string>

namespace overlay::lab {

struct NodeToApply {
    const Topology& topology;
    std::string node;
    std::filesystem::path directory;   ///< the node's own /var/lib/overlay and /run/overlay
};

/// Says on standard output what was done, on standard error what was not; the exit code of `apply`.
[[nodiscard]] int apply_here(const NodeToApply& what);

}   // namespace overlay::lab
