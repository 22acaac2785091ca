#include "netlink/routes.hpp"

#include <linux/rtnetlink.h>

#include <array>
#include <cstring>
#include <sys/socket.h>

namespace overlay::netlink {

namespace {

constexpr std::uint32_t ipv6_default_metric = 1024;   // IP6_RT_PRIO_USER, include/uapi/linux/ipv6_route.h

IfName name_of(const LinkNames& names, std::uint32_t index) {
    const auto found = names.find(index);
    return found == names.end() ? IfName{} : found->second;
}

IpAddress unspecified(Family family) {
    static constexpr std::array<std::uint8_t, 16> zero{};
    return IpAddress::from_bytes(family, zero.data());
}

std::optional<RouteType> type_of(std::uint8_t number) {
    switch (number) {
        case RTN_UNICAST: return RouteType::Unicast;
        case RTN_BLACKHOLE: return RouteType::Blackhole;
        case RTN_UNREACHABLE: return RouteType::Unreachable;
        case RTN_PROHIBIT: return RouteType::Prohibit;
        case RTN_THROW: return RouteType::Throw;
        default: return std::nullopt;
    }
}

std::uint8_t number_of(RouteType type) {
    switch (type) {
        case RouteType::Unicast: return RTN_UNICAST;
        case RouteType::Blackhole: return RTN_BLACKHOLE;
        case RouteType::Unreachable: return RTN_UNREACHABLE;
        case RouteType::Prohibit: return RTN_PROHIBIT;
        case RouteType::Throw: return RTN_THROW;
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

/// `ip route`'s words for RTAX_*.
constexpr std::array<std::pair<std::uint16_t, std::string_view>, 16> metric_names{{
    {RTAX_LOCK, "lock"},
    {RTAX_MTU, "mtu"},
    {RTAX_WINDOW, "window"},
    {RTAX_RTT, "rtt"},
    {RTAX_RTTVAR, "rttvar"},
    {RTAX_SSTHRESH, "ssthresh"},
    {RTAX_CWND, "cwnd"},
    {RTAX_ADVMSS, "advmss"},
    {RTAX_REORDERING, "reordering"},
    {RTAX_HOPLIMIT, "hoplimit"},
    {RTAX_INITCWND, "initcwnd"},
    {RTAX_FEATURES, "features"},
    {RTAX_RTO_MIN, "rto_min"},
    {RTAX_INITRWND, "initrwnd"},
    {RTAX_QUICKACK, "quickack"},
    {RTAX_FASTOPEN_NO_COOKIE, "fastopen_no_cookie"},
}};

/// Those that are numbers: the name of a congestion control is left out.
std::map<std::string, std::uint32_t> decode_metrics(const Attributes& attributes) {
    std::map<std::string, std::uint32_t> out;
    const auto nest = attributes.nest(RTA_METRICS);
    if (!nest) return out;
    for (const auto& [number, name] : metric_names) {
        if (const auto value = nest->u32(number)) out.emplace(name, *value);
    }
    return out;
}

void put_metrics(Message& request, const std::map<std::string, std::uint32_t>& metrics) {
    if (metrics.empty()) return;
    request.nest(RTA_METRICS, [&] {
        for (const auto& [number, name] : metric_names) {
            const auto value = metrics.find(std::string{name});
            if (value != metrics.end()) request.put_u32(number, value->second);
        }
    });
}

/// RTA_GATEWAY only: an IPv4 route via an IPv6 neighbour (RTA_VIA) shows without gateway.
void decode_hops(const Attributes& attributes, const LinkNames& names, Route base,
                 std::set<Route>& found) {
    const auto hops = attributes.bytes(RTA_MULTIPATH);
    if (hops.empty()) {
        base.gateway = attributes.address(RTA_GATEWAY);
        base.device = name_of(names, attributes.u32(RTA_OIF).value_or(0));
        found.insert(base);
        return;
    }
    std::size_t offset = 0;
    while (offset + sizeof(rtnexthop) <= hops.size()) {
        rtnexthop hop{};
        std::memcpy(&hop, hops.data() + offset, sizeof hop);
        if (hop.rtnh_len < sizeof hop || offset + hop.rtnh_len > hops.size()) return;
        base.device = name_of(names, static_cast<std::uint32_t>(hop.rtnh_ifindex));
        base.on_link = (hop.rtnh_flags & RTNH_F_ONLINK) != 0;
        const auto own = hops.subspan(offset + sizeof hop, hop.rtnh_len - sizeof hop);
        base.gateway = Attributes::inside(own).address(RTA_GATEWAY);
        found.insert(base);
        offset += MNL_ALIGN(hop.rtnh_len);
    }
}

void decode_route(const nlmsghdr& message, const LinkNames& names, std::set<Route>& found) {
    if (message.nlmsg_type != RTM_NEWROUTE) return;
    if (mnl_nlmsg_get_payload_len(&message) < sizeof(rtmsg)) return;
    const auto& header = *static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message));
    if (header.rtm_family != AF_INET && header.rtm_family != AF_INET6) return;   // MPLS
    const auto type = type_of(header.rtm_type);
    if (!type || (header.rtm_flags & RTM_F_CLONED) != 0) return;
    const auto attributes = Attributes::of(message, sizeof(rtmsg));
    const std::uint32_t table = attributes.u32(RTA_TABLE).value_or(header.rtm_table);
    if (table == RT_TABLE_LOCAL) return;

    const Family family = header.rtm_family == AF_INET ? Family::Ipv4 : Family::Ipv6;
    const IpAddress to = attributes.address(RTA_DST).value_or(unspecified(family));
    const Route base{.destination = IpPrefix::of(to, header.rtm_dst_len),
                     .table = table,
                     .metric = attributes.u32(RTA_PRIORITY).value_or(0),
                     .protocol = header.rtm_protocol,
                     .type = *type,
                     .source = attributes.address(RTA_PREFSRC),
                     .on_link = (header.rtm_flags & RTNH_F_ONLINK) != 0,
                     .metrics = decode_metrics(attributes)};
    decode_hops(attributes, names, base, found);
}

std::uint8_t scope_of(const Route& route, std::uint16_t type) {
    if (route.destination.family() == Family::Ipv6) return RT_SCOPE_UNIVERSE;
    if (type == RTM_DELROUTE) return RT_SCOPE_NOWHERE;   // matches any (net/ipv4/fib_trie.c)
    if (route.type != RouteType::Unicast) return RT_SCOPE_UNIVERSE;
    return route.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
}

Result<Message> request_for(Socket& socket, std::uint16_t type, const Route& route,
                            std::string_view doing) {
    std::uint32_t device_index = 0;   // a blackhole has none
    if (route.type == RouteType::Unicast) {
        const auto device = find_link(socket, route.device, doing);
        if (!device) return pass_on(device);
        device_index = device->index;
    }
    const Family family = route.destination.family();
    Message request{type, 0};
    auto& header = request.fixed_header<rtmsg>();
    header.rtm_family = family == Family::Ipv4 ? AF_INET : AF_INET6;
    header.rtm_dst_len = route.destination.length();
    // Tables beyond a byte are in RTA_TABLE alone.
    if (route.table < 256) header.rtm_table = static_cast<std::uint8_t>(route.table);
    header.rtm_protocol = route.protocol;
    header.rtm_type = number_of(route.type);
    if (route.on_link) header.rtm_flags = RTNH_F_ONLINK;
    header.rtm_scope = scope_of(route, type);
    if (header.rtm_dst_len > 0) request.put_address(RTA_DST, route.destination.address());
    request.put_u32(RTA_TABLE, route.table);
    if (route.gateway) request.put_address(RTA_GATEWAY, *route.gateway);
    if (device_index != 0) request.put_u32(RTA_OIF, device_index);
    if (route.source) request.put_address(RTA_PREFSRC, *route.source);
    // The kernel would read 0 as 1024 when adding, but as "any" when deleting.
    const bool defaulted = route.metric == 0 && family == Family::Ipv6;
    request.put_u32(RTA_PRIORITY, defaulted ? ipv6_default_metric : route.metric);
    put_metrics(request, route.metrics);
    return request;
}

}  // namespace

Result<std::set<Route>> snapshot_routes(Socket& route, const LinkNames& names) {
    std::set<Route> found;
    for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
        Message request{RTM_GETROUTE, 0};
        request.fixed_header<rtmsg>().rtm_family = family;
        const auto replies = route.dump(request, "list routes");
        // A kernel without IPv6 has no routes of it.
        if (!replies && family == AF_INET6 && replies.error().kind == Error::Kind::Unsupported) break;
        if (!replies) return pass_on(replies);
        replies->for_each([&](const nlmsghdr& message) { decode_route(message, names, found); });
    }
    return found;
}

Result<void> add_route(Socket& socket, const Route& route, std::string_view doing) {
    auto request = request_for(socket, RTM_NEWROUTE, route, doing);
    if (!request) return pass_on(request);
    request->header()->nlmsg_flags |= NLM_F_CREATE | NLM_F_EXCL;
    return socket.change(*request, doing);
}

Result<void> remove_route(Socket& socket, const Route& route, std::string_view doing) {
    auto request = request_for(socket, RTM_DELROUTE, route, doing);
    if (!request) return pass_on(request);
    return socket.change(*request, doing);
}

}  // namespace overlay::netlink
