#pragma once
// Time, as it is given to us. Nothing here reads a clock.

#include <chrono>

namespace overlay::wireguard {

/// Of timers and ages. Best fed from CLOCK_BOOTTIME: keys must expire while a laptop sleeps.
using Clock = std::chrono::steady_clock;
/// Of TAI64N, and of what a person reads.
using WallClock = std::chrono::system_clock;

struct Moment {
    Clock::time_point monotonic;
    WallClock::time_point wall;
};

inline constexpr Clock::time_point never = Clock::time_point::max();

}  // namespace overlay::wireguard
