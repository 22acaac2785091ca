#pragma once
// The two MACs at the end of every handshake message, and the cookie that stands behind the second.
//
//   mac1  proves that the sender knows our public key: without it we are silent, not to be found
//   mac2  proves that the sender receives at its address; under load we ask for it, by a cookie
//
// MacChecker is the receiving device's, MacWriter the sender's, one per peer.
//
// Sources: whitepaper §5.4.4, §5.4.7; Linux drivers/net/wireguard/cookie.c.

#include "daemon/wireguard/crypto.hpp"
#include "daemon/wireguard/messages.hpp"
#include "daemon/wireguard/moment.hpp"

namespace overlay::wireguard {

inline constexpr std::chrono::seconds cookie_secret_life{120};
/// A sender forgets a cookie earlier than the receiver, by the time that a message may be on its
/// way.
inline constexpr std::chrono::seconds cookie_life = cookie_secret_life - std::chrono::seconds{5};

class MacChecker {
  public:
    explicit MacChecker(const PublicKey& ours);

    [[nodiscard]] bool mac1_is_right(Bytes message) const;
    [[nodiscard]] bool mac2_is_right(Bytes message, const Endpoint& from,
                                     Clock::time_point now) const;

    /// To a message of at least 92 bytes, so that the reply of 64 is never worth provoking.
    struct Reply {
        Bytes to_message;
        const Endpoint& from;
        Clock::time_point now;
    };
    void write_reply(const Reply& reply, Random& random, MutableBytes out);

  private:
    [[nodiscard]] Mac cookie_for(const Endpoint& from) const;
    Hash mac1_key_;
    Secret32 reply_key_;
    Secret32 secret_;
    Clock::time_point secret_ends_ = Clock::time_point::min();
};

class MacWriter {
  public:
    explicit MacWriter(const PublicKey& theirs);

    /// Fills the last 32 bytes of the message.
    void write(MutableBytes message, Clock::time_point now);
    /// False for a reply that does not open, or that answers nothing we sent.
    [[nodiscard]] bool consume_reply(Bytes reply, Clock::time_point now);

  private:
    Hash mac1_key_;
    Secret32 reply_key_;
    std::optional<Mac> last_mac1_;  ///< not answered yet
    Mac cookie_{};
    Clock::time_point cookie_ends_ = Clock::time_point::min();
};

}  // namespace overlay::wireguard
