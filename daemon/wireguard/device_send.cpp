// Packets out, and every message that we begin.
//
//   seal ──▶ a session that may send? ──yes──▶ header, padding, AEAD, in place
//                                     └─no───▶ held; a handshake begins, at most every 5 s
//   the session comes (device_receive.cpp) ──▶ send_staged, or a keepalive where nothing was held
//
// Source: Linux drivers/net/wireguard/send.c, device.c (wg_xmit).

#include "daemon/wireguard/device.hpp"

namespace overlay::wireguard {

namespace {

/// IPv4 and IPv6 headers, as far as a look-up needs them (RFC 791 §3.1, RFC 8200 §3).
struct Destination {
    static constexpr std::size_t ipv4 = 16, ipv6 = 24, ipv4_header = 20, ipv6_header = 40;
};

}  // namespace

Parsed<PeerId> Device::route(Bytes packet) const {
    AllowedIps::Owner owner = AllowedIps::nobody;
    const unsigned version = packet.empty() ? 0U : wire::load8(packet, 0) >> 4U;
    if (version == 4 && packet.size() >= Destination::ipv4_header) {
        owner = allowed_ips_.find_ipv4(packet.data() + Destination::ipv4);
    } else if (version == 6 && packet.size() >= Destination::ipv6_header) {
        owner = allowed_ips_.find_ipv6(packet.data() + Destination::ipv6);
    } else {
        return drop(DropReason::InnerPacket);
    }
    if (owner == AllowedIps::nobody) return drop(DropReason::NoPeer);
    return rooms_[owner].peer->id;
}

Sealed Device::seal(PeerId id, std::span<const Slot> packets, Moment now, Outbox& out) {
    const Turn turn{now, out};
    Peer* peer = get(id);
    if (peer == nullptr) return drop_packets(DropReason::NoPeer, packets.size());
    if (!running_) return drop_packets(DropReason::Stopped, packets.size());
    if (!peer->path) return drop_packets(DropReason::NoEndpoint, packets.size());
    if (packets.empty()) return Sealed{.kind = Sealed::Kind::Send, .to = *peer->path};

    Keypair* key = peer->keys.current();
    std::optional<std::uint64_t> counter;
    if (key != nullptr) counter = key->reserve(packets.size(), now.monotonic);
    if (!counter) {
        for (const Slot& slot : packets) {
            hold(*peer, slot.datagram.subspan(data::header_bytes, slot.plaintext_bytes));
        }
        begin_handshake(*peer, Attempt::First, turn);
        schedule(*peer);
        return Sealed{.kind = Sealed::Kind::Hold};
    }
    std::size_t bytes = 0;
    for (const Slot& slot : packets) {
        seal_one(*key, (*counter)++, slot);
        bytes += slot.datagram.size();
    }
    const Path to = *peer->path;
    after_sending(*peer, bytes, turn);
    note_data_sent(*peer, turn);
    schedule(*peer);
    return Sealed{.kind = Sealed::Kind::Send, .to = to};
}

Sealed Device::send(Bytes packet, Moment now, Outbox& out) {
    const Parsed<PeerId> id = route(packet);
    if (!id) return drop_packets(id.error(), 1);
    Peer& peer = *get(*id);
    if (!running_) return drop_packets(DropReason::Stopped, 1);
    if (!peer.path) return drop_packets(DropReason::NoEndpoint, 1);
    hold(peer, packet);
    send_staged(peer, Turn{now, out});
    schedule(peer);
    if (!peer.staged.empty()) return Sealed{.kind = Sealed::Kind::Hold};
    return Sealed{.kind = Sealed::Kind::Send, .to = *peer.path};
}

void Device::seal_one(Keypair& key, std::uint64_t counter, const Slot& slot) {
    OVERLAY_ASSERT(slot.datagram.size() == sealed_bytes(slot.plaintext_bytes));
    store_type(slot.datagram, MessageType::Data);
    store32_le(slot.datagram, 4, key.their_index());
    store64_le(slot.datagram, data::counter.at, counter);
    const MutableBytes text_and_tag = slot.datagram.subspan(data::header_bytes);
    std::ranges::fill(text_and_tag.subspan(slot.plaintext_bytes), std::byte{0});
    key.seal(counter, text_and_tag);
}

/// Jitter costs a call of the generator, so it is only drawn where a timer starts.
void Device::note_data_sent(Peer& peer, const Turn& turn) {
    if (!peer.timers.awaits_answer()) peer.timers.data_sent(turn.now.monotonic, jitter());
}

void Device::after_sending(Peer& peer, std::size_t bytes, const Turn& turn) {
    peer.statistics.sent_bytes += bytes;
    peer.timers.authenticated_sent(turn.now.monotonic);
    const Keypair& key = *peer.keys.current();
    // Only one end renews by age, the one that began: else both would, at the same moment.
    const bool is_old = key.role() == Keypair::Role::Initiator &&
                        key.is_older_than(rekey_after_time, turn.now.monotonic);
    if (is_old || key.sent() > rekey_after_messages) begin_handshake(peer, Attempt::First, turn);
}

// ---- what waits for a session ------------------------------------------------------------------

void Device::hold(Peer& peer, Bytes packet) {
    if (staged_bytes_ + packet.size() > options_.max_staged_bytes) {
        count(DropReason::QueueFull);
        return;
    }
    const std::size_t before = peer.staged.size_bytes();
    count(DropReason::QueueFull, peer.staged.push(packet));
    staged_bytes_ = staged_bytes_ - before + peer.staged.size_bytes();
}

void Device::send_staged(Peer& peer, const Turn& turn) {
    if (peer.staged.empty() || !can_send_to(peer)) return;
    Keypair* key = peer.keys.current();
    std::optional<std::uint64_t> counter;
    if (key != nullptr) counter = key->reserve(peer.staged.packets(), turn.now.monotonic);
    if (!counter) {
        begin_handshake(peer, Attempt::First, turn);
        return;
    }
    std::size_t bytes = 0;
    staged_bytes_ -= peer.staged.size_bytes();
    for (const std::vector<std::byte>& packet : peer.staged.take_all()) {
        const Slot slot{.datagram = turn.out.add(*peer.path, sealed_bytes(packet.size())),
                        .plaintext_bytes = packet.size()};
        std::ranges::copy(packet, slot.datagram.subspan(data::header_bytes).begin());
        seal_one(*key, (*counter)++, slot);
        bytes += slot.datagram.size();
    }
    after_sending(peer, bytes, turn);
    note_data_sent(peer, turn);
}

void Device::drop_staged(Peer& peer, DropReason reason) {
    staged_bytes_ -= peer.staged.size_bytes();
    count(reason, peer.staged.take_all().size());
}

// ---- what we begin -----------------------------------------------------------------------------

void Device::send_keepalive(Peer& peer, const Turn& turn) {
    if (!can_send_to(peer)) return;
    if (!peer.staged.empty()) {
        send_staged(peer, turn);  // says "alive" as well
        return;
    }
    Keypair* key = peer.keys.current();
    std::optional<std::uint64_t> counter;
    if (key != nullptr) counter = key->reserve(1, turn.now.monotonic);
    if (!counter) {
        begin_handshake(peer, Attempt::First, turn);
        return;
    }
    const Slot slot{.datagram = turn.out.add(*peer.path, data::overhead_bytes)};
    seal_one(*key, *counter, slot);
    after_sending(peer, slot.datagram.size(), turn);
}

void Device::initiate(PeerId id, Moment now, Outbox& out) {
    Peer* peer = get(id);
    if (peer == nullptr) return;
    begin_handshake(*peer, Attempt::First, Turn{now, out});
    schedule(*peer);
}

void Device::begin_handshake(Peer& peer, Attempt attempt, const Turn& turn) {
    if (attempt == Attempt::First) peer.timers.handshake_begun_anew();
    if (!can_send_to(peer)) return;
    const auto& last = peer.last_handshake_sent;
    if (last && turn.now.monotonic < *last + rekey_timeout) return;
    send_initiation(peer, turn);
}

void Device::send_initiation(Peer& peer, const Turn& turn) {
    if (!peer.remote.static_static()) {  // no key of ours, or theirs of low order: no session
        drop_staged(peer, DropReason::Handshake);
        return;
    }
    SessionIndex index = indices_.take(peer.id.slot, random_);
    const Tai64n stamp = stamps_.next(turn.now.wall, peer.last_sent_stamp);
    if (const auto reservation = stamps_.take_reservation()) turn.out.persist(*reservation);
    const MutableBytes message = turn.out.add(*peer.path, initiation::size_bytes);
    std::optional<Initiation> initiation = Initiation::create(
        private_key_, peer.remote, random_, {.sender = index.value(), .timestamp = stamp}, message);
    OVERLAY_ASSERT(initiation);  // the one cause of failure is ruled out above
    peer.macs.write(message, turn.now.monotonic);
    peer.last_sent_stamp = stamp;
    peer.outstanding.emplace(std::move(index), std::move(*initiation));
    peer.last_handshake_sent = turn.now.monotonic;
    peer.statistics.sent_bytes += message.size();
    peer.timers.authenticated_sent(turn.now.monotonic);
    peer.timers.initiation_sent(turn.now.monotonic, jitter());
}

Sealed Device::drop_packets(DropReason reason, std::size_t packets) {
    count(reason, packets);
    return Sealed{.kind = Sealed::Kind::Drop, .reason = reason};
}

}  // namespace overlay::wireguard
