#pragma once
// Private and preshared keys, kept apart from everything that is compared, shown or written. A state or
// a plan names a private key by its public key and a preshared key by its fingerprint; only netlink/ turns
// the name into bytes, at the moment it sends them. Memory is wiped on release.

#include "topology/values.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>

namespace overlay {

using SecretBytes = std::array<std::uint8_t, 32>;

class Secrets {
  public:
    Secrets() = default;
    Secrets(const Secrets&) = delete;
    Secrets& operator=(const Secrets&) = delete;
    Secrets(Secrets&&) noexcept = default;
    Secrets& operator=(Secrets&&) noexcept;   ///< wipes what it held
    ~Secrets();

    /// Keeps a private key and returns the public key that names it (X25519, RFC 7748).
    PublicKey add_private_key(const SecretBytes& key);
    Fingerprint add_preshared_key(const SecretBytes& key);
    [[nodiscard]] const SecretBytes* private_key(const PublicKey& name) const;
    [[nodiscard]] const SecretBytes* preshared_key(const Fingerprint& name) const;

  private:
    std::map<PublicKey, SecretBytes> private_keys_;
    std::map<Fingerprint, SecretBytes> preshared_keys_;
};

/// X25519 of the base point (RFC 7748 §6.1).
[[nodiscard]] PublicKey public_key_of(const SecretBytes& private_key);

}  // namespace overlay
