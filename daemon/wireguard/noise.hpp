#pragma once
// The handshake, Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s: one datagram there, one back, and both ends
// have a pair of session keys.
//
//   initiator   Initiation::create ──148 bytes──▶ ReceivedInitiation::reveal   responder
//                                                   authenticate (who is it, how old)
//   consume_response ◀──────────────92 bytes─────── respond
//
// The responder answers at once, so it keeps nothing between the two; the initiator keeps an
// Initiation. A message that fails leaves no trace: strangers can send any, and one of them must
// not end a handshake. The two MACs at the end of each message are cookie.hpp's, indices and replay
// of stamps device.hpp's.
//
// Sources: WireGuard whitepaper §5.4.2, §5.4.3; Noise protocol framework, revision 34.

#include "daemon/wireguard/crypto.hpp"
#include "daemon/wireguard/tai64n.hpp"

namespace overlay::wireguard {

/// What a handshake needs to know of the peer.
class RemoteIdentity {
  public:
    RemoteIdentity(const PrivateKey& ours, const PublicKey& theirs);
    void set_preshared_key(const Secret32& key) { preshared_key_ = key; }  ///< all zero: none
    void set_our_key(const PrivateKey& ours) { static_static_ = ours.agree(key_); }

    [[nodiscard]] const PublicKey& key() const { return key_; }
    [[nodiscard]] const Secret32& preshared_key() const { return preshared_key_; }
    /// Of the two static keys, computed once; nullopt when theirs is a point of low order.
    [[nodiscard]] const std::optional<Secret32>& static_static() const { return static_static_; }

  private:
    PublicKey key_;
    Secret32 preshared_key_;
    std::optional<Secret32> static_static_;
};

struct SessionKeys {
    Secret32 send;
    Secret32 receive;
};

/// Chaining key and running hash, as the Noise document's SymmetricState.
struct Transcript {
    Secret32 chaining_key;
    Hash running_hash{};

    static Transcript begin(const PublicKey& responder);
    void mix_hash(Bytes bytes);
    void mix_ephemeral(Bytes public_key);
    [[nodiscard]] Secret32 mix_key(const Secret32& shared);  ///< the key for the next field
    void seal(const Secret32& key, Bytes text, MutableBytes out);
    [[nodiscard]] bool open(const Secret32& key, Bytes sealed, MutableBytes text);
    [[nodiscard]] SessionKeys split() const;  ///< as the initiator names them
};

/// The initiator's side between its message and the answer.
class Initiation {
  public:
    struct Fields {
        std::uint32_t sender = 0;
        Tai64n timestamp;
    };
    /// Fills all of `message` but the MACs. nullopt for a peer whose key is of low order.
    [[nodiscard]] static std::optional<Initiation> create(const PrivateKey& ours,
                                                          const RemoteIdentity& peer,
                                                          Random& random, const Fields& fields,
                                                          MutableBytes message);
    /// nullopt for a response that does not authenticate; a later one still can.
    [[nodiscard]] std::optional<SessionKeys> consume_response(const PrivateKey& ours,
                                                              const RemoteIdentity& peer,
                                                              Bytes message) const;

  private:
    Initiation(PrivateKey ephemeral, Transcript transcript)
        : ephemeral_{std::move(ephemeral)}, transcript_{std::move(transcript)} {}
    PrivateKey ephemeral_;
    Transcript transcript_;
};

/// The responder's side, from one datagram to the next.
class ReceivedInitiation {
  public:
    /// Opens the sender's static key. Anybody who knows our public key can have written it.
    [[nodiscard]] static std::optional<ReceivedInitiation> reveal(const PrivateKey& ours,
                                                                  Bytes message);
    [[nodiscard]] const PublicKey& initiator() const { return initiator_; }
    [[nodiscard]] std::uint32_t sender() const { return sender_; }  ///< the initiator's index

    /// Only the owner of initiator()'s key can have written what this opens; a replay opens as
    /// well.
    [[nodiscard]] std::optional<Tai64n> authenticate(const RemoteIdentity& peer);

    /// Fills all of `message` but the MACs, as `sender`. Once, and after authenticate().
    [[nodiscard]] std::optional<SessionKeys> respond(const RemoteIdentity& peer, Random& random,
                                                     std::uint32_t sender, MutableBytes message);

  private:
    ReceivedInitiation() = default;
    Transcript transcript_;
    std::uint32_t sender_ = 0;
    PublicKey ephemeral_;
    PublicKey initiator_;
    std::array<std::byte, initiation::sealed_timestamp.size_bytes> sealed_timestamp_{};
};

}  // namespace overlay::wireguard
