#pragma once
// UDP ports that the kernel decapsulates: FOU and GUE sockets, by the generic-netlink family `fou`. A
// port carries no mark of ownership and sends no events; only a dump tells what is there. Adding one that
// exists answers EADDRINUSE, as a stranger's UDP socket does, so nothing is ever inferred from that.

#include "netlink/links.hpp"

#include <set>

namespace overlay::netlink {

[[nodiscard]] Result<std::set<FouPort>> snapshot_fou(Socket& generic, std::uint16_t family,
                                                     const LinkNames& names);

/// The two requests; `device_index`: of `port.device`, 0 for none.
[[nodiscard]] Message add_fou_request(std::uint16_t family, const FouPort& port,
                                      std::uint32_t device_index);
[[nodiscard]] Message remove_fou_request(std::uint16_t family, const FouPort& port,
                                         std::uint32_t device_index);

/// One message of a dump. Public for tests.
[[nodiscard]] FouPort decode_fou(const Attributes& attributes, const LinkNames& names);

}  // namespace overlay::netlink
