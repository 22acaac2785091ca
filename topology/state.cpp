// The words for kinds, and the one place that spells a per-interface sysctl.

#include "topology/state.hpp"

#include <fmt/format.h>

#include <algorithm>

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

std::string conf_sysctl(Family family, std::string_view interface, std::string_view name) {
    std::string spelled{interface};
    std::replace(spelled.begin(), spelled.end(), '.', '/');
    return fmt::format("net.{}.conf.{}.{}", text(family), spelled, name);
}

}  // namespace overlay
