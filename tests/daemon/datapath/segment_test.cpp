// From a super-frame to frames and back. Judged by packets.hpp, which adds checksums up by itself.

#include "daemon/datapath/coalesce.hpp"
#include "daemon/datapath/segment.hpp"
#include "tests/support/packets.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using namespace overlay::datapath;
using test::frame_of;
using test::Packet;
using test::TcpFrame;
using test::UdpFrame;
using wire::Inner;
using wire::VnetHeader;

namespace {

VnetHeader cut_into(const TcpFrame& what, std::uint16_t segment_bytes) {
    return {.gso_type = what.ipv6 ? VnetHeader::gso_tcp6 : VnetHeader::gso_tcp4,
            .gso_bytes = segment_bytes};
}

std::vector<Packet> segments_of(const Packet& frame, const VnetHeader& header) {
    const auto plan = plan_segments(frame, header, Inner::Ethernet);
    REQUIRE(plan);
    std::vector<Packet> out;
    for (std::size_t i = 0; i < plan->count; ++i) {
        Packet one(plan->header_bytes());
        write_segment_headers(*plan, i, one);
        const wire::Bytes payload = plan->payload(i);
        one.insert(one.end(), payload.begin(), payload.end());
        out.push_back(std::move(one));
    }
    return out;
}

/// What a device would be given, as a packet each.
std::vector<Packet> written(const SuperFrame& frame) {
    Packet bytes;
    for (const iovec& slice : frame.slices().subspan(1)) {
        const auto* start = static_cast<const std::byte*>(slice.iov_base);
        bytes.insert(bytes.end(), start, start + slice.iov_len);
    }
    if (frame.header().segmentation() == VnetHeader::gso_none) return {bytes};
    return segments_of(bytes, frame.header());
}

struct Merged {
    std::vector<std::size_t> frame_counts;
    std::vector<Packet> packets;   ///< what comes out when the kernel cuts the super-frames again
};

Merged merged(std::vector<Packet> frames, bool merges_udp = true) {
    Coalescer coalescer{Inner::Ethernet, {}, 64, merges_udp};
    for (Packet& frame : frames) coalescer.add(frame);
    Merged out;
    for (const SuperFrame& frame : coalescer.finish()) {
        out.frame_counts.push_back(frame.frame_count());
        for (Packet& packet : written(frame)) out.packets.push_back(std::move(packet));
    }
    coalescer.clear();
    return out;
}

/// Frames of one flow that follow each other, each with `payload_bytes`.
std::vector<Packet> flow(std::size_t count, TcpFrame what) {
    std::vector<Packet> out;
    for (std::size_t i = 0; i < count; ++i) {
        out.push_back(frame_of(what));
        what.sequence += static_cast<std::uint32_t>(what.payload_bytes);
        ++what.identification;
    }
    return out;
}

using Counts = std::vector<std::size_t>;

}  // namespace

