// Nothing gets through WireGuard's core that should not: battles (battle.hpp) until so many attacks are made, on a
// clock that runs as fast as the processor. Prints what was done; the first thing that got through is the end.
//
//     wireguard_campaign [ATTACKS] [SEED]      20000 attacks, seed 1

#include "campaign/battle.hpp"

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>   // World's demands
#include <fmt/format.h>

#include <cstdlib>

namespace overlay::wireguard {

namespace {

constexpr std::array<std::string_view, Tally::kinds> names{
    "one bit", "many bits", "another length", "two messages spliced", "bits behind a right mac1", "replay",
    "replay after renewal", "replay after restart", "edge of the window", "edges of the counter"};
/// Of initiation, response, cookie reply; of data, header and tag.
constexpr std::array<std::size_t, 5> whole_bits{0, 148 * 8, 92 * 8, 64 * 8, 32 * 8};

void print(const Tally& tally) {
    fmt::print("{:26}{:>12}{:>10}{:>8}{:>10}{:>9}\n", "", "initiation", "response", "cookie", "data", "no type");
    for (std::size_t kind = 0; kind < Tally::kinds; ++kind) {
        const auto& by_type = tally.attacks[kind];
        fmt::print("{:26}{:>12}{:>10}{:>8}{:>10}{:>9}\n", names[kind], by_type[1], by_type[2], by_type[3], by_type[4],
                   by_type[0]);
    }
    fmt::print("{:26}", "bits flipped alone");
    for (const std::size_t type : {1U, 2U, 3U, 4U}) fmt::print(" {} of {}", tally.bits[type].count(), whole_bits[type]);
    fmt::print("\n{} initiations were taken again by whoever was restarted\n", tally.taken_again);
}

}  // namespace

}  // namespace overlay::wireguard

int main(int argc, char** argv) {
    using namespace overlay::wireguard;
    const std::uint64_t wanted = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20000;
    std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
    fmt::print("from seed {}\n", seed);
    Tally tally;
    std::uint64_t battles = 0;
    for (; tally.made < wanted; ++battles) Battle{seed++, tally}.fight();
    print(tally);
    bool is_whole = true;
    for (const std::size_t type : {1U, 2U, 3U, 4U}) is_whole = is_whole && tally.bits[type].count() == whole_bits[type];
    const std::string told = fmt::format("{} attacks in {} battles: none delivered, {} honest packets once each",
                                         tally.made, battles, tally.delivered);
    if (is_whole) fmt::print("ok   {}\n", told);
    else fmt::print("FAIL {}, and not every bit was flipped\n", told);
    return is_whole ? 0 : 1;
}
