#include "daemon/datapath/device_port.hpp"

#include <cstring>

namespace overlay::datapath {

using namespace wire;

namespace {

Inner inner_of(io::Tap::Kind kind) {
    return kind == io::Tap::Kind::Tap ? Inner::Ethernet : Inner::Ip;
}

}  // namespace

DevicePort::DevicePort(const IfName& name, io::Tap tap, Inner inner, const io::Offloads& offloads,
                       std::size_t super_frames)
    : name_{name},
      tap_{std::move(tap)},
      inner_{inner},
      coalescer_{inner, offloads, super_frames, tap_.takes_udp()},
      writer_{inner, offloads, tap_.takes_udp()} {}

Result<DevicePort> DevicePort::open(const IfName& name, io::Tap::Kind kind, const io::Offloads& offloads,
                                    std::size_t super_frames) {
    auto tap = io::Tap::open(name, kind, offloads);
    if (!tap) return pass_on(tap);
    return DevicePort{name, std::move(*tap), inner_of(kind), offloads, super_frames};
}

Result<DevicePort> DevicePort::beside(const io::Offloads& offloads, std::size_t super_frames) const {
    auto tap = tap_.beside();
    if (!tap) return pass_on(tap);
    return DevicePort{name_, std::move(*tap), inner_, offloads, super_frames};
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

void DevicePort::make_room() {
    if (coalescer_.is_full()) write_out();
}

void DevicePort::deliver(MutableBytes frame) {
    make_room();
    counters.count_received(1, frame.size());
    coalescer_.add(frame);
}

void DevicePort::deliver_super_frame(MutableBytes frame, std::size_t segment_bytes) {
    make_room();
    const SuperFrame& added = coalescer_.add_super_frame(frame, segment_bytes);
    counters.count_received(added.frame_count(), added.cut_bytes());
}

void DevicePort::write_out() {
    for (const SuperFrame& frame : coalescer_.finish())
        counters.count(DropReason::DeviceFull, writer_.write(tap_, frame));
    coalescer_.clear();
    if (!writer_.merging().is_on()) coalescer_.stop_merging();
    if (!writer_.takes_udp()) coalescer_.stop_merging_udp();
}

}  // namespace overlay::datapath
