#include "daemon/wireguard/crypto.hpp"

#include "daemon/wireguard/ipsec_mb.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sodium.h>

namespace overlay::wireguard {

namespace {

const unsigned char* raw(Bytes bytes) {
    return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(MutableBytes bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }
Bytes view(const Hash& hash) { return hash; }

/// Fetched once: a fetch by name at every call takes a lock and longer than hashing does.
struct Algorithms {
    EVP_MD* blake2s = EVP_MD_fetch(nullptr, "BLAKE2S-256", nullptr);
    EVP_MAC* blake2s_mac = EVP_MAC_fetch(nullptr, "BLAKE2SMAC", nullptr);
    EVP_CIPHER* chacha = EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
    Algorithms() = default;
    Algorithms(const Algorithms&) = delete;
    Algorithms& operator=(const Algorithms&) = delete;
    ~Algorithms() {
        EVP_MD_free(blake2s);
        EVP_MAC_free(blake2s_mac);
        EVP_CIPHER_free(chacha);
    }
};

const Algorithms& algorithms() {
    static const Algorithms fetched;
    return fetched;
}

template <class T, void (*Release)(T*)>
struct Releaser {
    void operator()(T* held) const { Release(held); }
};
using DigestContext = std::unique_ptr<EVP_MD_CTX, Releaser<EVP_MD_CTX, EVP_MD_CTX_free>>;
using MacContext = std::unique_ptr<EVP_MAC_CTX, Releaser<EVP_MAC_CTX, EVP_MAC_CTX_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Releaser<EVP_PKEY_CTX, EVP_PKEY_CTX_free>>;

/// HMAC's outer and inner padding of BLAKE2s' block (RFC 2104 §2).
constexpr std::size_t block_bytes = 64;
Secret<block_bytes> padded(Bytes key, std::byte padding) {
    OVERLAY_ASSERT(key.size() <= block_bytes);
    Secret<block_bytes> out{std::array<std::byte, block_bytes>{}};
    std::copy(key.begin(), key.end(), out.bytes().begin());
    for (std::byte& each : out.bytes()) each ^= padding;
    return out;
}

class Digest {
  public:
    Digest() : context_{EVP_MD_CTX_new()} {
        OVERLAY_ASSERT(EVP_DigestInit_ex2(context_.get(), algorithms().blake2s, nullptr) == 1);
    }
    void add(Bytes part) {
        OVERLAY_ASSERT(EVP_DigestUpdate(context_.get(), part.data(), part.size()) == 1);
    }
    [[nodiscard]] Hash finish() {
        Hash out{};
        OVERLAY_ASSERT(EVP_DigestFinal_ex(context_.get(), raw(MutableBytes{out}), nullptr) == 1);
        return out;
    }

  private:
    DigestContext context_;
};

}  // namespace

void cleanse(MutableBytes bytes) { OPENSSL_cleanse(bytes.data(), bytes.size()); }

Result<void> crypto_available() {
    constexpr std::string_view doing = "prepare WireGuard's cryptography";
    const Algorithms& found = algorithms();
    if (found.blake2s == nullptr)
        return fail(Error::Kind::Unsupported, doing, "OpenSSL has no BLAKE2s");
    if (found.blake2s_mac == nullptr) {
        return fail(Error::Kind::Unsupported, doing, "OpenSSL has no keyed BLAKE2s");
    }
    if (found.chacha == nullptr) {
        return fail(Error::Kind::Unsupported, doing, "OpenSSL has no ChaCha20-Poly1305");
    }
    const KeyContext x25519{EVP_PKEY_CTX_new_from_name(nullptr, "X25519", nullptr)};
    if (!x25519) return fail(Error::Kind::Unsupported, doing, "OpenSSL has no X25519");
    // Chooses the code for this processor; without it libsodium works, slowly.
    if (sodium_init() < 0) return fail(Error::Kind::Failed, doing, "libsodium does not start");
    return {};
}

void SystemRandom::fill(MutableBytes out) {
    OVERLAY_ASSERT(RAND_priv_bytes(raw(out), static_cast<int>(out.size())) == 1);
}

bool equal_in_constant_time(Bytes a, Bytes b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

// ---- BLAKE2s -----------------------------------------------------------------------------------

Hash hash(std::initializer_list<Bytes> parts) {
    Digest digest;
    for (const Bytes part : parts) digest.add(part);
    return digest.finish();
}

Mac keyed_mac(Bytes key, std::initializer_list<Bytes> parts) {
    const MacContext context{EVP_MAC_CTX_new(algorithms().blake2s_mac)};
    std::size_t size = std::tuple_size_v<Mac>;  // a parameter of BLAKE2, not a cut
    const std::array<OSSL_PARAM, 2> parameters{
        OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size), OSSL_PARAM_construct_end()};
    OVERLAY_ASSERT(EVP_MAC_init(context.get(), raw(key), key.size(), parameters.data()) == 1);
    for (const Bytes part : parts) {
        OVERLAY_ASSERT(EVP_MAC_update(context.get(), raw(part), part.size()) == 1);
    }
    Mac out{};
    OVERLAY_ASSERT(EVP_MAC_final(context.get(), raw(MutableBytes{out}), &size, out.size()) == 1 &&
                   size == out.size());
    return out;
}

Hash hmac(Bytes key, std::initializer_list<Bytes> parts) {
    const Secret<block_bytes> front = padded(key, std::byte{0x36});
    Digest inner;
    inner.add(front.bytes());
    for (const Bytes part : parts) inner.add(part);
    Hash inside = inner.finish();
    const Secret<block_bytes> outer = padded(key, std::byte{0x5c});
    const Hash out = hash({outer.bytes(), view(inside)});
    cleanse(inside);
    return out;
}

void derive(const Secret32& salt, Bytes input, std::initializer_list<Secret32*> outputs) {
    Hash secret = hmac(salt.bytes(), {input});
    Hash last{};
    std::array<std::byte, 1> number{};
    for (Secret32* output : outputs) {
        number[0] = static_cast<std::byte>(std::to_integer<int>(number[0]) + 1);
        last = number[0] == std::byte{1} ? hmac(secret, {number}) : hmac(secret, {last, number});
        *output = Secret32{last};
    }
    cleanse(secret);
    cleanse(last);
}

// ---- X25519 ------------------------------------------------------------------------------------

Secret32 clamped(const Secret32& private_key) {
    Secret32 out = private_key;
    if (equal_in_constant_time(out.bytes(), Secret32{}.bytes())) return out;
    out.bytes()[0] &= std::byte{0xf8};
    out.bytes()[31] = (out.bytes()[31] & std::byte{0x7f}) | std::byte{0x40};
    return out;
}

void PrivateKey::Free::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }

PrivateKey::PrivateKey(Bytes thirty_two) {
    if (equal_in_constant_time(thirty_two, Secret32{}.bytes())) return;
    key_.reset(EVP_PKEY_new_raw_private_key_ex(nullptr, "X25519", nullptr, raw(thirty_two), 32));
    std::array<unsigned char, 32> bytes{};
    std::size_t size = bytes.size();
    OVERLAY_ASSERT(key_ && EVP_PKEY_get_raw_public_key(key_.get(), bytes.data(), &size) == 1);
    public_key_ = PublicKey::from_bytes(bytes.data());
}

PrivateKey PrivateKey::from_bytes(Bytes thirty_two) {
    OVERLAY_ASSERT(thirty_two.size() == 32);
    return PrivateKey{thirty_two};
}

PrivateKey PrivateKey::generate(Random& random) {
    Secret32 bytes;
    random.fill(bytes.bytes());
    return PrivateKey{bytes.bytes()};
}

std::optional<Secret32> PrivateKey::agree(const PublicKey& other) const {
    if (is_none()) return std::nullopt;
    struct FreeKey {
        void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    };
    const std::unique_ptr<EVP_PKEY, FreeKey> theirs{
        EVP_PKEY_new_raw_public_key_ex(nullptr, "X25519", nullptr, other.data(), 32)};
    const KeyContext context{EVP_PKEY_CTX_new_from_pkey(nullptr, key_.get(), nullptr)};
    OVERLAY_ASSERT(theirs && context && EVP_PKEY_derive_init(context.get()) == 1);
    Secret32 shared;
    std::size_t size = 32;
    const bool derived = EVP_PKEY_derive_set_peer_ex(context.get(), theirs.get(), 0) == 1 &&
                         EVP_PKEY_derive(context.get(), raw(shared.bytes()), &size) == 1;
    ERR_clear_error();  // strangers choose the point: its refusal is no news
    if (!derived || equal_in_constant_time(shared.bytes(), Secret32{}.bytes())) return std::nullopt;
    return shared;
}

// ---- ChaCha20-Poly1305 -------------------------------------------------------------------------

void Aead::Free::operator()(evp_cipher_ctx_st* context) const { EVP_CIPHER_CTX_free(context); }

Aead::Aead(const Secret32& key, Direction direction)
    : context_{EVP_CIPHER_CTX_new()}, direction_{direction} {
    OVERLAY_ASSERT(context_ &&
                   EVP_CipherInit_ex2(context_.get(), algorithms().chacha, raw(key.bytes()),
                                      nullptr, direction == Direction::Seal, nullptr) == 1);
    if (ipsec_mb::is_available()) key_for_ipsec_mb_ = key;
}

Aead::Nonce Aead::nonce_of(std::uint64_t counter) {
    Nonce nonce{};
    for (std::size_t i = 0; i < 8; ++i) nonce[4 + i] = static_cast<std::byte>(counter >> (8 * i));
    return nonce;
}

void Aead::start(std::uint64_t counter, Bytes associated) {
    const Nonce nonce = nonce_of(counter);
    // Naming the cipher again here would set up the key again and cost half as much as the packet.
    OVERLAY_ASSERT(
        EVP_CipherInit_ex2(context_.get(), nullptr, nullptr, raw(nonce), -1, nullptr) == 1);
    int written = 0;
    if (associated.empty()) return;
    OVERLAY_ASSERT(EVP_CipherUpdate(context_.get(), nullptr, &written, raw(associated),
                                    static_cast<int>(associated.size())) == 1);
}

void Aead::feed(Bytes from, MutableBytes to) {
    int written = 0;
    OVERLAY_ASSERT(EVP_CipherUpdate(context_.get(), raw(to), &written, raw(from),
                                    static_cast<int>(from.size())) == 1);
    OVERLAY_ASSERT(static_cast<std::size_t>(written) == from.size());
}

void Aead::write_tag(MutableBytes tag) {
    int written = 0;
    std::array<unsigned char, 16> nothing{};
    OVERLAY_ASSERT(EVP_CipherFinal_ex(context_.get(), nothing.data(), &written) == 1);
    OVERLAY_ASSERT(
        EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, tag_bytes, tag.data()) == 1);
}