TEST_SUITE("segments") {

    TEST_CASE("a super-frame becomes frames that any host would take") {
        for (const bool ipv6 : {false, true}) {
            for (const std::size_t tags : {0U, 1U, 2U, 8U}) {
                for (const std::size_t payload : {1U, 1397U, 1398U, 1399U, 60000U}) {
                    CAPTURE(ipv6); CAPTURE(tags); CAPTURE(payload);
                    TcpFrame what{.ipv6 = ipv6, .vlan_tags = tags, .flags = 0x99,   // CWR ACK PSH FIN
                                  .payload_bytes = payload};
                    const auto frames = segments_of(frame_of(what), cut_into(what, 1398));
                    CHECK(frames.size() == (payload + 1397) / 1398);
                    TcpFrame expected = what;
                    for (std::size_t i = 0; i < frames.size(); ++i) {
                        const bool last = i + 1 == frames.size();
                        expected.payload_bytes = last ? payload - i * 1398 : 1398;
                        expected.flags = static_cast<std::uint8_t>(0x10 | (last ? 0x09 : 0) |
                                                                   (i == 0 ? 0x80 : 0));
                        CHECK(test::fault_in(frames[i]) == "");
                        CHECK(frames[i] == frame_of(expected));
                        expected.sequence += 1398;
                        ++expected.identification;
                    }
                }
            }
        }
    }

    TEST_CASE("IPv6 extension headers are in every segment, and the sum goes on from where its sender began it") {
        for (const std::size_t count : {1U, 2U}) {
            CAPTURE(count);
            TcpFrame what{.ipv6 = true, .vlan_tags = 1, .extension_headers = count, .payload_bytes = 5000};
            Packet whole = frame_of(what);
            const std::size_t transport = 18 + 40 + 8 * count, length = 32 + 5000;
            const std::uint32_t addresses = test::plain_sum(wire::Bytes{whole}.subspan(26, 32));
            wire::store16(whole, transport + 16, test::plain_sum({}, addresses + 6 + length));
            const auto frames = segments_of(whole, cut_into(what, 1398));
            CHECK(frames.size() == 4);
            for (const Packet& frame : frames) {
                CHECK(test::fault_in(frame) == "");
                CHECK(frame_of(what) != frame);
            }
            what.payload_bytes = 1398;
            CHECK(frames[0] == frame_of(what));
            // As with a routing header, whose last address is the one in the pseudo-header.
            const std::uint32_t elsewhere = addresses + 0x1234;
            wire::store16(whole, transport + 16, test::plain_sum({}, elsewhere + 6 + length));
            for (const Packet& frame : segments_of(whole, cut_into(what, 1398))) {
                const wire::Bytes segment = wire::Bytes{frame}.subspan(transport);
                const auto segment_bytes = static_cast<std::uint32_t>(segment.size());
                CHECK(test::plain_sum(segment, elsewhere + 6 + segment_bytes) == 0xffff);
            }
        }
    }

    TEST_CASE("extension headers that reach out of the packet are none, and what comes behind is not cut") {
        const TcpFrame what{.ipv6 = true, .extension_headers = 1, .payload_bytes = 3000};
        Packet frame = frame_of(what);
        for (unsigned units = 1; units < 256; ++units) {
            frame[14 + 40 + 1] = static_cast<std::byte>(units);
            const auto plan = plan_segments(frame, cut_into(what, 1000), Inner::Ethernet);
            if (plan) CHECK(plan->headers.payload_at <= plan->headers.end_at);
        }
        frame[14 + 40] = std::byte{44};   // a fragment header
        CHECK_FALSE(plan_segments(frame, cut_into(what, 1000), Inner::Ethernet));
    }

    TEST_CASE("a UDP super-frame is cut, too, and each has a length and a checksum of its own") {
        for (const bool ipv6 : {false, true}) {
            const Packet whole = test::udp_frame(5000, ipv6);
            const auto frames = segments_of(whole, {.gso_type = VnetHeader::gso_udp, .gso_bytes = 1200});
            CHECK(frames.size() == 5);
            for (const Packet& frame : frames) CHECK(test::fault_in(frame) == "");
        }
    }

    TEST_CASE("what says that it is to be cut and cannot be is dropped") {
        const TcpFrame what{.payload_bytes = 3000};
        Packet frame = frame_of(what);
        CHECK_FALSE(plan_segments(frame, cut_into(what, 0), Inner::Ethernet));
        CHECK_FALSE(plan_segments(test::udp_frame(3000), cut_into(what, 1000), Inner::Ethernet));
        for (std::size_t size = 0; size < 66; ++size) {
            CAPTURE(size);
            CHECK_FALSE(plan_segments(wire::Bytes{frame}.first(size), cut_into(what, 1000), Inner::Ethernet));
        }
    }

    TEST_CASE("an open checksum is finished, and one outside of the frame drops it") {
        Packet frame = frame_of(TcpFrame{.payload_bytes = 100});
        const Packet finished = frame;
        const std::uint32_t pseudo = test::plain_sum(wire::Bytes{frame}.subspan(26, 8)) + 6U + 132U;
        wire::store16(frame, 50, test::plain_sum({}, pseudo));
        const VnetHeader open{.flags = VnetHeader::needs_checksum, .checksum_start = 34, .checksum_offset = 16};
        CHECK(finish_checksum(frame, open));
        CHECK(frame == finished);
        const VnetHeader outside{.flags = VnetHeader::needs_checksum, .checksum_start = 165, .checksum_offset = 0};
        CHECK_FALSE(finish_checksum(frame, outside));
    }

}  // TEST_SUITE

