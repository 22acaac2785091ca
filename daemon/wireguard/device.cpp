#include "daemon/wireguard/device.hpp"

namespace overlay::wireguard {

Device::Device(const Secret32& private_key, const DeviceOptions& options, Random& random)
    : options_{options},
      random_{random},
      private_key_{PrivateKey::from_bytes(private_key.bytes())},
      private_bytes_{clamped(private_key)},
      mac_checker_{private_key_.public_key()},
      load_{options.load},
      stamps_{options.reserved_stamps} {}

namespace {

/// Then what was learned of the way there stays.
bool is_at(const Peer& peer, const PeerChange& change) {
    if (!peer.path || peer.path->remote != *change.endpoint) return false;
    return !change.endpoint->address.is_link_local() ||
           peer.path->interface == change.endpoint_interface;
}

}  // namespace

// ---- peers -------------------------------------------------------------------------------------

Peer* Device::get(PeerId id) {
    if (id.slot >= rooms_.size() || rooms_[id.slot].generation != id.generation) return nullptr;
    return rooms_[id.slot].peer.get();
}

const Peer* Device::get(PeerId id) const {
    if (id.slot >= rooms_.size() || rooms_[id.slot].generation != id.generation) return nullptr;
    return rooms_[id.slot].peer.get();
}

std::optional<PeerId> Device::find(const PublicKey& key) const {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return std::nullopt;
    return rooms_[found->second].peer->id;
}

Peer& Device::add_peer(const PublicKey& key) {
    std::uint32_t slot = 0;
    if (free_rooms_.empty()) {
        slot = static_cast<std::uint32_t>(rooms_.size());
        rooms_.emplace_back();
    } else {
        slot = free_rooms_.back();
        free_rooms_.pop_back();
    }
    PeerRoom& room = rooms_[slot];
    room.peer = std::make_unique<Peer>(PeerId{.slot = slot, .generation = room.generation},
                                       private_key_, key);
    by_key_.emplace(key, slot);
    return *room.peer;
}

void Device::remove_peer(Peer& peer) {
    const std::uint32_t slot = peer.id.slot;
    staged_bytes_ -= peer.staged.size_bytes();
    calendar_.erase({peer.scheduled, slot});
    stamps_.forget(peer.last_sent_stamp);
    allowed_ips_.remove_owner(slot);
    by_key_.erase(peer.remote.key());
    rooms_[slot].peer.reset();
    ++rooms_[slot].generation;
    free_rooms_.push_back(slot);
}

void Device::remove_peers() {
    for (const PeerRoom& room : rooms_) {
        if (room.peer) remove_peer(*room.peer);
    }
}

void Device::set_private_key(const Secret32& private_key, Moment now, Outbox& out) {
    PrivateKey fresh = PrivateKey::from_bytes(private_key.bytes());
    if (fresh.public_key() == public_key()) return;
    const bool is_first = private_key_.is_none();
    private_key_ = std::move(fresh);
    private_bytes_ = clamped(private_key);
    mac_checker_ = MacChecker{private_key_.public_key()};
    // A peer with our own key would be ourselves (Linux netlink.c, set_device).
    if (const auto self = by_key_.find(public_key()); self != by_key_.end()) {
        remove_peer(*rooms_[self->second].peer);
    }
    for (const PeerRoom& room : rooms_) {
        if (!room.peer) continue;
        room.peer->remote.set_our_key(private_key_);
        room.peer->outstanding.reset();
        room.peer->keys.stop_sending();
    }
    if (is_first && running_) begin_keepalives({now, out});
}

void Device::forget_local_addresses() {
    for (const PeerRoom& room : rooms_) {
        if (room.peer && room.peer->path) room.peer->path->forget_local();
    }
}

void Device::change(const PeerChange& change, Moment now, Outbox& out) {
    const Turn turn{now, out};
    const auto found = by_key_.find(change.key);
    Peer* peer = found == by_key_.end() ? nullptr : rooms_[found->second].peer.get();
    if (change.action == PeerChange::Action::Remove) {
        if (peer != nullptr) remove_peer(*peer);
        return;
    }
    if (peer == nullptr) {
        if (change.action == PeerChange::Action::SetIfThere || change.key == public_key()) return;
        peer = &add_peer(change.key);
    }
    apply(*peer, change, turn);
    schedule(*peer);
}

void Device::apply(Peer& peer, const PeerChange& change, const Turn& turn) {
    if (change.preshared_key) peer.remote.set_preshared_key(*change.preshared_key);
    if (change.endpoint && !is_at(peer, change)) {
        peer.path =
            Path{.remote = *change.endpoint, .local = {}, .interface = change.endpoint_interface};
    }
    apply_allowed_ips(peer, change);
    if (change.persistent_keepalive) {
        const bool begins = peer.timers.persistent_keepalive().count() == 0 &&
                            change.persistent_keepalive->count() > 0;
        peer.timers.set_persistent_keepalive(*change.persistent_keepalive, turn.now.monotonic);
        if (begins) send_keepalive(peer, turn);
    }
}

void Device::apply_allowed_ips(const Peer& peer, const PeerChange& change) {
    using Mode = PeerChange::AllowedIpsMode;
    const AllowedIps::Owner owner = peer.id.slot;
    if (change.allowed_ips_mode == Mode::Replace) allowed_ips_.remove_owner(owner);
    for (const IpPrefix& prefix : change.allowed_ips) {
        if (change.allowed_ips_mode == Mode::Remove) {
            allowed_ips_.remove(prefix, owner);
        } else {
            allowed_ips_.insert(prefix, owner);
        }
    }
}

void Device::start(Moment now, Outbox& out) {
    running_ = true;
    begin_keepalives({now, out});
}

void Device::begin_keepalives(const Turn& turn) {
    for (const PeerRoom& room : rooms_) {
        if (!room.peer || room.peer->timers.persistent_keepalive().count() == 0) continue;
        room.peer->timers.set_persistent_keepalive(room.peer->timers.persistent_keepalive(),
                                                   turn.now.monotonic);
        send_keepalive(*room.peer, turn);
        schedule(*room.peer);
    }
}

void Device::stop() {
    running_ = false;
    for (const PeerRoom& room : rooms_) {
        if (!room.peer) continue;
        erase_keys(*room.peer);
        drop_staged(*room.peer, DropReason::Stopped);
        room.peer->timers.stop();
        room.peer->last_handshake_sent.reset();
    }
}

void Device::erase_keys(Peer& peer) {
    peer.outstanding.reset();
    peer.keys.clear();
}

// ---- time --------------------------------------------------------------------------------------

Clock::time_point Device::next_deadline() const {
    return calendar_.empty() ? never : calendar_.begin()->first;
}

/// Only an earlier look moves the entry: almost every packet moves some timer away, and none of
/// them should cost a walk through the calendar.
void Device::schedule(Peer& peer) {
    const Clock::time_point next = peer.timers.next_deadline();
    if (next >= peer.scheduled) return;
    auto entry = calendar_.extract({peer.scheduled, peer.id.slot});
    if (entry.empty()) {
        calendar_.emplace(next, peer.id.slot);
    } else {
        entry.value() = {next, peer.id.slot};  // the node's memory serves again
        calendar_.insert(std::move(entry));
    }
    peer.scheduled = next;
}

void Device::on_time(Moment now, Outbox& out) {
    const Turn turn{now, out};
    while (!calendar_.empty() && calendar_.begin()->first <= now.monotonic) {
        Peer& peer = *rooms_[calendar_.begin()->second].peer;
        auto entry = calendar_.extract(calendar_.begin());
        peer.scheduled = never;
        while (const std::optional<Timers::Action> action = peer.timers.take_due(now.monotonic)) {
            act(peer, *action, turn);
        }
        const Clock::time_point next = peer.timers.next_deadline();
        if (next == never) continue;
        entry.value() = {next, peer.id.slot};
        calendar_.insert(std::move(entry));
        peer.scheduled = next;
    }
}

void Device::act(Peer& peer, Timers::Action action, const Turn& turn) {
    switch (action) {
        case Timers::Action::Retry:
            turn.out.tell({Event::Kind::HandshakeRetried, peer.id});
            if (peer.path) peer.path->forget_local();
            begin_handshake(peer, Attempt::Again, turn);
            return;
        case Timers::Action::GiveUp:
            turn.out.tell({Event::Kind::HandshakeGivenUp, peer.id});
            drop_staged(peer, DropReason::GivenUp);
            return;
        case Timers::Action::BeginHandshake:
            if (peer.path) peer.path->forget_local();
            begin_handshake(peer, Attempt::First, turn);
            return;
        case Timers::Action::Keepalive:
            send_keepalive(peer, turn);
            peer.timers.passive_keepalive_sent(turn.now.monotonic);
            return;
        case Timers::Action::PersistentKeepalive: send_keepalive(peer, turn); return;
        case Timers::Action::EraseKeys:
            turn.out.tell({Event::Kind::KeysErased, peer.id});
            erase_keys(peer);
            return;
    }
}

// ---- status ------------------------------------------------------------------------------------

std::vector<PeerId> Device::peers() const {
    std::vector<PeerId> out;
    for (const PeerRoom& room : rooms_) {
        if (room.peer) out.push_back(room.peer->id);
    }
    return out;
}

std::optional<Secret32> Device::preshared_key(PeerId id) const {
    const Peer* peer = get(id);
    if (peer == nullptr) return std::nullopt;
    return peer->remote.preshared_key();
}

void Device::skip_to(PeerId id, std::uint64_t counter) {
    get(id)->keys.current()->skip_to(counter);
}

std::optional<PeerStatus> Device::status(PeerId id) const {
    const Peer* peer = get(id);
    if (peer == nullptr) return std::nullopt;
    return PeerStatus{.key = peer->remote.key(),
                      .path = peer->path,
                      .persistent_keepalive = peer->timers.persistent_keepalive(),
                      .has_preshared_key = !equal_in_constant_time(
                          peer->remote.preshared_key().bytes(), Secret32{}.bytes()),
                      .statistics = peer->statistics,
                      .allowed_ips = allowed_ips_.of(peer->id.slot),
                      .last_received_stamp = peer->last_received_stamp};
}

}  // namespace overlay::wireguard
