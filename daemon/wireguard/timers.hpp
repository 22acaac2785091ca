#pragma once
// When to speak without being spoken to: five alarms of one peer, set by what was sent and
// received, never by a clock of their own. The device tells what happened, asks for
// next_deadline(), and does what take_due() says.
//
// The events and their effects are those of the kernel, one to one, so that the two cannot be told
// apart by their timing.
//
// Sources: whitepaper §6.1-6.5; Linux drivers/net/wireguard/timers.c.

#include "daemon/wireguard/moment.hpp"

#include <cstdint>
#include <optional>

namespace overlay::wireguard {

inline constexpr std::chrono::seconds rekey_after_time{120};  ///< the initiator, on sending
inline constexpr std::chrono::seconds rekey_timeout{5};       ///< between initiations to one peer
inline constexpr std::chrono::milliseconds max_jitter{334};   ///< lest two ends stay in step
inline constexpr std::chrono::seconds keepalive_timeout{10};
inline constexpr std::chrono::seconds erase_keys_after{540};  ///< three lives of a session
inline constexpr int max_handshake_attempts = 18;             ///< of 5 s each: 90 s
/// The initiator, on receiving: late enough that sending would have done it, early enough for an
/// answer.
inline constexpr std::chrono::seconds rekey_on_receive_after{180 - 10 - 5};

class Timers {
  public:
    using Jitter = std::chrono::milliseconds;  ///< random, 0 to max_jitter

    // What happened. "Authenticated" is all that is not a cookie reply; "data" is all that is not a
    // keepalive either.
    void initiation_sent(Clock::time_point now, Jitter jitter);
    void handshake_begun_anew() { attempts_ = 0; }  ///< not a retry: somebody wants to send
    void handshake_complete();
    void session_derived(Clock::time_point now) { erase_keys_ = now + erase_keys_after; }
    void data_sent(Clock::time_point now, Jitter jitter);
    [[nodiscard]] bool awaits_answer() const { return begin_ != never; }  ///< to data sent
    void data_received(Clock::time_point now);
    void passive_keepalive_sent(Clock::time_point now);  ///< after authenticated_sent()
    void authenticated_sent(Clock::time_point now);
    void authenticated_received(Clock::time_point now);
    void set_persistent_keepalive(std::chrono::seconds interval, Clock::time_point now);
    void stop();

    /// Once per session (kernel: sent_lastminute_handshake).
    [[nodiscard]] bool take_last_minute_rekey();

    enum class Action : std::uint8_t {
        Retry,           ///< the handshake again; forget our own address: the path may be another
        GiveUp,          ///< 90 s without an answer: what waits for a session waits in vain
        BeginHandshake,  ///< we sent, and heard nothing for 15 s
        Keepalive,       ///< we heard, and had nothing to say for 10 s
        PersistentKeepalive,
        EraseKeys,  ///< 540 s after the last session began, none followed
    };
    /// The next thing that is due; call again until there is none.
    [[nodiscard]] std::optional<Action> take_due(Clock::time_point now);
    [[nodiscard]] Clock::time_point next_deadline() const;  ///< `never` when nothing is set

    [[nodiscard]] std::chrono::seconds persistent_keepalive() const { return persistent_interval_; }
    [[nodiscard]] int attempts() const { return attempts_; }

  private:
    [[nodiscard]] Action retry_or_give_up(Clock::time_point now);
    void rearm_persistent(Clock::time_point now);

    Clock::time_point retry_ = never;
    Clock::time_point begin_ = never;
    Clock::time_point keepalive_ = never;
    Clock::time_point persistent_ = never;
    Clock::time_point erase_keys_ = never;
    std::chrono::duration<std::uint32_t> persistent_interval_{0};
    std::uint8_t attempts_ = 0;
    bool another_keepalive_ = false;
    bool last_minute_rekey_done_ = false;
};

}  // namespace overlay::wireguard
