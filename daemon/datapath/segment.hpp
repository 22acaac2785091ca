#pragma once
// From the device to the wire: a frame as the device gave it, which may be a super-frame of up to 64 KiB
// and may lack a checksum, becomes frames that any host would take. Nothing is copied but headers:
//
//     super-frame   [ headers | payload ......................................... ]
//     segments      [ headers ]+[ payload slice ]   [ headers ]+[ payload slice ]   …
//
// Knows nothing of tunnels and descriptors.

#include "daemon/wire/checksum.hpp"
#include "daemon/wire/frame.hpp"
#include "daemon/wire/parsed.hpp"
#include "daemon/wire/virtio_net.hpp"

namespace overlay::datapath {

/// A super-frame and how it is to be cut.
struct SegmentPlan {
    wire::FrameHeaders headers;
    wire::Bytes frame;
    std::size_t segment_bytes = 0;   ///< payload of each but the last
    std::size_t count = 0;
    wire::Sum network_sum = 0;     ///< of the IPv4 header, less what differs from segment to segment
    wire::Sum transport_sum = 0;   ///< of pseudo-header and TCP or UDP header, likewise

    [[nodiscard]] std::size_t header_bytes() const { return headers.payload_at; }
    [[nodiscard]] std::size_t payload_bytes(std::size_t index) const;
    [[nodiscard]] wire::Bytes payload(std::size_t index) const;
};

/// Finishes the checksum that the sender left open, in place. Errors: TooShort, when it says that the
/// field lies outside of the frame.
[[nodiscard]] wire::Parsed<void> finish_checksum(wire::MutableBytes frame,
                                                 const wire::VnetHeader& header);

/// How to cut a super-frame; `header` says that it is one. Errors: InnerTooShort, when find_headers() does not know
/// it, or as something else than `header` says.
[[nodiscard]] wire::Parsed<SegmentPlan> plan_segments(wire::Bytes frame,
                                                      const wire::VnetHeader& header,
                                                      wire::Inner inner);

/// Writes the headers of one segment; `to` has plan.header_bytes() bytes.
///
/// Lengths, IPv4 identification, TCP sequence number and flags (FIN and PSH on the last, CWR on the first:
/// Linux net/ipv4/tcp_offload.c, tcp_gso_segment) and both checksums are those of the segment.
void write_segment_headers(const SegmentPlan& plan, std::size_t index, wire::MutableBytes to);

}  // namespace overlay::datapath