bool Aead::tag_is(Bytes tag) {
    std::array<std::byte, tag_bytes> expected{};  // the call takes a mutable pointer
    std::copy(tag.begin(), tag.end(), expected.begin());
    OVERLAY_ASSERT(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_TAG, tag_bytes,
                                       expected.data()) == 1);
    int written = 0;
    std::array<unsigned char, 16> nothing{};
    return EVP_CipherFinal_ex(context_.get(), nothing.data(), &written) == 1;
}

void Aead::seal(std::uint64_t counter, Bytes associated, MutableBytes text_and_tag) {
    OVERLAY_ASSERT(direction_ == Direction::Seal && text_and_tag.size() >= tag_bytes);
    const MutableBytes text = text_and_tag.first(text_and_tag.size() - tag_bytes);
    const MutableBytes tag = text_and_tag.last(tag_bytes);
    if (key_for_ipsec_mb_ && !text.empty()) {
        const Nonce nonce = nonce_of(counter);
        return ipsec_mb::run(ipsec_mb::Direction::Seal, *key_for_ipsec_mb_,
                             {nonce, associated, text, tag});
    }
    start(counter, associated);
    if (!text.empty()) feed(text, text);
    write_tag(tag);
}

void Aead::seal_from(std::uint64_t counter, std::span<const Bytes> slices, MutableBytes out) {
    OVERLAY_ASSERT(direction_ == Direction::Seal);
    start(counter, {});
    for (const Bytes slice : slices) {
        OVERLAY_ASSERT(out.size() >= slice.size() + tag_bytes);
        if (!slice.empty()) feed(slice, out.first(slice.size()));
        out = out.subspan(slice.size());
    }
    OVERLAY_ASSERT(out.size() == tag_bytes);
    write_tag(out);
}

