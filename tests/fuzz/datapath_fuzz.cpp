// What anybody can send to a GUE port, and a peer inside WireGuard: headers, frames, flows, pieces. The input is a
// row of datagrams, each a byte for its kind and two for its length.
//
// Whatever they hold: what is taken for a frame lies within its datagram; the device gets every frame's payload
// once and nothing else, and never more bytes than came in; no super-frame is larger than a frame can be; nothing
// is read past the end. A bug aborts. (That nothing goes back to the network is endpoints_fuzz.cpp's business.)

#include "daemon/datapath/coalesce.hpp"
#include "daemon/datapath/gretap_gue.hpp"
#include "daemon/datapath/gretap_ip.hpp"
#include "daemon/datapath/reassembly.hpp"
#include "daemon/wire/ip.hpp"
#include "fuzz.hpp"

#include <algorithm>
#include <memory>

using namespace overlay;
using namespace overlay::datapath;
using wire::Bytes;
using wire::Inner;
using wire::MutableBytes;

namespace {

#define DEMAND(condition) fuzz::demand(condition, #condition)

bool is_within(Bytes part, Bytes whole) {
    return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

/// A datagram in memory of its own, so that a byte too far is seen.
struct Datagram {
    explicit Datagram(Bytes content)
        : memory{std::make_unique<std::byte[]>(content.size())}, bytes{memory.get(), content.size()} {
        std::copy(content.begin(), content.end(), bytes.begin());
    }
    std::unique_ptr<std::byte[]> memory;
    MutableBytes bytes;
};

class World {
  public:
    void take(std::uint8_t kind, Bytes content) {
        Datagram datagram{content};
        came_bytes_ += content.size();
        switch (kind % 4) {
            case 0: gue(std::move(datagram), kind); return;
            case 1: {
                const MutableBytes bytes = datagram.bytes;
                frame(std::move(datagram), bytes);
                return;
            }
            case 2: inside_wireguard(datagram.bytes); return;
            default: write_out(); return;
        }
    }
    void write_out() {
        std::size_t frames = 0;
        for (const SuperFrame& super : coalescer_.finish()) {
            std::size_t size_bytes = 0;
            for (const iovec& slice : super.slices()) size_bytes += slice.iov_len;
            DEMAND(size_bytes == super.size_bytes() + sizeof(wire::VnetHeader));
            DEMAND(super.size_bytes() <= 65535 + wire::ethernet_size_bytes + 8);
            DEMAND(super.frame_count() <= SuperFrame::max_frames || !are_all_ours_);
            frames += super.frame_count();
            passed_on_bytes_ += super.size_bytes();
        }
        DEMAND(frames == added_ || !are_all_ours_);
        DEMAND(passed_on_bytes_ <= came_bytes_);
        coalescer_.clear();
        kept_.clear();
        added_ = 0;
        are_all_ours_ = true;
    }

  private:
    void gue(Datagram datagram, std::uint8_t kind) {
        const bool is_super = kind >= 0x80 && is_uncut(datagram.bytes);
        const auto inside = decapsulate(datagram.bytes);
        if (!inside) return;
        DEMAND(is_within(inside->frame, datagram.bytes));
        DEMAND(inside->frame.size() >= wire::ethernet_size_bytes);
        const MutableBytes bytes = inside->frame;
        if (is_super) super_frame(std::move(datagram), bytes, kind & 0x7fU);
        else frame(std::move(datagram), bytes);
    }

    /// What a kernel's tunnel over veth hands on uncut, with the size that its segments would have.
    void super_frame(Datagram datagram, MutableBytes bytes, std::size_t segment_bytes) {
        if (segment_bytes == 0 || segment_bytes >= datagram.bytes.size()) return;
        if (coalescer_.is_full()) write_out();
        coalescer_.add_super_frame(bytes, segment_bytes);
        kept_.push_back(std::move(datagram));
        are_all_ours_ = false;
    }

    void frame(Datagram datagram, MutableBytes bytes) {
        for (const Inner inner : {Inner::Ethernet, Inner::Ip}) {
            if (const auto headers = wire::find_headers(bytes, inner)) {
                DEMAND(headers->network_at <= headers->transport_at);
                DEMAND(headers->transport_at <= headers->payload_at);
                DEMAND(headers->payload_at <= headers->end_at && headers->end_at <= bytes.size());
            }
            if (wire::traffic_class(bytes, inner)) wire::set_ecn(bytes, inner, wire::Ecn::Congested);
        }
        if (bytes.size() < wire::ethernet_size_bytes) return;
        if (coalescer_.is_full()) write_out();
        coalescer_.add(bytes);
        kept_.push_back(std::move(datagram));
        ++added_;
    }

    void inside_wireguard(MutableBytes packet) {
        const auto header = wire::parse_ip(packet);
        if (!header) return;
        DEMAND(header->payload_at <= header->end_at && header->end_at <= packet.size());
        (void)wire::is_header_intact(packet, *header);
        if (reassembly_.must_release()) reassembly_.release();
        now_ += std::chrono::milliseconds{packet.size() % 200};
        if (header->is_fragment()) {
            const auto piece = reassembly_.add(packet, *header, now_);
            if (!piece || piece->whole.empty()) return;
            passed_on_bytes_ += piece->whole.size();
            DEMAND(passed_on_bytes_ <= came_bytes_);
            (void)open_gre(piece->whole);
            return;
        }
        const auto gre = open_gre(packet.subspan(header->payload_at, header->end_at - header->payload_at));
        if (gre) DEMAND(is_within(gre->frame, packet));
    }

    Coalescer coalescer_{Inner::Ethernet, {}, 16};
    Reassembly reassembly_;
    Reassembly::Time now_{std::chrono::hours{1}};
    std::vector<Datagram> kept_;
    std::size_t added_ = 0;
    bool are_all_ours_ = true;   ///< how many frames there are in a super-frame of others is for them to say
    std::size_t came_bytes_ = 0, passed_on_bytes_ = 0;
};

}  // namespace

void fuzz::run(Bytes input) {
    World world;
    while (input.size() >= 3) {
        const std::uint8_t kind = wire::load8(input, 0);
        const std::size_t length = std::min<std::size_t>(wire::load16(input, 1), input.size() - 3);
        world.take(kind, input.subspan(3, length));
        input = input.subspan(3 + length);
    }
    world.write_out();
}

namespace {

constexpr std::array<std::string_view, 6> beginnings{
    "002f000020006558",                              // GUE, GRE with a key
    "002f000000006558020000000001020000000002080045",   // … without, Ethernet, IPv4
    "0200000000010200000000020800450000540001400040060000",   // Ethernet, IPv4, TCP
    "45000054000120000040002f00000a0700010a070002",          // IPv4 with a first piece of GRE
    // GUE, GRE, Ethernet, IPv6, TCP, without a payload; IPv6 with options that may be skipped, and GRE.
    "002f0000000065580200000000010200000000" "0286dd6000000000140640fe800000000000000000000000000001"
    "fe800000000000000000000000000002003500350000000100000001501000000000" "0000",
    "60000000" "00143c40fe800000000000000000000000000001fe800000000000000000000000000002"
    "2f00010400000000" "000065580000000000000000"};

}  // namespace

/// Rows of datagrams that begin well and go on anyhow.
std::vector<std::byte> fuzz::make_up(wireguard::SeededRandom& random) {
    std::vector<std::byte> out;
    for (std::uint64_t n = random.next() % 8; n-- > 0;) {
        const std::uint64_t begun_as = random.next() % beginnings.size();
        std::vector<std::byte> datagram = wireguard::from_hex(beginnings.at(begun_as));
        const std::size_t begun = random.chance(0.8) ? datagram.size() : 0;
        datagram.resize(begun + random.next() % 120);
        random.fill(MutableBytes{datagram}.subspan(begun));
        constexpr std::size_t before_ipv6 = 4 + 4 + wire::ethernet_size_bytes;
        if (begun_as == 4 && begun > 0)   // the length behind it is right
            wire::store16(datagram, before_ipv6 + 4, static_cast<std::uint16_t>(datagram.size() - before_ipv6 - 40));
        if (random.chance(0.3) && !datagram.empty())
            datagram[random.next() % datagram.size()] ^= std::byte{1} << (random.next() % 8);
        std::array<std::byte, 3> head{};
        constexpr std::array<std::uint8_t, beginnings.size()> kinds{0, 0, 1, 2, 0, 2};
        const std::uint8_t as_one = random.chance(0.3) ? 0x80 | 4 * 5 : 0;   // in segments of 20 bytes
        wire::store8(head, 0, kinds.at(begun_as) | as_one);
        wire::store16(head, 1, static_cast<std::uint16_t>(datagram.size()));
        out.insert(out.end(), head.begin(), head.end());
        out.insert(out.end(), datagram.begin(), datagram.end());
    }
    return out;
}
