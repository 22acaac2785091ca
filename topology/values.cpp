// Text in, values out, and back. Parsing is strict: what has no canonical form is refused.

#include "topology/values.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include <arpa/inet.h>

namespace overlay {

namespace {

std::optional<unsigned> parse_decimal(std::string_view text, unsigned max) {
    if (text.empty() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value > max)
        return std::nullopt;
    return value;
}

template <std::size_t N>
std::string hex(const std::array<std::uint8_t, N>& bytes) {
    std::string out;
    for (const std::uint8_t byte : bytes) out += fmt::format("{:02x}", byte);
    return out;
}

std::optional<std::uint8_t> hex_byte(std::string_view two) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(two.data(), two.data() + two.size(), value, 16);
    if (two.size() != 2 || error != std::errc{} || end != two.data() + 2) return std::nullopt;
    return static_cast<std::uint8_t>(value);
}

bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

std::string_view text(Family family) { return family == Family::Ipv4 ? "ipv4" : "ipv6"; }

// ---- addresses ----------------------------------------------------------------------------------

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
    if (text.empty() || text.size() > 45) return std::nullopt;
    const std::string terminated{text};
    if (terminated.find('\0') != std::string::npos) return std::nullopt;
    IpAddress out;
    out.family_ = text.find(':') == std::string_view::npos ? Family::Ipv4 : Family::Ipv6;
    const int family = out.family_ == Family::Ipv4 ? AF_INET : AF_INET6;
    if (::inet_pton(family, terminated.c_str(), out.bytes_.data()) != 1) return std::nullopt;
    return out;
}

IpAddress IpAddress::from_bytes(Family family, const void* network_order) {
    IpAddress out;
    out.family_ = family;
    std::memcpy(out.bytes_.data(), network_order, out.size_bytes());
    return out;
}

bool IpAddress::is_unspecified() const { return bytes_ == std::array<std::uint8_t, 16>{}; }

bool IpAddress::is_loopback() const {
    if (family_ == Family::Ipv4) return bytes_[0] == 127;
    std::array<std::uint8_t, 16> one{};
    one[15] = 1;
    return bytes_ == one;
}

bool IpAddress::is_multicast() const {
    return family_ == Family::Ipv4 ? (bytes_[0] & 0xf0U) == 0xe0U : bytes_[0] == 0xff;
}

bool IpAddress::is_link_local() const {
    if (family_ == Family::Ipv4) return bytes_[0] == 169 && bytes_[1] == 254;
    return bytes_[0] == 0xfe && (bytes_[1] & 0xc0U) == 0x80U;
}

std::string text(const IpAddress& address) {
    std::array<char, INET6_ADDRSTRLEN> buffer{};
    const int family = address.family() == Family::Ipv4 ? AF_INET : AF_INET6;
    return ::inet_ntop(family, address.data(), buffer.data(), buffer.size());
}

std::optional<IpPrefix> IpPrefix::parse(std::string_view text) {
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const auto address = IpAddress::parse(text.substr(0, slash));
    if (!address) return std::nullopt;
    const auto length = parse_decimal(text.substr(slash + 1), address->max_prefix_length());
    if (!length) return std::nullopt;
    return of(*address, static_cast<std::uint8_t>(*length));
}

IpPrefix IpPrefix::of(const IpAddress& address, std::uint8_t length) {
    OVERLAY_ASSERT(length <= address.max_prefix_length());
    IpPrefix out;
    out.address_ = address;
    out.length_ = length;
    return out;
}

IpPrefix IpPrefix::host(const IpAddress& address) {
    return of(address, address.max_prefix_length());
}

IpPrefix IpPrefix::network() const {
    std::array<std::uint8_t, 16> bytes{};
    std::copy_n(address_.data(), address_.size_bytes(), bytes.begin());
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const int kept_bits = std::clamp(static_cast<int>(length_) - static_cast<int>(i * 8), 0, 8);
        bytes[i] = static_cast<std::uint8_t>(bytes[i] & (0xff00U >> kept_bits));
    }
    return of(IpAddress::from_bytes(address_.family(), bytes.data()), length_);
}

bool IpPrefix::contains(const IpAddress& address) const {
    return address.family() == family() && of(address, length_).network() == network();
}

bool IpPrefix::overlaps(const IpPrefix& other) const {
    return length_ <= other.length_ ? contains(other.address_) : other.contains(address_);
}

std::string text(const IpPrefix& prefix) {
    return fmt::format("{}/{}", text(prefix.address()), prefix.length());
}

std::optional<MacAddress> MacAddress::parse(std::string_view text) {
    if (text.size() != 17) return std::nullopt;
    MacAddress out;
    for (std::size_t i = 0; i < 6; ++i) {
        if (i > 0 && text[i * 3 - 1] != ':') return std::nullopt;
        const auto byte = hex_byte(text.substr(i * 3, 2));
        if (!byte) return std::nullopt;
        out.bytes_[i] = *byte;
    }
    return out;
}

