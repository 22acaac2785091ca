#pragma once
// One WireGuard interface: keys, peers, sessions. Takes datagrams, packets and the time; gives back
// verdicts. It owns no socket and no clock, and its caller owns every packet's bytes.
//
//   packet ──route──▶ peer ──seal──▶ Send: in place    Hold: kept until there is a session
//   datagram ──receive──▶ Deliver: in place    Handled: it was for us    Drop: and why
//   all else that must be sent (handshakes, keepalives, held packets) ──▶ Outbox
//
// One thread at a time. No call throws, logs, or allocates per data packet.
//
//   device_send.cpp      packets out, and every message that we begin
//   device_receive.cpp   datagrams in
//   device.cpp           configuration, time, status
//
// Refuses to know: what is inside a packet beyond the IP version and its addresses (cutting the
// padding off by the IP length is the caller's), names (there is no DNS in the protocol), TUN, TAP
// and GRE.

#include "daemon/wireguard/allowed_ips.hpp"
#include "daemon/wireguard/handshake_load.hpp"
#include "daemon/wireguard/peer.hpp"
#include "daemon/wireguard/rate_limiter.hpp"

#include <map>
#include <set>

namespace overlay::wireguard {

/// One line of `wg set DEVICE peer KEY …`. What has no value stays as it is.
struct PeerChange {
    enum class Action : std::uint8_t { Set, SetIfThere, Remove };
    enum class AllowedIpsMode : std::uint8_t { Add, Replace, Remove };
    PublicKey key;
    Action action = Action::Set;
    std::optional<Secret32> preshared_key{};  ///< all zero: none
    std::optional<Endpoint> endpoint{};
    std::uint32_t endpoint_interface = 0;                        ///< of a link-local endpoint
    std::optional<std::chrono::seconds> persistent_keepalive{};  ///< 0: off; else up to 65535
    AllowedIpsMode allowed_ips_mode = AllowedIpsMode::Add;
    std::vector<IpPrefix> allowed_ips{};  ///< added ones are taken from whoever had them
};

struct DeviceOptions {
    std::size_t mtu_bytes = 1420;                     ///< where padding ends; 0: nowhere
    std::size_t max_staged_bytes = 16 * 1024 * 1024;  ///< of all peers together
    HandshakeLoad::Limits load{};
    Tai64n reserved_stamps{};  ///< what Outbox::reservation() asked for last
};

/// A packet that lies where its datagram will: 16 bytes of room, the packet, room for padding and
/// tag.
struct Slot {
    MutableBytes datagram;  ///< of sealed_bytes(plaintext_bytes)
    std::size_t plaintext_bytes = 0;
};

struct Sealed {
    enum class Kind : std::uint8_t { Send, Hold, Drop };
    Kind kind = Kind::Drop;
    DropReason reason{};  ///< of Drop
    Path to{};            ///< of Send
};

struct Received {
    enum class Kind : std::uint8_t { Deliver, Handled, Drop };
    Kind kind = Kind::Drop;
    DropReason reason{};    ///< of Drop
    PeerId peer{};          ///< of Deliver and Handled
    MutableBytes packet{};  ///< of Deliver: inside the datagram, still padded
};

struct PeerStatus {
    PublicKey key;
    std::optional<Path> path;
    std::chrono::seconds persistent_keepalive{0};
    bool has_preshared_key = false;
    PeerStatistics statistics;
    std::vector<IpPrefix> allowed_ips;
    Tai64n last_received_stamp;  ///< one that is far ahead of the clock is worth a warning
};

class Device {
  public:
    Device(const Secret32& private_key, const DeviceOptions& options, Random& random);
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;
    ~Device() = default;

    // ---- configuration, as deltas; sessions that a change does not touch go on -----------------

    [[nodiscard]] const PublicKey& public_key() const { return private_key_.public_key(); }
    /// The key that is set already changes nothing. All zero: no key, and so no handshakes.
    void set_private_key(const Secret32& private_key, Moment now, Outbox& out);
    void set_mtu(std::size_t bytes) { options_.mtu_bytes = bytes; }
    void change(const PeerChange& change, Moment now, Outbox& out);
    void remove_peers();
    /// The socket is another one: the kernel chooses again what peers are sent from.
    void forget_local_addresses();
    void start(Moment now, Outbox& out);  ///< interface up: persistent keepalives begin
    void stop();                          ///< interface down: no session and no handshake survives

    // ---- packets out ---------------------------------------------------------------------------

    /// The peer that the destination of an IP packet belongs to.
    [[nodiscard]] Parsed<PeerId> route(Bytes packet) const;
    [[nodiscard]] std::size_t sealed_bytes(std::size_t plaintext_bytes) const {
        return data::overhead_bytes + padded_bytes(plaintext_bytes, options_.mtu_bytes);
    }
    /// Packets of one peer, in order. All of them are sent, held or dropped; held ones are copied.
    [[nodiscard]] Sealed seal(PeerId peer, std::span<const Slot> packets, Moment now, Outbox& out);
    /// The same for one packet that lies somewhere else: a copy of it goes to the outbox.
    Sealed send(Bytes packet, Moment now, Outbox& out);
    /// A handshake without a packet to send, such as after our own start.
    void initiate(PeerId peer, Moment now, Outbox& out);

    // ---- datagrams in --------------------------------------------------------------------------

