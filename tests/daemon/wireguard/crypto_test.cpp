// The crypto seam against the vectors of the documents that define it.

#include "daemon/wireguard/crypto.hpp"
#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using namespace overlay::wireguard;

namespace {

Bytes ascii(std::string_view text) { return std::as_bytes(std::span{text}); }

// RFC 8439 appendix A.5, whose nonce happens to begin with four zeros as WireGuard's do.
const char* const rfc8439_key = "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0";
const char* const rfc8439_aad = "f33388860000000000004e91";
constexpr std::uint64_t rfc8439_counter = 0x0807060504030201;
const char* const rfc8439_sealed =
    "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26"
    "b0"
    "bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8"
    "55"
    "9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4"
    "e9"
    "9040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f54827"
    "1a"
    "0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff779871"
    "30"
    "305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38";
const char* const rfc8439_text =
    "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, "
    "replaced, "
    "or obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as "
    "reference material or to cite them other than as /\xe2\x80\x9cwork in progress./\xe2\x80\x9d";

/// The seven points of low order and some that are not canonical:
/// https://cr.yp.to/ecdh.html#validate
const std::array<const char*, 7> low_order_points{
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"};

PublicKey point(std::string_view hex) { return PublicKey::from_bytes(from_hex(hex).data()); }

}  // namespace

TEST_SUITE("wireguard crypto") {

    TEST_CASE("this host's libraries have every algorithm") {
        CHECK(crypto_available().has_value());
    }

    TEST_CASE("BLAKE2s-256 is that of RFC 7693 appendix B") {
        CHECK(to_hex(hash({ascii("abc")})) ==
              "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
        CHECK(to_hex(hash({ascii("a"), ascii(""), ascii("bc")})) ==
              "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
    }

    TEST_CASE("the keyed BLAKE2s-128 and the HMAC are those of Python's hashlib and hmac") {
        const std::vector<std::byte> key = from_hex("000102030405060708090a0b0c0d0e0f");

        // hashlib.blake2s(b"overlay", key=bytes(range(16)), digest_size=16)
        CHECK(to_hex(keyed_mac(key, {ascii("over"), ascii("lay")})) ==
              "5c8756a336dd46ac8136687af58c2225");
        // hmac.new(bytes(range(16)), b"overlay", hashlib.blake2s)
        CHECK(to_hex(hmac(key, {ascii("overlay")})) ==
              "6eae7f2f3e817dfd03c27b6f1f8d8cf273df0ccc09e42180beb836fd2a8f5bfe");
    }

    TEST_CASE("X25519 is that of RFC 7748 section 6.1") {
        const PrivateKey alice = PrivateKey::from_bytes(
            from_hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
        const PublicKey bob =
            point("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");

        CHECK(to_hex(bytes_of(alice.public_key())) ==
              "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        const std::optional<Secret32> shared = alice.agree(bob);
        REQUIRE(shared);
        CHECK(to_hex(shared->bytes()) ==
              "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    }

    TEST_CASE("ChaCha20-Poly1305 in place is that of RFC 8439 appendix A.5") {
        const Secret32 key{from_hex(rfc8439_key)};
        const std::vector<std::byte> aad = from_hex(rfc8439_aad);
        std::vector<std::byte> bytes(ascii(rfc8439_text).begin(), ascii(rfc8439_text).end());
        bytes.resize(bytes.size() + tag_bytes);

        Aead{key, Aead::Direction::Seal}.seal(rfc8439_counter, aad, bytes);
        CHECK(to_hex(bytes) == rfc8439_sealed);

        REQUIRE(Aead{key, Aead::Direction::Open}.open(rfc8439_counter, aad, bytes));
        bytes.resize(bytes.size() - tag_bytes);
        CHECK(to_hex(bytes) == to_hex(ascii(rfc8439_text)));
    }

    TEST_CASE("one context seals and opens packet after packet, of any length and in any slices") {
        SeededRandom random{7};
        Secret32 key;
        random.fill(key.bytes());
        Aead in_place{key, Aead::Direction::Seal}, gathering{key, Aead::Direction::Seal};
        Aead opener{key, Aead::Direction::Open}, scattered_opener{key, Aead::Direction::Open};

        for (std::size_t size = 0; size < 66'000; size += size < 300 ? 1 : size < 2000 ? 61 : 7919) {
            CAPTURE(size);
            std::vector<std::byte> text(size);
            random.fill(text);
            std::vector<std::byte> sealed = text, gathered(size + tag_bytes), opened(size);
            sealed.resize(size + tag_bytes);

            in_place.seal(size, {}, sealed);
            const std::size_t cut = size == 0 ? 0 : random.next() % size;
            const std::array<Bytes, 2> slices{Bytes{text}.first(cut), Bytes{text}.subspan(cut)};
            gathering.seal_from(size, slices, gathered);
            CHECK(gathered == sealed);

            const Bytes sealed_text = Bytes{sealed}.first(size);
            const std::array<Bytes, 2> sealed_slices{sealed_text.first(cut),
                                                     sealed_text.subspan(cut)};
            CHECK(scattered_opener.open_from(size, sealed_slices, Bytes{sealed}.last(tag_bytes),
                                             opened));
            CHECK(opened == text);
            CHECK(opener.open(size, {}, sealed));
            CHECK(std::equal(text.begin(), text.end(), sealed.begin()));
            CHECK_FALSE(opener.open(size + 1, {}, gathered));
        }
    }

    TEST_CASE("a byte changed anywhere is found out") {
        SeededRandom random{8};
        Secret32 key;
        random.fill(key.bytes());
        std::vector<std::byte> sealed(100 + tag_bytes);
        Aead{key, Aead::Direction::Seal}.seal(1, {}, sealed);
        Aead opener{key, Aead::Direction::Open};
        for (std::size_t at = 0; at < sealed.size(); ++at) {
            CAPTURE(at);
            std::vector<std::byte> changed = sealed;
            changed[at] ^= std::byte{0x80};
            CHECK_FALSE(opener.open(1, {}, changed));
        }
        CHECK(opener.open(1, {}, sealed));
    }

    TEST_CASE("XChaCha20-Poly1305 is that of the draft's appendix A.3.1") {
        std::vector<std::byte> key(32), nonce(24);
        for (std::size_t i = 0; i < 32; ++i) key[i] = static_cast<std::byte>(0x80 + i);
        for (std::size_t i = 0; i < 24; ++i) nonce[i] = static_cast<std::byte>(0x40 + i);
        const std::vector<std::byte> aad = from_hex("50515253c0c1c2c3c4c5c6c7");
        const Bytes text = ascii(
            "Ladies and Gentlemen of the class of '99: If I could offer you only one tip "
            "for the future, sunscreen would be it.");
        std::vector<std::byte> sealed(text.size() + tag_bytes), opened(text.size());

        xseal(Secret32{key}, nonce, aad, text, sealed);
        CHECK(to_hex(sealed) ==
              "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3"
              "a82f4eda7e39"
              "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2"
              "383565d3fff9"
              "21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49");
        CHECK(xopen(Secret32{key}, nonce, aad, sealed, opened));
        CHECK(to_hex(opened) == to_hex(text));
        sealed[3] ^= std::byte{1};
        CHECK_FALSE(xopen(Secret32{key}, nonce, aad, sealed, opened));
    }

    TEST_CASE("a point of low order agrees on nothing") {
        SeededRandom random{3};
        const PrivateKey ours = PrivateKey::generate(random);

        for (const char* hex : low_order_points) {
            CAPTURE(hex);
            CHECK_FALSE(ours.agree(point(hex)).has_value());
        }
    }

    TEST_CASE("a private key that is all zero is none, and agrees with nobody") {
        const PrivateKey none = PrivateKey::from_bytes(Secret32{}.bytes());
        SeededRandom random{1};

        CHECK(none.is_none());
        CHECK(none.public_key().is_zero());
        CHECK_FALSE(none.agree(PrivateKey::generate(random).public_key()).has_value());
    }

    TEST_CASE("clamping a private key does not change its public key") {
        // RFC 7748 §5: three low bits and the highest cleared, the one below it set.
        for (const char digit : {'f', '1'}) {
            const Secret32 key{from_hex(std::string(64, digit))};
            CHECK(PrivateKey::from_bytes(clamped(key).bytes()).public_key() ==
                  PrivateKey::from_bytes(key.bytes()).public_key());
        }
        CHECK(to_hex(clamped(Secret32{from_hex(std::string(64, 'f'))}).bytes()) ==
              "f8" + std::string(60, 'f') + "7f");
        CHECK(to_hex(clamped(Secret32{}).bytes()) == std::string(64, '0'));
    }
}
