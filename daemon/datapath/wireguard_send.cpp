// From the devices to the network.
//
//   frame or super-frame ─▶ whose peer? once ─▶ each segment laid out where its datagram will be
//                        ─▶ all of them sealed in place ─▶ a train
//
// The payload is copied once, from where the device wrote it to where it is sealed. A peer without a
// session keeps copies of what is sent to it (daemon/wireguard/staged_queue.hpp).

#include "daemon/datapath/wireguard_link.hpp"
#include "daemon/io/clock.hpp"

namespace overlay::datapath {

using namespace wire;

namespace {

/// Of a UDP datagram over IPv6 (65535 - 8), less what sealing adds at most: header, tag, padding.
constexpr std::size_t max_packet_bytes = 65527 - 32 - 15;

/// A frame that goes as it is: one segment without headers of its own.
SegmentPlan whole_frame(Bytes frame) {
    SegmentPlan plan{.frame = frame, .segment_bytes = frame.size(), .count = 1};
    plan.headers.end_at = static_cast<std::uint32_t>(frame.size());
    return plan;
}

DropReason reason_of(wireguard::DropReason reason) {
    return reason == wireguard::DropReason::InnerPacket ? DropReason::InnerTooShort
                                                        : DropReason::NoPeer;
}

}  // namespace

void WireguardEndpoint::on_device(Link& link) {
    now_ = io::now();
    const MutableBytes room = MutableBytes{tools_.workspace.frames}.first(DevicePort::max_read_bytes);
    for (std::size_t n = 0, bytes = 0; n < turn_frames && bytes < tools_.workspace.memory.bytes_to_seal; ++n) {
        const auto frame = link.port.read(room);
        if (!frame) break;
        bytes += frame->bytes.size();
        send_frame(link, *frame);
    }
    link.port.counters.lost_datagrams += flush();
    post();
}

void WireguardEndpoint::send_frame(Link& link, DevicePort::Frame frame) {
    LinkCounters& counters = link.port.counters;
    const auto peer = device_.route(link.header ? link.header->bytes() : frame.bytes);
    if (!peer) return counters.count(reason_of(peer.error()));
    if (frame.header.segmentation() != VnetHeader::gso_none) {
        const auto plan = plan_segments(frame.bytes, frame.header, link.inner());
        if (!plan) return counters.count(plan.error());
        return send_packets(link, *plan, *peer);
    }
    if ((frame.header.flags & VnetHeader::needs_checksum) != 0) {
        const auto finished = finish_checksum(frame.bytes, frame.header);
        if (!finished) return counters.count(finished.error());
    }
    send_packets(link, whole_frame(frame.bytes), *peer);
}

void WireguardEndpoint::send_packets(Link& link, const SegmentPlan& plan, wireguard::PeerId peer) {
    const std::size_t prefix_bytes = link.prefix_bytes();
    const std::size_t header_bytes = plan.header_bytes();
    if (prefix_bytes + header_bytes + plan.payload_bytes(0) > max_packet_bytes)
        return link.port.counters.count(DropReason::TooLong);
    const std::uint8_t inner = traffic_class(plan.frame, link.inner()).value_or(0);
    // ECN goes outwards twice: from the frame to the GRE packet's IP header, from there to the datagram.
    const std::uint8_t carrier =
        link.header ? outer_traffic_class(link.config.traffic_class, inner) : inner;
    SlotRoom& slots = tools_.workspace.slots;
    for (std::size_t index = 0; index < plan.count; ++index) {
        const Bytes payload = plan.payload(index);
        const std::size_t frame_bytes = header_bytes + payload.size();
        const std::size_t packet_bytes = prefix_bytes + frame_bytes;
        const std::size_t datagram_bytes = device_.sealed_bytes(packet_bytes);
        MutableBytes packet = slots.add(packet_bytes, datagram_bytes);
        if (packet.empty()) {
            seal_batch(link, peer, carrier);
            link.port.counters.lost_datagrams += flush();
            packet = slots.add(packet_bytes, datagram_bytes);
        }
        if (link.header) link.header->write(packet.first(prefix_bytes), frame_bytes, carrier);
        if (header_bytes != 0)
            write_segment_headers(plan, index, packet.subspan(prefix_bytes, header_bytes));
        std::memcpy(packet.data() + prefix_bytes + header_bytes, payload.data(), payload.size());
    }
    seal_batch(link, peer, carrier);
    link.port.counters.count_sent(plan.count, plan.frame.size() + (plan.count - 1) * header_bytes);
}

/// Seals what was laid out and puts it on its way. WireGuard has no DSCP of its own for data, only ECN.
void WireguardEndpoint::seal_batch(Link& link, wireguard::PeerId peer, std::uint8_t carrier) {
    SlotRoom& slots = tools_.workspace.slots;
    const auto sealed = device_.seal(peer, slots.batch(), now_, out_);
    if (sealed.kind == wireguard::Sealed::Kind::Send && !slots.batch().empty()) {
        Destination to = destination_of(sealed.to);
        to.traffic_class = outer_traffic_class(0, carrier);
        for (const wireguard::Slot& slot : slots.batch()) {
            if (tools_.workspace.trains.add(to, slot.datagram)) continue;
            ++link.port.counters.lost_datagrams;
        }
    }
    slots.next_batch();
}

Destination WireguardEndpoint::destination_of(const wireguard::Path& path) {
    if (destinations_.empty() || destinations_.back().path != path) {
        if (destinations_.size() == destinations_.capacity()) (void)send_trains();
        destinations_.push_back({path, io::SocketAddress::of(path.remote, path.interface)});
    }
    return {.to = &destinations_.back().address, .from = path.local};
}

/// Sends what is on its way, and has all room back. The number of datagrams lost.
std::size_t WireguardEndpoint::flush() {
    tools_.workspace.slots.clear();
    return send_trains();
}

/// The trains for each family through its socket, in order.
std::size_t WireguardEndpoint::send_trains() {
    std::span<const io::Train> trains = tools_.workspace.trains.trains();
    std::size_t lost = 0;
    while (!trains.empty()) {
        const Family family = trains.front().to->family();
        std::size_t count = 1;
        while (count < trains.size() && trains[count].to->family() == family) ++count;
        if (const auto& socket = sockets_[family == Family::Ipv4 ? 0 : 1]) {
            lost += socket->socket.send(trains.first(count));
        } else {
            for (const io::Train& train : trains.first(count)) lost += train.segments;
        }
        trains = trains.subspan(count);
    }
    tools_.workspace.trains.clear();
    destinations_.clear();
    return lost;
}

}  // namespace overlay::datapath
