#pragma once
// The small values that everything else is made of: addresses, names, keys, sizes. Each can only be
// made from something valid, has one canonical text, and compares by value.

#include "topology/result.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace overlay {

enum class Family : std::uint8_t { Ipv4, Ipv6 };
[[nodiscard]] std::string_view text(Family family);   ///< "ipv4", "ipv6"

/// An IPv4 or IPv6 address. Bytes are in network order; an IPv4 address uses the first four.
class IpAddress {
  public:
    IpAddress() = default;   ///< 0.0.0.0
    /// Accepts dotted quads and RFC 4291 text, no zone. nullopt for anything else.
    [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text);
    [[nodiscard]] static IpAddress from_bytes(Family family, const void* network_order);

    [[nodiscard]] Family family() const { return family_; }
    [[nodiscard]] const std::uint8_t* data() const { return bytes_.data(); }
    [[nodiscard]] std::size_t size_bytes() const { return family_ == Family::Ipv4 ? 4 : 16; }
    [[nodiscard]] std::uint8_t max_prefix_length() const { return family_ == Family::Ipv4 ? 32 : 128; }
    [[nodiscard]] bool is_unspecified() const;
    [[nodiscard]] bool is_loopback() const;
    [[nodiscard]] bool is_multicast() const;
    [[nodiscard]] bool is_link_local() const;   ///< 169.254/16, fe80::/10
    friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

  private:
    Family family_ = Family::Ipv4;
    std::array<std::uint8_t, 16> bytes_{};
};
[[nodiscard]] std::string text(const IpAddress& address);   ///< RFC 5952

/// An address with a prefix length; the host bits are kept ("192.168.0.1/16" is an interface address).
class IpPrefix {
  public:
    IpPrefix() = default;
    /// "A/len" only; a missing length, one beyond the family's or with leading zeros is refused.
    [[nodiscard]] static std::optional<IpPrefix> parse(std::string_view text);
    [[nodiscard]] static IpPrefix of(const IpAddress& address, std::uint8_t length);
    [[nodiscard]] static IpPrefix host(const IpAddress& address);   ///< /32 or /128

    [[nodiscard]] const IpAddress& address() const { return address_; }
    [[nodiscard]] std::uint8_t length() const { return length_; }
    [[nodiscard]] Family family() const { return address_.family(); }
    [[nodiscard]] IpPrefix network() const;   ///< host bits cleared
    [[nodiscard]] bool has_host_bits() const { return network() != *this; }
    [[nodiscard]] bool contains(const IpAddress& address) const;
    [[nodiscard]] bool overlaps(const IpPrefix& other) const;
    friend auto operator<=>(const IpPrefix&, const IpPrefix&) = default;

  private:
    IpAddress address_;
    std::uint8_t length_ = 0;
};
[[nodiscard]] std::string text(const IpPrefix& prefix);

class MacAddress {
  public:
    MacAddress() = default;   ///< all zero
    [[nodiscard]] static std::optional<MacAddress> parse(std::string_view text);   ///< "12:ab:34:cd:56:ef"
    [[nodiscard]] static MacAddress from_bytes(const void* six_bytes);
    [[nodiscard]] const std::uint8_t* data() const { return bytes_.data(); }
    [[nodiscard]] bool is_zero() const { return bytes_ == std::array<std::uint8_t, 6>{}; }
    [[nodiscard]] bool is_multicast() const { return (bytes_[0] & 1U) != 0; }
    friend auto operator<=>(const MacAddress&, const MacAddress&) = default;

  private:
    std::array<std::uint8_t, 6> bytes_{};
};
[[nodiscard]] std::string text(const MacAddress& mac);   ///< lower case, colons
/// fe80:: and the modified EUI-64 of `mac` (RFC 4291, 2.5.1 and 2.5.6).
[[nodiscard]] IpAddress link_local_of(const MacAddress& mac);

/// The name of a network interface. What a file may say is narrower than what a kernel may report.
class IfName {
  public:
    IfName() = default;   ///< empty: "none"
    /// What we allow in a file: [A-Za-z0-9][A-Za-z0-9._-]{0,14}, not "all", "default", "lo".
    [[nodiscard]] static std::optional<IfName> parse(std::string_view text);
    /// What a kernel reported, whatever it is (≤ 15 bytes).
    [[nodiscard]] static IfName from_kernel(std::string_view text);
    [[nodiscard]] const std::string& str() const { return name_; }
    [[nodiscard]] const char* c_str() const { return name_.c_str(); }
    [[nodiscard]] bool empty() const { return name_.empty(); }
    friend auto operator<=>(const IfName&, const IfName&) = default;

  private:
    explicit IfName(std::string_view name) : name_{name} {}
    std::string name_;
};
[[nodiscard]] inline const std::string& text(const IfName& name) { return name.str(); }

/// Bytes of an IP packet that a link carries. Holds whatever a kernel reports (lo has 65536).
class Mtu {
  public:
    Mtu() = default;
    explicit constexpr Mtu(std::uint32_t bytes) : bytes_{bytes} {}
    [[nodiscard]] constexpr std::uint32_t bytes() const { return bytes_; }
    friend constexpr auto operator<=>(const Mtu&, const Mtu&) = default;

  private:
    std::uint32_t bytes_ = 0;
};
[[nodiscard]] inline std::string text(const Mtu& mtu) { return std::to_string(mtu.bytes()); }

/// A Curve25519 public key (RFC 7748), 32 bytes; text is base64 as `wg` prints it.
class PublicKey {
  public:
    PublicKey() = default;   ///< all zero: "none"
    /// 44 characters of canonical base64, not the all-zero key.
    [[nodiscard]] static std::optional<PublicKey> parse(std::string_view base64);
    [[nodiscard]] static PublicKey from_bytes(const void* bytes32);
    [[nodiscard]] const std::uint8_t* data() const { return bytes_.data(); }
    [[nodiscard]] bool is_zero() const { return bytes_ == std::array<std::uint8_t, 32>{}; }
    friend auto operator<=>(const PublicKey&, const PublicKey&) = default;

  private:
    std::array<std::uint8_t, 32> bytes_{};
};
[[nodiscard]] std::string text(const PublicKey& key);

/// Stands for a secret that must not travel: SHA-256 of the 32 bytes. Equal secrets, equal fingerprints.
class Fingerprint {
  public:
    Fingerprint() = default;   ///< all zero: "no secret"
    [[nodiscard]] static Fingerprint of_secret(const void* bytes32);
    [[nodiscard]] static std::optional<Fingerprint> parse(std::string_view hex64);
    [[nodiscard]] bool is_none() const { return bytes_ == std::array<std::uint8_t, 32>{}; }
    [[nodiscard]] const std::uint8_t* data() const { return bytes_.data(); }
    friend auto operator<=>(const Fingerprint&, const Fingerprint&) = default;

  private:
    std::array<std::uint8_t, 32> bytes_{};
};
[[nodiscard]] std::string text(const Fingerprint& fingerprint);   ///< 64 hex digits

/// An address and a UDP port: "1.2.3.4:5555", "[2001:db8::1]:5555".
struct Endpoint {
    IpAddress address;
    std::uint16_t port = 0;
    friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};
[[nodiscard]] std::string text(const Endpoint& endpoint);
[[nodiscard]] std::optional<Endpoint> parse_endpoint(std::string_view text);

[[nodiscard]] std::string base64_encode(const std::uint8_t* bytes, std::size_t size_bytes);
/// Canonical base64 with padding; nullopt for anything else.
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

}  // namespace overlay
