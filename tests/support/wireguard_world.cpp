#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <sstream>

namespace overlay::wireguard {

namespace {

Secret32 private_key_of(Side side) {
    std::array<std::byte, 32> bytes{};
    bytes.fill(side == Side::Left ? std::byte{0x11} : std::byte{0x77});
    return Secret32{bytes};
}

PublicKey public_key_of(Side side) {
    return PrivateKey::from_bytes(private_key_of(side).bytes()).public_key();
}

std::string inner_address(Side side) { return side == Side::Left ? "10.0.0.1" : "10.0.0.2"; }

}  // namespace

std::vector<std::byte> transcript(std::string_view name) {
    std::ifstream file{OVERLAY_SOURCE_DIR "/tests/vectors/wireguard/transcript.txt"};
    std::string field, hex;
    for (std::string line; std::getline(file, line);) {
        std::istringstream{line} >> field >> hex;
        if (field == name) return from_hex(hex);
    }
    FAIL("no line " << std::string{name} << " in the transcript");
    return {};
}

// ---- the world ---------------------------------------------------------------------------------

World::World(const Options& options)
    : options_{options}, random_{options.seed}, now_{options.start} {
    ends_[0].address.remote = *parse_endpoint("192.0.2.1:1000");
    ends_[1].address.remote = *parse_endpoint("192.0.2.2:2000");
    make(Side::Left, options.left, true);
    make(Side::Right, options.right, options.right_knows_left);
}

void World::make(Side side, const DeviceOptions& options, bool knows_other) {
    End& end = ends_[index(side)];
    end.device = std::make_unique<Device>(private_key_of(side), options, random_);
    PeerChange peer{.key = public_key_of(other(side))};
    if (knows_other) peer.endpoint = ends_[index(other(side))].address.remote;
    if (options_.psk != Options::Psk::None) {
        std::array<std::byte, 32> psk{};
        const bool differs = options_.psk == Options::Psk::Different && side == Side::Right;
        psk.fill(differs ? std::byte{0x43} : std::byte{0x42});
        peer.preshared_key = Secret32{psk};
    }
    peer.allowed_ips = {*IpPrefix::parse(inner_address(other(side)) + "/32")};
    end.device->change(peer, now_, out_);
    dispatch(side);
}

void World::restart(Side side, const DeviceOptions& options) { make(side, options, true); }

void World::move(Side side, std::string_view endpoint, const IpAddress& arrives_at) {
    ends_[index(side)].address.remote = *parse_endpoint(endpoint);
    ends_[index(side)].address.local = arrives_at;
}

Sealed World::send(Side side, std::uint32_t number, std::size_t size_bytes) {
    const std::vector<std::byte> bytes =
        packet(inner_address(side), inner_address(other(side)), number, size_bytes);
    const Sealed sealed = device(side).send(bytes, now_, out_);
    dispatch(side);
    return sealed;
}

void World::connect() {
    (void)send(Side::Left, 0);
    settle();
    delivered(Side::Right).clear();
}

void World::dispatch(Side from) {
    End& end = ends_[index(from)];
    if (out_.reservation()) end.reservation = out_.reservation();
    end.events.insert(end.events.end(), out_.events().begin(), out_.events().end());
    for (const Outbox::Datagram& each : out_.datagrams()) {
        const Bytes bytes = out_.bytes_of(each);
        ++end.sent[load32_le(bytes, 0)];
        if (!on_wire(from, bytes) || random_.chance(faults_.loss)) continue;
        if (each.to.remote != ends_[index(other(from))].address.remote) continue;  // nobody there
        for (int copies = random_.chance(faults_.duplicate) ? 2 : 1; copies > 0; --copies)
            let_go(from, bytes);
    }
    out_.clear();
}

void World::let_go(Side from, Bytes datagram) {
    const auto span = static_cast<std::uint64_t>(faults_.max_delay.count()) + 1;
    const std::chrono::milliseconds delay{random_.next() % span};
    in_flight_.push_back({.arrives = now_.monotonic + delay,
                          .order = order_++,
                          .to = other(from),
                          .from = ends_[index(from)].address,
                          .bytes = {datagram.begin(), datagram.end()}});
}

void World::arrive(InFlight datagram) {
    Device& to = device(datagram.to);
    const Received received = to.receive(datagram.bytes, datagram.from, now_, out_);
    if (received.kind == Received::Kind::Deliver) {
        delivered(datagram.to).push_back(number_of(received.packet));
    }
    dispatch(datagram.to);
}

Clock::time_point World::next_happening() const {
    Clock::time_point next =
        std::min(ends_[0].device->next_deadline(), ends_[1].device->next_deadline());
    for (const InFlight& each : in_flight_) next = std::min(next, each.arrives);
    return next;
}

void World::advance(std::chrono::milliseconds time) {
    const Clock::time_point until = now_.monotonic + time;
    const auto earlier = [](const InFlight& a, const InFlight& b) {
        return std::pair{a.arrives, a.order} < std::pair{b.arrives, b.order};
    };
    while (next_happening() <= until) {
        const auto step = std::max(next_happening(), now_.monotonic) - now_.monotonic;
        now_.monotonic += step;
        now_.wall += std::chrono::duration_cast<WallClock::duration>(step);
        const auto next = std::min_element(in_flight_.begin(), in_flight_.end(), earlier);
        if (next != in_flight_.end() && next->arrives <= now_.monotonic) {
            InFlight datagram = std::move(*next);
            in_flight_.erase(next);
            arrive(std::move(datagram));
            continue;
        }
        for (const Side side : {Side::Left, Side::Right}) {
            device(side).on_time(now_, out_);
            dispatch(side);
        }
    }
    now_.wall += std::chrono::duration_cast<WallClock::duration>(until - now_.monotonic);
    now_.monotonic = until;
}

int World::count(Side side, Event::Kind kind) {
    return static_cast<int>(std::ranges::count(events(side), kind, &Event::kind));
}

Received World::inject(Side to, std::vector<std::byte> datagram, std::size_t* answered_bytes) {
    const Received received =
        device(to).receive(datagram, ends_[index(other(to))].address, now_, out_);
    if (answered_bytes != nullptr) *answered_bytes = out_.total_bytes();
    Received without_bytes = received;
    without_bytes.packet = {};  // its memory ends here
    out_.clear();
    return without_bytes;
}

}  // namespace overlay::wireguard
