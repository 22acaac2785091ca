#pragma once
// Other processes, by a handle that no later process of the same number can take over.

#include "netlink/fd.hpp"

#include <sys/types.h>

namespace overlay::io {

/// Empty when there is no such process, or no handles in this kernel (before Linux 5.3).
[[nodiscard]] netlink::UniqueFd open_process(pid_t process);

/// Whether it has given back all that it had, within the time.
[[nodiscard]] bool ends_within(const netlink::UniqueFd& process, int timeout_ms);

}  // namespace overlay::io
