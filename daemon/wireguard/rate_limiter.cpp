#include "daemon/wireguard/rate_limiter.hpp"

namespace overlay::wireguard {

namespace {

/// An IPv4 address, or the first half of an IPv6 one; ffff:ffff:… is multicast, so no real source.
std::uint64_t source_number(const IpAddress& address) {
    const Bytes bytes{reinterpret_cast<const std::byte*>(address.data()), address.size_bytes()};
    if (address.family() == Family::Ipv4) return ~std::uint64_t{0} << 32 | wire::load32(bytes, 0);
    return std::uint64_t{wire::load32(bytes, 0)} << 32 | wire::load32(bytes, 4);
}

}  // namespace

bool RateLimiter::allow(const IpAddress& source, Clock::time_point now, Random& random) {
    if (entries_.empty()) {
        random.fill(table_key_.bytes());
        entries_.resize(sets * ways);
    }
    const std::uint64_t number = source_number(source);
    const std::uint64_t place = siphash(table_key_.bytes(), std::as_bytes(std::span{&number, 1}));
    const std::span<Entry> set = std::span{entries_}.subspan(place % sets * ways, ways);

    Entry* entry = nullptr;
    for (Entry& each : set) {
        if (each.source == number) {
            entry = &each;
            break;
        }
        if (each.full_at <= now) entry = &each;  // a full bucket is as good as no entry
    }
    if (entry == nullptr) return false;
    if (entry->source != number) *entry = Entry{.source = number};
    const Clock::time_point full_at = std::max(entry->full_at, now);
    if (full_at - now > interval * (burst - 1)) return false;
    entry->full_at = full_at + interval;
    return true;
}

}  // namespace overlay::wireguard
