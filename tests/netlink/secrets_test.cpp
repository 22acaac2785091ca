// Keys: X25519 by RFC 7748's own numbers, and names instead of secrets.

#include "netlink/secrets.hpp"

#include <doctest/doctest.h>

using namespace overlay;

namespace {

SecretBytes from_hex(std::string_view hex) {
    SecretBytes bytes{};
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::uint8_t>(digit(hex[2 * i]) * 16 + digit(hex[2 * i + 1]));
    }
    return bytes;
}

PublicKey public_from_hex(std::string_view hex) {
    const SecretBytes bytes = from_hex(hex);
    return PublicKey::from_bytes(bytes.data());
}

constexpr std::string_view alice_private =
    "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
constexpr std::string_view alice_public =
    "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
constexpr std::string_view bob_private =
    "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
constexpr std::string_view bob_public =
    "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";

}  // namespace

TEST_SUITE("secrets") {

TEST_CASE("public keys are those of RFC 7748 section 6.1") {
    CHECK(text(public_key_of(from_hex(alice_private))) == text(public_from_hex(alice_public)));
    CHECK(text(public_key_of(from_hex(bob_private))) == text(public_from_hex(bob_public)));
}

TEST_CASE("a private key is found by its public key, and no other is") {
    Secrets secrets;

    const PublicKey name = secrets.add_private_key(from_hex(alice_private));

    REQUIRE(secrets.private_key(name) != nullptr);
    CHECK(*secrets.private_key(name) == from_hex(alice_private));
    CHECK(secrets.private_key(public_from_hex(bob_public)) == nullptr);
    CHECK(secrets.private_key(PublicKey{}) == nullptr);
}

TEST_CASE("a preshared key is found by its fingerprint, its SHA-256") {
    Secrets secrets;

    SecretBytes ones{};
    ones.fill(1);
    const Fingerprint name = secrets.add_preshared_key(ones);

    // `printf '\001%.0s' $(seq 32) | sha256sum`
    CHECK(text(name) == "72cd6e8422c407fb6d098690f1130b7ded7ec2f7f5e1d30bd9d521f015363793");
    REQUIRE(secrets.preshared_key(name) != nullptr);
    CHECK(*secrets.preshared_key(name) == ones);
}

TEST_CASE("32 zero bytes are no preshared key, as WireGuard has it") {
    Secrets secrets;

    CHECK(secrets.add_preshared_key(SecretBytes{}).is_none());
    CHECK(secrets.preshared_key(Fingerprint{}) == nullptr);
}

TEST_CASE("secrets move as a whole") {
    Secrets from;
    const PublicKey alice = from.add_private_key(from_hex(alice_private));
    Secrets to;
    const PublicKey bob = to.add_private_key(from_hex(bob_private));

    to = std::move(from);

    CHECK(to.private_key(alice) != nullptr);
    CHECK(to.private_key(bob) == nullptr);
}

}
