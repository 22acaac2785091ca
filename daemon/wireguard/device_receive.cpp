// Datagrams in.
//
//   type, length ─▶ 1, 2: mac1 ─▶ load? mac2, rate ─▶ handshake ─▶ answer, or a session begins
//                ─▶ 3: our last message's mac1 opens the cookie
//                ─▶ 4: session by index ─▶ age ─▶ AEAD ─▶ replay ─▶ inner source ─▶ Deliver
//
// Until a message has authenticated, nothing of ours changes and at most a cookie of 64 bytes goes
// back.
//
// Source: Linux drivers/net/wireguard/receive.c.

#include "daemon/wireguard/device.hpp"

namespace overlay::wireguard {

namespace {

constexpr std::chrono::milliseconds initiation_interval{20};  ///< 50 a second from one peer

/// Where source addresses lie (RFC 791 §3.1, RFC 8200 §3).
struct Source {
    static constexpr std::size_t ipv4 = 12, ipv6 = 8, ipv4_header = 20, ipv6_header = 40;
};

}  // namespace

Received Device::receive(MutableBytes datagram, const Path& from, Moment now, Outbox& out) {
    if (!running_) return dropped_for(DropReason::Stopped);
    const Parsed<MessageType> type = parse_type(datagram);
    if (!type) return dropped_for(type.error());
    const Turn turn{now, out};
    const Arrival arrival{datagram, from};
    if (*type == MessageType::Data) return on_data(arrival, turn);
    if (*type == MessageType::CookieReply) return on_cookie_reply(arrival, turn);
    if (const auto reason = check_macs(arrival, turn)) return dropped_for(*reason);
    return *type == MessageType::Initiation ? on_initiation(arrival, turn)
                                            : on_response(arrival, turn);
}

Received Device::dropped_for(DropReason reason) {
    count(reason);
    return Received{.kind = Received::Kind::Drop, .reason = reason};
}

/// An initiation only tells where to answer: it may be an old one, from anywhere, if we were started since and have
/// forgotten its stamp. The first message of the session that comes of it proves that the peer is there; a peer
/// that is nowhere yet is called back. (The kernel believes an initiation.)
void Device::called(Peer& peer, const Path& from, const Turn& turn) {
    if (!peer.path) return authentic(peer, from, turn);
    peer.timers.authenticated_received(turn.now.monotonic);
}

/// After a message that only the peer can have made, now.
void Device::authentic(Peer& peer, const Path& from, const Turn& turn) {
    if (!peer.path || *peer.path != from) {
        const bool moved = !peer.path || peer.path->remote != from.remote;
        peer.path = from;
        if (moved) turn.out.tell({Event::Kind::Moved, peer.id});
    }
    peer.timers.authenticated_received(turn.now.monotonic);
}

// ---- handshakes --------------------------------------------------------------------------------

std::optional<DropReason> Device::check_macs(const Arrival& arrival, const Turn& turn) {
    const Clock::time_point now = turn.now.monotonic;
    if (!mac_checker_.mac1_is_right(arrival.datagram)) return DropReason::Mac1;
    if (!load_.count(now)) return std::nullopt;
    const Endpoint& from = arrival.from.remote;
    if (mac_checker_.mac2_is_right(arrival.datagram, from, now)) {
        if (rate_limiter_.allow(from.address, now, random_)) return std::nullopt;
        return DropReason::RateLimited;
    }
    mac_checker_.write_reply({.to_message = arrival.datagram, .from = from, .now = now}, random_,
                             turn.out.add(arrival.from, cookie_reply::size_bytes));
    return DropReason::CookieAsked;
}

Received Device::on_initiation(const Arrival& arrival, const Turn& turn) {
    std::optional<ReceivedInitiation> initiation =
        ReceivedInitiation::reveal(private_key_, arrival.datagram);
    if (!initiation) return dropped_for(DropReason::Handshake);
    const auto found = by_key_.find(initiation->initiator());
    if (found == by_key_.end()) return dropped_for(DropReason::UnknownPeer);
    Peer& peer = *rooms_[found->second].peer;

    const std::optional<Tai64n> stamp = initiation->authenticate(peer.remote);
    if (!stamp) return dropped_for(DropReason::Handshake);
    if (*stamp <= peer.last_received_stamp) return dropped_for(DropReason::OldTimestamp);
    const Clock::time_point now = turn.now.monotonic;
    const auto& last = peer.last_initiation_accepted;
    if (last && now < *last + initiation_interval)
        return dropped_for(DropReason::TooManyInitiations);
    peer.last_received_stamp = *stamp;
    peer.last_initiation_accepted = now;

    called(peer, arrival.from, turn);
    peer.statistics.received_bytes += arrival.datagram.size();
    if (!respond(peer, *initiation, arrival.from, turn)) return dropped_for(DropReason::Handshake);
    schedule(peer);
    return Received{.kind = Received::Kind::Handled, .peer = peer.id};
}

bool Device::respond(Peer& peer, ReceivedInitiation& initiation, const Path& to, const Turn& turn) {
    const Clock::time_point now = turn.now.monotonic;
    SessionIndex index = indices_.take(peer.id.slot, random_);
    const MutableBytes message = turn.out.add(to, response::size_bytes);
    const std::optional<SessionKeys> keys =
        initiation.respond(peer.remote, random_, index.value(), message);
    if (!keys) {
        turn.out.take_back();
        return false;
    }
    peer.macs.write(message, now);
    // Our own initiation, if one is out, stays open: when both ends call at once, each answers the
    // other, and the answers make two sessions of which both ends can read both. (The kernel has
    // room for one handshake per peer, drops the answer, and calls again after 5 s.)
    peer.keys.add(std::make_unique<Keypair>(
        *keys, Keypair::Role::Responder,
        Keypair::Names{.ours = std::move(index), .theirs = initiation.sender()}, now));
    peer.last_handshake_sent = now;
    peer.statistics.sent_bytes += message.size();
    peer.timers.session_derived(now);
    peer.timers.authenticated_sent(now);
    return true;
}

Received Device::on_response(const Arrival& arrival, const Turn& turn) {
    const std::uint32_t receiver = receiver_of(arrival.datagram, MessageType::Response);
    const std::optional<std::uint32_t> owner = indices_.owner_of(receiver);
    if (!owner) return dropped_for(DropReason::UnknownIndex);
    Peer& peer = *rooms_[*owner].peer;
    if (!peer.outstanding || peer.outstanding->index.value() != receiver) {
        return dropped_for(DropReason::UnknownIndex);
    }
    const std::optional<SessionKeys> keys =
        peer.outstanding->initiation.consume_response(private_key_, peer.remote, arrival.datagram);
    if (!keys) return dropped_for(DropReason::Handshake);

    const Clock::time_point now = turn.now.monotonic;
    peer.keys.add(
        std::make_unique<Keypair>(*keys, Keypair::Role::Initiator,
                                  Keypair::Names{.ours = std::move(peer.outstanding->index),
                                                 .theirs = sender_of(arrival.datagram)},
                                  now));
    peer.outstanding.reset();
    session_begun(peer, turn);
    peer.timers.session_derived(now);
    authentic(peer, arrival.from, turn);
    peer.statistics.received_bytes += arrival.datagram.size();
    send_keepalive(peer, turn);  // or what waited: either tells the responder that it may send
    schedule(peer);
    return Received{.kind = Received::Kind::Handled, .peer = peer.id};
}

void Device::session_begun(Peer& peer, const Turn& turn) {
    peer.timers.handshake_complete();
    peer.statistics.last_handshake = turn.now.wall;
    turn.out.tell({Event::Kind::SessionBegun, peer.id});
}

Received Device::on_cookie_reply(const Arrival& arrival, const Turn& turn) {
    const auto owner = indices_.owner_of(receiver_of(arrival.datagram, MessageType::CookieReply));
    if (!owner) return dropped_for(DropReason::UnknownIndex);
    Peer& peer = *rooms_[*owner].peer;
    if (!peer.macs.consume_reply(arrival.datagram, turn.now.monotonic)) {
        return dropped_for(DropReason::CookieReply);
    }
    return Received{.kind = Received::Kind::Handled, .peer = peer.id};
}

// ---- data --------------------------------------------------------------------------------------

Received Device::on_data(const Arrival& arrival, const Turn& turn) {
    const std::uint32_t receiver = receiver_of(arrival.datagram, MessageType::Data);
    const std::optional<std::uint32_t> owner = indices_.owner_of(receiver);
    if (!owner) return dropped_for(DropReason::UnknownIndex);
    Peer& peer = *rooms_[*owner].peer;
    Keypair* key = peer.keys.find(receiver);
    if (key == nullptr) return dropped_for(DropReason::UnknownIndex);  // of a handshake

    const Clock::time_point now = turn.now.monotonic;
    const std::size_t size_bytes = arrival.datagram.size();
    const Parsed<MutableBytes> packet = key->open(arrival.datagram, now);
    if (!packet) return dropped_for(packet.error());

    authentic(peer, arrival.from, turn);
    if (peer.keys.confirm(*key)) {
        session_begun(peer, turn);
        send_staged(peer, turn);
    }
    if (key->role() == Keypair::Role::Initiator &&
        key->is_older_than(rekey_on_receive_after, now) && peer.timers.take_last_minute_rekey()) {
        begin_handshake(peer, Attempt::First, turn);
    }
    if (!packet->empty()) peer.timers.data_received(now);
    schedule(peer);
    const Received verdict = packet->empty()
                                 ? Received{.kind = Received::Kind::Handled, .peer = peer.id}
                                 : deliver(peer, *packet);
    if (verdict.kind != Received::Kind::Drop) peer.statistics.received_bytes += size_bytes;
    return verdict;
}

/// A peer may only speak for the addresses that it was given.
Received Device::deliver(Peer& peer, MutableBytes packet) {
    AllowedIps::Owner owner = AllowedIps::nobody;
    const unsigned version = wire::load8(packet, 0) >> 4U;
    if (version == 4 && packet.size() >= Source::ipv4_header) {
        owner = allowed_ips_.find_ipv4(packet.data() + Source::ipv4);
    } else if (version == 6 && packet.size() >= Source::ipv6_header) {
        owner = allowed_ips_.find_ipv6(packet.data() + Source::ipv6);
    } else {
        return dropped_for(DropReason::InnerPacket);
    }
    if (owner != peer.id.slot) return dropped_for(DropReason::SourceNotAllowed);
    return Received{.kind = Received::Kind::Deliver, .peer = peer.id, .packet = packet};
}

}  // namespace overlay::wireguard