TEST_SUITE("coalescing") {

    TEST_CASE("what is merged and cut again is what came") {
        for (const bool ipv6 : {false, true}) {
            for (const std::size_t tags : {0U, 1U, 3U}) {
                for (const bool dont_fragment : {true, false}) {
                    CAPTURE(ipv6); CAPTURE(tags);
                    const auto frames = flow(40, {.ipv6 = ipv6, .vlan_tags = tags,
                                                  .dont_fragment = dont_fragment,
                                                  .payload_bytes = 1398});
                    const Merged out = merged(frames);
                    CHECK(out.frame_counts == Counts{40});
                    CHECK(out.packets == frames);
                }
            }
        }
    }

    TEST_CASE("a short frame and a pushed one end a super-frame, and PSH stays on the last") {
        auto frames = flow(3, {.payload_bytes = 1398});
        frames.push_back(frame_of(TcpFrame{.sequence = 1000 + 3 * 1398, .identification = 4, .payload_bytes = 10}));
        frames.push_back(frame_of(TcpFrame{.sequence = 1010 + 3 * 1398, .identification = 5, .payload_bytes = 10}));
        frames.push_back(frame_of(TcpFrame{.sequence = 1020 + 3 * 1398, .flags = 0x18, .identification = 6,
                                   .payload_bytes = 10}));
        frames.push_back(frame_of(TcpFrame{.sequence = 1030 + 3 * 1398, .identification = 7, .payload_bytes = 10}));
        const Merged out = merged(frames);
        CHECK(out.frame_counts == Counts{4, 2, 1});
        CHECK(out.packets == frames);
    }

    TEST_CASE("two flows at a time are merged each, and keep their order each") {
        const auto one = flow(8, {.source_port = 1, .payload_bytes = 1000});
        const auto other = flow(8, {.source_port = 2, .payload_bytes = 1000});
        std::vector<Packet> mixed;
        for (std::size_t i = 0; i < 8; ++i) {
            mixed.push_back(one[i]);
            mixed.push_back(other[i]);
        }
        CHECK(merged(mixed).frame_counts == Counts{8, 8});
    }

    TEST_CASE("whatever differs keeps frames apart, and nothing is lost or changed") {
        const TcpFrame first{.payload_bytes = 1000};
        const TcpFrame next{.sequence = 2000, .identification = 2, .payload_bytes = 1000};
        const auto apart = [&](auto change) {
            TcpFrame changed = next;
            change(changed);
            const std::vector<Packet> frames{frame_of(first), frame_of(changed)};
            const Merged out = merged(frames);
            CHECK(out.frame_counts == Counts{1, 1});
            CHECK(out.packets == frames);
        };
        CHECK(merged({frame_of(first), frame_of(next)}).frame_counts == Counts{2});
        apart([](TcpFrame& f) { f.sequence = 2001; });          // a gap
        apart([](TcpFrame& f) { f.sequence = 1000; });          // the same once more
        apart([](TcpFrame& f) { f.acknowledgement = 78; });
        apart([](TcpFrame& f) { f.window = 500; });
        apart([](TcpFrame& f) { f.ttl = 63; });
        apart([](TcpFrame& f) { f.traffic_class = 3; });
        apart([](TcpFrame& f) { f.timestamps = false; });
        apart([](TcpFrame& f) { f.vlan_tags = 1; });
        apart([](TcpFrame& f) { f.dont_fragment = false; });
        apart([](TcpFrame& f) { f.flags = 0x11; });             // FIN
        apart([](TcpFrame& f) { f.flags = 0x14; });             // RST
        apart([](TcpFrame& f) { f.flags = 0x30; });             // URG
        apart([](TcpFrame& f) { f.flags = 0x90; });             // CWR
        apart([](TcpFrame& f) { f.flags = 0x50; });             // ECE on one of them
        apart([](TcpFrame& f) { f.payload_bytes = 0; });        // a bare acknowledgement
        apart([](TcpFrame& f) { f.payload_bytes = 1001; });     // longer than the first
    }

    TEST_CASE("the identification of packets that may be fragmented must count up") {
        const TcpFrame first{.dont_fragment = false, .payload_bytes = 1000};
        TcpFrame next{.sequence = 2000, .identification = 9, .dont_fragment = false, .payload_bytes = 1000};
        CHECK(merged({frame_of(first), frame_of(next)}).frame_counts == Counts{1, 1});
        next.identification = 2;
        CHECK(merged({frame_of(first), frame_of(next)}).frame_counts == Counts{2});
    }

    TEST_CASE("a frame with a wrong checksum is not laundered: it passes as it is, in its place") {
        auto frames = flow(5, {.payload_bytes = 1000});
        frames[2][100] ^= std::byte{1};
        const Merged out = merged(frames);
        CHECK(out.frame_counts == Counts{2, 1, 2});
        CHECK(out.packets == frames);
    }

    TEST_CASE("a damaged IPv4 header is not laundered, and damages nothing else") {
        for (const std::size_t which : {0U, 1U}) {
            auto frames = flow(3, {.payload_bytes = 1000});
            frames[which][24] ^= std::byte{1};
            const Merged out = merged(frames);
            CHECK(out.frame_counts == (which == 0 ? Counts{1, 2} : Counts{1, 1, 1}));
            CHECK(out.packets == frames);
        }
    }

    TEST_CASE("a UDP length that is not the packet's stays what it is") {
        std::vector<Packet> frames(3, test::udp_frame(1000));
        Packet& lies = frames[1];
        wire::store16(lies, 38, 908);
        wire::store16(lies, 40, 0);
        const std::uint32_t addresses = test::plain_sum(wire::Bytes{lies}.subspan(26, 8));
        wire::store16(lies, 40, static_cast<std::uint16_t>(~test::plain_sum(wire::Bytes{lies}.subspan(34),
                                                                            addresses + 17 + 1008)));
        const Merged out = merged(frames);
        CHECK(out.frame_counts == Counts{1, 1, 1});
        CHECK(out.packets == frames);
    }

    TEST_CASE("what cannot be merged does not overtake its flow: pieces, options, extension headers") {
        const auto keeps_order = [](std::vector<Packet> frames, std::size_t odd, std::vector<std::size_t> counts) {
            const Merged out = merged(frames);
            CHECK(out.frame_counts == counts);
            CHECK(out.packets == frames);
            CHECK(out.packets[odd] == frames[odd]);
        };
        std::vector<Packet> datagrams;
        for (const unsigned n : {0U, 1U, 2U, 0U, 1U}) {
            const auto identification = static_cast<std::uint16_t>(n);
            datagrams.push_back(frame_of(UdpFrame{.identification = identification, .payload_bytes = 200}));
        }
        wire::store16(datagrams[2], 20, 0x2000);   // more fragments follow
        keeps_order(datagrams, 2, {2, 1, 2});

        std::vector<Packet> with_options = flow(5, {.payload_bytes = 1000});
        Packet& odd = with_options[2];
        odd[14] = std::byte{0x46};
        odd.insert(odd.begin() + 34, 4, std::byte{1});
        wire::store16(odd, 16, static_cast<std::uint16_t>(odd.size() - 14));
        keeps_order(with_options, 2, {2, 1, 2});

        std::vector<Packet> extended = flow(5, {.ipv6 = true, .payload_bytes = 1000});
        extended[2] = frame_of(TcpFrame{.ipv6 = true, .sequence = 3000, .extension_headers = 1, .payload_bytes = 1000});
        keeps_order(extended, 2, {2, 1, 2});
    }

    TEST_CASE("a piece of somebody else's datagram holds nothing up") {
        std::vector<Packet> frames = flow(4, {.payload_bytes = 1000});
        Packet piece = test::udp_frame(200);
        wire::store16(piece, 20, 0x2000);
        wire::store16(piece, 28, 0x0909);   // of another address
        frames.insert(frames.begin() + 2, piece);
        CHECK(merged(frames).frame_counts == Counts{4, 1});
    }

    TEST_CASE("a super-frame that comes as one counts as the frames that it will be") {
        for (const std::size_t payload : {0U, 1U, 1000U, 2500U}) {
            CAPTURE(payload);
            Packet frame = frame_of(TcpFrame{.ipv6 = true, .extension_headers = 1, .payload_bytes = payload});
            Coalescer coalescer{Inner::Ethernet, {}, 4};
            const SuperFrame& added = coalescer.add_super_frame(frame, 1000);
            const std::size_t frames = payload > 1000 ? 3 : 1;
            CHECK(added.frame_count() == frames);
            CHECK(added.cut_bytes() == payload + frames * (14 + 40 + 8 + 32));
            CHECK(coalescer.finish().size() == 1);
            coalescer.clear();
        }
    }

    TEST_CASE("an unfinished checksum is handed on as one") {
        Packet frame = frame_of(TcpFrame{.payload_bytes = 100});
        const std::uint32_t pseudo = test::plain_sum(wire::Bytes{frame}.subspan(26, 8)) + 6U + 132U;
        wire::store16(frame, 50, test::plain_sum({}, pseudo));
        Coalescer coalescer{Inner::Ethernet, {}, 4};
        coalescer.add(frame);
        const VnetHeader header = coalescer.finish()[0].header();
        CHECK(header.flags == VnetHeader::needs_checksum);
        CHECK(header.checksum_start == 34);
        CHECK(header.checksum_offset == 16);
        coalescer.clear();
    }

    TEST_CASE("a super-frame stays within what IP can say, and within its number of slices") {
        const auto large = merged(flow(60, {.payload_bytes = 1398}));
        CHECK(large.frame_counts == Counts{46, 14});
        CHECK(large.packets == flow(60, {.payload_bytes = 1398}));
        CHECK(merged(flow(70, {.payload_bytes = 10})).frame_counts == Counts{64, 6});
    }

    TEST_CASE("datagrams of one size that follow each other are merged, and cut again are what came") {
        for (const bool ipv6 : {false, true}) {
            for (const std::size_t last_bytes : {1200U, 7U}) {
                CAPTURE(ipv6); CAPTURE(last_bytes);
                std::vector<Packet> frames;
                for (std::uint16_t n = 0; n < 40; ++n) {
                    frames.push_back(frame_of(UdpFrame{.ipv6 = ipv6, .vlan_tags = 1, .identification = n,
                                                       .dont_fragment = false,
                                                       .payload_bytes = n == 39 ? last_bytes : 1200}));
                }
                const Merged out = merged(frames);
                CHECK(out.frame_counts == Counts{40});
                CHECK(out.packets == frames);
                CHECK(merged(frames, false).frame_counts == Counts(40, 1));   // for a device that takes none
                CHECK(merged(frames, false).packets == frames);
            }
        }
        CHECK(merged(std::vector<Packet>(70, test::udp_frame(10))).frame_counts == Counts{64, 6});
        CHECK(merged(std::vector<Packet>(60, test::udp_frame(1398, true))).frame_counts == Counts{46, 14});
    }

    TEST_CASE("datagrams that differ in more than their payload, or are a tunnel's, stay apart and as they are") {
        const auto counts = [](UdpFrame first, UdpFrame next) {
            next.identification = 1;
            const std::vector<Packet> frames{frame_of(first), frame_of(next)};
            const Merged out = merged(frames);
            CHECK(out.packets == frames);
            return out.frame_counts;
        };
        const UdpFrame usual{.payload_bytes = 500};
        const auto apart = [&](auto change) {
            UdpFrame changed = usual;
            change(changed);
            CHECK(counts(usual, changed) == Counts{1, 1});
        };
        CHECK(counts(usual, usual) == Counts{2});
        apart([](UdpFrame& f) { f.source_port = 5002; });
        apart([](UdpFrame& f) { f.target_port = 5002; });
        apart([](UdpFrame& f) { f.ttl = 63; });
        apart([](UdpFrame& f) { f.traffic_class = 1; });
        apart([](UdpFrame& f) { f.vlan_tags = 1; });
        apart([](UdpFrame& f) { f.dont_fragment = false; });
        apart([](UdpFrame& f) { f.payload_bytes = 501; });
        apart([](UdpFrame& f) { f.payload_bytes = 0; });
        apart([](UdpFrame& f) { f.has_checksum = false; });
        for (const int port : {4789, 8472, 6081, 5555, 51820, 4500}) {
            UdpFrame inner = usual;
            inner.target_port = static_cast<std::uint16_t>(port);
            CHECK(counts(inner, inner) == Counts{1, 1});
            std::swap(inner.source_port, inner.target_port);
            CHECK(counts(inner, inner) == Counts{1, 1});
        }
        std::vector<Packet> damaged(3, test::udp_frame(500));
        damaged[1].back() ^= std::byte{1};
        CHECK(merged(damaged).frame_counts == Counts{1, 1, 1});
    }

    TEST_CASE("what is neither TCP nor UDP passes as it is, and padding stays") {
        std::vector<Packet> frames{
            test::udp_frame(100), test::udp_frame(100, true),
            test::bytes_of("ffffffffffff 020000000001 0806 0001080006040001"), test::bytes_of("0200"),
            frame_of(TcpFrame{.payload_bytes = 0})};
        frames[4].resize(frames[4].size() + 6);
        const Merged out = merged(frames);
        CHECK(out.frame_counts == Counts{1, 1, 1, 1, 1});
        CHECK(out.packets == frames);
    }

    TEST_CASE("switched off, it merges nothing") {
        auto frames = flow(3, {.payload_bytes = 1000});
        Coalescer coalescer{Inner::Ethernet, io::Offloads::none(), 4};
        for (Packet& frame : frames) coalescer.add(frame);
        CHECK(coalescer.finish().size() == 3);
        coalescer.clear();
    }

}  // TEST_SUITE
