#include "daemon/datapath/coalesce.hpp"

#include "daemon/wire/checksum.hpp"
#include "topology/result.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace overlay::datapath {

namespace {

using namespace wire;

constexpr std::uint8_t tcp_psh = 0x08, tcp_ack = 0x10;
/// Bits of the flags byte that a frame to be merged may have: what has another one is for itself.
constexpr std::uint8_t tcp_mergeable = tcp_psh | tcp_ack | 0x40;   // ECE
constexpr std::size_t tcp_flags_at = 13, tcp_checksum_at = 16, udp_length_at = 4, udp_checksum_at = 6;
constexpr std::size_t max_ip_bytes = 65535;

Sum pseudo_sum(Bytes frame, const FrameHeaders& h) {
    return pseudo_header_sum(h.addresses(frame), h.protocol, h.end_at - h.transport_at);
}

std::size_t checksum_at(const FrameHeaders& h) {
    return h.transport_at + (h.protocol == protocol_tcp ? tcp_checksum_at : udp_checksum_at);
}

enum class Checksum { Good, Unfinished, Bad };

/// Unfinished: the field holds the pseudo-header's sum alone, as a veth or TAP hands a packet on whose
/// sender left the rest to a network card that it never met.
Checksum judge_checksum(Bytes frame, const FrameHeaders& h) {
    const Sum pseudo = pseudo_sum(frame, h);
    if (load16(frame, checksum_at(h)) == fold(pseudo)) return Checksum::Unfinished;
    const Sum all = sum_of(frame.subspan(h.transport_at, h.end_at - h.transport_at), pseudo);
    return fold(all) == 0xffff ? Checksum::Good : Checksum::Bad;
}

bool is_equal(Bytes a, Bytes b, std::size_t from, std::size_t to) {
    return std::memcmp(a.data() + from, b.data() + from, to - from) == 0;
}

/// What carries packets of others in UDP: merged, it would be cut by stacks that were found to do it wrong
/// (https://github.com/tailscale/tailscale/issues/11026). L2TP, GTP-U, Teredo, IPsec, VXLAN, GUE, Geneve, WireGuard.
constexpr std::array<std::uint16_t, 11> tunnel_ports{1701, 2152, 3544, 4500, 4789, 4790, 5555, 6080, 6081, 8472, 51820};

bool is_of_tunnel(Bytes frame, const FrameHeaders& h) {
    const auto is_one = [&](std::size_t at) { return std::ranges::count(tunnel_ports, load16(frame, at)) != 0; };
    return is_one(h.transport_at) || is_one(h.transport_at + std::size_t{2});
}

/// The same addresses in the same place.
bool is_same_pair(Bytes a, Bytes b, const FrameHeaders& h) {
    const Bytes one = h.addresses(a), other = h.addresses(b);
    return std::memcmp(one.data(), other.data(), one.size()) == 0;
}

/// A damaged IPv4 header or a UDP length of its own, merged, would come out as a good one.
bool is_sound(Bytes frame, const FrameHeaders& h) {
    if (!h.is_ipv6 && fold(sum_of(frame.subspan(h.network_at, ipv4_size_bytes))) != 0xffff) return false;
    return h.protocol != protocol_udp || load16(frame, h.transport_at + udp_length_at) == h.end_at - h.transport_at;
}

/// It has payload, and nothing would be lost by merging.
bool is_mergeable(Bytes frame, const FrameHeaders& h) {
    if (h.end_at == h.payload_at || h.has_options() || !is_sound(frame, h)) return false;
    if (h.protocol == protocol_udp) return load16(frame, checksum_at(h)) != 0 && !is_of_tunnel(frame, h);
    const std::uint8_t flags = load8(frame, h.transport_at + tcp_flags_at);
    return (flags & ~tcp_mergeable) == 0 && (flags & tcp_ack) != 0;
}

/// TTL, traffic class, DF, flow label; the IPv4 identification counts up, or says nothing beside DF
/// (RFC 6864 §4.1).
bool continues_network(Bytes first, Bytes next, const FrameHeaders& h, std::size_t count) {
    const std::size_t at = h.network_at;
    if (h.is_ipv6) return is_equal(first, next, at, at + 4) && is_equal(first, next, at + 6, at + 8);
    const bool same = is_equal(first, next, at, at + 2) && is_equal(first, next, at + 6, at + 10);
    const bool dont_fragment = (load16(first, at + 6) & 0x4000U) != 0;
    const auto expected = static_cast<std::uint16_t>(load16(first, at + 4) + count);
    return same && (dont_fragment || load16(next, at + 4) == expected);
}

/// Of TCP: acknowledgement, window and options; the flags but for PSH. UDP has nothing that could differ.
bool continues_transport(Bytes first, Bytes next, const FrameHeaders& h) {
    if (h.protocol == protocol_udp) return true;
    const std::size_t at = h.transport_at;
    const auto flags = [&](Bytes frame) { return load8(frame, at + tcp_flags_at) & ~tcp_psh; };
    return is_equal(first, next, at + 8, at + 13) && flags(first) == flags(next) &&
           is_equal(first, next, at + 14, at + 16) && is_equal(first, next, at + 18, h.payload_at);
}

iovec slice(MutableBytes bytes) { return {bytes.data(), bytes.size()}; }

}  // namespace

