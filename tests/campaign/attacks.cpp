#include "campaign/battle.hpp"

#include <algorithm>

namespace overlay::wireguard {

using namespace std::chrono_literals;

namespace {

using Datagram = std::vector<std::byte>;

constexpr std::size_t mac_bytes = 16;

/// 0: it is none any more.
std::uint32_t type_of(const Datagram& bytes) {
    const std::uint32_t type = bytes.size() < 4 ? 0 : load32_le(bytes, 0);
    return type <= 4 ? type : 0;
}

bool is_handshake(const Datagram& bytes) { return type_of(bytes) == 1 || type_of(bytes) == 2; }

void flip(Datagram& bytes, std::size_t bit) { bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8)); }

/// Of data the packet is left out, whose length differs: 16 bytes of header, 16 of tag.
std::size_t bits_to_cover(const Datagram& bytes) { return (type_of(bytes) == 4 ? 32 : bytes.size()) * 8; }

std::size_t place_of(std::size_t bit, const Datagram& bytes) {
    const bool is_in_tag = type_of(bytes) == 4 && bit >= 16 * 8;
    return is_in_tag ? (bytes.size() - 32) * 8 + bit : bit;
}

}  // namespace

// ---- what can be made of a message ---------------------------------------------------------------

/// First the bits that nobody flipped so far.
Datagram Battle::with_one_bit(const Datagram& honest) {
    Datagram out = honest;
    auto& done = tally_.bits[type_of(honest)];
    const std::size_t start = below(bits_to_cover(honest));
    std::size_t bit = start;
    for (std::size_t n = 0; n < bits_to_cover(honest) && done.test(bit); ++n) bit = (bit + 1) % bits_to_cover(honest);
    const bool is_all_done = done.test(bit);
    done.set(bit);
    flip(out, is_all_done ? below(honest.size() * 8) : place_of(bit, honest));
    return out;
}

Datagram Battle::with_many_bits(const Datagram& honest) {
    Datagram out = honest;
    for (std::size_t n = 2 + below(15); n > 0; --n) flip(out, below(out.size() * 8));
    return out;
}

Datagram Battle::of_other_length(const Datagram& honest) {
    Datagram out = honest;
    out.resize(random_.chance(0.7) ? below(honest.size()) : honest.size() + 1 + below(64));
    return out;
}

Datagram Battle::spliced(const Datagram& begins, const Datagram& ends) {
    Datagram out = ends;
    const std::size_t cut = 1 + below(std::min(begins.size(), ends.size()) - 1);
    std::copy_n(begins.begin(), cut, out.begin());
    return out;
}

/// Nothing but mac1 covers bytes 4 to 7, where our answer goes: whoever changes those and is faster than the message
/// itself spoils a handshake, which is begun again, and comes no further.
Datagram Battle::with_right_mac1(const Datagram& honest, Side to) {
    Datagram out = honest;
    for (std::size_t n = 1 + below(3); n > 0; --n) flip(out, (8 + below(honest.size() - 40)) * 8 + below(8));
    MacWriter{world_.device(to).public_key()}.write(out, world_.now().monotonic);
    return out;
}

/// Whether it is the honest message itself for whoever does not look at mac2: that is only looked at under load
/// (whitepaper §5.4.4).
bool Battle::is_as_good(const Datagram& changed, const Datagram& honest, Side to) const {
    if (changed == honest) return true;
    if (!is_handshake(honest) || changed.size() != honest.size() || always_loaded_[index(to)]) return false;
    return std::equal(honest.begin(), honest.end() - mac_bytes, changed.begin());
}

// ---- the attacks ---------------------------------------------------------------------------------

/// On a message that has not arrived yet.
void Battle::assault(const Seen& seen, int times) {
    const Side to = other(seen.from);
    for (int n = 0; n < times; ++n) {
        const Datagram& another = history_[below(history_.size())].bytes;
        auto kind = static_cast<Attack>(below(static_cast<std::size_t>(Attack::Replay)));
        if (kind == Attack::RightMac1 && !is_handshake(seen.bytes)) kind = Attack::OneBit;
        Datagram bytes;
        switch (kind) {
            case Attack::ManyBits: bytes = with_many_bits(seen.bytes); break;
            case Attack::Length: bytes = of_other_length(seen.bytes); break;
            case Attack::Splice:
                bytes = random_.chance(0.5) ? spliced(seen.bytes, another) : spliced(another, seen.bytes);
                break;
            case Attack::RightMac1: bytes = with_right_mac1(seen.bytes, to); break;
            default: bytes = with_one_bit(seen.bytes); break;
        }
        if (is_as_good(bytes, seen.bytes, to) || is_as_good(bytes, another, to)) continue;
        if (kind == Attack::RightMac1) world_.advance(2ms);   // faster, and a cookie would be all that is asked for
        strike(kind, to, bytes);
    }
}

/// Messages that have arrived, or whose session is no more, as they were and with a bit flipped.
void Battle::repeat(Attack kind, Side to, std::size_t times) {
    for (std::size_t n = 0; n < times; ++n) {
        const Seen& seen = history_[below(history_.size())];
        if (other(seen.from) != to || (!is_handshake(seen.bytes) && random_.chance(0.5))) continue;
        const bool is_call = type_of(seen.bytes) == 1;
        strike(kind, to, seen.bytes, is_call && has_forgotten_[index(to)]);
        const Datagram bad = with_one_bit(seen.bytes);
        const bool is_still_good = is_as_good(bad, seen.bytes, to);
        strike(Attack::OneBit, to, bad, is_call && is_still_good && has_forgotten_[index(to)]);
    }
}

/// From somewhere: nothing is delivered, nobody moves, no session comes or goes, and no more bytes go back than came.
void Battle::strike(Attack kind, Side to, const Datagram& bytes, bool may_be_taken) {
    Device& device = world_.device(to);
    const auto path = world_.status(to).path;
    const std::size_t sessions = device.index_count();
    const Clock::time_point deadline = device.next_deadline();
    const std::uint32_t type = type_of(bytes);
    const bool is_near = path && random_.chance(0.3);   // who is on the way can send in the peer's name
    const Path from = is_near ? *path : Path{.remote = *parse_endpoint("203.0.113.66:666")};
    Datagram copy = bytes;

    const Received received = device.receive(copy, from, world_.now(), out_);
    demand(received.kind != Received::Kind::Deliver, "a packet of the stranger is delivered");
    demand(out_.total_bytes() <= bytes.size(), "more goes back than came");
    demand(world_.status(to).path == path, "the stranger moves an endpoint");
    if (received.kind == Received::Kind::Handled) {
        demand(may_be_taken, "a message of the stranger is taken");
        ++tally_.taken_again;
    } else {
        demand(device.index_count() == sessions, "a session or a handshake has come or gone");
        demand(device.next_deadline() == deadline, "a timer has been moved");
        demand(out_.events().empty(), "something happened to a peer");
        for (const Outbox::Datagram& each : out_.datagrams()) {
            demand(type_of({out_.bytes_of(each).begin(), out_.bytes_of(each).end()}) == 3, "the answer is no cookie");
            demand(each.to == from, "the answer goes elsewhere");
        }
    }
    out_.clear();
    ++tally_.attacks[static_cast<std::size_t>(kind)][type];
    ++tally_.made;
}

}  // namespace overlay::wireguard
