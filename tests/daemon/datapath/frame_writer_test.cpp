// Devices that refuse what kernels have been seen to refuse: every frame of the batch arrives all the same. Judged by
// packets.hpp, which adds checksums up by itself.

#include "daemon/datapath/frame_writer.hpp"
#include "tests/support/packets.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <cstring>

using namespace overlay;
using namespace overlay::datapath;
using test::frame_of;
using test::Packet;
using test::TcpFrame;
using wire::Inner;
using wire::VnetHeader;

namespace {

/// As a TAP behind writev(2): it sees a virtio header and a frame, and takes both or neither.
struct FakeDevice {
    int super_frame_error = 0, checksum_error = 0, frame_error = 0;
    std::vector<Packet> taken;
    std::size_t super_frames = 0, calls = 0;

    int write(std::span<const iovec> slices) {
        ++calls;
        VnetHeader header;
        REQUIRE(slices[0].iov_len == sizeof header);
        std::memcpy(&header, slices[0].iov_base, sizeof header);
        const bool is_super = header.segmentation() != VnetHeader::gso_none;
        const bool is_unfinished = (header.flags & VnetHeader::needs_checksum) != 0;
        const int error = is_super ? super_frame_error : is_unfinished ? checksum_error : frame_error;
        if (error != 0) return error;
        if (is_super) ++super_frames;
        Packet frame;
        for (const iovec& slice : slices.subspan(1)) {
            const auto* const start = static_cast<const std::byte*>(slice.iov_base);
            frame.insert(frame.end(), start, start + slice.iov_len);
        }
        taken.push_back(std::move(frame));
        return 0;
    }
};

/// Frames of one flow that follow each other; the last is shorter.
std::vector<Packet> flow(std::size_t count, TcpFrame what) {
    std::vector<Packet> out;
    for (std::size_t i = 0; i < count; ++i) {
        TcpFrame one = what;
        if (i + 1 == count) one.payload_bytes = what.payload_bytes / 3 + 1;
        out.push_back(frame_of(one));
        what.sequence += static_cast<std::uint32_t>(what.payload_bytes);
        ++what.identification;
    }
    return out;
}

/// What comes of one turn; the number of frames lost.
std::size_t turn(Coalescer& coalescer, FrameWriter& writer, FakeDevice& device, std::vector<Packet> frames) {
    for (Packet& frame : frames) coalescer.add(frame);
    std::size_t lost = 0;
    for (const SuperFrame& frame : coalescer.finish()) lost += writer.write(device, frame);
    coalescer.clear();
    return lost;
}

Packet without_ethernet(const Packet& frame) { return {frame.begin() + 14, frame.end()}; }

/// The first of a frame's checksums left as a sender leaves it that counts on his network card.
Packet unfinished(const Packet& frame, std::size_t transport_bytes) {
    Packet out = frame;
    const std::uint32_t pseudo =
        test::plain_sum(wire::Bytes{frame}.subspan(26, 8)) + 6U + static_cast<std::uint32_t>(transport_bytes);
    wire::store16(out, 50, test::plain_sum({}, pseudo));
    return out;
}

}  // namespace

