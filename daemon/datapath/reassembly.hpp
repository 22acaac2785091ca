#pragma once
// IPv4 packets in pieces become whole again: a kernel's gretap that may not say DF cuts what is larger than
// its WireGuard device takes, and WireGuard hands us the pieces.
//
//     [ h | 0…1399 ]  [ h | 1400…1537 ]  in any order   ─▶   0…1537, what GRE begins with
//
// Only a peer that has proved itself can send us pieces; still it cannot make us keep more than max_packets
// of them, nor any longer than max_age. Pieces that overlap are an attack or a fault: their whole packet
// goes (RFC 5722 §4 says so of IPv6; Linux does it for IPv4, too). One that comes twice is ignored.

#include "daemon/wire/ecn.hpp"
#include "daemon/wire/ip.hpp"
#include "daemon/wireguard/moment.hpp"

#include <array>
#include <bitset>
#include <memory>
#include <vector>

namespace overlay::datapath {

class Reassembly {
  public:
    using Time = wireguard::Clock::time_point;
    static constexpr std::size_t max_packets = 32;
    /// Shorter than Linux's 30 s: at a gigabit, 65536 identifications are used up in less than a second,
    /// and an old piece must not meet a new packet (RFC 4963). Pieces of one packet leave together.
    static constexpr std::chrono::milliseconds max_age{1000};

    struct Piece {
        /// What the packet carries, when this was the last piece that was missing; stays until release().
        wire::MutableBytes whole;
        wire::Ecn ecn = wire::Ecn::NotCapable;   ///< of the whole one
        std::size_t given_up = 0;   ///< other packets that had to go: too old, or the oldest of too many
    };
    /// A piece of a packet, of whichever; must_release() must not be true.
    ///
    /// Errors: Fragment; Ecn, when some pieces met congestion and others cannot tell.
    /// Safety: bytes are hostile. The first call allocates, none after it.
    [[nodiscard]] wire::Parsed<Piece> add(wire::Bytes packet, const wire::IpHeader& header, Time now);

    /// Whether whole packets take all places, which release() gives back.
    [[nodiscard]] bool must_release() const { return whole_count_ == max_packets; }
    void release();

  private:
    static constexpr std::size_t max_bytes = 65536;
    static constexpr std::size_t unit_bytes = 8;
    struct Packet {
        enum class State : std::uint8_t { Free, Open, Whole } state = State::Free;
        std::array<std::byte, 8> addresses{};
        std::uint16_t identification = 0;
        std::uint8_t ecn_seen = 0;           ///< a bit for each of the four
        Time since{};
        std::size_t end_at = 0;              ///< 0: the last piece has not come
        std::size_t reaches = 0;             ///< where the farthest piece ends
        std::size_t units = 0;               ///< how many have come
        std::bitset<max_bytes / unit_bytes> has{};
        std::unique_ptr<std::byte[]> bytes;  ///< pages that nothing was written to cost nothing
    };
    [[nodiscard]] Packet& place_of(wire::Bytes addresses, std::uint16_t identification, Time now,
                                   std::size_t& given_up);
    enum class Fit : std::uint8_t { New, Known, Bad };
    [[nodiscard]] static Fit fit(const Packet& place, const wire::IpHeader& header);

    std::vector<Packet> packets_;
    std::size_t whole_count_ = 0;
};

}  // namespace overlay::datapath
