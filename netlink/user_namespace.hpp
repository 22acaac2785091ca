#pragma once
// Power over networks for somebody who is not root: user, mount and network namespaces of one's
// own, as `unshare --map-root-user --net --mount` makes them. Used by `overlayctl lab` only.

#include "netlink/fd.hpp"
#include "topology/result.hpp"

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace overlay::netlink {

/// Moves this process there and makes it root in it, with a /run of its own that shows what is in
/// /run, but for a namespace directory that is new and empty. There is no way back.
/// Errors: Unsupported when this kernel grants nobody else than root such namespaces.
[[nodiscard]] Result<void> enter_own_user_namespace();

/// Moves this process, which must have one thread, to where that one is. `process`: a pidfd.
[[nodiscard]] Result<void> join_namespaces_of(const UniqueFd& process);

/// Whether this process is in the host's own: FOU ports can be made nowhere else (Linux 6.1
/// net/ipv4/fou_core.c: GENL_ADMIN_PERM, not GENL_UNS_ADMIN_PERM).
[[nodiscard]] bool in_initial_user_namespace();

/// Tells the user namespace of a process from all others that exist; nullopt: no such process.
[[nodiscard]] std::optional<std::uint64_t> user_namespace_of(pid_t process);

}  // namespace overlay::netlink
