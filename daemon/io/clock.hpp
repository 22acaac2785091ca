#pragma once
// The time for what takes it as an argument. Monotonic time goes on while the machine sleeps
// (CLOCK_BOOTTIME), because session keys must grow old then, too.

#include "daemon/wireguard/moment.hpp"

#include <ctime>

namespace overlay::io {

[[nodiscard]] inline wireguard::Moment now() {
    timespec since_boot{};
    ::clock_gettime(CLOCK_BOOTTIME, &since_boot);
    const auto monotonic = std::chrono::seconds{since_boot.tv_sec} +
                           std::chrono::nanoseconds{since_boot.tv_nsec};
    return {wireguard::Clock::time_point{monotonic}, wireguard::WallClock::now()};
}

}  // namespace overlay::io
