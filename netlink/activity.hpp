#pragma once
// What moves: counters of links and of WireGuard peers, handshakes. Read for `status`, never compared.

#include "netlink/links.hpp"
#include "topology/values.hpp"

#include <cstdint>
#include <map>
#include <optional>

namespace overlay::netlink {

struct LinkActivity {   ///< Linux rtnl_link_stats64
    std::uint64_t rx_bytes = 0, tx_bytes = 0, rx_packets = 0, tx_packets = 0;
    std::uint64_t rx_dropped = 0, tx_dropped = 0, rx_errors = 0, tx_errors = 0;
};

struct PeerActivity {
    std::uint64_t rx_bytes = 0, tx_bytes = 0;
    std::int64_t last_handshake_seconds = 0;   ///< since 1970; 0: never
    std::optional<Endpoint> endpoint;
};

struct Activity {
    std::map<IfName, LinkActivity> links;
    std::map<IfName, std::map<PublicKey, PeerActivity>> peers;
};

[[nodiscard]] Result<std::map<IfName, LinkActivity>> read_link_activity(Socket& route);
[[nodiscard]] Result<std::map<PublicKey, PeerActivity>> read_peer_activity(Socket& generic, std::uint16_t family,
                                                                           const IfName& link);

}  // namespace overlay::netlink
