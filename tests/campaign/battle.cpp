#include "campaign/battle.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace overlay::wireguard {

using namespace std::chrono_literals;

namespace {

// Whitepaper §6.1, written out.
constexpr std::uint64_t renewed_after = 1152921504606846976ULL;   // 2^60
constexpr std::uint64_t ended_from = 18446744073709543423ULL;     // 2^64 - 2^13 - 1
constexpr std::uint64_t window = 8128;

World::Options options(std::uint64_t seed, const std::array<bool, 2>& always_loaded) {
    World::Options out{.seed = seed, .right_knows_left = true};
    if (seed % 2 == 0) out.psk = World::Options::Psk::Same;
    if (always_loaded[0]) out.left.load.waiting = 0;
    if (always_loaded[1]) out.right.load.waiting = 0;
    return out;
}

}  // namespace

Battle::Battle(std::uint64_t seed, Tally& tally)
    : seed_{seed},
      random_{seed * 1000003},
      tally_{tally},
      always_loaded_{seed % 3 == 0, seed % 5 < 2},
      world_{options(seed, always_loaded_)} {
    world_.on_wire = [this](Side from, Bytes bytes) {
        history_.push_back({from, {bytes.begin(), bytes.end()}});
        if (holds_) held_.push_back(history_.back());
        return !holds_;
    };
}

void Battle::fight() {
    send(Side::Left);
    agree();
    traffic();
    window_edge();
    for (int n = 0; n < 2; ++n) renewal();
    counter_edges();
    for (const Side side : {Side::Left, Side::Right}) {
        if (random_.chance(0.7)) restart(side);
    }
    renewal();
    for (const auto& numbers : book_) tally_.delivered += numbers.size();
}

void Battle::demand(bool holds, const char* what) const {
    if (holds) return;
    std::printf("FAIL battle %llu: %s\n", static_cast<unsigned long long>(seed_), what);
    std::exit(1);
}

// ---- honest traffic ----------------------------------------------------------------------------

void Battle::send(Side from, std::size_t size_bytes) {
    book_[index(other(from))].push_back(++number_);
    (void)world_.send(from, number_, size_bytes);
}

void Battle::send_in_vain(Side from) { (void)world_.send(from, ++number_); }

void Battle::arrive(const Seen& seen) {
    world_.let_go(seen.from, seen.bytes);
    world_.settle();
}

Battle::Seen Battle::take_held(std::size_t at) {
    Seen out = std::move(held_[at]);
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(at));
    return out;
}

/// Each is attacked before it arrives; its answers, too.
void Battle::let_all_through() {
    world_.settle();
    while (!held_.empty()) {
        const Seen seen = take_held(0);
        assault(seen, load32_le(seen.bytes, 0) == 4 ? 10 : 100);
        arrive(seen);
    }
}

bool Battle::is_book_right() {
    for (const Side side : {Side::Left, Side::Right}) {
        auto delivered = world_.delivered(side), sent = book_[index(side)];
        std::ranges::sort(delivered);
        std::ranges::sort(sent);
        if (delivered != sent) return false;
    }
    return true;
}

void Battle::check_book() { demand(is_book_right(), "what arrived is not what was sent, each once"); }

/// Until all that was sent has arrived: under load each end asks for a cookie first, and an end that was just called is
/// not called again for 5 s.
void Battle::agree() {
    for (int tries = 0; tries < 8; ++tries) {
        let_all_through();
        if (is_book_right()) return;
        world_.advance(5500ms);
        for (const Side side : {Side::Left, Side::Right}) {
            if (world_.delivered(other(side)).size() < book_[index(other(side))].size()) send(side);
        }
    }
    check_book();
}

/// Until nobody calls any more: a call that was answered with a cookie is made again after 5 s.
void Battle::rest() {
    const auto calls = [&] {
        return world_.sent(Side::Left, MessageType::Initiation) + world_.sent(Side::Right, MessageType::Initiation);
    };
    for (std::size_t before = calls() - 1; before != calls();) {
        before = calls();
        world_.advance(6s);
        let_all_through();
    }
}

