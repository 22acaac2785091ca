#include "daemon/datapath/device_port.hpp"

#include "topology/result.hpp"

#include <array>
#include <cstring>
#include <span>

namespace overlay::datapath {

using namespace wire;

namespace {

constexpr std::size_t max_super_frames = 256;

Inner inner_of(io::Tap::Kind kind) {
    return kind == io::Tap::Kind::Tap ? Inner::Ethernet : Inner::Ip;
}

}  // namespace

DevicePort::DevicePort(const IfName& name, io::Tap tap, Inner inner, const io::Offloads& offloads)
    : name_{name},
      tap_{std::move(tap)},
      inner_{inner},
      coalescer_{inner, offloads, max_super_frames},
      writer_{inner, offloads} {}

Result<DevicePort> DevicePort::open(const IfName& name, io::Tap::Kind kind, const io::Offloads& offloads) {
    auto tap = io::Tap::open(name, kind, offloads);
    if (!tap) return pass_on(tap);
    return DevicePort{name, std::move(*tap), inner_of(kind), offloads};
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
    const VnetHeader header{.gso_type = VnetHeader::gso_udp,
                            .gso_bytes = static_cast<std::uint16_t>(segment_bytes)};
    if (const auto datagrams = plan_segments(frame, header, inner_)) {
        write_out();   // what came before
        write_segments(*datagrams);
    } else {
        coalescer_.add_super_frame(frame, segment_bytes);
    }
}

void DevicePort::write_segments(const SegmentPlan& plan) {
    VnetHeader whole{};
    std::array<std::byte, 128> headers{};   // Ethernet, two tags, IPv4 with options, UDP: 90
    OVERLAY_ASSERT(plan.header_bytes() <= headers.size());
    for (std::size_t index = 0; index < plan.count; ++index) {
        write_segment_headers(plan, index, std::span{headers}.first(plan.header_bytes()));
        const Bytes payload = plan.payload(index);
        const std::array<iovec, 3> slices{{
            {&whole, sizeof whole},
            {headers.data(), plan.header_bytes()},
            {const_cast<std::byte*>(payload.data()), payload.size()},   // writev reads it only
        }};
        if (tap_.write(slices) != 0) counters.count(DropReason::DeviceFull);
    }
}

void DevicePort::write_out() {
    for (const SuperFrame& frame : coalescer_.finish())
        counters.count(DropReason::DeviceFull, writer_.write(tap_, frame));
    coalescer_.clear();
    if (!writer_.merging().is_on()) coalescer_.stop_merging();
}

}  // namespace overlay::datapath
