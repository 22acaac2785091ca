#include "daemon/wire/gre.hpp"

#include "daemon/wire/checksum.hpp"

namespace overlay::wire {

namespace {

constexpr std::uint16_t flag_checksum = 0x8000;
constexpr std::uint16_t flag_routing = 0x4000;
constexpr std::uint16_t flag_key = 0x2000;
constexpr std::uint16_t flag_sequence = 0x1000;
constexpr std::uint16_t version_mask = 0x007f;
/// gre_rcv wants that much behind the outer header, whatever the flags say.
constexpr std::size_t least_packet_bytes = 12;

}  // namespace

Parsed<GreHeader> parse_gre(Bytes packet) {
    if (packet.size() < least_packet_bytes) return drop(DropReason::TooShort);
    const std::uint16_t flags = load16(packet, 0);
    if ((flags & version_mask) != 0) return drop(DropReason::GreVersion);
    if ((flags & flag_routing) != 0) return drop(DropReason::GreRouting);
    GreHeader header;
    if ((flags & flag_checksum) != 0) header.size_bytes += 4;
    const std::size_t key_at = header.size_bytes;
    if ((flags & flag_key) != 0) header.size_bytes += 4;
    if ((flags & flag_sequence) != 0) header.size_bytes += 4;
    if (packet.size() < header.size_bytes) return drop(DropReason::TooShort);
    if ((flags & flag_checksum) != 0) return drop(DropReason::GreChecksum);
    if (load16(packet, 2) != GreHeader::protocol_ethernet) return drop(DropReason::GreProtocol);
    if ((flags & flag_key) != 0) header.key = load32(packet, key_at);
    return header;
}

}  // namespace overlay::wire