bool Aead::open(std::uint64_t counter, Bytes associated, MutableBytes text_and_tag) {
    OVERLAY_ASSERT(direction_ == Direction::Open);
    if (text_and_tag.size() < tag_bytes) return false;
    const MutableBytes text = text_and_tag.first(text_and_tag.size() - tag_bytes);
    const MutableBytes tag = text_and_tag.last(tag_bytes);
    if (key_for_ipsec_mb_ && !text.empty()) {
        const Nonce nonce = nonce_of(counter);
        std::array<std::byte, tag_bytes> expected{};
        ipsec_mb::run(ipsec_mb::Direction::Open, *key_for_ipsec_mb_,
                      {nonce, associated, text, expected});
        return equal_in_constant_time(expected, tag);
    }
    start(counter, associated);
    if (!text.empty()) feed(text, text);
    return tag_is(tag);
}

bool Aead::open_from(std::uint64_t counter, std::span<const Bytes> slices, Bytes tag,
                     MutableBytes out) {
    OVERLAY_ASSERT(direction_ == Direction::Open && tag.size() == tag_bytes);
    start(counter, {});
    for (const Bytes slice : slices) {
        OVERLAY_ASSERT(out.size() >= slice.size());
        if (!slice.empty()) feed(slice, out.first(slice.size()));
        out = out.subspan(slice.size());
    }
    return tag_is(tag);
}

