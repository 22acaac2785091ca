#pragma once
// The header that a TAP or TUN device with IFF_VNET_HDR puts before each frame: whose checksum is not
// finished, and into which segments a super-frame is to be cut (virtio 1.1 §5.1.6; Linux
// include/uapi/linux/virtio_net.h). Ten bytes, in the machine's own byte order.

#include "daemon/wire/bytes.hpp"

#include <cstring>
#include <type_traits>

namespace overlay::wire {

struct VnetHeader {
    static constexpr std::uint8_t needs_checksum = 1;   ///< flags
    static constexpr std::uint8_t data_valid = 2;       ///< flags: somebody has verified the checksum

    static constexpr std::uint8_t gso_none = 0;
    static constexpr std::uint8_t gso_tcp4 = 1;
    static constexpr std::uint8_t gso_tcp6 = 4;
    static constexpr std::uint8_t gso_udp = 5;          ///< VIRTIO_NET_HDR_GSO_UDP_L4
    static constexpr std::uint8_t gso_ecn = 0x80;       ///< a bit beside the others: CWR is set

    std::uint8_t flags = 0;
    std::uint8_t gso_type = gso_none;
    std::uint16_t header_bytes = 0;     ///< a hint; wrong on forwarded frames, so never trusted
    std::uint16_t gso_bytes = 0;        ///< payload of a segment
    std::uint16_t checksum_start = 0;   ///< from the first byte of the frame
    std::uint16_t checksum_offset = 0;  ///< of the field, from checksum_start

    [[nodiscard]] std::uint8_t segmentation() const {
        return static_cast<std::uint8_t>(gso_type & ~gso_ecn);
    }
    friend bool operator==(const VnetHeader&, const VnetHeader&) = default;
};
static_assert(sizeof(VnetHeader) == 10 && std::is_trivially_copyable_v<VnetHeader>);

}  // namespace overlay::wire
