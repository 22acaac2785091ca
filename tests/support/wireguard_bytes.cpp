#include "support/wireguard_bytes.hpp"

namespace overlay::wireguard {

std::uint64_t SeededRandom::next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

void SeededRandom::fill(MutableBytes out) {
    for (std::byte& each : out) each = static_cast<std::byte>(next());
}

bool SeededRandom::chance(double probability) {
    return static_cast<double>(next() >> 11) < probability * 9007199254740992.0;  // 2^53
}

std::vector<std::byte> from_hex(std::string_view hex) {
    std::vector<std::byte> out;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
        out.push_back(
            static_cast<std::byte>(std::stoi(std::string{hex.substr(i, 2)}, nullptr, 16)));
    }
    return out;
}

std::string to_hex(Bytes bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    for (const std::byte each : bytes) {
        out += digits[std::to_integer<std::size_t>(each >> 4)];
        out += digits[std::to_integer<std::size_t>(each & std::byte{15})];
    }
    return out;
}

std::vector<std::byte> packet(std::string_view from, std::string_view to, std::uint32_t number,
                              std::size_t size_bytes) {
    std::vector<std::byte> out(size_bytes);
    const IpAddress source = *IpAddress::parse(from), destination = *IpAddress::parse(to);
    const bool is_ipv4 = source.family() == Family::Ipv4;
    const auto put = [&](std::size_t at, const IpAddress& address) {
        std::copy_n(reinterpret_cast<const std::byte*>(address.data()), address.size_bytes(),
                    out.begin() + static_cast<std::ptrdiff_t>(at));
    };
    wire::store8(out, 0, is_ipv4 ? 0x45 : 0x60);
    wire::store16(out, is_ipv4 ? 2 : 4,
                  static_cast<std::uint16_t>(size_bytes - (is_ipv4 ? 0 : 40)));
    put(is_ipv4 ? 12 : 8, source);
    put(is_ipv4 ? 16 : 24, destination);
    wire::store32(out, is_ipv4 ? 20 : 40, number);
    return out;
}

std::uint32_t number_of(Bytes bytes) {
    return wire::load32(bytes, wire::load8(bytes, 0) >> 4 == 4 ? 20 : 40);
}

}  // namespace overlay::wireguard
