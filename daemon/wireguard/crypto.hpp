#pragma once
// The one crypto seam: what the Noise handshake and the data path need, and nothing of them.
// OpenSSL 3 does all of it but XChaCha20-Poly1305, which it lacks and libsodium has. Where there is
// libipsec-mb (ipsec_mb.hpp), Aead lets it have the packets that lie in one piece.
//
// Failure: crypto_available() tells once whether this host's libraries have the algorithms. After
// that, a call that fails for another reason than a wrong tag or a bad point is a bug or an empty
// heap: abort.

#include "daemon/wireguard/random.hpp"
#include "daemon/wireguard/secret.hpp"
#include "topology/values.hpp"

#include <initializer_list>
#include <memory>
#include <optional>

struct evp_pkey_st;
struct evp_cipher_ctx_st;

namespace overlay::wireguard {

using wire::Bytes;
using wire::MutableBytes;

using Hash = std::array<std::byte, 32>;  ///< BLAKE2s-256
using Mac = std::array<std::byte, 16>;   ///< BLAKE2s-128, keyed

/// An error names what is missing, as in a library built for FIPS only.
[[nodiscard]] Result<void> crypto_available();

/// The machine's generator; a forked child gets other bytes than its parent.
class SystemRandom final : public Random {
  public:
    void fill(MutableBytes out) override;
};

[[nodiscard]] bool equal_in_constant_time(Bytes a, Bytes b);
[[nodiscard]] inline Bytes bytes_of(const PublicKey& key) {
    return {reinterpret_cast<const std::byte*>(key.data()), 32};
}

// ---- RFC 7693, RFC 2104, RFC 5869 --------------------------------------------------------------

[[nodiscard]] Hash hash(std::initializer_list<Bytes> parts);
/// The keyed mode of BLAKE2s, which is not HMAC. `key`: at most 32 bytes.
[[nodiscard]] Mac keyed_mac(Bytes key, std::initializer_list<Bytes> parts);
[[nodiscard]] Hash hmac(Bytes key, std::initializer_list<Bytes> parts);
/// HKDF with HMAC-BLAKE2s, `salt` the chaining key and no info; fills 1 to 3 outputs.
void derive(const Secret32& salt, Bytes input, std::initializer_list<Secret32*> outputs);

// ---- RFC 7748 ----------------------------------------------------------------------------------

/// As X25519 uses a private key and `wg` shows it: bits set and cleared as RFC 7748 §5 says. All
/// zero, which is none, stays.
[[nodiscard]] Secret32 clamped(const Secret32& private_key);

/// An X25519 key pair, or none. The private half lives in OpenSSL's memory and is wiped there; it
/// cannot be asked for: OpenSSL 3.0 answers through a copy that it does not wipe.
class PrivateKey {
  public:
    /// All zero: no key. Its public key is all zero, too, and it agrees with nobody.
    [[nodiscard]] static PrivateKey from_bytes(Bytes thirty_two);
    [[nodiscard]] static PrivateKey generate(Random& random);
    [[nodiscard]] bool is_none() const { return key_ == nullptr; }
    [[nodiscard]] const PublicKey& public_key() const { return public_key_; }
    /// nullopt for a point of low order: the result would be zero whatever our key is.
    [[nodiscard]] std::optional<Secret32> agree(const PublicKey& other) const;

  private:
    struct Free {
        void operator()(evp_pkey_st* key) const;
    };
    explicit PrivateKey(Bytes thirty_two);
    std::unique_ptr<evp_pkey_st, Free> key_;
    PublicKey public_key_;
};

// ---- RFC 8439 ----------------------------------------------------------------------------------

inline constexpr std::size_t tag_bytes = 16;

/// ChaCha20-Poly1305 under one key and in one direction. The cipher context lives as long as the
/// key: per packet only the nonce (32 zero bits, then the counter little-endian) is set, nothing
/// allocated.
class Aead {
  public:
    enum class Direction : std::uint8_t { Seal, Open };
    Aead(const Secret32& key, Direction direction);

    /// In place; the last 16 bytes of `text_and_tag` become the tag.
    void seal(std::uint64_t counter, Bytes associated, MutableBytes text_and_tag);
    /// The same from slices that lie apart, copying them together on the way.
    /// Size of `out`: that of all slices and 16.
    void seal_from(std::uint64_t counter, std::span<const Bytes> slices, MutableBytes out);

    /// In place. False: forged or damaged, and the bytes are now worthless.
    [[nodiscard]] bool open(std::uint64_t counter, Bytes associated, MutableBytes text_and_tag);
    /// From slices that lie apart, none of them the tag; `out` has the size of them all.
    [[nodiscard]] bool open_from(std::uint64_t counter, std::span<const Bytes> slices, Bytes tag,
                                 MutableBytes out);

  private:
    struct Free {
        void operator()(evp_cipher_ctx_st* context) const;
    };
    using Nonce = std::array<std::byte, 12>;
    [[nodiscard]] static Nonce nonce_of(std::uint64_t counter);
    void start(std::uint64_t counter, Bytes associated);
    void feed(Bytes from, MutableBytes to);
    void write_tag(MutableBytes tag);
    [[nodiscard]] bool tag_is(Bytes tag);
    std::unique_ptr<evp_cipher_ctx_st, Free> context_;
    std::optional<Secret32> key_for_ipsec_mb_;  ///< nullopt: OpenSSL does all
    Direction direction_;
};

// ---- draft-irtf-cfrg-xchacha-03 ----------------------------------------------------------------

inline constexpr std::size_t xnonce_bytes = 24;

/// `out`: the text and 16 bytes of tag.
void xseal(const Secret32& key, Bytes nonce, Bytes associated, Bytes text, MutableBytes out);
[[nodiscard]] bool xopen(const Secret32& key, Bytes nonce, Bytes associated, Bytes sealed,
                         MutableBytes text);

/// SipHash-2-4: where an entry of a table lies that strangers fill. `key`: 16 bytes.
[[nodiscard]] std::uint64_t siphash(Bytes key, Bytes input);

}  // namespace overlay::wireguard
