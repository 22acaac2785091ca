#include "daemon/wire/gue.hpp"

#include "daemon/wire/checksum.hpp"

namespace overlay::wire {

namespace {

constexpr std::uint16_t flag_private = 0x0001;
constexpr std::uint32_t private_flag_remote_checksum = 0x80000000;
constexpr std::size_t private_flags_bytes = 4;
constexpr std::size_t remote_checksum_bytes = 4;

/// Version 1 has no header at all: an IP packet follows UDP at once.
Parsed<GueHeader> parse_version_1(std::uint8_t first) {
    switch (first >> 4) {
        case 4: return GueHeader{.protocol = 4, .size_bytes = 0, .remote_checksum = {}};
        case 6: return GueHeader{.protocol = 41, .size_bytes = 0, .remote_checksum = {}};
        default: return drop(DropReason::GueVersion);
    }
}

}  // namespace

Parsed<GueHeader> parse_gue(Bytes datagram) {
    if (datagram.size() < GueHeader::min_size_bytes) return drop(DropReason::TooShort);
    const std::uint8_t first = load8(datagram, 0);
    if (first >> 6 == 1) return parse_version_1(first);
    if (first >> 6 != 0) return drop(DropReason::GueVersion);
    const std::size_t options_bytes = std::size_t{first & 0x1fU} * 4;
    GueHeader header{.protocol = load8(datagram, 1),
                     .size_bytes = GueHeader::min_size_bytes + options_bytes,
                     .remote_checksum = {}};
    if (datagram.size() < header.size_bytes) return drop(DropReason::TooShort);

    const std::uint16_t flags = load16(datagram, 2);
    if ((flags & ~flag_private) != 0) return drop(DropReason::GueFlags);
    if ((flags & flag_private) != 0) {
        if (options_bytes < private_flags_bytes) return drop(DropReason::GueFlags);
        const std::uint32_t private_flags = load32(datagram, GueHeader::min_size_bytes);
        if ((private_flags & ~private_flag_remote_checksum) != 0) return drop(DropReason::GueFlags);
        if (private_flags != 0) {
            if (options_bytes < private_flags_bytes + remote_checksum_bytes)
                return drop(DropReason::GueFlags);
            const std::size_t at = GueHeader::min_size_bytes + private_flags_bytes;
            header.remote_checksum = RemoteChecksum{load16(datagram, at), load16(datagram, at + 2)};
        }
    }
    if ((first & 0x20U) != 0) return drop(DropReason::GueControl);
    return header;
}

Parsed<void> finish_remote_checksum(MutableBytes packet, const RemoteChecksum& what) {
    const std::size_t start = what.start_bytes;
    const std::size_t field = what.offset_bytes;
    const bool inside =
        start <= packet.size() && field + 2 <= packet.size() && field >= start;
    if (!inside) return drop(DropReason::RemoteChecksum);
    // The field holds the pseudo-header's sum, which belongs into the result.
    store16(packet, field, checksum_of(sum_of(packet.subspan(start))));
    return {};
}

}  // namespace overlay::wire
