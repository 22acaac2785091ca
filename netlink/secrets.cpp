#include "netlink/secrets.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <memory>

namespace overlay {

namespace {

template <class Map>
void wipe(Map& secrets) {
    for (auto& [name, bytes] : secrets) OPENSSL_cleanse(bytes.data(), bytes.size());
    secrets.clear();
}

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

}  // namespace

Secrets& Secrets::operator=(Secrets&& other) noexcept {
    if (this == &other) return *this;
    wipe(private_keys_);
    wipe(preshared_keys_);
    private_keys_ = std::move(other.private_keys_);
    preshared_keys_ = std::move(other.preshared_keys_);
    return *this;
}

Secrets::~Secrets() {
    wipe(private_keys_);
    wipe(preshared_keys_);
}

PublicKey Secrets::add_private_key(const SecretBytes& key) {
    const PublicKey name = public_key_of(key);
    private_keys_.insert_or_assign(name, key);
    return name;
}

Fingerprint Secrets::add_preshared_key(const SecretBytes& key) {
    const Fingerprint name = Fingerprint::of_secret(key.data());
    // 32 zero bytes are WireGuard's way to say that there is none.
    if (!name.is_none()) preshared_keys_.insert_or_assign(name, key);
    return name;
}

const SecretBytes* Secrets::private_key(const PublicKey& name) const {
    const auto found = private_keys_.find(name);
    return found == private_keys_.end() ? nullptr : &found->second;
}

const SecretBytes* Secrets::preshared_key(const Fingerprint& name) const {
    const auto found = preshared_keys_.find(name);
    return found == preshared_keys_.end() ? nullptr : &found->second;
}

PublicKey public_key_of(const SecretBytes& private_key) {
    const Key key{EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, private_key.data(),
                                               private_key.size()),
                  EVP_PKEY_free};
    std::array<std::uint8_t, 32> bytes{};
    std::size_t size_bytes = bytes.size();
    // Fails only when OpenSSL has no X25519 or no memory: nothing to go on with.
    OVERLAY_ASSERT(key && EVP_PKEY_get_raw_public_key(key.get(), bytes.data(), &size_bytes) == 1);
    return PublicKey::from_bytes(bytes.data());
}

}  // namespace overlay
