#pragma once
// A session: one key to send with, one to receive with, and how much of each is used up. A peer has
// up to three of them, because the two ends never change over at the same instant:
//
//   next      we answered a handshake, and have not yet seen that our answer arrived: receive only
//   current   the one we send with
//   previous  the one before, for datagrams that were on their way
//
// Sources: whitepaper §6.1-6.3; Linux drivers/net/wireguard/noise.c (add_new_keypair,
// wg_noise_received_with_keypair).

#include "daemon/wireguard/moment.hpp"
#include "daemon/wireguard/noise.hpp"
#include "daemon/wireguard/replay_window.hpp"
#include "daemon/wireguard/session_index.hpp"

namespace overlay::wireguard {

inline constexpr std::chrono::seconds reject_after_time{180};

class Keypair {
  public:
    enum class Role : std::uint8_t { Initiator, Responder };
    struct Names {
        SessionIndex ours;
        std::uint32_t theirs = 0;
    };
    Keypair(const SessionKeys& keys, Role role, Names names, Clock::time_point born)
        : sealer_{keys.send, Aead::Direction::Seal},
          opener_{keys.receive, Aead::Direction::Open},
          role_{role},
          names_{std::move(names)},
          born_{born} {}

    [[nodiscard]] Role role() const { return role_; }
    [[nodiscard]] std::uint32_t our_index() const { return names_.ours.value(); }
    [[nodiscard]] std::uint32_t their_index() const { return names_.theirs; }
    [[nodiscard]] std::uint64_t sent() const { return sent_; }
    [[nodiscard]] bool is_older_than(std::chrono::seconds age, Clock::time_point now) const {
        return now >= born_ + age;
    }

    /// The first of `count` counters to send under; nullopt when the session must not send any
    /// more.
    [[nodiscard]] std::optional<std::uint64_t> reserve(std::size_t count, Clock::time_point now);
    void seal(std::uint64_t counter, MutableBytes text_and_tag) {
        sealer_.seal(counter, {}, text_and_tag);
    }
    void stop_sending() { may_send_ = false; }
    [[nodiscard]] bool may_send(Clock::time_point now) const {
        return may_send_ && !is_older_than(reject_after_time, now) && sent_ < reject_after_messages;
    }

    /// Of a data message to this session: opens in place. The plaintext, padded, or why there is
    /// none.
    [[nodiscard]] Parsed<MutableBytes> open(MutableBytes datagram, Clock::time_point now);

    /// For tests of the edge: as if so many messages had been sent.
    void skip_to(std::uint64_t counter) { sent_ = counter; }

  private:
    Aead sealer_;
    Aead opener_;
    Role role_;
    bool may_send_ = true;
    Names names_;
    Clock::time_point born_;
    std::uint64_t sent_ = 0;
    ReplayWindow received_;
};

class KeypairSlots {
  public:
    [[nodiscard]] Keypair* current() { return current_.get(); }
    [[nodiscard]] const Keypair* current() const { return current_.get(); }
    [[nodiscard]] Keypair* find(std::uint32_t our_index);

    void add(std::unique_ptr<Keypair> fresh);
    /// After an authentic message under `used`: true when that made it the current one, which is
    /// when the responder may start sending under it.
    [[nodiscard]] bool confirm(const Keypair& used);
    /// What was agreed under a former key of ours may end as it is received, but sends no more.
    void stop_sending();
    void clear();
    [[nodiscard]] bool empty() const { return !previous_ && !current_ && !next_; }

  private:
    std::unique_ptr<Keypair> previous_, current_, next_;
};

}  // namespace overlay::wireguard
