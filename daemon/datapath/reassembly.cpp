#include "daemon/datapath/reassembly.hpp"

#include "topology/result.hpp"

#include <algorithm>
#include <cstring>

namespace overlay::datapath {

using namespace wire;

namespace {

std::size_t units_of(std::size_t bytes) { return (bytes + 7) / 8; }

std::uint8_t bit_of(Ecn ecn) { return static_cast<std::uint8_t>(1U << static_cast<unsigned>(ecn)); }

/// RFC 3168 §5.3: one piece that met congestion speaks for all, if all of them could tell.
Parsed<Ecn> ecn_of_all(std::uint8_t seen) {
    const bool congested = (seen & bit_of(Ecn::Congested)) != 0;
    if (congested && (seen & bit_of(Ecn::NotCapable)) != 0) return drop(DropReason::Ecn);
    if (congested) return Ecn::Congested;
    if ((seen & bit_of(Ecn::NotCapable)) != 0) return Ecn::NotCapable;
    return (seen & bit_of(Ecn::Capable0)) != 0 ? Ecn::Capable0 : Ecn::Capable1;
}

}  // namespace

Parsed<Reassembly::Piece> Reassembly::add(Bytes packet, const IpHeader& header, Time now) {
    OVERLAY_ASSERT(!must_release());
    Piece out;
    const std::size_t size_bytes = header.end_at - header.payload_at;
    const std::size_t end_at = header.fragment_at + size_bytes;
    // A packet's total length counts its header, too.
    const bool is_sound = size_bytes > 0 && end_at <= 65535 - ipv4_size_bytes &&
                          (!header.has_more_fragments || size_bytes % unit_bytes == 0);
    if (!is_sound) return drop(DropReason::Fragment);

    Packet& place = place_of(header.addresses(packet), header.identification, now, out.given_up);
    switch (fit(place, header)) {
        case Fit::Known: return out;
        case Fit::Bad: place.state = Packet::State::Free; return drop(DropReason::Fragment);
        case Fit::New: break;
    }
    std::memcpy(place.bytes.get() + header.fragment_at, packet.data() + header.payload_at, size_bytes);
    const std::size_t first = header.fragment_at / unit_bytes;
    for (std::size_t unit = first; unit < first + units_of(size_bytes); ++unit) place.has.set(unit);
    place.units += units_of(size_bytes);
    place.reaches = std::max(place.reaches, end_at);
    place.ecn_seen |= bit_of(ecn_of(header.traffic_class));
    if (!header.has_more_fragments) place.end_at = end_at;
    if (place.end_at == 0 || place.units < units_of(place.end_at)) return out;

    const auto ecn = ecn_of_all(place.ecn_seen);
    if (!ecn) {
        place.state = Packet::State::Free;
        return drop(ecn.error());
    }
    place.state = Packet::State::Whole;
    ++whole_count_;
    out.whole = {place.bytes.get(), place.end_at};
    out.ecn = *ecn;
    return out;
}

void Reassembly::release() {
    if (whole_count_ == 0) return;
    for (Packet& place : packets_) {
        if (place.state == Packet::State::Whole) place.state = Packet::State::Free;
    }
    whole_count_ = 0;
}

/// The packet that the piece belongs to: known, in a free place, or in that of the oldest.
Reassembly::Packet& Reassembly::place_of(Bytes addresses, std::uint16_t identification, Time now,
                                         std::size_t& given_up) {
    if (packets_.empty()) {
        packets_.resize(max_packets);
        for (Packet& place : packets_)
            place.bytes = std::make_unique_for_overwrite<std::byte[]>(max_bytes);
    }
    Packet* free = nullptr;
    Packet* oldest = nullptr;
    for (Packet& place : packets_) {
        if (place.state == Packet::State::Open && now >= place.since + max_age) {
            place.state = Packet::State::Free;
            ++given_up;
        }
        if (place.state == Packet::State::Free) free = &place;
        if (place.state != Packet::State::Open) continue;
        if (place.identification == identification &&
            std::ranges::equal(place.addresses, addresses))
            return place;
        if (oldest == nullptr || place.since < oldest->since) oldest = &place;
    }
    if (free == nullptr) {
        free = oldest;
        ++given_up;
    }
    free->state = Packet::State::Open;
    std::ranges::copy(addresses, free->addresses.begin());
    free->identification = identification;
    free->ecn_seen = 0;
    free->since = now;
    free->end_at = free->reaches = free->units = 0;
    free->has.reset();
    return *free;
}

/// Whether the piece covers nothing that has come, or exactly what has, and agrees about the end.
Reassembly::Fit Reassembly::fit(const Packet& place, const IpHeader& header) {
    const std::size_t size_bytes = header.end_at - header.payload_at;
    const std::size_t end_at = header.fragment_at + size_bytes;
    const std::size_t first = header.fragment_at / unit_bytes;
    std::size_t known = 0;
    for (std::size_t unit = first; unit < first + units_of(size_bytes); ++unit)
        known += place.has.test(unit) ? 1U : 0U;
    const bool is_last = !header.has_more_fragments;
    const bool ends_otherwise =
        place.end_at != 0 && (is_last ? end_at != place.end_at : end_at > place.end_at);
    if (ends_otherwise) return Fit::Bad;
    if (known == units_of(size_bytes)) return is_last && place.end_at == 0 ? Fit::Bad : Fit::Known;
    if (known != 0) return Fit::Bad;
    // Nothing may have come from behind the end that a last piece sets.
    return is_last && place.reaches > end_at ? Fit::Bad : Fit::New;
}

}  // namespace overlay::datapath
