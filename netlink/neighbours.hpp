#pragma once
// Entries of the neighbour table that somebody wrote there by hand: permanent ones and proxies, of both families.

#include "netlink/links.hpp"

#include <set>

namespace overlay::netlink {

/// What the kernel has learnt by itself is left out, and so is what a link that is not in `names` has.
[[nodiscard]] Result<std::set<Neighbour>> snapshot_neighbours(Socket& route, const LinkNames& names);

/// In the place of what the kernel has learnt about the same address, if anything.
[[nodiscard]] Result<void> add_neighbour(Socket& route, const Neighbour& neighbour, std::string_view doing);
[[nodiscard]] Result<void> remove_neighbour(Socket& route, const Neighbour& neighbour, std::string_view doing);

}  // namespace overlay::netlink
