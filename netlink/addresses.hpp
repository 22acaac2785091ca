#pragma once
// Interface addresses of both families: all of them (link-local ones too), added and removed one by one.

#include "netlink/links.hpp"

#include <set>

namespace overlay::netlink {

/// An address on a link that is not in `names` (born after them) is left out.
[[nodiscard]] Result<std::set<Address>> snapshot_addresses(Socket& route, const LinkNames& names);

/// Those of the calling thread's namespace to which packets can be sent: none is still being
/// checked for a duplicate, which the host would not take for its own. Read with a socket of its
/// own.
[[nodiscard]] Result<std::set<Address>> usable_addresses();

/// For ever (valid and preferred), without broadcast; IPv6 with duplicate address detection.
[[nodiscard]] Result<void> add_address(Socket& route, const Address& address, std::string_view doing);
[[nodiscard]] Result<void> remove_address(Socket& route, const Address& address,
                                          std::string_view doing);

}  // namespace overlay::netlink
