#include "daemon/wireguard/timers.hpp"

#include <algorithm>
#include <utility>

namespace overlay::wireguard {

namespace {

bool take_if_due(Clock::time_point& alarm, Clock::time_point now) {
    if (alarm > now) return false;
    alarm = never;
    return true;
}

}  // namespace

void Timers::initiation_sent(Clock::time_point now, Jitter jitter) {
    retry_ = now + rekey_timeout + jitter;
}

void Timers::handshake_complete() {
    retry_ = never;
    attempts_ = 0;
    last_minute_rekey_done_ = false;
}

void Timers::data_sent(Clock::time_point now, Jitter jitter) {
    if (begin_ == never) begin_ = now + keepalive_timeout + rekey_timeout + jitter;
}

void Timers::data_received(Clock::time_point now) {
    if (keepalive_ == never) {
        keepalive_ = now + keepalive_timeout;
    } else {
        another_keepalive_ = true;
    }
}

void Timers::passive_keepalive_sent(Clock::time_point now) {
    if (std::exchange(another_keepalive_, false)) keepalive_ = now + keepalive_timeout;
}

void Timers::authenticated_sent(Clock::time_point now) {
    keepalive_ = never;
    rearm_persistent(now);
}

void Timers::authenticated_received(Clock::time_point now) {
    begin_ = never;
    rearm_persistent(now);
}

void Timers::set_persistent_keepalive(std::chrono::seconds interval, Clock::time_point now) {
    persistent_interval_ = std::chrono::duration_cast<decltype(persistent_interval_)>(interval);
    persistent_ = never;
    rearm_persistent(now);
}

void Timers::rearm_persistent(Clock::time_point now) {
    if (persistent_interval_.count() > 0) persistent_ = now + persistent_interval_;
}

void Timers::stop() {
    const auto interval = persistent_interval_;
    *this = Timers{};
    persistent_interval_ = interval;
}

bool Timers::take_last_minute_rekey() { return !std::exchange(last_minute_rekey_done_, true); }

std::optional<Timers::Action> Timers::take_due(Clock::time_point now) {
    if (take_if_due(retry_, now)) return retry_or_give_up(now);
    if (take_if_due(begin_, now)) return Action::BeginHandshake;
    if (take_if_due(keepalive_, now)) return Action::Keepalive;
    if (take_if_due(persistent_, now)) {
        rearm_persistent(now);  // sending does that too, but there may be no session to send under
        return Action::PersistentKeepalive;
    }
    if (take_if_due(erase_keys_, now)) return Action::EraseKeys;
    return std::nullopt;
}

Timers::Action Timers::retry_or_give_up(Clock::time_point now) {
    if (attempts_ > max_handshake_attempts) {
        keepalive_ = never;
        // What is left of the exchange that came to nothing must not lie about either.
        if (erase_keys_ == never) erase_keys_ = now + erase_keys_after;
        return Action::GiveUp;
    }
    ++attempts_;
    return Action::Retry;
}

Clock::time_point Timers::next_deadline() const {
    return std::min({retry_, begin_, keepalive_, persistent_, erase_keys_});
}

}  // namespace overlay::wireguard
