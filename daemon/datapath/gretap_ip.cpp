#include "daemon/datapath/gretap_ip.hpp"

#include "daemon/wire/checksum.hpp"
#include "daemon/wire/frame.hpp"

#include <cstring>

namespace overlay::datapath {

using namespace wire;

namespace {

constexpr std::uint16_t dont_fragment = 0x4000;

void copy_address(MutableBytes to, std::size_t at, const IpAddress& address) {
    std::memcpy(to.data() + at, address.data(), address.size_bytes());
}

}  // namespace

std::size_t LinkAddressHash::operator()(const LinkAddress& address) const {
    // The table holds what was configured, never what came: a plain hash will do.
    std::uint64_t hash = address.key.value_or(0);
    for (const IpAddress* each : {&address.local, &address.remote}) {
        std::array<std::uint64_t, 2> halves{};
        std::memcpy(halves.data(), each->data(), each->size_bytes());
        for (const std::uint64_t half : halves) {
            hash = (hash ^ half) * 0x9e3779b97f4a7c15U;   // 2^64 divided by the golden ratio
            hash ^= hash >> 32;
        }
    }
    return hash;
}

GretapIpHeader::GretapIpHeader(const LinkAddress& link, std::uint8_t ttl)
    : is_ipv6_{link.remote.family() == Family::Ipv6} {
    const MutableBytes bytes{bytes_};
    if (is_ipv6_) {
        store8(bytes, 0, 0x60);
        store8(bytes, 6, protocol_gre);
        store8(bytes, 7, ttl);
        copy_address(bytes, 8, link.local);
        copy_address(bytes, 24, link.remote);
        size_bytes_ = ipv6_size_bytes;
    } else {
        store8(bytes, 0, 0x45);
        store16(bytes, 6, dont_fragment);
        store8(bytes, 8, ttl);
        store8(bytes, 9, protocol_gre);
        copy_address(bytes, 12, link.local);
        copy_address(bytes, 16, link.remote);
        size_bytes_ = ipv4_size_bytes;
        fixed_sum_ = sum_of(bytes.first(ipv4_size_bytes));
    }
    write_gre(bytes.subspan(size_bytes_), link.key);
    size_bytes_ += gre_size_bytes(link.key);
}

void GretapIpHeader::write(MutableBytes to, std::size_t frame_bytes, std::uint8_t traffic_class) {
    std::memcpy(to.data(), bytes_.data(), size_bytes_);
    const auto total = static_cast<std::uint16_t>(size_bytes_ + frame_bytes);
    if (is_ipv6_) {
        store16(to, 0, static_cast<std::uint16_t>(0x6000 | traffic_class << 4));
        store16(to, 4, static_cast<std::uint16_t>(total - ipv6_size_bytes));
        return;
    }
    store8(to, 1, traffic_class);
    store16(to, 2, total);
    store16(to, 4, ++identification_);
    store16(to, 10, checksum_of(fixed_sum_ + traffic_class + total + identification_));
}

Parsed<GrePacket> open_gre(MutableBytes payload) {
    const auto gre = parse_gre(payload);
    if (!gre) return drop(gre.error());
    const MutableBytes frame = payload.subspan(gre->size_bytes);
    if (frame.size() < ethernet_size_bytes) return drop(DropReason::InnerTooShort);
    return GrePacket{frame, gre->key};
}

}  // namespace overlay::datapath
