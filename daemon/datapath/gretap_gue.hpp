#pragma once
// One gretap link over GUE: which bytes go before a frame, and what a datagram must look like to be one of
// the link's.
//
//     UDP | GUE 00 2F 00 00 | GRE 20 00 65 58, key | Ethernet …

#include "daemon/wire/ecn.hpp"
#include "daemon/wire/frame.hpp"
#include "daemon/wire/gre.hpp"
#include "daemon/wire/gue.hpp"

#include <array>
#include <cstring>

namespace overlay::datapath {

/// Bytes before each frame, made once.
class GretapGueHeader {
  public:
    static constexpr std::size_t max_size_bytes = 12;

    explicit GretapGueHeader(std::optional<std::uint32_t> key);
    [[nodiscard]] wire::Bytes bytes() const { return {bytes_.data(), size_bytes_}; }
    /// Whether a frame follows these very bytes, as it does in nearly all that comes: what decapsulate() would say is
    /// known then.
    [[nodiscard]] bool begins(wire::Bytes datagram) const {
        return datagram.size() >= size_bytes_ + wire::ethernet_size_bytes &&
               std::memcmp(datagram.data(), bytes_.data(), size_bytes_) == 0;
    }

  private:
    std::array<std::byte, max_size_bytes> bytes_{};
    std::size_t size_bytes_ = 0;
};

struct Decapsulated {
    wire::MutableBytes frame;           ///< begins with the Ethernet header
    std::optional<std::uint32_t> key;   ///< which link, together with the outer addresses
};

/// Removes GUE and GRE, and finishes an inner checksum that a Linux sender left open (remote checksum
/// offload).
///
/// Errors:  those of parse_gue, parse_gre and finish_remote_checksum; GueProtocol; InnerTooShort.
/// Safety:  bytes are hostile.
[[nodiscard]] wire::Parsed<Decapsulated> decapsulate(wire::MutableBytes datagram);

/// Whether what one receive brought is a single datagram with a super-frame inside, though the kernel
/// names a segment size: a kernel's own tunnel over veth hands its packets on uncut, and the size is that of
/// the segments of the TCP or UDP payload.
[[nodiscard]] bool is_uncut(wire::Bytes received);

}  // namespace overlay::datapath