TEST_SUITE("writing frames") {

    TEST_CASE("a device that refuses super-frames gets every frame of the batch, in order and whole") {
        for (const int reason : {EINVAL, EIO, EOPNOTSUPP, EMSGSIZE}) {
            for (const bool ipv6 : {false, true}) {
                for (const std::size_t tags : {0U, 1U}) {
                    CAPTURE(reason); CAPTURE(ipv6); CAPTURE(tags);
                    auto frames = flow(40, {.ipv6 = ipv6, .vlan_tags = tags, .flags = 0x10, .payload_bytes = 1398});
                    frames.push_back(test::udp_frame(100, ipv6));
                    const auto more = flow(7, {.ipv6 = ipv6, .vlan_tags = tags, .source_port = 9,
                                               .dont_fragment = false, .payload_bytes = 501});
                    frames.insert(frames.end(), more.begin(), more.end());
                    Coalescer coalescer{Inner::Ethernet, {}, 64};
                    FrameWriter writer{Inner::Ethernet, {}};
                    FakeDevice device{.super_frame_error = reason};

                    CHECK(turn(coalescer, writer, device, frames) == 0);

                    CHECK(device.taken == frames);
                    for (const Packet& frame : device.taken) CHECK(test::fault_in(frame) == "");
                    CHECK(writer.merging() ==
                          io::Offload{.state = io::Offload::State::Refused, .error_number = reason});
                    CHECK(device.calls == frames.size() + 1);   // it was asked once, and not for the second flow
                }
            }
        }
    }

    TEST_CASE("from then on nothing is merged, nor offered merged") {
        Coalescer coalescer{Inner::Ethernet, {}, 64};
        FrameWriter writer{Inner::Ethernet, {}};
        FakeDevice device{.super_frame_error = EINVAL};
        const auto frames = flow(20, {.payload_bytes = 1000});
        CHECK(turn(coalescer, writer, device, frames) == 0);
        coalescer.stop_merging();
        device = {};
        CHECK(turn(coalescer, writer, device, frames) == 0);
        CHECK(device.taken == frames);
        CHECK(device.super_frames == 0);
    }

    TEST_CASE("packets without Ethernet around them are cut, too") {
        std::vector<Packet> packets;
        for (const Packet& frame : flow(20, {.payload_bytes = 1000})) packets.push_back(without_ethernet(frame));
        Coalescer coalescer{Inner::Ip, {}, 64};
        FrameWriter writer{Inner::Ip, {}};
        FakeDevice device{.super_frame_error = EINVAL};
        CHECK(turn(coalescer, writer, device, packets) == 0);
        CHECK(device.taken == packets);
    }

    TEST_CASE("a super-frame that nobody has cut is cut for a device that must not have it") {
        const TcpFrame what{.payload_bytes = 20 * 1000 + 17};
        std::vector<Packet> expected;
        for (std::size_t i = 0; i < 21; ++i) {
            TcpFrame one = what;
            one.sequence += static_cast<std::uint32_t>(i * 1000);
            one.identification = static_cast<std::uint16_t>(what.identification + i);
            one.payload_bytes = i < 20 ? 1000 : 17;
            expected.push_back(frame_of(one));
        }
        for (const bool asked : {true, false}) {
            const io::Offloads offloads = asked ? io::Offloads{} : io::Offloads::none();
            Coalescer coalescer{Inner::Ethernet, offloads, 4};
            FrameWriter writer{Inner::Ethernet, offloads};
            FakeDevice device{.super_frame_error = asked ? EINVAL : 0};
            Packet whole = frame_of(what);
            coalescer.add_super_frame(whole, 1000);
            CHECK(writer.write(device, coalescer.finish()[0]) == 0);
            CHECK(device.taken == expected);
            coalescer.clear();
        }
    }

    TEST_CASE("datagrams that nobody has cut reach every device one by one, between what came before and after") {
        for (const bool ipv6 : {false, true}) {
            CAPTURE(ipv6);
            Coalescer coalescer{Inner::Ethernet, {}, 64};
            FrameWriter writer{Inner::Ethernet, {}};
            FakeDevice device;
            Packet before = frame_of(TcpFrame{.payload_bytes = 1000});
            Packet after = frame_of(TcpFrame{.sequence = 2000, .payload_bytes = 10});
            Packet whole = test::udp_frame(5000, ipv6);
            const Packet payload(whole.end() - 5000, whole.end());
            coalescer.add(before);
            coalescer.add_super_frame(whole, 1200);
            coalescer.add(after);
            std::size_t lost = 0;
            for (const SuperFrame& frame : coalescer.finish()) lost += writer.write(device, frame);
            CHECK(lost == 0);
            CHECK(device.super_frames == 1);   // of TCP: what was before and after is one
            REQUIRE(device.taken.size() == 6);
            Packet carried;
            for (std::size_t i = 1; i < 6; ++i) {
                const Packet& datagram = device.taken[i];
                const std::size_t size = i < 5 ? 1200 : 200, headers = whole.size() - 5000;
                REQUIRE(datagram.size() == headers + size);
                CHECK(wire::load16(datagram, headers - 4) == 8 + size);   // RFC 768: the length is the third field
                CHECK(test::fault_in(datagram) == "");
                carried.insert(carried.end(), datagram.begin() + static_cast<std::ptrdiff_t>(headers), datagram.end());
            }
            CHECK(carried == payload);
            CHECK(writer.merging().is_on());
            coalescer.clear();
        }
    }

    TEST_CASE("a device that takes UDP's super-frames gets what a kernel has not cut, with a sum to be finished") {
        for (const bool ipv6 : {false, true}) {
            Coalescer coalescer{Inner::Ethernet, {}, 4, true};
            FrameWriter writer{Inner::Ethernet, {}, true};
            FakeDevice device;
            Packet whole = test::udp_frame(5000, ipv6);
            coalescer.add_super_frame(whole, 1200);
            const SuperFrame& frame = coalescer.finish()[0];
            CHECK(frame.header().flags == VnetHeader::needs_checksum);
            CHECK(frame.header().gso_type == VnetHeader::gso_udp);
            CHECK(frame.header().gso_bytes == 1200);
            CHECK(frame.header().checksum_start == (ipv6 ? 54 : 34));
            CHECK(frame.header().checksum_offset == 6);
            CHECK(writer.write(device, frame) == 0);
            CHECK(device.super_frames == 1);
            coalescer.clear();

            device = {.super_frame_error = EINVAL};
            std::vector<Packet> frames(3, test::udp_frame(500, ipv6));
            CHECK(turn(coalescer, writer, device, frames) == 0);
            CHECK(device.taken.size() == 3);
        }
    }

    TEST_CASE("who refuses UDP's super-frames is offered no more of them, and gets TCP's as before") {
        Coalescer coalescer{Inner::Ethernet, {}, 64, true};
        FrameWriter writer{Inner::Ethernet, {}, true};
        FakeDevice device{.super_frame_error = EINVAL};
        const std::vector<Packet> datagrams(3, test::udp_frame(500, false));
        for (const std::size_t calls : {4U, 3U}) {   // the first of them in vain
            CHECK(turn(coalescer, writer, device, datagrams) == 0);
            CHECK(device.taken.size() == 3);
            CHECK(device.calls == calls);
            device = {.super_frame_error = EINVAL};
        }
        CHECK_FALSE(writer.takes_udp());
        coalescer.stop_merging_udp();
        CHECK(turn(coalescer, writer, device, datagrams) == 0);
        CHECK(device.taken == datagrams);
        device = {};
        CHECK(writer.merging().is_on());
        CHECK(turn(coalescer, writer, device, flow(20, {.payload_bytes = 1000})) == 0);
        CHECK(device.super_frames == 1);
    }

    TEST_CASE("a device that takes super-frames gets them") {
        Coalescer coalescer{Inner::Ethernet, {}, 64};
        FrameWriter writer{Inner::Ethernet, {}};
        FakeDevice device;
        CHECK(turn(coalescer, writer, device, flow(40, {.payload_bytes = 1398})) == 0);
        CHECK(device.super_frames == 1);
        CHECK(device.calls == 1);
        CHECK(writer.merging().is_on());
    }

    TEST_CASE("a checksum that is not finished is finished where the device or the user will have none") {
        const Packet whole = frame_of(TcpFrame{.payload_bytes = 100});
        for (const bool asked : {true, false}) {
            const io::Offloads offloads = asked ? io::Offloads{} : io::Offloads::none();
            Coalescer coalescer{Inner::Ethernet, offloads, 4};
            FrameWriter writer{Inner::Ethernet, offloads};
            FakeDevice device{.checksum_error = asked ? EINVAL : 0};
            CHECK(turn(coalescer, writer, device, {unfinished(whole, 132)}) == 0);
            CHECK(device.taken == std::vector<Packet>{whole});
            CHECK(writer.merging() == offloads.device_gro);   // it was no merged one
        }
    }

    TEST_CASE("a device that is down, full or gone loses frames, each counted, and merging stays") {
        for (const int reason : {EIO, EAGAIN, EBADFD}) {
            CAPTURE(reason);
            Coalescer coalescer{Inner::Ethernet, {}, 64};
            FrameWriter writer{Inner::Ethernet, {}};
            FakeDevice device{.super_frame_error = reason, .checksum_error = reason, .frame_error = reason};
            const auto frames = flow(20, {.payload_bytes = 1000});
            CHECK(turn(coalescer, writer, device, frames) == 20);
            CHECK(writer.merging().is_on());
            device = {};
            CHECK(turn(coalescer, writer, device, frames) == 0);
            CHECK(device.super_frames == 1);
        }
    }

    TEST_CASE("memory that is short for a large frame is no reason to do without large ones") {
        Coalescer coalescer{Inner::Ethernet, {}, 64};
        FrameWriter writer{Inner::Ethernet, {}};
        FakeDevice device{.super_frame_error = ENOMEM};
        const auto frames = flow(20, {.payload_bytes = 1000});
        CHECK(turn(coalescer, writer, device, frames) == 0);
        CHECK(device.taken == frames);
        CHECK(writer.merging().is_on());
    }

}  // TEST_SUITE
