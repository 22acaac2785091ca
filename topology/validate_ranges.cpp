// Addresses that no host has, whatever network they stand in.

#include "topology/validate_parts.hpp"

#include <algorithm>
#include <vector>

namespace overlay {
namespace {

struct UnusableRange {
    IpPrefix prefix;
    const char* one;   ///< "is a multicast address"
    const char* many;  ///< "multicast addresses"
};

/// RFC 1122 §3.2.1.3, RFC 5771, RFC 1112 §4; RFC 4291 §2.5 and §2.7. The narrower before the wider.
const std::vector<UnusableRange>& ranges() {
    static const std::vector<UnusableRange> table = [] {
        std::vector<UnusableRange> out;
        const auto add = [&](const char* prefix, const char* one, const char* many) {
            out.push_back({*IpPrefix::parse(prefix), one, many});
        };
        add("0.0.0.0/32", "is no host's address", "no host's address");
        add("::/128", "is no host's address", "no host's address");
        add("255.255.255.255/32", "is the broadcast address", "the broadcast address");
        add("0.0.0.0/8", "is an address of \"this network\", which no host has",
            "\"this network\"");
        add("127.0.0.0/8", "is a loopback address", "loopback addresses");
        add("::1/128", "is a loopback address", "the loopback address");
        add("224.0.0.0/4", "is a multicast address", "multicast addresses");
        add("ff00::/8", "is a multicast address", "multicast addresses");
        add("240.0.0.0/4", "is a reserved address", "reserved addresses");
        add("::ffff:0:0/96", "is an IPv4 address written as IPv6", "IPv4 addresses written as IPv6");
        add("::/96", "is an IPv4 address written as IPv6", "IPv4 addresses written as IPv6");
        return out;
    }();
    return table;
}

}  // namespace

std::string why_no_host(const IpAddress& address) {
    const auto found = std::find_if(ranges().begin(), ranges().end(), [&](const UnusableRange& range) {
        return range.prefix.contains(address);
    });
    return found == ranges().end() ? std::string{} : found->one;
}

std::string why_no_network(const IpPrefix& network) {
    static const IpPrefix link_local = *IpPrefix::parse("fe80::/10");
    const auto says = [](const IpPrefix& range, const char* what) {
        return fmt::format("cannot be routed: it overlaps {}, {}", text(range), what);
    };
    for (const UnusableRange& range : ranges()) {
        if (range.prefix.overlaps(network)) return says(range.prefix, range.many);
    }
    if (link_local.overlaps(network)) return says(link_local, "link-local addresses");
    return {};
}

}  // namespace overlay
