#pragma once
// Time, as it is given to us. Nothing here reads a clock.

#include <chrono>

namespace overlay::wireguard {

using Clock = std::chrono::steady_clock;       ///< of timers and ages; best fed from CLOCK_BOOTTIME,
                                               ///< since keys must expire while a laptop sleeps
using WallClock = std::chrono::system_clock;   ///< of TAI64N and of what a person reads

struct Moment {
    Clock::time_point monotonic;
    WallClock::time_point wall;
};

inline constexpr Clock::time_point never = Clock::time_point::max();

}  // namespace overlay::wireguard
