#pragma once
// From the wire to the device: frames that follow each other in one flow of TCP or UDP become super-frames, which
// the kernel takes in one piece. Without this, every frame costs a system call and a walk through the
// stack; with it, one in forty does.
//
//     frames        [ h | p0 ]   [ h | p1 ]   [ h | p2 ]        lie where they were received
//     super-frame   [ H | p0 ] + [ p1 ] + [ p2 ]                H is h of the first, changed in place
//
// What is merged could be cut again into the same frames: equal sizes but for the last, the same headers
// but for what counts up. The inner checksum of each frame is verified before, or a broken one would come
// out as a good one. Everything else passes as it is. The order within a flow is kept.

#include "daemon/io/fresh_pages.hpp"
#include "daemon/io/offloads.hpp"
#include "daemon/wire/frame.hpp"
#include "daemon/wire/virtio_net.hpp"

#include <array>
#include <vector>

#include <sys/uio.h>

namespace overlay::datapath {

/// What one write to the device carries.
class SuperFrame {
  public:
    /// Of payloads in one; Linux's own GRO stops there, too (MAX_SKB_FRAGS and UDP_MAX_SEGMENTS are near).
    static constexpr std::size_t max_frames = 64;

    [[nodiscard]] const wire::VnetHeader& header() const { return header_; }
    /// The virtio header and the slices, for writev(2).
    [[nodiscard]] std::span<const iovec> slices() const { return {slices_.data(), slice_count_}; }
    [[nodiscard]] std::size_t frame_count() const { return frame_count_; }
    [[nodiscard]] std::size_t size_bytes() const { return size_bytes_; }   ///< without virtio header
    /// Of the frames that it is cut into.
    [[nodiscard]] std::size_t cut_bytes() const { return size_bytes_ + (frame_count_ - 1) * headers_.payload_at; }

  private:
    friend class Coalescer;
    wire::VnetHeader header_;
    wire::MutableBytes first_;
    wire::FrameHeaders headers_;
    std::size_t size_bytes_ = 0;
    std::size_t frame_count_ = 0;
    std::size_t slice_count_ = 0;
    std::uint32_t next_sequence_ = 0;
    bool is_open_ = false;   ///< another frame may be added
    bool pushes_ = false;    ///< the last frame has PSH
    std::array<iovec, max_frames + 1> slices_;
};

class Coalescer {
  public:
    /// Of `offloads`, device_gro is ours. `capacity`: super-frames until is_full(). `merges_udp`: the device takes
    /// those of UDP, too. Allocates here and never again.
    Coalescer(wire::Inner inner, const io::Offloads& offloads, std::size_t capacity, bool merges_udp = false);

    /// The frame's memory must stay until clear(), and its headers may be changed. is_full() must not be
    /// true.
    void add(wire::MutableBytes frame);
    /// A frame that is a super-frame already: a kernel tunnel over veth sends such, with `segment_bytes` of
    /// payload in each segment and an unfinished checksum. What became of it, until the next call.
    const SuperFrame& add_super_frame(wire::MutableBytes frame, std::size_t segment_bytes);
    [[nodiscard]] bool is_full() const { return used_ == capacity_; }

    /// Ends what is open. In the order in which the first frame of each came.
    [[nodiscard]] std::span<const SuperFrame> finish();
    void clear();
    /// From the next frame on.
    void stop_merging() { merges_ = false; }
    void stop_merging_udp() { merges_udp_ = false; }

  private:
    /// Flows that are open at a time; a flow beyond them closes the oldest.
    static constexpr std::size_t max_open = 8;

    SuperFrame& append(wire::MutableBytes frame);
    SuperFrame& append_whole(wire::MutableBytes frame, const wire::FrameHeaders& headers);
    SuperFrame& append_unknown(wire::MutableBytes frame);
    SuperFrame* open_flow_of(wire::Bytes frame, const wire::FrameHeaders& headers);
    void open(SuperFrame& frame);
    void close(SuperFrame& frame);
    void merge_header(SuperFrame& frame);
    static void hand_over(SuperFrame& frame, const wire::FrameHeaders& h, std::size_t segment_bytes);

    wire::Inner inner_;
    bool merges_;
    bool merges_udp_;
    std::size_t capacity_;
    std::vector<SuperFrame, io::FreshPages<SuperFrame>> frames_;   ///< as many as were ever in use
    std::size_t used_ = 0;
    std::array<SuperFrame*, max_open> open_{};
    std::size_t open_count_ = 0;
};

}  // namespace overlay::datapath