    /// Opens in place. `from.remote` is where answers go and, once authentic, where the peer is.
    [[nodiscard]] Received receive(MutableBytes datagram, const Path& from, Moment now,
                                   Outbox& out);

    // ---- time ----------------------------------------------------------------------------------

    /// May be early, never late; `never` when there is nothing to wait for.
    [[nodiscard]] Clock::time_point next_deadline() const;
    void on_time(Moment now, Outbox& out);

    // ---- status --------------------------------------------------------------------------------

    [[nodiscard]] std::optional<PeerId> find(const PublicKey& key) const;
    [[nodiscard]] std::optional<PeerStatus> status(PeerId peer) const;
    [[nodiscard]] std::vector<PeerId> peers() const;
    /// Apart from the status, which may be shown.
    [[nodiscard]] const Secret32& private_key() const { return private_bytes_; }
    [[nodiscard]] std::optional<Secret32> preshared_key(PeerId peer) const;
    [[nodiscard]] std::uint64_t dropped(DropReason reason) const {
        return dropped_[static_cast<std::size_t>(reason)];
    }
    [[nodiscard]] std::size_t index_count() const { return indices_.size(); }
    /// For tests of the edge: as if so many messages had been sent in the session that there is.
    void skip_to(PeerId peer, std::uint64_t counter);
    /// To be kept at an orderly stop in place of the last reservation.
    [[nodiscard]] Tai64n exact_stamp_bound() const { return stamps_.exact_bound(); }

  private:
    /// What every step of one call needs.
    struct Turn {
        Moment now;
        Outbox& out;
    };

    // device.cpp
    [[nodiscard]] Peer* get(PeerId id);
    [[nodiscard]] const Peer* get(PeerId id) const;
    [[nodiscard]] Peer& add_peer(const PublicKey& key);
    void remove_peer(Peer& peer);
    void apply(Peer& peer, const PeerChange& change, const Turn& turn);
    void apply_allowed_ips(const Peer& peer, const PeerChange& change);
    void begin_keepalives(const Turn& turn);
    void act(Peer& peer, Timers::Action action, const Turn& turn);
    void erase_keys(Peer& peer);
    void schedule(Peer& peer);
    void count(DropReason reason, std::size_t packets = 1) {
        dropped_[static_cast<std::size_t>(reason)] += packets;
    }
    [[nodiscard]] Timers::Jitter jitter() {
        return Timers::Jitter{random_.number() % (max_jitter.count() + 1)};
    }

    // device_send.cpp
    enum class Attempt : std::uint8_t { First, Again };
    [[nodiscard]] bool can_send_to(const Peer& peer) const {
        return running_ && peer.path.has_value();
    }
    void seal_one(Keypair& key, std::uint64_t counter, const Slot& slot);
    [[nodiscard]] Sealed drop_packets(DropReason reason, std::size_t packets);
    void after_sending(Peer& peer, std::size_t bytes, const Turn& turn);
    void note_data_sent(Peer& peer, const Turn& turn);
    void hold(Peer& peer, Bytes packet);
    void send_staged(Peer& peer, const Turn& turn);
    void send_keepalive(Peer& peer, const Turn& turn);
    void begin_handshake(Peer& peer, Attempt attempt, const Turn& turn);
    void send_initiation(Peer& peer, const Turn& turn);
    void drop_staged(Peer& peer, DropReason reason);

    // device_receive.cpp
    struct Arrival {
        MutableBytes datagram;
        const Path& from;
    };
    [[nodiscard]] Received dropped_for(DropReason reason);
    [[nodiscard]] std::optional<DropReason> check_macs(const Arrival& arrival, const Turn& turn);
    [[nodiscard]] Received on_initiation(const Arrival& arrival, const Turn& turn);
    [[nodiscard]] bool respond(Peer& peer, ReceivedInitiation& initiation, const Path& to,
                               const Turn& turn);
    [[nodiscard]] Received on_response(const Arrival& arrival, const Turn& turn);
    void session_begun(Peer& peer, const Turn& turn);
    [[nodiscard]] Received on_cookie_reply(const Arrival& arrival, const Turn& turn);
    [[nodiscard]] Received on_data(const Arrival& arrival, const Turn& turn);
    [[nodiscard]] Received deliver(Peer& peer, MutableBytes packet);
    void called(Peer& peer, const Path& from, const Turn& turn);
    void authentic(Peer& peer, const Path& from, const Turn& turn);

    DeviceOptions options_;
    Random& random_;
    PrivateKey private_key_;
    Secret32 private_bytes_;  ///< clamped
    MacChecker mac_checker_;
    RateLimiter rate_limiter_;
    HandshakeLoad load_;
    TimestampSource stamps_;
    IndexTable indices_;  // before the peers, whose sessions give their indices back
    AllowedIps allowed_ips_;
    struct PeerRoom {
        std::unique_ptr<Peer> peer;
        std::uint32_t generation = 0;
    };
    std::vector<PeerRoom> rooms_;
    std::vector<std::uint32_t> free_rooms_;
    std::map<PublicKey, std::uint32_t> by_key_;
    /// When to look at which peer's timers; a timer that moved away stays here as an early look.
    std::set<std::pair<Clock::time_point, std::uint32_t>> calendar_;
    std::size_t staged_bytes_ = 0;
    bool running_ = true;
    std::array<std::uint64_t, drop_reason_count> dropped_{};
};

}  // namespace overlay::wireguard
