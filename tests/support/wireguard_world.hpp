#pragma once
// Two WireGuard devices, "left" and "right", a network between them that loses, delays and repeats,
// and a clock that only moves when told. What is random comes from a seed, so that a failure
// repeats.

#include "daemon/wireguard/device.hpp"
#include "support/wireguard_bytes.hpp"

#include <functional>
#include <string>

namespace overlay::wireguard {

/// The value of a line "name hex" in tests/vectors/wireguard/transcript.txt.
[[nodiscard]] std::vector<std::byte> transcript(std::string_view name);

enum class Side : std::uint8_t { Left, Right };
[[nodiscard]] constexpr Side other(Side side) {
    return side == Side::Left ? Side::Right : Side::Left;
}
[[nodiscard]] constexpr std::size_t index(Side side) { return static_cast<std::size_t>(side); }

struct Faults {
    double loss = 0;
    double duplicate = 0;
    std::chrono::milliseconds max_delay{0};  ///< random, so that datagrams overtake each other
};

class World {
  public:
    struct Options {
        std::uint64_t seed = 1;
        DeviceOptions left{}, right{};
        enum class Psk : std::uint8_t { None, Same, Different } psk = Psk::None;
        bool right_knows_left = false;  ///< that is, its address
        Moment start{Clock::time_point{std::chrono::hours{1}},
                     WallClock::time_point{std::chrono::seconds{1'700'000'000}}};
    };
    World() : World(Options{}) {}
    explicit World(const Options& options);

    [[nodiscard]] Device& device(Side side) { return *ends_[index(side)].device; }
    [[nodiscard]] PeerStatus status(Side side) { return *device(side).status(peer_of(side)); }
    [[nodiscard]] PeerId peer_of(Side side) { return device(side).peers().at(0); }
    [[nodiscard]] Moment now() const { return now_; }

    /// A packet of this side to the other, on its way at once, or held.
    Sealed send(Side side, std::uint32_t number, std::size_t size_bytes = 64);
    /// Lets datagrams arrive and timers ring until the time has passed.
    void advance(std::chrono::milliseconds time);
    void settle() { advance(std::chrono::milliseconds{0}); }
    /// One packet and all that follows, in both directions.
    void connect();

    void set_faults(const Faults& faults) { faults_ = faults; }
    void set_wall(WallClock::time_point wall) { now_.wall = wall; }
    void move(Side side, std::string_view endpoint,
              const IpAddress& arrives_at = {});  ///< a NAT gives it another address
    /// Sees every datagram that leaves; false: lost.
    std::function<bool(Side from, Bytes)> on_wire = [](Side, Bytes) { return true; };
    /// What `on_wire` kept back goes on its way after all.
    void let_go(Side from, Bytes datagram);
    /// The same side again after a crash: no session, no address, other random numbers.
    void restart(Side side, const DeviceOptions& options);

    [[nodiscard]] std::vector<std::uint32_t>& delivered(Side side) {
        return ends_[index(side)].delivered;
    }
    [[nodiscard]] std::vector<Event>& events(Side side) { return ends_[index(side)].events; }
    [[nodiscard]] std::size_t sent(Side side, MessageType type) const {
        return ends_[index(side)].sent[static_cast<std::size_t>(type)];
    }
    [[nodiscard]] std::optional<Tai64n> reservation(Side side) const {
        return ends_[index(side)].reservation;
    }
    [[nodiscard]] int count(Side side, Event::Kind kind);
    /// Hands a datagram over as if it came from the other side, outside of the network.
    Received inject(Side to, std::vector<std::byte> datagram,
                    std::size_t* answered_bytes = nullptr);

  private:
    struct End {
        std::unique_ptr<Device> device;
        std::vector<std::uint32_t> delivered;
        std::vector<Event> events;
        std::array<std::size_t, 5> sent{};
        std::optional<Tai64n> reservation;
        Path address;
    };
    struct InFlight {
        Clock::time_point arrives;
        std::uint64_t order;
        Side to;
        Path from;
        std::vector<std::byte> bytes;
    };
    void make(Side side, const DeviceOptions& options, bool knows_other);
    void dispatch(Side from);
    void arrive(InFlight datagram);
    [[nodiscard]] Clock::time_point next_happening() const;

    Options options_;
    SeededRandom random_;
    Moment now_;
    Outbox out_;
    std::array<End, 2> ends_;
    std::vector<InFlight> in_flight_;
    std::uint64_t order_ = 0;
    Faults faults_;
};

}  // namespace overlay::wireguard