/// Both ways, in another order than they were sent in.
void Battle::traffic() {
    for (const Side side : {Side::Left, Side::Right}) {
        for (int n = 0; n < 12; ++n) send(side, random_.chance(0.8) ? 24 + below(100) : 24 + below(1377));
    }
    while (!held_.empty()) {
        const Seen seen = take_held(below(held_.size()));
        assault(seen, 6);
        arrive(seen);
    }
    check_book();
    for (const Side side : {Side::Left, Side::Right}) repeat(Attack::Replay, side, 60);
    check_book();
}

/// One packet comes late: after another whose counter is ahead of it by about as much as the window is wide.
void Battle::window_edge() {
    std::uint64_t counter = 1000;
    for (const Side side : {Side::Left, Side::Right}) {
        for (std::uint64_t lead = window - 4; lead <= window + 4; ++lead) {
            world_.device(side).skip_to(world_.peer_of(side), counter);
            if (lead < window) send(side);
            else send_in_vain(side);
            world_.device(side).skip_to(world_.peer_of(side), counter + lead);
            send(side);
            demand(held_.size() == 2, "a packet is one datagram");
            const Seen late = take_held(0), early = take_held(0);
            arrive(early);
            assault(late, 5);
            if (lead < window) arrive(late);
            for (int n = 0; n < 3; ++n) {
                strike(Attack::WindowEdge, other(side), late.bytes);
                strike(Attack::WindowEdge, other(side), early.bytes);
            }
            counter += 3 * window + below(1000);
        }
    }
    check_book();
}

void Battle::renewal() {
    holds_ = false;
    world_.advance(121s);
    holds_ = true;
    for (const Side side : {Side::Left, Side::Right}) send(side);
    agree();
    for (const Side side : {Side::Left, Side::Right}) repeat(Attack::ReplayAfterRenewal, side, 150);
    traffic();
}

/// The message after 2^60 asks for a new session, and the last one that a session may have is followed by one of a new
/// session.
void Battle::counter_edges() {
    const Side side = random_.chance(0.5) ? Side::Left : Side::Right;
    const auto calls = [&] { return world_.sent(side, MessageType::Initiation); };
    const std::size_t begins_at = history_.size();
    rest();
    world_.device(side).skip_to(world_.peer_of(side), renewed_after);
    send(side);   // for a young session, which is not renewed by its age
    agree();
    rest();
    world_.device(side).skip_to(world_.peer_of(side), renewed_after - 1);
    std::size_t before = calls();
    send(side);
    demand(calls() == before, "a session is renewed too early");
    send(side);
    demand(calls() == before + 1, "a session is not renewed after 2^60 messages");
    agree();

    rest();
    world_.device(side).skip_to(world_.peer_of(side), ended_from - 2);
    before = calls();
    for (int n = 0; n < 3; ++n) send(side);
    demand(calls() == before + 1, "the counters are used up, and no session is asked for");
    const auto data = [](const Seen& seen) { return load32_le(seen.bytes, 0) == 4; };
    demand(std::ranges::count_if(held_, data) == 2, "a counter is used that must not be");
    agree();
    for (std::size_t at = begins_at; at < history_.size(); ++at)
        strike(Attack::CounterEdge, other(history_[at].from), history_[at].bytes);
    traffic();
}

/// Whoever starts again kept the bound of the stamps, and nothing else.
void Battle::restart(Side side) {
    DeviceOptions kept{.reserved_stamps = world_.reservation(side).value_or(Tai64n{})};
    if (always_loaded_[index(side)]) kept.load.waiting = 0;
    world_.restart(side, kept);
    has_forgotten_[index(side)] = true;
    repeat(Attack::ReplayAfterRestart, side, 300);
    repeat(Attack::ReplayAfterRestart, other(side), 50);
    check_book();
    world_.advance(6s);
    held_.clear();
    send(side);
    agree();
    traffic();
}

}  // namespace overlay::wireguard
