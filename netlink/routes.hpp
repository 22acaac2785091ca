#pragma once
// Unicast routes of every table but `local`. A multipath route is reported as one Route per next hop; it
// is never ours to make.

#include "netlink/links.hpp"

#include <set>

namespace overlay::netlink {

[[nodiscard]] Result<std::set<Route>> snapshot_routes(Socket& route, const LinkNames& names);
[[nodiscard]] Result<void> add_route(Socket& socket, const Route& route, std::string_view doing);
[[nodiscard]] Result<void> remove_route(Socket& socket, const Route& route, std::string_view doing);

}  // namespace overlay::netlink
