#pragma once
// The last step to a device: super-frames in one piece, or, where they must not or cannot go like that, as the
// frames that they are made of, each with its checksum and in its place:
//
//     super-frame   [ virtio | H | p0 ] + [ p1 ] + [ p2 ]     refused, or not asked for
//     frames        [ 0 | h0 | p0 ]   [ 0 | h1 | p1 ]   [ 0 | h2 | p2 ]
//
// Kernels that refuse them exist: Linux 6.6.44 and its like say EINVAL to a TUN's reader that was right
// (https://github.com/tailscale/tailscale/issues/13041).

#include "daemon/datapath/coalesce.hpp"
#include "daemon/datapath/segment.hpp"

#include <cerrno>
#include <optional>

namespace overlay::datapath {

/// A super-frame cut into frames that any device takes. The frames lie here, and stay until the next cut().
class PlainFrames {
  public:
    explicit PlainFrames(wire::Inner inner) : inner_{inner} {}

    /// How many there are; 0: it is not what its header says.
    std::size_t cut(const SuperFrame& frame);
    /// Virtio header and slices of one, for writev(2).
    [[nodiscard]] std::span<const iovec> slices(std::size_t index);

  private:
    wire::Inner inner_;
    std::vector<std::byte> whole_;
    std::vector<std::byte> headers_;
    std::optional<SegmentPlan> plan_;   ///< nullopt: it is one frame
    wire::VnetHeader plain_;
    std::array<iovec, 3> slices_{};
};

class FrameWriter {
  public:
    /// `takes_udp`: the device has said that it takes UDP's, too (io::Tap::takes_udp()).
    FrameWriter(wire::Inner inner, const io::Offloads& offloads, bool takes_udp = false)
        : merging_{offloads.device_gro}, takes_udp_{takes_udp}, plain_{inner} {}

    /// Off since a device refused a super-frame whose frames it took.
    [[nodiscard]] const io::Offload& merging() const { return merging_; }
    /// The same of UDP's alone, which a device may refuse and take TCP's.
    [[nodiscard]] bool takes_udp() const { return takes_udp_; }

    /// `Device` has `int write(std::span<const iovec>)`, as io::Tap has. The number of frames that it did not take.
    template <class Device>
    std::size_t write(Device& device, const SuperFrame& frame) {
        const bool is_plain = frame.header() == wire::VnetHeader{};
        const bool is_udp = frame.header().segmentation() == wire::VnetHeader::gso_udp;
        if ((is_udp && !takes_udp_) || (!is_plain && !merging_.is_on())) return write_apart(device, frame);
        const int reason = device.write(frame.slices());
        if (reason == 0) return 0;
        if (is_plain || is_full(reason)) return frame.frame_count();
        const std::size_t lost = write_apart(device, frame);
        // A device that is down or gone refuses either, and one without memory the large ones first.
        const bool is_refused = frame.frame_count() > 1 && lost < frame.frame_count() && reason != ENOMEM;
        if (is_refused && is_udp) takes_udp_ = false;
        if (is_refused && !is_udp) merging_ = {.state = io::Offload::State::Refused, .error_number = reason};
        return lost;
    }

  private:
    static bool is_full(int reason) { return reason == EAGAIN || reason == ENOBUFS; }

    template <class Device>
    std::size_t write_apart(Device& device, const SuperFrame& frame) {
        const std::size_t count = plain_.cut(frame);
        if (count == 0) return frame.frame_count();
        std::size_t lost = 0;
        for (std::size_t i = 0; i < count; ++i) lost += device.write(plain_.slices(i)) == 0 ? 0U : 1U;
        return lost;
    }

    io::Offload merging_;
    bool takes_udp_;
    PlainFrames plain_;
};

}  // namespace overlay::datapath