Coalescer::Coalescer(Inner inner, const io::Offloads& offloads, std::size_t capacity, bool merges_udp)
    : inner_{inner}, merges_{offloads.device_gro.is_on()}, merges_udp_{merges_udp}, capacity_{capacity} {
    frames_.reserve(capacity);
}

void Coalescer::add(MutableBytes frame) {
    const auto headers = find_headers(frame, inner_);
    if (!headers) return (void)append_unknown(frame);
    const bool is_udp = headers->protocol == protocol_udp;
    if (!merges_ || (is_udp && !merges_udp_) || !is_mergeable(frame, *headers) ||
        judge_checksum(frame, *headers) != Checksum::Good)
        return (void)append_whole(frame, *headers);

    const auto payload = frame.subspan(headers->payload_at, headers->end_at - headers->payload_at);
    const bool pushes = !is_udp && (load8(frame, headers->transport_at + tcp_flags_at) & tcp_psh) != 0;
    const std::uint32_t sequence = is_udp ? 0 : load32(frame, headers->transport_at + std::size_t{4});
    const std::uint32_t next_sequence = is_udp ? 0 : sequence + static_cast<std::uint32_t>(payload.size());
    if (SuperFrame* flow = open_flow_of(frame, *headers)) {
        const bool fits = flow->frame_count_ < SuperFrame::max_frames &&
                          payload.size() <= flow->header_.gso_bytes &&
                          flow->size_bytes_ + payload.size() - headers->network_at <= max_ip_bytes;
        const bool follows =
            flow->next_sequence_ == sequence && flow->headers_.payload_at == headers->payload_at &&
            flow->headers_.network_at == headers->network_at &&
            is_equal(flow->first_, frame, 0, headers->network_at) &&
            continues_network(flow->first_, frame, *headers, flow->frame_count_) &&
            continues_transport(flow->first_, frame, *headers);
        if (fits && follows) {
            flow->slices_[flow->slice_count_++] = slice(payload);
            flow->size_bytes_ += payload.size();
            flow->next_sequence_ = next_sequence;
            ++flow->frame_count_;
            flow->pushes_ = pushes;
            if (pushes || payload.size() < flow->header_.gso_bytes) close(*flow);
            return;
        }
        close(*flow);
    }
    SuperFrame& fresh = append(frame.first(headers->end_at));
    fresh.headers_ = *headers;
    fresh.header_.flags = VnetHeader::data_valid;
    fresh.header_.gso_bytes = static_cast<std::uint16_t>(payload.size());
    fresh.next_sequence_ = next_sequence;
    if (!pushes) open(fresh);
    else fresh.header_.gso_bytes = 0;
}

const SuperFrame& Coalescer::add_super_frame(MutableBytes frame, std::size_t segment_bytes) {
    const auto headers = find_headers(frame, inner_);
    if (!headers) return append_unknown(frame);
    if (SuperFrame* flow = open_flow_of(frame, *headers)) close(*flow);
    SuperFrame& whole = append(frame.first(headers->end_at));
    whole.headers_ = *headers;
    const std::size_t payload_bytes = headers->end_at - headers->payload_at;
    whole.frame_count_ = std::max<std::size_t>(1, (payload_bytes + segment_bytes - 1) / segment_bytes);
    hand_over(whole, *headers, segment_bytes);
    return whole;
}

std::span<const SuperFrame> Coalescer::finish() {
    while (open_count_ > 0) close(*open_[0]);
    return {frames_.data(), used_};
}

void Coalescer::clear() {
    OVERLAY_ASSERT(open_count_ == 0);
    used_ = 0;
}

SuperFrame& Coalescer::append(MutableBytes frame) {
    OVERLAY_ASSERT(!is_full());
    if (used_ == frames_.size()) frames_.emplace_back();
    SuperFrame& out = frames_[used_++];
    out.header_ = {};
    out.first_ = frame;
    out.size_bytes_ = frame.size();
    out.frame_count_ = 1;
    out.is_open_ = out.pushes_ = false;
    out.slices_[0] = {&out.header_, sizeof out.header_};
    out.slices_[1] = slice(frame);
    out.slice_count_ = 2;
    return out;
}

