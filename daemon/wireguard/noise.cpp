#include "daemon/wireguard/noise.hpp"

namespace overlay::wireguard {

namespace {

Bytes ascii(std::string_view text) { return std::as_bytes(std::span{text}); }

PublicKey key_in(Bytes bytes) { return PublicKey::from_bytes(bytes.data()); }

}  // namespace

RemoteIdentity::RemoteIdentity(const PrivateKey& ours, const PublicKey& theirs)
    : key_{theirs}, static_static_{ours.agree(theirs)} {}

// ---- what both ends do to the transcript -------------------------------------------------------

Transcript Transcript::begin(const PublicKey& responder) {
    const Hash construction = hash({ascii("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")});
    Transcript out;
    out.chaining_key = Secret32{construction};
    out.running_hash = hash({construction, ascii("WireGuard v1 zx2c4 Jason@zx2c4.com")});
    out.mix_hash(bytes_of(responder));
    return out;
}

void Transcript::mix_hash(Bytes bytes) { running_hash = hash({running_hash, bytes}); }

void Transcript::mix_ephemeral(Bytes public_key) {
    mix_hash(public_key);
    derive(Secret32{chaining_key}, public_key, {&chaining_key});
}

Secret32 Transcript::mix_key(const Secret32& shared) {
    Secret32 key;
    derive(Secret32{chaining_key}, shared.bytes(), {&chaining_key, &key});
    return key;
}

void Transcript::seal(const Secret32& key, Bytes text, MutableBytes out) {
    std::copy(text.begin(), text.end(), out.begin());
    Aead{key, Aead::Direction::Seal}.seal(0, running_hash, out);
    mix_hash(out);
}

bool Transcript::open(const Secret32& key, Bytes sealed, MutableBytes text) {
    std::array<std::byte, 48> work{};  // the largest sealed field: a static key
    const MutableBytes in_place = MutableBytes{work}.first(sealed.size());
    std::copy(sealed.begin(), sealed.end(), in_place.begin());
    if (!Aead{key, Aead::Direction::Open}.open(0, running_hash, in_place)) return false;
    std::copy_n(in_place.begin(), text.size(), text.begin());
    mix_hash(sealed);
    return true;
}

SessionKeys Transcript::split() const {
    SessionKeys keys;
    derive(chaining_key, {}, {&keys.send, &keys.receive});
    return keys;
}

namespace {

/// The preshared key, all zero or not, and the key for the response's empty field (KDF3).
Secret32 mix_preshared_key(Transcript& transcript, const Secret32& preshared_key) {
    Secret32 tau;
    Secret32 key;
    derive(Secret32{transcript.chaining_key}, preshared_key.bytes(),
           {&transcript.chaining_key, &tau, &key});
    transcript.mix_hash(tau.bytes());
    return key;
}

}  // namespace

// ---- initiator ---------------------------------------------------------------------------------

std::optional<Initiation> Initiation::create(const PrivateKey& ours, const RemoteIdentity& peer,
                                             Random& random, const Fields& fields,
                                             MutableBytes message) {
    OVERLAY_ASSERT(message.size() == initiation::size_bytes);
    if (!peer.static_static()) return std::nullopt;
    PrivateKey ephemeral = PrivateKey::generate(random);
    Transcript transcript = Transcript::begin(peer.key());

    store_type(message, MessageType::Initiation);
    store32_le(message, 4, fields.sender);
    std::ranges::copy(bytes_of(ephemeral.public_key()), initiation::ephemeral.in(message).begin());
    transcript.mix_ephemeral(initiation::ephemeral.in(message));

    const std::optional<Secret32> shared = ephemeral.agree(peer.key());
    if (!shared) return std::nullopt;
    const Secret32 static_field_key = transcript.mix_key(*shared);
    transcript.seal(static_field_key, bytes_of(ours.public_key()),
                    initiation::sealed_static.in(message));

    const Secret32 timestamp_key = transcript.mix_key(*peer.static_static());
    transcript.seal(timestamp_key, fields.timestamp.bytes(),
                    initiation::sealed_timestamp.in(message));
    return Initiation{std::move(ephemeral), std::move(transcript)};
}

std::optional<SessionKeys> Initiation::consume_response(const PrivateKey& ours,
                                                        const RemoteIdentity& peer,
                                                        Bytes message) const {
    Transcript transcript = transcript_;
    const PublicKey ephemeral = key_in(response::ephemeral.in(message));
    transcript.mix_ephemeral(bytes_of(ephemeral));

    const std::optional<Secret32> ephemerals = ephemeral_.agree(ephemeral);
    const std::optional<Secret32> static_to_ephemeral = ours.agree(ephemeral);
    if (!ephemerals || !static_to_ephemeral) return std::nullopt;
    (void)transcript.mix_key(*ephemerals);
    (void)transcript.mix_key(*static_to_ephemeral);

    const Secret32 key = mix_preshared_key(transcript, peer.preshared_key());
    if (!transcript.open(key, response::sealed_empty.in(message), {})) return std::nullopt;
    return transcript.split();
}

// ---- responder ---------------------------------------------------------------------------------

std::optional<ReceivedInitiation> ReceivedInitiation::reveal(const PrivateKey& ours,
                                                             Bytes message) {
    ReceivedInitiation out;
    out.transcript_ = Transcript::begin(ours.public_key());
    out.sender_ = sender_of(message);
    out.ephemeral_ = key_in(initiation::ephemeral.in(message));
    out.transcript_.mix_ephemeral(bytes_of(out.ephemeral_));

    const std::optional<Secret32> shared = ours.agree(out.ephemeral_);
    if (!shared) return std::nullopt;
    const Secret32 key = out.transcript_.mix_key(*shared);
    std::array<std::byte, 32> initiator{};
    if (!out.transcript_.open(key, initiation::sealed_static.in(message), initiator))
        return std::nullopt;
    out.initiator_ = key_in(initiator);
    std::ranges::copy(initiation::sealed_timestamp.in(message), out.sealed_timestamp_.begin());
    return out;
}

std::optional<Tai64n> ReceivedInitiation::authenticate(const RemoteIdentity& peer) {
    OVERLAY_ASSERT(peer.key() == initiator_);
    if (!peer.static_static()) return std::nullopt;
    const Secret32 key = transcript_.mix_key(*peer.static_static());
    std::array<std::byte, Tai64n::size_bytes> timestamp{};
    if (!transcript_.open(key, sealed_timestamp_, timestamp)) return std::nullopt;
    return Tai64n::from_bytes(timestamp);
}

std::optional<SessionKeys> ReceivedInitiation::respond(const RemoteIdentity& peer, Random& random,
                                                       std::uint32_t sender, MutableBytes message) {
    OVERLAY_ASSERT(message.size() == response::size_bytes);
    const PrivateKey ephemeral = PrivateKey::generate(random);
    store_type(message, MessageType::Response);
    store32_le(message, 4, sender);
    store32_le(message, 8, sender_);
    std::ranges::copy(bytes_of(ephemeral.public_key()), response::ephemeral.in(message).begin());
    transcript_.mix_ephemeral(response::ephemeral.in(message));

    const std::optional<Secret32> ephemerals = ephemeral.agree(ephemeral_);
    const std::optional<Secret32> ephemeral_to_static = ephemeral.agree(initiator_);
    if (!ephemerals || !ephemeral_to_static) return std::nullopt;
    (void)transcript_.mix_key(*ephemerals);
    (void)transcript_.mix_key(*ephemeral_to_static);

    const Secret32 key = mix_preshared_key(transcript_, peer.preshared_key());
    transcript_.seal(key, {}, response::sealed_empty.in(message));
    SessionKeys as_initiator = transcript_.split();
    return SessionKeys{.send = as_initiator.receive, .receive = as_initiator.send};
}

}  // namespace overlay::wireguard
