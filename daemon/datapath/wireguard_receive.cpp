// From the network to the devices.
//
//   datagrams ─▶ opened in place ─▶ cut to the length that IP tells ─▶ GRE of a link? ─▶ its TAP
//                                                                  └─ anything else ─▶ the TUN
//
// What is opened stays where the socket received it until the devices have taken it. Pieces of IPv4
// packets with GRE inside are collected first; those of other packets are the TUN's reader's business.

#include "daemon/datapath/wireguard_link.hpp"
#include "daemon/io/clock.hpp"

namespace overlay::datapath {

using namespace wire;

void WireguardEndpoint::on_datagrams(io::UdpSocket& socket) {
    now_ = io::now();
    for (const io::Received& received : socket.receive(tools_.workspace.received)) {
        open_all(received);
        // A flood of handshakes must not make one pile of all our answers.
        constexpr std::size_t many_bytes = 64 * 1024;
        if (out_.total_bytes() > many_bytes) post();
    }
    write_out();
    post();
}

void WireguardEndpoint::open_all(const io::Received& received) {
    const wireguard::Path from{.remote = {received.from.address(), received.from.port()},
                               .local = received.to,
                               .interface = received.from.interface()};
    const std::size_t whole = received.bytes.size();
    const std::size_t step = std::max<std::size_t>(received.segment_bytes, 1);
    std::size_t handshakes = 0;
    for (std::size_t at = 0; at < whole; at += step) {
        const MutableBytes datagram = received.bytes.subspan(at, std::min(step, whole - at));
        // UDP_GRO makes one train of hundreds of handshakes from one place. No peer sends so many.
        constexpr std::size_t max_of_one_train = 4;
        const bool is_data = datagram[0] == wireguard::data::first_octet;
        if (!is_data && ++handshakes > max_of_one_train) {
            strays_.count(DropReason::Flood);
            continue;
        }
        const auto opened = device_.receive(datagram, from, now_, out_);
        if (opened.kind == wireguard::Received::Kind::Deliver)
            deliver(opened.packet, ecn_of(received.traffic_class));
    }
}

/// One packet of a peer that may send from its source address; padding is behind it.
void WireguardEndpoint::deliver(MutableBytes packet, Ecn outer) {
    auto header = parse_ip(packet);
    if (!header) return strays_.count(header.error());
    packet = packet.first(header->end_at);
    // Linux drops nothing here, whatever RFC 6040 says of congestion that the packet cannot tell of
    // (drivers/net/wireguard/receive.c, wg_packet_consume_data_done).
    const Ecn inner = ecn_of(header->traffic_class);
    const Ecn ecn = decapsulate_ecn(outer, inner).value_or(inner);
    if (ecn != inner) {
        set_ecn(packet, Inner::Ip, ecn);
        header->traffic_class = *traffic_class(packet, Inner::Ip);
    }
    if (header->protocol == protocol_gre && deliver_gre(packet, *header)) return;
    if (!tun_) return strays_.count(DropReason::NoLink);
    tun_->port.deliver(packet);
}

/// False: it is not of a link, and may be a packet of somebody behind the TUN.
bool WireguardEndpoint::deliver_gre(MutableBytes packet, const IpHeader& header) {
    const Bytes addresses = header.addresses(packet);
    if (!is_between_ends(addresses)) return false;
    if (!is_header_intact(packet, header)) {
        strays_.count(DropReason::IpChecksum);
        return true;
    }
    if (header.is_fragment()) {
        deliver_piece(packet, header);
        return true;
    }
    const auto inside = open_gre(packet.subspan(header.payload_at));
    if (!inside) {
        strays_.count(inside.error());
        return true;
    }
    Link* const link = link_of(addresses, inside->key);
    if (link == nullptr) return false;
    deliver_frame(*link, inside->frame, ecn_of(header.traffic_class));
    return true;
}

bool WireguardEndpoint::is_between_ends(Bytes addresses) const {
    if (last_ != nullptr && last_->has_addresses(addresses)) return true;
    return std::ranges::any_of(links_,
                               [&](const auto& link) { return link->has_addresses(addresses); });
}

/// Most packets are of the link that the one before was of.
WireguardEndpoint::Link* WireguardEndpoint::link_of(Bytes addresses,
                                                    const std::optional<std::uint32_t>& key) {
    if (last_ != nullptr && last_->has_addresses(addresses) && last_->config.address.key == key)
        return last_;
    const Family family = addresses.size() == 8 ? Family::Ipv4 : Family::Ipv6;
    const LinkAddress address{
        .local = IpAddress::from_bytes(family, addresses.data() + addresses.size() / 2),
        .remote = IpAddress::from_bytes(family, addresses.data()),
        .key = key};
    const auto found = by_address_.find(address);
    if (found == by_address_.end()) return nullptr;
    return last_ = found->second;
}

void WireguardEndpoint::deliver_piece(Bytes packet, const IpHeader& header) {
    if (reassembly_.must_release()) write_out();
    const auto piece = reassembly_.add(packet, header, now_.monotonic);
    if (!piece) return strays_.count(piece.error());
    strays_.count(DropReason::FragmentLost, piece->given_up);
    if (piece->whole.empty()) return;
    const auto inside = open_gre(piece->whole);
    if (!inside) return strays_.count(inside.error());
    Link* const link = link_of(header.addresses(packet), inside->key);
    if (link == nullptr) return strays_.count(DropReason::NoLink);
    deliver_frame(*link, inside->frame, piece->ecn);
}

void WireguardEndpoint::deliver_frame(Link& link, MutableBytes frame, Ecn outer) {
    if (const auto inner = traffic_class(frame, Inner::Ethernet)) {
        const auto ecn = decapsulate_ecn(outer, ecn_of(*inner));
        if (!ecn) return link.port.counters.count(DropReason::Ecn);
        if (*ecn != ecn_of(*inner)) set_ecn(frame, Inner::Ethernet, *ecn);
    }
    link.port.deliver(frame);
}

/// The devices take what came, and where it lay is free again.
void WireguardEndpoint::write_out() {
    for (const auto& link : links_) link->port.write_out();
    if (tun_) tun_->port.write_out();
    reassembly_.release();
}

}  // namespace overlay::datapath
