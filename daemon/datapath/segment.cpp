#include "daemon/datapath/segment.hpp"

#include <algorithm>
#include <cstring>
#include <initializer_list>

namespace overlay::datapath {

namespace {

using namespace wire;

constexpr std::uint16_t tcp_fin = 0x01, tcp_psh = 0x08, tcp_cwr = 0x80;
constexpr std::size_t tcp_sequence_at = 4, tcp_offset_and_flags_at = 12, tcp_checksum_at = 16;
constexpr std::size_t udp_length_at = 4, udp_checksum_at = 6;

/// Of bytes that begin at `from`, less the 16-bit words at `words_at`: to add a word's complement takes it out.
Sum sum_without(Bytes frame, std::size_t from, std::size_t to, std::initializer_list<std::size_t> words_at) {
    Sum sum = sum_of(frame.subspan(from, to - from));
    for (const std::size_t at : words_at) sum += static_cast<std::uint16_t>(~load16(frame, at));
    return sum;
}

/// Of the pseudo-header without its length. A routing header or a home address puts another address there than IP's own
/// (RFC 8200 §8.1), and the sender has it in the field, as the start of the sum that it left open.
Sum pseudo_sum_without_length(const SegmentPlan& plan, std::size_t checksum_at) {
    const FrameHeaders& h = plan.headers;
    if (!h.is_ipv6 || !h.has_options()) return sum_of(h.addresses(plan.frame)) + h.protocol;
    return Sum{load16(plan.frame, checksum_at)} + static_cast<std::uint16_t>(~fold(h.end_at - h.transport_at));
}

/// What is the same in all segments is summed once. A header just written could be summed instead, but wide loads of
/// what narrow stores have just written cannot be forwarded: the wait took as long as the payload's sum.
void sum_headers(SegmentPlan& plan) {
    const std::size_t ip = plan.headers.network_at, at = plan.headers.transport_at, end = plan.header_bytes();
    if (!plan.headers.is_ipv6) plan.network_sum = sum_without(plan.frame, ip, at, {ip + 2, ip + 4, ip + 10});
    const bool is_udp = plan.headers.protocol == protocol_udp;
    plan.transport_sum = pseudo_sum_without_length(plan, at + (is_udp ? udp_checksum_at : tcp_checksum_at));
    if (is_udp) {
        plan.transport_sum += sum_without(plan.frame, at, end, {at + udp_length_at, at + udp_checksum_at});
    } else {
        plan.transport_sum += sum_without(plan.frame, at, end,
                                          {at + tcp_sequence_at, at + tcp_sequence_at + 2, at + tcp_offset_and_flags_at,
                                           at + tcp_checksum_at});
    }
}

void write_network_header(const SegmentPlan& plan, std::size_t index, MutableBytes to,
                          std::size_t transport_bytes) {
    const std::size_t at = plan.headers.network_at;
    const std::size_t header_bytes = std::size_t{plan.headers.transport_at} - at;
    if (plan.headers.is_ipv6) {
        store16(to, at + 4, static_cast<std::uint16_t>(header_bytes - ipv6_size_bytes + transport_bytes));
        return;
    }
    const auto total_bytes = static_cast<std::uint16_t>(header_bytes + transport_bytes);
    const auto identification = static_cast<std::uint16_t>(load16(plan.frame, at + 4) + index);
    store16(to, at + 2, total_bytes);
    store16(to, at + 4, identification);
    store16(to, at + 10, checksum_of(plan.network_sum + total_bytes + identification));
}

/// The sum of what it wrote.
Sum write_tcp_header(const SegmentPlan& plan, std::size_t index, MutableBytes to) {
    const std::size_t at = plan.headers.transport_at;
    const std::uint32_t sequence =
        load32(plan.frame, at + tcp_sequence_at) + static_cast<std::uint32_t>(index * plan.segment_bytes);
    store32(to, at + tcp_sequence_at, sequence);
    std::uint16_t flags = load16(plan.frame, at + tcp_offset_and_flags_at);
    if (index + 1 != plan.count) flags &= static_cast<std::uint16_t>(~(tcp_fin | tcp_psh));
    if (index != 0) flags &= static_cast<std::uint16_t>(~tcp_cwr);
    store16(to, at + tcp_offset_and_flags_at, flags);
    return Sum{sequence} + flags;
}

}  // namespace

std::size_t SegmentPlan::payload_bytes(std::size_t index) const {
    const std::size_t whole = headers.end_at - header_bytes();
    return std::min(segment_bytes, whole - index * segment_bytes);
}

Bytes SegmentPlan::payload(std::size_t index) const {
    return frame.subspan(header_bytes() + index * segment_bytes, payload_bytes(index));
}

Parsed<void> finish_checksum(MutableBytes frame, const VnetHeader& header) {
    const std::size_t start = header.checksum_start;
    const std::size_t field = start + header.checksum_offset;
    if (field + 2 > frame.size()) return drop(DropReason::TooShort);
    // The field holds the pseudo-header's sum, which belongs into the result.
    const std::uint16_t checksum = checksum_of(sum_of(frame.subspan(start)));
    store16(frame, field, checksum != 0 ? checksum : 0xffff);   // 0 means "none" in UDP
    return {};
}

Parsed<SegmentPlan> plan_segments(Bytes frame, const VnetHeader& header, Inner inner) {
    const auto headers = find_headers(frame, inner);
    const bool is_udp = header.segmentation() == VnetHeader::gso_udp;
    const bool fits = headers && header.gso_bytes != 0 &&
                      headers->protocol == (is_udp ? protocol_udp : protocol_tcp);
    if (!fits) return drop(DropReason::InnerTooShort);
    SegmentPlan plan{.headers = *headers, .frame = frame, .segment_bytes = header.gso_bytes};
    const std::size_t payload_bytes = headers->end_at - plan.header_bytes();
    plan.count = std::max<std::size_t>(
        1, (payload_bytes + plan.segment_bytes - 1) / plan.segment_bytes);
    sum_headers(plan);
    return plan;
}

void write_segment_headers(const SegmentPlan& plan, std::size_t index, MutableBytes to) {
    std::memcpy(to.data(), plan.frame.data(), plan.header_bytes());
    const Bytes payload = plan.payload(index);
    const std::size_t at = plan.headers.transport_at;
    const std::size_t transport_bytes = plan.header_bytes() - at + payload.size();
    write_network_header(plan, index, to, transport_bytes);
    // A TCP or UDP header has an even length, so the payload's sum can be added as it is.
    Sum sum = plan.transport_sum + transport_bytes + sum_of(payload);
    const bool is_udp = plan.headers.protocol == protocol_udp;
    if (is_udp) {
        store16(to, at + udp_length_at, static_cast<std::uint16_t>(transport_bytes));
        sum += transport_bytes;
    } else {
        sum += write_tcp_header(plan, index, to);
    }
    const std::uint16_t checksum = checksum_of(sum);
    store16(to, at + (is_udp ? udp_checksum_at : tcp_checksum_at), is_udp && checksum == 0 ? 0xffff : checksum);
}

}  // namespace overlay::datapath