/// A frame by itself, behind what its flow has had so far.
SuperFrame& Coalescer::append_whole(MutableBytes frame, const FrameHeaders& headers) {
    if (SuperFrame* flow = open_flow_of(frame, headers)) close(*flow);
    SuperFrame& out = append(frame);
    const std::size_t field = checksum_at(headers);
    const bool has_sum = headers.protocol == protocol_tcp || load16(frame, field) != 0;
    if (!has_sum || load16(frame, field) != fold(pseudo_sum(frame, headers))) return out;
    out.header_.flags = VnetHeader::needs_checksum;
    out.header_.checksum_start = headers.transport_at;
    out.header_.checksum_offset = static_cast<std::uint16_t>(field - headers.transport_at);
    return out;
}

/// One whose flow is not known, such as a piece of a datagram: behind all that has gone between its two addresses.
SuperFrame& Coalescer::append_unknown(MutableBytes frame) {
    for (std::size_t i = open_count_; i-- > 0;) {
        SuperFrame& flow = *open_[i];
        if (frame.size() >= flow.headers_.transport_at && is_same_pair(flow.first_, frame, flow.headers_)) close(flow);
    }
    return append(frame);
}

SuperFrame* Coalescer::open_flow_of(Bytes frame, const FrameHeaders& headers) {
    const auto ports = [](Bytes of, const FrameHeaders& h) { return load32(of, h.transport_at); };
    for (std::size_t i = 0; i < open_count_; ++i) {
        const FrameHeaders& other = open_[i]->headers_;
        const bool comparable = other.protocol == headers.protocol &&
                                other.is_ipv6 == headers.is_ipv6 &&
                                other.network_at == headers.network_at;
        if (comparable && ports(open_[i]->first_, other) == ports(frame, headers) &&
            is_same_pair(open_[i]->first_, frame, headers))
            return open_[i];
    }
    return nullptr;
}

void Coalescer::open(SuperFrame& frame) {
    if (open_count_ == max_open) close(*open_[0]);
    frame.is_open_ = true;
    open_[open_count_++] = &frame;
}

void Coalescer::close(SuperFrame& frame) {
    const auto last = open_.begin() + static_cast<std::ptrdiff_t>(open_count_);
    const auto found = std::find(open_.begin(), last, &frame);
    if (found == last) return;
    std::move(found + 1, last, found);
    --open_count_;
    frame.is_open_ = false;
    if (frame.frame_count_ > 1) merge_header(frame);
    else frame.header_.gso_bytes = 0;
}

/// The first frame's headers become those of the whole.
void Coalescer::merge_header(SuperFrame& frame) {
    FrameHeaders& h = frame.headers_;
    const MutableBytes bytes = frame.first_;
    h.end_at = static_cast<std::uint32_t>(frame.size_bytes_);
    const std::size_t ip_bytes = frame.size_bytes_ - h.network_at;
    if (h.is_ipv6) {
        const std::size_t payload_bytes = frame.size_bytes_ - h.transport_at;
        store16(bytes, h.network_at + std::size_t{4}, static_cast<std::uint16_t>(payload_bytes));
    } else {
        const std::uint16_t before = load16(bytes, h.network_at + std::size_t{2});
        const std::size_t sum_at = h.network_at + std::size_t{10};
        store16(bytes, h.network_at + std::size_t{2}, static_cast<std::uint16_t>(ip_bytes));
        store16(bytes, sum_at, adjusted_checksum(load16(bytes, sum_at), before,
                                                 static_cast<std::uint16_t>(ip_bytes)));
    }
    const std::size_t flags_at = h.transport_at + tcp_flags_at;
    if (frame.pushes_) store8(bytes, flags_at, load8(bytes, flags_at) | tcp_psh);
    if (h.protocol == protocol_udp)
        store16(bytes, h.transport_at + udp_length_at, static_cast<std::uint16_t>(frame.size_bytes_ - h.transport_at));
    hand_over(frame, h, frame.header_.gso_bytes);
}

/// Its checksums are left to who cuts it. Behind extension headers, which may hold an address that the sum wants, the
/// sender has left the right start of it.
void Coalescer::hand_over(SuperFrame& frame, const FrameHeaders& h, std::size_t segment_bytes) {
    if (!h.is_ipv6 || !h.has_options()) store16(frame.first_, checksum_at(h), fold(pseudo_sum(frame.first_, h)));
    frame.header_ = {.flags = VnetHeader::needs_checksum,
                     .gso_type = h.protocol == protocol_udp ? VnetHeader::gso_udp
                                 : h.is_ipv6                ? VnetHeader::gso_tcp6
                                                            : VnetHeader::gso_tcp4,
                     .header_bytes = h.payload_at,
                     .gso_bytes = static_cast<std::uint16_t>(segment_bytes),
                     .checksum_start = h.transport_at,
                     .checksum_offset = static_cast<std::uint16_t>(checksum_at(h) - h.transport_at)};
}

}  // namespace overlay::datapath
