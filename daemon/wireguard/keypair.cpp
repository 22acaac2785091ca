#include "daemon/wireguard/keypair.hpp"

namespace overlay::wireguard {

std::optional<std::uint64_t> Keypair::reserve(std::size_t count, Clock::time_point now) {
    if (!may_send(now) || reject_after_messages - sent_ < count) return std::nullopt;
    const std::uint64_t first = sent_;
    sent_ += count;
    return first;
}

Parsed<MutableBytes> Keypair::open(MutableBytes datagram, Clock::time_point now) {
    if (is_older_than(reject_after_time, now)) return drop(DropReason::KeyExpired);
    const std::uint64_t counter = load64_le(datagram, data::counter.at);
    if (counter >= reject_after_messages) return drop(DropReason::KeyExpired);
    const MutableBytes sealed = datagram.subspan(data::header_bytes);
    if (!opener_.open(counter, {}, sealed)) return drop(DropReason::Data);
    if (!received_.accept(counter)) return drop(DropReason::Replay);
    return sealed.first(sealed.size() - tag_bytes);
}

Keypair* KeypairSlots::find(std::uint32_t our_index) {
    for (const std::unique_ptr<Keypair>* slot : {&current_, &next_, &previous_}) {
        if (*slot && (*slot)->our_index() == our_index) return slot->get();
    }
    return nullptr;
}

void KeypairSlots::add(std::unique_ptr<Keypair> fresh) {
    if (fresh->role() == Keypair::Role::Responder) {
        // The previous one stays until then (the kernel's goes): the peer may be sending under it, if both
        // called at the same time, and goes on until our answer is there.
        next_ = std::move(fresh);
        return;
    }
    // The answer that we hold proves that the peer has the keys too: nothing to wait for. One that
    // was waiting stays readable, since the peer may have chosen that one (both called at the same
    // time).
    previous_ = next_ ? std::move(next_) : std::move(current_);
    current_ = std::move(fresh);
}

bool KeypairSlots::confirm(const Keypair& used) {
    if (&used != next_.get()) return false;
    previous_ = std::move(current_);
    current_ = std::move(next_);
    return true;
}

void KeypairSlots::stop_sending() {
    if (current_) current_->stop_sending();
    if (next_) next_->stop_sending();
}

void KeypairSlots::clear() {
    previous_.reset();
    current_.reset();
    next_.reset();
}

}  // namespace overlay::wireguard
