#pragma once
// ChaCha20-Poly1305 by Intel's multi-buffer library, for Aead alone: a packet of 1440 bytes takes half as
// long as with OpenSSL 3.0 (0.50 µs against 0.90 µs on an EPYC with AVX-512). It need not be there at build
// time (libipsec-mb-dev, x86-64 only), nor does the processor have to suit it.

#include "daemon/wireguard/secret.hpp"

namespace overlay::wireguard::ipsec_mb {

/// Whether it was built in, and this processor has the instructions that make it worth while.
[[nodiscard]] bool is_available();
/// From now on it is not available, in the whole process: it fills some four megabytes.
void do_without();

enum class Direction : std::uint8_t { Seal, Open };
struct Packet {
    wire::Bytes nonce;         ///< 12 bytes
    wire::Bytes associated;
    wire::MutableBytes text;   ///< in place; not empty
    wire::MutableBytes tag;    ///< 16 bytes, written in both directions: who opens compares
};
void run(Direction direction, const Secret32& key, const Packet& packet);

}  // namespace overlay::wireguard::ipsec_mb
