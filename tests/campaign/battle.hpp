#pragma once
// Two devices that talk, and a stranger who has every datagram in hand before it arrives: who changes, cuts, joins and
// repeats what was seen, and sends it from anywhere. What was sent is in a book, and the book alone says what must have
// arrived.
//
//   battle.cpp    the honest traffic: sessions, renewals, counters at their edges, restarts
//   attacks.cpp   what the stranger makes of it, and what must come of that

#include "support/wireguard_world.hpp"

#include <bitset>

namespace overlay::wireguard {

enum class Attack : std::uint8_t {
    OneBit,
    ManyBits,
    Length,               ///< cut off, or longer than it was
    Splice,               ///< the beginning of one message and the end of another
    RightMac1,            ///< bits flipped behind a mac1 that anybody can compute
    Replay,
    ReplayAfterRenewal,
    ReplayAfterRestart,   ///< of the receiver, who knows nothing of former sessions and stamps
    WindowEdge,           ///< replays, and what comes late by 8128 and more
    CounterEdge,          ///< replays where a session is renewed by its counter, and where it ends
    Count
};

/// Of all battles together.
struct Tally {
    static constexpr std::size_t kinds = static_cast<std::size_t>(Attack::Count);
    std::array<std::array<std::uint64_t, 5>, kinds> attacks{};   ///< by type of message; 0: none any more
    std::array<std::bitset<148 * 8>, 5> bits{};   ///< flipped alone; of data those of header and tag
    std::uint64_t made = 0;
    std::uint64_t delivered = 0;     ///< honest packets
    std::uint64_t taken_again = 0;   ///< initiations replayed to whoever has forgotten their stamp
};

class Battle {
  public:
    Battle(std::uint64_t seed, Tally& tally);
    void fight();

  private:
    using Datagram = std::vector<std::byte>;
    struct Seen {
        Side from;
        Datagram bytes;
    };

    // battle.cpp
    void send(Side from, std::size_t size_bytes = 64);
    void send_in_vain(Side from);
    void arrive(const Seen& seen);
    void let_all_through();
    void agree();
    void rest();
    void check_book();
    [[nodiscard]] bool is_book_right();
    [[nodiscard]] Seen take_held(std::size_t at);
    void traffic();
    void window_edge();
    void renewal();
    void counter_edges();
    void restart(Side side);

    // attacks.cpp
    void assault(const Seen& seen, int times);
    void repeat(Attack kind, Side to, std::size_t times);
    [[nodiscard]] Datagram with_one_bit(const Datagram& honest);
    [[nodiscard]] Datagram with_many_bits(const Datagram& honest);
    [[nodiscard]] Datagram of_other_length(const Datagram& honest);
    [[nodiscard]] Datagram spliced(const Datagram& begins, const Datagram& ends);
    [[nodiscard]] Datagram with_right_mac1(const Datagram& honest, Side to);
    [[nodiscard]] bool is_as_good(const Datagram& changed, const Datagram& honest, Side to) const;
    void strike(Attack kind, Side to, const Datagram& bytes, bool may_be_taken = false);

    void demand(bool holds, const char* what) const;
    [[nodiscard]] std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_.next() % limit); }

    std::uint64_t seed_;
    SeededRandom random_;
    Tally& tally_;
    std::array<bool, 2> always_loaded_;
    std::array<bool, 2> has_forgotten_{};   ///< restarted, and not called since
    World world_;
    Outbox out_;
    std::vector<Seen> history_, held_;
    bool holds_ = true;
    std::uint32_t number_ = 0;
    std::array<std::vector<std::uint32_t>, 2> book_{};   ///< by receiver
};

}  // namespace overlay::wireguard
