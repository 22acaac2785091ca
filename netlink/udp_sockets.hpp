#pragma once
// Which UDP ports are taken, by whom. Read from /proc/net/udp and udp6, which (unlike sock_diag) load no
// module; the kernel's own sockets (FOU, WireGuard) are among them.

#include "topology/state.hpp"

#include <set>
#include <string>
#include <string_view>

namespace overlay::netlink {

/// Of the calling thread's namespace. `owner` stays empty: finding it means reading every process.
[[nodiscard]] std::set<UdpSocket> snapshot_udp_sockets();

/// "pid 812 (dnsmasq)"; "" when nobody holds the port, the kernel does, or we may not look.
[[nodiscard]] std::string owner_of_udp_port(Family family, std::uint16_t port);

/// One line of /proc/net/udp or udp6. Public for tests.
struct UdpLine {
    UdpSocket socket;
    std::string inode;   ///< "0": a socket of the kernel's own
};
[[nodiscard]] std::optional<UdpLine> parse_udp_line(Family family, std::string_view line);

}  // namespace overlay::netlink
