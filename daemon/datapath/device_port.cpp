#include "daemon/datapath/device_port.hpp"

namespace overlay::datapath {

using namespace wire;

namespace {

constexpr std::size_t max_super_frames = 256;

Inner inner_of(io::TapOptions::Kind kind) {
    return kind == io::TapOptions::Kind::Tap ? Inner::Ethernet : Inner::Ip;
}

}  // namespace

DevicePort::DevicePort(const IfName& name, io::Tap tap, const PortOptions& options)
    : name_{name},
      tap_{std::move(tap)},
      coalescer_{inner_of(options.device.kind), options.merging, max_super_frames} {}

Result<DevicePort> DevicePort::open(const IfName& name, const PortOptions& options) {
    auto tap = io::Tap::open(name, options.device);
    if (!tap) return pass_on(tap);
    return DevicePort{name, std::move(*tap), options};
}

Result<void> DevicePort::watch(io::EventLoop& loop, io::Reader& reader) {
    auto watch = loop.watch(tap_.fd(), reader);
    if (!watch) return pass_on(watch);
    watch_ = std::move(*watch);
    return {};
}

std::optional<DevicePort::Frame> DevicePort::read(MutableBytes room) {
    const auto size = tap_.read(room);
    if (!size) {
        fault_ = size.error();
        fault_->doing = "read from " + name_.str();
        watch_ = {};   // it would be readable for ever
        return std::nullopt;
    }
    if (*size <= sizeof(VnetHeader)) return std::nullopt;
    Frame out;
    std::memcpy(&out.header, room.data(), sizeof out.header);
    out.bytes = room.subspan(sizeof out.header, *size - sizeof out.header);
    return out;
}

void DevicePort::make_room(std::size_t frame_bytes) {
    if (coalescer_.is_full()) write_out();
    ++counters.received_frames;
    counters.received_bytes += frame_bytes;
}

void DevicePort::deliver(MutableBytes frame) {
    make_room(frame.size());
    coalescer_.add(frame);
}

void DevicePort::deliver_super_frame(MutableBytes frame, std::size_t segment_bytes) {
    make_room(frame.size());
    coalescer_.add_super_frame(frame, segment_bytes);
}

void DevicePort::write_out() {
    for (const SuperFrame& frame : coalescer_.finish()) {
        if (tap_.write(frame.slices()) != 0) counters.count(DropReason::DeviceFull);
    }
    coalescer_.clear();
}

}  // namespace overlay::datapath
