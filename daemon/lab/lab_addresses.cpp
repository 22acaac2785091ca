#include "daemon/lab/lab_addresses.hpp"

#include "topology/derive.hpp"

#include <algorithm>
#include <array>

namespace overlay::lab {
namespace {

IpPrefix prefix(std::string_view words) {
    const auto parsed = IpPrefix::parse(words);
    OVERLAY_ASSERT(parsed);
    return *parsed;
}

template <class Values>
void add_hosts(std::vector<IpPrefix>& out, const Values& addresses) {
    for (const auto& address : addresses) out.push_back(IpPrefix::host(address.value));
}

template <class Values>
void add_networks(std::vector<IpPrefix>& out, const Values& prefixes) {
    for (const auto& stated : prefixes) out.push_back(stated.value);
}

void add_node(std::vector<IpPrefix>& out, const Node& node) {
    add_hosts(out, node.underlay.addresses);
    add_hosts(out, node.underlay.gateways);
    if (node.bridge) add_networks(out, node.bridge->addresses);
    add_networks(out, node.addresses);
    add_networks(out, node.lan);
    if (node.router_advertisement) {
        for (const AdvertisedPrefix& advertised : node.router_advertisement->prefixes) {
            out.push_back(advertised.prefix.value);
        }
    }
    for (const LinkSpec& link : node.links) {
        if (link.local) out.push_back(IpPrefix::host(link.local->value));
        if (link.nat) out.push_back(IpPrefix::host(link.nat->address.value));
        if (link.endpoint) out.push_back(IpPrefix::host(link.endpoint->value.address));
        add_networks(out, link.addresses);
    }
}

}   // namespace

bool is_private(const IpAddress& address) {
    static const std::array<IpPrefix, 7> ranges = {
        prefix("10.0.0.0/8"),    prefix("172.16.0.0/12"),  prefix("192.168.0.0/16"),
        prefix("100.64.0.0/10"), prefix("169.254.0.0/16"), prefix("fc00::/7"),
        prefix("fe80::/10")};
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](const IpPrefix& range) { return range.contains(address); });
}

IpAddress plus(const IpAddress& address, std::uint64_t count) {
    std::array<std::uint8_t, 16> bytes{};
    std::copy_n(address.data(), address.size_bytes(), bytes.begin());
    for (std::size_t i = address.size_bytes(); i-- > 0 && count != 0;) {
        const std::uint64_t sum = bytes[i] + (count & 0xffU);
        bytes[i] = static_cast<std::uint8_t>(sum & 0xffU);
        count = (count >> 8U) + (sum >> 8U);
    }
    return IpAddress::from_bytes(address.family(), bytes.data());
}

std::vector<IpPrefix> networks_of(const Topology& topology) {
    std::vector<IpPrefix> out;
    add_node(out, topology.hub);
    for (const Node& spoke : topology.spokes) add_node(out, spoke);
    if (topology.hub.wireguard) {
        for (const IpPrefix& tunnel : hub_tunnel_addresses(topology)) out.push_back(tunnel);
    }
    return out;
}

IpAddress AddressPool::public_ipv4() {
    static const std::array<IpPrefix, 4> ranges = {prefix("203.0.113.0/24"),
                                                   prefix("198.51.100.0/24"),
                                                   prefix("192.0.2.0/24"), prefix("198.19.0.0/16")};
    for (const IpPrefix& range : ranges) {
        // 10 and up: the first hosts of a /24, or its last, are gateways.
        const std::uint64_t last = (std::uint64_t{1} << (32U - range.length())) - 2;
        for (std::uint64_t n = 10; n <= last; ++n) {
            const IpAddress candidate = plus(range.address(), n);
            const bool usable = candidate.data()[3] >= 10 && candidate.data()[3] <= 250;
            if (!usable || overlaps_taken(IpPrefix::host(candidate))) continue;
            return give(candidate);
        }
    }
    OVERLAY_ASSERT(!"more than 60 000 NAT routers");
    return {};
}

IpAddress AddressPool::public_ipv6() {
    IpAddress candidate = plus(prefix("2001:2:0:1::/64").address(), 0x10);
    while (overlaps_taken(IpPrefix::host(candidate))) candidate = plus(candidate, 1);
    return give(candidate);
}

IpPrefix AddressPool::private_subnet() {
    static const std::array<IpPrefix, 3> ranges = {prefix("10.0.0.0/8"), prefix("172.16.0.0/12"),
                                                   prefix("192.168.0.0/16")};
    for (const IpPrefix& range : ranges) {
        const std::uint64_t count = std::uint64_t{1} << (24U - range.length());
        // From 10.1.1.0/24: the all-zero subnet is what default configurations use.
        for (std::uint64_t n = range.length() == 8 ? 257 : 1; n < count; ++n) {
            const IpPrefix candidate = IpPrefix::of(plus(range.address(), n * 256), 24);
            if (overlaps_taken(candidate)) continue;
            given_.push_back(candidate);
            return candidate;
        }
    }
    // The file speaks of all private space at once: a subnet of the benchmarking range will do.
    given_.push_back(prefix("198.19.255.0/24"));
    return given_.back();
}

std::optional<IpPrefix> AddressPool::host_of(const IpPrefix& network) {
    const unsigned host_bits = network.address().max_prefix_length() - network.length();
    if (host_bits < 2) return std::nullopt;
    const std::uint64_t size = std::uint64_t{1} << std::min(host_bits, 16U);
    const std::uint64_t first = size > 128 ? 100 : 2;
    for (std::uint64_t n = first; n + 1 < size; ++n) {
        const IpAddress candidate = plus(network.network().address(), n);
        if (is_used(candidate)) continue;
        return IpPrefix::of(give(candidate), network.length());
    }
    return std::nullopt;
}

IpAddress AddressPool::gateway_of(const IpPrefix& network) {
    const unsigned host_bits = network.address().max_prefix_length() - network.length();
    const IpAddress base = network.network().address();
    if (host_bits < 2) return give(base);  // no room for two (RFC 3021): the node is its own
    const IpAddress first = plus(base, 1);
    if (!is_used(first)) return give(first);
    for (std::uint64_t n = (std::uint64_t{1} << std::min(host_bits, 16U)) - 2; n > 1; --n) {
        if (!is_used(plus(base, n))) return give(plus(base, n));
    }
    return give(first);
}

IpAddress AddressPool::link_local() {
    IpAddress candidate = plus(prefix("fe80::/64").address(), 1);
    while (is_used(candidate)) candidate = plus(candidate, 1);
    return give(candidate);
}

IpAddress AddressPool::give(const IpAddress& address) {
    given_.push_back(IpPrefix::host(address));
    return address;
}

bool AddressPool::overlaps_taken(const IpPrefix& candidate) const {
    const auto overlaps = [&](const IpPrefix& other) { return candidate.overlaps(other); };
    return std::any_of(taken_.begin(), taken_.end(), overlaps) ||
           std::any_of(given_.begin(), given_.end(), overlaps);
}

/// Stated addresses are used; stated networks as a whole are not (a LAN host lives in one).
bool AddressPool::is_used(const IpAddress& address) const {
    const auto is_same = [&](const IpPrefix& other) { return other.address() == address; };
    return std::any_of(taken_.begin(), taken_.end(), is_same) ||
           std::any_of(given_.begin(), given_.end(), is_same);
}

}   // namespace overlay::lab
