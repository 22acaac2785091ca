// The words for kinds, and the one place that spells a per-interface sysctl.

#include "topology/state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace overlay {

std::string_view text(LinkKind kind) {
    switch (kind) {
        case LinkKind::Bridge: return "bridge";
        case LinkKind::Gretap: return "gretap";
        case LinkKind::Ip6gretap: return "ip6gretap";
        case LinkKind::Wireguard: return "wireguard";
        case LinkKind::Tap: return "tap";
        case LinkKind::Tun: return "tun";
        case LinkKind::Veth: return "veth";
        case LinkKind::Other: return "other";
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

bool is_userspace(LinkKind kind) { return kind == LinkKind::Tap || kind == LinkKind::Tun; }

bool is_wireguard(LinkKind kind) { return kind == LinkKind::Wireguard || kind == LinkKind::Tun; }

std::string_view text(RouteType type) {
    switch (type) {
        case RouteType::Unicast: return "unicast";
        case RouteType::Multicast: return "multicast";
        case RouteType::Blackhole: return "blackhole";
        case RouteType::Unreachable: return "unreachable";
        case RouteType::Prohibit: return "prohibit";
        case RouteType::Throw: return "throw";
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

std::string_view text(TableFamily family) {
    return family == TableFamily::Inet ? "inet" : "bridge";
}

std::pair<bool, std::int64_t> turn_of(const Address& address) {
    constexpr std::int64_t beyond_all = std::int64_t{1} << 32;
    const AddressDetails& details = address.details;
    if (details.place == 0) return {details.secondary, 0};
    const bool ipv6 = address.prefix.family() == Family::Ipv6;
    return {details.secondary, ipv6 ? beyond_all - details.place : details.place - beyond_all};
}

std::vector<Address> as_listed(const std::set<Address>& addresses) {
    std::vector<Address> out{addresses.begin(), addresses.end()};
    std::ranges::stable_sort(out, {}, turn_of);
    return out;
}

const Route* with_other_mtu(const Route& route, const std::set<Route>& routes) {
    if (route.destination.family() != Family::Ipv6 || !route.metrics.contains("mtu")) return nullptr;
    const auto found = std::ranges::find_if(routes, [&](const Route& each) {
        Route same = each;
        const auto mtu = same.metrics.find("mtu");
        if (mtu == same.metrics.end() || mtu->second == route.metrics.at("mtu")) return false;
        mtu->second = route.metrics.at("mtu");
        return same == route;
    });
    return found == routes.end() ? nullptr : &*found;
}

std::vector<NextHop> ways_of(const Route& route) {
    if (!route.hops.empty()) return route.hops;
    return {NextHop{route.gateway, route.device, route.on_link, 1}};
}

bool uses(const Route& route, const IfName& device) {
    const auto ways = ways_of(route);
    return std::any_of(ways.begin(), ways.end(),
                       [&](const NextHop& way) { return way.device == device; });
}

Route moved(Route route, const IfName& from, const IfName& to) {
    if (route.device == from) route.device = to;
    for (NextHop& hop : route.hops) {
        if (hop.device == from) hop.device = to;
    }
    return route;
}

std::vector<Route> in_order_of_need(const std::set<Route>& routes) {
    std::vector<Route> narrow_to_wide{routes.begin(), routes.end()}, links, out;
    std::ranges::stable_sort(narrow_to_wide, std::ranges::greater{},
                             [](const Route& route) { return route.destination.length(); });
    std::ranges::copy_if(narrow_to_wide, std::back_inserter(links), [](const Route& r) {
        return r.type == RouteType::Unicast && r.hops.empty() && !r.gateway;
    });
    const auto last_needed = [&](const Route& route) {   // none: -1
        std::ptrdiff_t last = -1;
        for (const NextHop& way : ways_of(route)) {
            if (!way.gateway || way.on_link) continue;
            const auto reaches = [&](const Route& link) {
                return link.device == way.device && link.destination.family() == way.gateway->family() &&
                       link.destination.contains(*way.gateway);
            };
            const auto found = std::ranges::find_if(links, reaches);
            if (found != links.end()) last = std::max(last, found - links.begin());
        }
        return last;
    };
    std::map<std::ptrdiff_t, std::vector<Route>> waiting;
    std::ptrdiff_t done = 0;   // of `links`, which come in this order
    for (const Route& route : narrow_to_wide) {
        if (const std::ptrdiff_t needed = last_needed(route); needed >= done) {
            waiting[needed].push_back(route);
            continue;
        }
        out.push_back(route);
        if (done == std::ssize(links) || route != links[static_cast<std::size_t>(done)]) continue;
        std::ranges::move(waiting[done++], std::back_inserter(out));
    }
    return out;
}

std::string conf_sysctl(Family family, std::string_view interface, std::string_view name) {
    std::string spelled{interface};
    std::replace(spelled.begin(), spelled.end(), '.', '/');
    return fmt::format("net.{}.conf.{}.{}", text(family), spelled, name);
}

}  // namespace overlay