MacAddress MacAddress::from_bytes(const void* six_bytes) {
    MacAddress out;
    std::memcpy(out.bytes_.data(), six_bytes, out.bytes_.size());
    return out;
}

std::string text(const MacAddress& mac) {
    const std::uint8_t* b = mac.data();
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4],
                       b[5]);
}

IpAddress link_local_of(const MacAddress& mac) {
    const std::uint8_t* b = mac.data();
    constexpr std::uint8_t universal = 2;   // the bit that is turned
    const std::array<std::uint8_t, 16> bytes{0xfe, 0x80, 0, 0, 0, 0, 0, 0,
                                             static_cast<std::uint8_t>(b[0] ^ universal), b[1], b[2], 0xff, 0xfe,
                                             b[3], b[4], b[5]};
    return IpAddress::from_bytes(Family::Ipv6, bytes.data());
}

// ---- names --------------------------------------------------------------------------------------

std::optional<IfName> IfName::parse(std::string_view text) {
    constexpr std::size_t max_bytes = 15;  // IFNAMSIZ 16, with its NUL
    if (text.empty() || text.size() > max_bytes || !is_alnum(text[0])) return std::nullopt;
    const auto allowed = [](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; };
    if (!std::all_of(text.begin(), text.end(), allowed)) return std::nullopt;
    if (text.find("..") != std::string_view::npos) return std::nullopt;
    if (text == "all" || text == "default" || text == "lo")
        return std::nullopt;  // sysctl, loopback
    return IfName{text};
}

IfName IfName::from_kernel(std::string_view text) { return IfName{text}; }

// ---- keys ---------------------------------------------------------------------------------------

std::optional<PublicKey> PublicKey::parse(std::string_view base64) {
    const auto bytes = base64_decode(base64);
    if (!bytes || bytes->size() != 32) return std::nullopt;
    const PublicKey key = from_bytes(bytes->data());
    if (key.is_zero()) return std::nullopt;
    return key;
}

PublicKey PublicKey::from_bytes(const void* bytes32) {
    PublicKey out;
    std::memcpy(out.bytes_.data(), bytes32, out.bytes_.size());
    return out;
}

std::string text(const PublicKey& key) { return base64_encode(key.data(), 32); }

Fingerprint Fingerprint::of_secret(const void* bytes32) {
    static constexpr std::array<std::uint8_t, 32> none{};
    Fingerprint out;
    if (std::memcmp(bytes32, none.data(), none.size()) == 0)
        return out;  // WireGuard: all zero = no PSK
    unsigned size = 0;
    const int ok = EVP_Digest(bytes32, 32, out.bytes_.data(), &size, EVP_sha256(), nullptr);
    OVERLAY_ASSERT(ok == 1 && size == 32);
    return out;
}

std::optional<Fingerprint> Fingerprint::parse(std::string_view hex64) {
    if (hex64.size() != 64) return std::nullopt;
    Fingerprint out;
    for (std::size_t i = 0; i < 32; ++i) {
        const auto byte = hex_byte(hex64.substr(i * 2, 2));
        if (!byte) return std::nullopt;
        out.bytes_[i] = *byte;
    }
    return out;
}

std::string text(const Fingerprint& fingerprint) {
    std::array<std::uint8_t, 32> bytes{};
    std::copy_n(fingerprint.data(), bytes.size(), bytes.begin());
    return hex(bytes);
}

std::string base64_encode(const std::uint8_t* bytes, std::size_t size_bytes) {
    std::string out((size_bytes + 2) / 3 * 4 + 1, '\0');
    const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes,
                                       static_cast<int>(size_bytes));
    out.resize(static_cast<std::size_t>(length));
    return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
    if (text.empty() || text.size() % 4 != 0 || text.size() > 4096) return std::nullopt;
    std::string out(text.size() / 4 * 3, '\0');
    const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                       reinterpret_cast<const unsigned char*>(text.data()),
                                       static_cast<int>(text.size()));
    if (length < 0) return std::nullopt;
    const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
    out.resize(static_cast<std::size_t>(length) - padding);
    const auto* again = reinterpret_cast<const std::uint8_t*>(out.data());
    if (base64_encode(again, out.size()) != text) return std::nullopt;  // EVP tolerates too much
    return out;
}

// ---- endpoints ----------------------------------------------------------------------------------

std::string text(const Endpoint& endpoint) {
    const bool brackets = endpoint.address.family() == Family::Ipv6;
    return brackets ? fmt::format("[{}]:{}", text(endpoint.address), endpoint.port)
                    : fmt::format("{}:{}", text(endpoint.address), endpoint.port);
}

std::optional<Endpoint> parse_endpoint(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    std::string_view host = text.substr(0, colon);
    const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (brackets) host = host.substr(1, host.size() - 2);
    const auto address = IpAddress::parse(host);
    const auto port = parse_decimal(text.substr(colon + 1), 65535);
    if (!address || !port || *port == 0) return std::nullopt;
    if (brackets != (address->family() == Family::Ipv6)) return std::nullopt;
    return Endpoint{*address, static_cast<std::uint16_t>(*port)};
}

}  // namespace overlay
