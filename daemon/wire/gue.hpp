#pragma once
// Generic UDP Encapsulation, as Linux speaks it (draft-ietf-intarea-gue-09 §3; net/ipv4/fou_core.c).
//
//      0                   1                   2                   3
//     | 0 |C|  Hlen   | Proto/ctype   |            Flags              |
//     |          options: Hlen words of 32 bits                       |
//
// The kernel knows one flag (private) and, in its option, one private flag (remote checksum offload). We
// drop what it drops and skip what it skips, so that nobody can tell the two apart.

#include "daemon/wire/bytes.hpp"
#include "daemon/wire/parsed.hpp"

#include <optional>

namespace overlay::wire {

/// "Checksum `offset` covers everything from `start` on; the sender left it to you." Both in bytes behind
/// the GUE header.
struct RemoteChecksum {
    std::uint16_t start_bytes = 0;
    std::uint16_t offset_bytes = 0;
    friend bool operator==(const RemoteChecksum&, const RemoteChecksum&) = default;
};

struct GueHeader {
    static constexpr std::size_t min_size_bytes = 4;
    static constexpr std::uint8_t protocol_gre = 47;

    std::uint8_t protocol = protocol_gre;   ///< an IP protocol number
    std::size_t size_bytes = min_size_bytes;
    std::optional<RemoteChecksum> remote_checksum;
};

/// Units:   `datagram` is what UDP carries; offsets in bytes.
/// Errors:  TooShort, GueVersion, GueControl, GueFlags; never allocates, logs or throws.
/// Sources: Linux 6.1 net/ipv4/fou_core.c, gue_udp_recv and validate_gue_flags.
/// Safety:  bytes are hostile; every read is preceded by a size check.
[[nodiscard]] Parsed<GueHeader> parse_gue(Bytes datagram);

/// Whether the datagram is a GUE control message (version 0, C bit), which is not for the data path.
[[nodiscard]] constexpr bool is_gue_control(Bytes datagram) {
    return datagram.size() >= GueHeader::min_size_bytes && (load8(datagram, 0) & 0xe0U) == 0x20U;
}

/// What we send: version 0, no options, `protocol_gre`.
constexpr void write_gue(MutableBytes to) {
    store8(to, 0, 0);
    store8(to, 1, GueHeader::protocol_gre);
    store16(to, 2, 0);
}

/// Finishes the inner checksum that the sender left to us. `packet`: what follows the GUE header.
/// Errors: RemoteChecksum when start or offset lie outside.
/// Sources: Linux 6.1 net/ipv4/fou_core.c, gue_remcsum; include/net/checksum.h, remcsum_adjust.
[[nodiscard]] Parsed<void> finish_remote_checksum(MutableBytes packet, const RemoteChecksum& what);

}  // namespace overlay::wire
