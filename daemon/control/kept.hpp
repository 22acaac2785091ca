#pragma once
// <run>/overlayd.json: what overlayd carries, with its keys, so that one that is started again carries on. Written
// by overlayd (overlayd/service.cpp). What has been taken down while none ran is struck out here.

#include "topology/state.hpp"

#include <string>

namespace overlay::control {

inline constexpr std::size_t max_kept_bytes = 64 * 1024 * 1024;

[[nodiscard]] std::string kept_path(const std::string& run_directory);

/// Leaves of the file those ports, and those links and devices by name; all of it goes when nothing is left. Only
/// while no overlayd runs. A file that no overlayd could read goes, too.
[[nodiscard]] Result<void> keep_only(const std::string& run_directory, const std::set<FouPort>& ports,
                                     const std::set<IfName>& links);

}  // namespace overlay::control
