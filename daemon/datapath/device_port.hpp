#pragma once
// Where frames enter and leave: one TAP or TUN device, what follows each other merged on the way out, and
// counted both ways. A device that breaks (somebody deleted it) takes only its own link along.

#include "daemon/datapath/frame_writer.hpp"
#include "daemon/io/event_loop.hpp"
#include "daemon/io/tap.hpp"
#include "daemon/wire/parsed.hpp"

#include <map>
#include <string>

namespace overlay::datapath {

/// Of a link; both directions. Frames are those of the inner network, after cutting and before merging.
struct LinkCounters {
    std::uint64_t sent_frames = 0, sent_bytes = 0;
    std::uint64_t received_frames = 0, received_bytes = 0;
    std::uint64_t lost_datagrams = 0;   ///< that the socket did not take
    std::array<std::uint64_t, wire::drop_reason_count> drops{};

    void count(wire::DropReason reason, std::uint64_t how_many = 1) {
        drops[static_cast<std::size_t>(reason)] += how_many;
    }
    void count_sent(std::size_t frames, std::size_t bytes) {
        sent_frames += frames;
        sent_bytes += bytes;
    }
    void count_received(std::size_t frames, std::size_t bytes) {
        received_frames += frames;
        received_bytes += bytes;
    }
    void add_drops_to(std::map<std::string, std::uint64_t>& out) const {
        if (lost_datagrams != 0) out["lost_datagrams"] += lost_datagrams;
        for (std::size_t i = 0; i < drops.size(); ++i) {
            if (drops[i] != 0) out[std::string{text(static_cast<wire::DropReason>(i))}] += drops[i];
        }
    }
    void add(const LinkCounters& other) {
        sent_frames += other.sent_frames;
        sent_bytes += other.sent_bytes;
        received_frames += other.received_frames;
        received_bytes += other.received_bytes;
        lost_datagrams += other.lost_datagrams;
        for (std::size_t i = 0; i < drops.size(); ++i) drops[i] += other.drops[i];
    }
};

class DevicePort {
  public:
    /// What fits into no read: a 64 KiB packet, Ethernet, tags, virtio header.
    static constexpr std::size_t max_read_bytes = 65536 + 64;

    /// `super_frames`: room for so many until they are written. Errors: those of Tap::open.
    [[nodiscard]] static Result<DevicePort> open(const IfName& name, io::Tap::Kind kind, const io::Offloads& offloads,
                                                 std::size_t super_frames);

    /// The same device for another thread. Errors: those of Tap::beside.
    [[nodiscard]] Result<DevicePort> beside(const io::Offloads& offloads, std::size_t super_frames) const;

    [[nodiscard]] const IfName& name() const { return name_; }
    /// What became of the device's own two.
    [[nodiscard]] const io::Offload& tso() const { return tap_.tso(); }
    [[nodiscard]] const io::Offload& gro() const { return writer_.merging(); }
    /// `reader` is told when there is something to read. The port must stay where it is from now on.
    [[nodiscard]] Result<void> watch(io::EventLoop& loop, io::Reader& reader);

    struct Frame {
        wire::VnetHeader header;
        wire::MutableBytes bytes;
    };
    /// Into `room`, which has max_read_bytes; nullopt: nothing now, or fault() says why never again.
    [[nodiscard]] std::optional<Frame> read(wire::MutableBytes room);
    [[nodiscard]] const std::optional<Error>& fault() const { return fault_; }

    /// The frame's memory must stay until write_out(), which happens by itself when there are many.
    void deliver(wire::MutableBytes frame);
    /// The same for one that nobody has cut (Coalescer::add_super_frame).
    void deliver_super_frame(wire::MutableBytes frame, std::size_t segment_bytes);
    void write_out();

    LinkCounters counters;

  private:
    DevicePort(const IfName& name, io::Tap tap, wire::Inner inner, const io::Offloads& offloads,
               std::size_t super_frames);
    void make_room();

    IfName name_;
    io::Tap tap_;
    wire::Inner inner_;
    io::Watch watch_;   // after the descriptor that it watches
    Coalescer coalescer_;
    FrameWriter writer_;
    std::optional<Error> fault_;
};

}  // namespace overlay::datapath
