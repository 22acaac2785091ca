#pragma once
// How often each source may make us compute a handshake while we are under load: 20 a second, 5 at
// once, an IPv6 source being a /64, since whoever has one address there has them all.
//
// The table has a fixed size. Only sources that proved themselves with a cookie come this far, so
// filling it takes as many real addresses; if somebody has them, others wait rather than we grow.
//
// Source: Linux drivers/net/wireguard/ratelimiter.c.

#include "daemon/wireguard/crypto.hpp"
#include "daemon/wireguard/moment.hpp"

#include <vector>

namespace overlay::wireguard {

class RateLimiter {
  public:
    static constexpr std::chrono::milliseconds interval{50};
    static constexpr int burst = 5;
    static constexpr std::size_t sets = 1024, ways = 4;  ///< 64 KiB, once there was load

    [[nodiscard]] bool allow(const IpAddress& source, Clock::time_point now, Random& random);
    [[nodiscard]] std::size_t size_bytes() const { return entries_.capacity() * sizeof(Entry); }

  private:
    /// The generic cell rate algorithm: when the source's bucket will be full again.
    struct Entry {
        std::uint64_t source = 0;
        Clock::time_point full_at = Clock::time_point::min();
    };
    std::vector<Entry> entries_;
    Secret<16> table_key_;
};

}  // namespace overlay::wireguard
