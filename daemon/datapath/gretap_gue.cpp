#include "daemon/datapath/gretap_gue.hpp"

namespace overlay::datapath {

using namespace wire;

GretapGueHeader::GretapGueHeader(std::optional<std::uint32_t> key)
    : size_bytes_{GueHeader::min_size_bytes + gre_size_bytes(key)} {
    const MutableBytes bytes{bytes_};
    write_gue(bytes);
    write_gre(bytes.subspan(GueHeader::min_size_bytes), key);
}

Parsed<Decapsulated> decapsulate(MutableBytes datagram) {
    const auto gue = parse_gue(datagram);
    if (!gue) return drop(gue.error());
    if (gue->protocol != GueHeader::protocol_gre) return drop(DropReason::GueProtocol);
    const MutableBytes packet = datagram.subspan(gue->size_bytes);
    const auto gre = parse_gre(packet);
    if (!gre) return drop(gre.error());
    // After GRE: Linux finishes this sum last of all, so one that points into the GRE header changes nothing
    // in how that is read (net/ipv4/fou_core.c, gue_remcsum; include/linux/skbuff.h, skb_remcsum_process).
    if (gue->remote_checksum) {
        const auto finished = finish_remote_checksum(packet, *gue->remote_checksum);
        if (!finished) return drop(finished.error());
    }
    const MutableBytes frame = packet.subspan(gre->size_bytes);
    if (frame.size() < ethernet_size_bytes) return drop(DropReason::InnerTooShort);
    return Decapsulated{frame, gre->key};
}

bool is_uncut(Bytes received) {
    const auto gue = parse_gue(received);
    if (!gue || gue->protocol != GueHeader::protocol_gre) return false;
    const auto gre = parse_gre(received.subspan(gue->size_bytes));
    if (!gre) return false;
    const Bytes frame = received.subspan(gue->size_bytes + gre->size_bytes);
    const auto headers = find_headers(frame, Inner::Ethernet);
    return headers && headers->end_at == frame.size();
}

}  // namespace overlay::datapath
