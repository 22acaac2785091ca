#pragma once
// All that the device knows of one peer. What happens to it is decided in device*.cpp; an idle peer
// has no session and no handshake, and costs well under a kilobyte.

#include "daemon/wireguard/cookie.hpp"
#include "daemon/wireguard/keypair.hpp"
#include "daemon/wireguard/outbox.hpp"
#include "daemon/wireguard/staged_queue.hpp"
#include "daemon/wireguard/timers.hpp"

namespace overlay::wireguard {

/// As `wg show` counts: UDP payload bytes of authentic datagrams, handshakes and keepalives
/// included.
struct PeerStatistics {
    std::uint64_t received_bytes = 0;
    std::uint64_t sent_bytes = 0;
    std::optional<WallClock::time_point> last_handshake;
    friend bool operator==(const PeerStatistics&, const PeerStatistics&) = default;
};

struct Peer {
    /// An initiation of ours that was not answered yet.
    struct Outstanding {
        Outstanding(SessionIndex ours, Initiation sent)
            : index{std::move(ours)}, initiation{std::move(sent)} {}
        SessionIndex index;
        Initiation initiation;
    };

    Peer(PeerId name, const PrivateKey& ours, const PublicKey& theirs)
        : id{name}, remote{ours, theirs}, macs{theirs} {}

    PeerId id;
    RemoteIdentity remote;
    MacWriter macs;
    std::optional<Path> path;
    Timers timers;
    KeypairSlots keys;
    std::optional<Outstanding> outstanding;
    StagedQueue staged;
    PeerStatistics statistics;
    Tai64n last_sent_stamp;
    Tai64n last_received_stamp;
    std::optional<Clock::time_point> last_handshake_sent;  ///< initiation or response
    std::optional<Clock::time_point> last_initiation_accepted;
    Clock::time_point scheduled = never;  ///< where the device's calendar has this peer
};

}  // namespace overlay::wireguard
