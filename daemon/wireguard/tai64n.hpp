#pragma once
// The time in an initiation, which is no time at all but a number that must grow: a peer forgets us
// for as long as our numbers are not above the highest that it has seen from our key.
//
// So a clock that went back, or a router that boots in 1970, must not show: each stamp is above the
// last one to this peer and not below what a former run of ours may have sent. That is remembered
// as a reservation, a bound which all stamps stay below; we say when a new one has to be on disk.
//
// Sources: https://cr.yp.to/libtai/tai64.html; whitepaper §5.1, §5.4.2; Linux
// drivers/net/wireguard/noise.c (tai64n_now). Class of fault: CVE-2021-46873.

#include "daemon/wireguard/moment.hpp"
#include "daemon/wireguard/messages.hpp"

#include <array>
#include <compare>
#include <optional>

namespace overlay::wireguard {

/// Seconds since 2^62 before 1970 in TAI, and nanoseconds.
struct Tai64n {
    static constexpr std::size_t size_bytes = 12;
    std::uint64_t seconds = 0;
    std::uint32_t nanoseconds = 0;
    friend constexpr auto operator<=>(const Tai64n&, const Tai64n&) = default;

    [[nodiscard]] static Tai64n from_bytes(Bytes twelve);
    [[nodiscard]] std::array<std::byte, size_bytes> bytes() const;
    [[nodiscard]] static Tai64n of(WallClock::time_point wall);      ///< before 1970 counts as 1970
    [[nodiscard]] Tai64n plus(std::chrono::nanoseconds step) const;  ///< not beyond the year 2^63
    /// The distance to a wall clock, for a warning: positive when this stamp lies in its future.
    [[nodiscard]] std::chrono::seconds ahead_of(WallClock::time_point wall) const;
};

class TimestampSource {
  public:
    /// The reciprocal of 50 initiations per second, as a power of two: finer time would tell a
    /// listener more of our clock than the handshake needs.
    static constexpr std::chrono::nanoseconds quantum{1 << 24};
    /// How far ahead is reserved: one write per this much time with handshakes; a crash costs as
    /// much.
    static constexpr std::chrono::minutes block{10};
    /// The same where stamps are ahead of the clock: sixty of them, of each peer.
    static constexpr std::chrono::seconds ahead{1};

    /// `reserved`: the last bound that was persisted; the default for a machine that never ran.
    explicit TimestampSource(Tai64n reserved = {}) : floor_{reserved}, reserved_{reserved} {}

    /// `last`: the stamp sent before to the same peer. When take_reservation() has a value after
    /// this, it must be on disk before the stamp leaves.
    [[nodiscard]] Tai64n next(WallClock::time_point wall, const Tai64n& last);
    [[nodiscard]] std::optional<Tai64n> take_reservation();

    /// Nothing up to this stamp is sent any more: it went to a peer that we forget, and may meet
    /// again.
    void forget(const Tai64n& last);

    /// For an orderly stop: a bound with no block of unused time above it.
    [[nodiscard]] Tai64n exact_bound() const {
        return highest_ < floor_ ? floor_ : highest_.plus(quantum);
    }

  private:
    Tai64n floor_;     ///< nothing below is sent: a former run may have been here
    Tai64n highest_;   ///< of all stamps of this run
    Tai64n reserved_;  ///< all stamps are below
    std::optional<Tai64n> unsaved_;
};

}  // namespace overlay::wireguard
