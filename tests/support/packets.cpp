#include "tests/support/packets.hpp"

#include <cstdio>

namespace overlay::test {

namespace {

void put8(Packet& out, unsigned value) { out.push_back(static_cast<std::byte>(value)); }
void put16(Packet& out, unsigned value) {
    put8(out, value >> 8);
    put8(out, value);
}
void put32(Packet& out, std::uint32_t value) {
    put16(out, value >> 16);
    put16(out, value);
}
void patch16(Packet& out, std::size_t at, unsigned value) {
    out[at] = static_cast<std::byte>(value >> 8);
    out[at + 1] = static_cast<std::byte>(value);
}
unsigned get8(wire::Bytes bytes, std::size_t at) { return std::to_integer<unsigned>(bytes[at]); }
unsigned get16(wire::Bytes bytes, std::size_t at) {
    return get8(bytes, at) << 8 | get8(bytes, at + 1);
}

Packet ethernet(std::size_t vlan_tags, bool ipv6) {
    Packet out = bytes_of("02 00 00 00 00 02  02 00 00 00 00 01");
    for (std::size_t tag = 0; tag < vlan_tags; ++tag) {
        put16(out, tag + 1 == vlan_tags ? 0x8100 : 0x88a8);
        put16(out, 7 + static_cast<unsigned>(tag));
    }
    put16(out, ipv6 ? 0x86dd : 0x0800);
    return out;
}

struct IpFields {
    bool ipv6 = false;
    std::uint8_t protocol = 6;
    std::uint8_t traffic_class = 0, ttl = 64;
    std::uint16_t identification = 0;
    bool dont_fragment = true;
    std::size_t payload_bytes = 0;
};

void put_ip(Packet& out, const IpFields& ip) {
    const std::size_t at = out.size();
    if (ip.ipv6) {
        put32(out, 0x60000000U | std::uint32_t{ip.traffic_class} << 20 | 0x12345U);
        put16(out, static_cast<unsigned>(ip.payload_bytes));
        put8(out, ip.protocol);
        put8(out, ip.ttl);
        for (unsigned last : {1U, 2U}) {
            put32(out, 0x20010db8);
            put32(out, 0);
            put32(out, 0);
            put32(out, last);
        }
        return;
    }
    put8(out, 0x45);
    put8(out, ip.traffic_class);
    put16(out, static_cast<unsigned>(20 + ip.payload_bytes));
    put16(out, ip.identification);
    put16(out, ip.dont_fragment ? 0x4000 : 0);
    put8(out, ip.ttl);
    put8(out, ip.protocol);
    put16(out, 0);
    put32(out, 0x0a000001);
    put32(out, 0x0a000002);
    patch16(out, at + 10, 0xffffU & ~unsigned{plain_sum(wire::Bytes{out}.subspan(at, 20))});
}

struct Transport {
    std::size_t at = 0;
    unsigned protocol = 0;
};

/// Behind IPv4 options, or IPv6 hop-by-hop and destination options.
Transport transport_of(wire::Bytes frame, std::size_t at, bool ipv6) {
    if (!ipv6) return {at + (get8(frame, at) & 15U) * 4, get8(frame, at + 9)};
    Transport out{at + 40, get8(frame, at + 6)};
    while (out.protocol == 0 || out.protocol == 60) {
        out.protocol = get8(frame, out.at);
        out.at += (get8(frame, out.at + 1) + 1) * 8;
    }
    return out;
}

/// Of a packet whose IP header begins at `at`.
std::uint16_t transport_sum(wire::Bytes frame, std::size_t at, bool ipv6) {
    const auto [transport, protocol] = transport_of(frame, at, ipv6);
    const std::size_t end = ipv6 ? at + 40 + get16(frame, at + 4) : at + get16(frame, at + 2);
    const wire::Bytes addresses = ipv6 ? frame.subspan(at + 8, 32) : frame.subspan(at + 12, 8);
    const std::uint32_t start = plain_sum(addresses) + protocol +
                                static_cast<std::uint32_t>(end - transport);
    return plain_sum(frame.subspan(transport, end - transport), start);
}

}  // namespace

Packet bytes_of(std::string_view hex) {
    Packet out;
    int high = -1;
    for (const char c : hex) {
        const std::size_t digit = std::string_view{"0123456789abcdef"}.find(c);
        if (digit == std::string_view::npos) continue;
        if (high < 0) {
            high = static_cast<int>(digit);
            continue;
        }
        put8(out, static_cast<unsigned>(high) << 4 | static_cast<unsigned>(digit));
        high = -1;
    }
    return out;
}

std::string hex_of(wire::Bytes bytes) {
    std::string out;
    for (const std::byte byte : bytes) {
        char pair[3];
        std::snprintf(pair, sizeof pair, "%02x", std::to_integer<unsigned>(byte));
        out += pair;
    }
    return out;
}

std::uint16_t plain_sum(wire::Bytes bytes, std::uint32_t start) {
    std::uint32_t sum = start;
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
        sum += get8(bytes, i) << 8 | (i + 1 < bytes.size() ? get8(bytes, i + 1) : 0);
        while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(sum);
}

Packet frame_of(const TcpFrame& what) {
    Packet out = ethernet(what.vlan_tags, what.ipv6);
    const std::size_t at = out.size();
    const std::size_t header_bytes = what.timestamps ? 32 : 20;
    constexpr unsigned char hop_by_hop = 0, destination_options = 60, tcp = 6;
    put_ip(out, {.ipv6 = what.ipv6,
                 .protocol = what.extension_headers == 2   ? hop_by_hop
                             : what.extension_headers == 1 ? destination_options
                                                           : tcp,
                 .traffic_class = what.traffic_class,
                 .ttl = what.ttl,
                 .identification = what.identification,
                 .dont_fragment = what.dont_fragment,
                 .payload_bytes = 8 * what.extension_headers + header_bytes + what.payload_bytes});
    for (std::size_t left = what.extension_headers; left > 0; --left) {
        put8(out, left == 1 ? tcp : destination_options);
        put8(out, 0);
        put16(out, 0x0104);   // four bytes of padding
        put32(out, 0);
    }
    const std::size_t transport = out.size();
    put16(out, what.source_port);
    put16(out, what.target_port);
    put32(out, what.sequence);
    put32(out, what.acknowledgement);
    put8(out, static_cast<unsigned>(header_bytes / 4) << 4);
    put8(out, what.flags);
    put16(out, what.window);
    put32(out, 0);
    if (what.timestamps) {
        const Packet options = bytes_of("01 01 08 0a 00 00 10 00 00 00 20 00");
        out.insert(out.end(), options.begin(), options.end());
    }
    for (std::size_t n = 0; n < what.payload_bytes; ++n)
        put8(out, static_cast<unsigned>(what.payload_seed + what.sequence + n) & 0xffU);
    patch16(out, transport + 16, 0xffffU & ~unsigned{transport_sum(out, at, what.ipv6)});
    return out;
}

Packet frame_of(const UdpFrame& what) {
    Packet out = ethernet(what.vlan_tags, what.ipv6);
    const std::size_t at = out.size();
    put_ip(out, {.ipv6 = what.ipv6, .protocol = 17, .traffic_class = what.traffic_class, .ttl = what.ttl,
                 .identification = what.identification, .dont_fragment = what.dont_fragment,
                 .payload_bytes = 8 + what.payload_bytes});
    const std::size_t transport = out.size();
    put16(out, what.source_port);
    put16(out, what.target_port);
    put16(out, static_cast<unsigned>(8 + what.payload_bytes));
    put16(out, 0);
    for (std::size_t n = 0; n < what.payload_bytes; ++n) put8(out, static_cast<unsigned>(n) & 0xffU);
    if (what.has_checksum)
        patch16(out, transport + 6, 0xffffU & ~unsigned{transport_sum(out, at, what.ipv6)});
    return out;
}

Packet udp_frame(std::size_t payload_bytes, bool ipv6) {
    return frame_of(UdpFrame{.ipv6 = ipv6, .payload_bytes = payload_bytes});
}

std::string fault_in(wire::Bytes frame) {
    std::size_t at = 12;
    while (get16(frame, at) == 0x8100 || get16(frame, at) == 0x88a8) at += 4;
    const bool ipv6 = get16(frame, at) == 0x86dd;
    at += 2;
    const auto [transport, protocol] = transport_of(frame, at, ipv6);
    const std::size_t end = ipv6 ? at + 40 + get16(frame, at + 4) : at + get16(frame, at + 2);
    if (end != frame.size()) return "IP ends at " + std::to_string(end) + ", the frame at " +
                                    std::to_string(frame.size());
    if (!ipv6 && plain_sum(frame.subspan(at, transport - at)) != 0xffff) return "IPv4 checksum";
    if (transport_sum(frame, at, ipv6) != 0xffff) return "transport checksum";
    if (protocol == 17 && get16(frame, transport + 4) != end - transport)
        return "UDP length";
    return "";
}

}  // namespace overlay::test
