#pragma once
// What keeps the lab of somebody who is not root: a process that made user, mount and network
// namespaces of its own, and does nothing but stay in them. Every later `lab` command joins it.

#include "topology/result.hpp"

#include <sys/types.h>

#include <cstdint>

namespace overlay::lab {

struct LabHolder {
    pid_t pid = 0;
    std::uint64_t user_namespace = 0;  ///< what /proc/PID/ns/user must be before we trust the pid
};

/// Starts one; where this process has joined one already, in the same namespaces.
/// Errors: Unsupported when the kernel lets only root make namespaces.
[[nodiscard]] Result<LabHolder> start_holder();

[[nodiscard]] bool is_alive(const LabHolder& holder);

/// Moves this process there for good; the current directory stays. It is root there.
[[nodiscard]] Result<void> join(const LabHolder& holder);

/// The namespaces end with the last process in them. One that is gone already is no error.
[[nodiscard]] Result<void> end_holder(const LabHolder& holder);

}  // namespace overlay::lab
