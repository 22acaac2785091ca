#pragma once
// Whether handshakes come faster than we care to compute them. Since each is answered at once,
// there is no queue to look at as in the kernel; this is the length of the queue that there would
// be if `per_second` were computed, and load means the same as there: an eighth of 4096 waiting,
// and one second after it.
//
// Source: Linux drivers/net/wireguard/receive.c (wg_receive_handshake_packet).

#include "daemon/wireguard/moment.hpp"

#include <algorithm>
#include <utility>

namespace overlay::wireguard {

class HandshakeLoad {
  public:
    struct Limits {
        /// Two X25519 products each before the sender is known, four in all: about 0.2 ms; so at
        /// most a fifth of a core goes into handshakes of strangers.
        double per_second = 1000;
        double waiting = 512;  ///< 0: always under load
    };
    HandshakeLoad() = default;
    explicit HandshakeLoad(Limits limits) : limits_{limits} {}

    /// For each handshake message with a right mac1. True: under load.
    [[nodiscard]] bool count(Clock::time_point now) {
        const std::chrono::duration<double> since = now - std::exchange(last_, now);
        waiting_ = std::max(0.0, waiting_ - since.count() * limits_.per_second);
        // Bounded, so that a flood is forgotten as fast as the kernel's queue drains.
        waiting_ = std::min(waiting_ + 1, 1 + limits_.waiting * 8);
        if (waiting_ > limits_.waiting) loaded_until_ = now + std::chrono::seconds{1};
        return is_loaded(now);
    }
    [[nodiscard]] bool is_loaded(Clock::time_point now) const { return now < loaded_until_; }

  private:
    Limits limits_{};
    double waiting_ = 0;
    Clock::time_point last_{};
    Clock::time_point loaded_until_ = Clock::time_point::min();
};

}  // namespace overlay::wireguard