// ---- XChaCha20-Poly1305, SipHash ---------------------------------------------------------------

void xseal(const Secret32& key, Bytes nonce, Bytes associated, Bytes text, MutableBytes out) {
    OVERLAY_ASSERT(nonce.size() == xnonce_bytes && out.size() == text.size() + tag_bytes);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(raw(out), nullptr, raw(text), text.size(),
                                                     raw(associated), associated.size(), nullptr,
                                                     raw(nonce), raw(key.bytes()));
}

bool xopen(const Secret32& key, Bytes nonce, Bytes associated, Bytes sealed, MutableBytes text) {
    OVERLAY_ASSERT(nonce.size() == xnonce_bytes && sealed.size() == text.size() + tag_bytes);
    return crypto_aead_xchacha20poly1305_ietf_decrypt(
               raw(text), nullptr, nullptr, raw(sealed), sealed.size(), raw(associated),
               associated.size(), raw(nonce), raw(key.bytes())) == 0;
}

std::uint64_t siphash(Bytes key, Bytes input) {
    OVERLAY_ASSERT(key.size() == crypto_shorthash_KEYBYTES);
    std::array<std::byte, 8> out{};
    (void)crypto_shorthash(raw(MutableBytes{out}), raw(input), input.size(), raw(key));
    return std::uint64_t{wire::load32(out, 0)} << 32 | wire::load32(out, 4);
}

}  // namespace overlay::wireguard
