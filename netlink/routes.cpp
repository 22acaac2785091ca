#include "netlink/routes.hpp"

#include <linux/rtnetlink.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <sys/socket.h>
#include <vector>

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
        case RTN_MULTICAST: return RouteType::Multicast;
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
        case RouteType::Multicast: return RTN_MULTICAST;
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

/// Those that are numbers; the name of a congestion control is the route's own.
std::map<std::string, std::uint32_t> decode_metrics(const Attributes& attributes) {
    std::map<std::string, std::uint32_t> out;
    const auto nest = attributes.nest(RTA_METRICS);
    if (!nest) return out;
    for (const auto& [number, name] : metric_names) {
        if (const auto value = nest->u32(number)) out.emplace(name, *value);
    }
    return out;
}

std::string decode_congestion_control(const Attributes& attributes) {
    const auto nest = attributes.nest(RTA_METRICS);
    return std::string{nest ? nest->string(RTAX_CC_ALGO).value_or("") : ""};
}

void put_metrics(Message& request, const Route& route) {
    if (route.metrics.empty() && route.congestion_control.empty()) return;
    request.nest(RTA_METRICS, [&] {
        for (const auto& [number, name] : metric_names) {
            const auto value = route.metrics.find(std::string{name});
            if (value != route.metrics.end()) request.put_u32(number, value->second);
        }
        if (!route.congestion_control.empty())
            request.put_c_string(RTAX_CC_ALGO, route.congestion_control);
    });
}

/// RTA_VIA: a neighbour of the other family. struct rtvia is its family, then the address.
std::optional<IpAddress> decode_gateway(const Attributes& attributes) {
    const auto via = attributes.bytes(RTA_VIA);
    if (via.size() < sizeof(rtvia)) return attributes.address(RTA_GATEWAY);
    rtvia header{};
    std::memcpy(&header, via.data(), sizeof header);
    const auto address = via.subspan(sizeof header);
    const Family family = header.rtvia_family == AF_INET ? Family::Ipv4 : Family::Ipv6;
    if (address.size() != (family == Family::Ipv4 ? 4u : 16u)) return std::nullopt;
    return IpAddress::from_bytes(family, address.data());
}

void put_gateway(Message& request, const IpAddress& gateway, Family of_route) {
    if (gateway.family() == of_route) return request.put_address(RTA_GATEWAY, gateway);
    rtvia header{};
    header.rtvia_family = gateway.family() == Family::Ipv4 ? AF_INET : AF_INET6;
    std::vector<std::uint8_t> bytes(sizeof header);
    std::memcpy(bytes.data(), &header, sizeof header);
    bytes.insert(bytes.end(), gateway.data(), gateway.data() + gateway.size_bytes());
    request.put_bytes(RTA_VIA, bytes);
}

std::vector<NextHop> decode_hops(std::span<const std::uint8_t> bytes, const LinkNames& names) {
    std::vector<NextHop> out;
    std::size_t offset = 0;
    while (offset + sizeof(rtnexthop) <= bytes.size()) {
        rtnexthop hop{};
        std::memcpy(&hop, bytes.data() + offset, sizeof hop);
        if (hop.rtnh_len < sizeof hop || offset + hop.rtnh_len > bytes.size()) break;
        const auto own = bytes.subspan(offset + sizeof hop, hop.rtnh_len - sizeof hop);
        out.push_back({decode_gateway(Attributes::inside(own)),
                       name_of(names, static_cast<std::uint32_t>(hop.rtnh_ifindex)),
                       (hop.rtnh_flags & RTNH_F_ONLINK) != 0,
                       static_cast<std::uint16_t>(hop.rtnh_hops + 1)});
        offset += MNL_ALIGN(hop.rtnh_len);
    }
    return out;
}

constexpr std::string_view nexthop_object = "nexthop object";

bool decode_expires(const Attributes& attributes) {
    const auto bytes = attributes.bytes(RTA_CACHEINFO);
    rta_cacheinfo info{};
    if (bytes.size() < sizeof info) return false;
    std::memcpy(&info, bytes.data(), sizeof info);
    return info.rta_expires != 0;
}

/// What a request of ours cannot say.
std::string decode_beyond_us(const rtmsg& header, const Attributes& attributes) {
    if (const auto nexthop = attributes.u32(RTA_NH_ID))
        return fmt::format("{} {}", nexthop_object, *nexthop);
    if (attributes.has(RTA_ENCAP)) return "an encapsulation";
    if (attributes.has(RTA_FLOW)) return "a realm";
    if (header.rtm_src_len != 0) return "a source prefix";
    const bool by_somebody = header.rtm_protocol != RTPROT_RA && header.rtm_protocol != RTPROT_KERNEL;
    if (by_somebody && decode_expires(attributes)) return "an end (expires)";
    return {};
}

std::uint8_t usual_scope(const Route& route) {
    if (route.destination.family() == Family::Ipv6) return RT_SCOPE_UNIVERSE;
    if (route.type != RouteType::Unicast) return RT_SCOPE_UNIVERSE;
    const auto ways = ways_of(route);
    const bool on =
        std::none_of(ways.begin(), ways.end(), [](const NextHop& way) { return way.gateway.has_value(); });
    return on ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
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
    const auto destination = prefix_of(to, header.rtm_dst_len);
    if (!destination) return;
    Route route{.destination = *destination,
                .table = table,
                .metric = attributes.u32(RTA_PRIORITY).value_or(0),
                .protocol = header.rtm_protocol,
                .type = *type,
                .source = attributes.address(RTA_PREFSRC),
                .metrics = decode_metrics(attributes),
                .tos = header.rtm_tos,
                .preference = attributes.u8(RTA_PREF).value_or(0),
                .expires = decode_expires(attributes),
                .congestion_control = decode_congestion_control(attributes),
                .hops = decode_hops(attributes.bytes(RTA_MULTIPATH), names),
                .beyond_us = decode_beyond_us(header, attributes)};
    if (route.hops.empty()) {
        route.gateway = decode_gateway(attributes);
        route.device = name_of(names, attributes.u32(RTA_OIF).value_or(0));
        route.on_link = (header.rtm_flags & RTNH_F_ONLINK) != 0;
    }
    if (family == Family::Ipv4 && header.rtm_scope != usual_scope(route))
        route.scope = header.rtm_scope;
    found.insert(std::move(route));
}

std::uint8_t scope_of(const Route& route, std::uint16_t type) {
    const bool any = type == RTM_DELROUTE && route.destination.family() == Family::Ipv4;
    if (any) return RT_SCOPE_NOWHERE;   // matches any (net/ipv4/fib_trie.c)
    return route.scope.value_or(usual_scope(route));
}

/// One way in the message itself, several in a list.
Result<void> put_ways(Socket& socket, Message& request, const Route& route, std::string_view doing) {
    const bool leads_on = route.type == RouteType::Unicast || route.type == RouteType::Multicast;
    if (!leads_on) return {};   // a blackhole has none
    std::vector<std::uint8_t> list;
    for (const NextHop& way : ways_of(route)) {
        const auto device = find_link(socket, way.device, doing);
        if (!device) return pass_on(device);
        const Family family = route.destination.family();
        if (route.hops.empty()) {
            if (way.gateway) put_gateway(request, *way.gateway, family);
            request.put_u32(RTA_OIF, device->index);
            continue;
        }
        Message attributes{0, 0};
        if (way.gateway) put_gateway(attributes, *way.gateway, family);
        const auto* own = static_cast<const std::uint8_t*>(mnl_nlmsg_get_payload(attributes.header()));
        const std::size_t own_bytes = mnl_nlmsg_get_payload_len(attributes.header());
        rtnexthop hop{};
        hop.rtnh_len = static_cast<unsigned short>(sizeof hop + own_bytes);
        hop.rtnh_flags = way.on_link ? RTNH_F_ONLINK : 0;
        hop.rtnh_hops = static_cast<unsigned char>(way.weight - 1);
        hop.rtnh_ifindex = static_cast<int>(device->index);
        const std::size_t at = list.size();
        list.resize(at + sizeof hop);
        std::memcpy(list.data() + at, &hop, sizeof hop);
        list.insert(list.end(), own, own + own_bytes);   // aligned, as netlink's payloads are
    }
    if (!list.empty()) request.put_bytes(RTA_MULTIPATH, list);
    return {};
}

Result<Message> request_for(Socket& socket, std::uint16_t type, const Route& route,
                            std::string_view doing) {
    if (type == RTM_NEWROUTE && !route.beyond_us.empty())
        return fail(Error::Kind::Unsupported, doing, "we cannot give it " + route.beyond_us);
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
    header.rtm_tos = route.tos;
    if (header.rtm_dst_len > 0) request.put_address(RTA_DST, route.destination.address());
    request.put_u32(RTA_TABLE, route.table);
    // One that goes by a nexthop object is not found by ways of its own (Linux net/ipv4/fib_semantics.c,
    // fib_nh_match).
    const bool has_ways = !route.beyond_us.starts_with(nexthop_object);
    if (has_ways) {
        if (auto put = put_ways(socket, request, route, doing); !put) return pass_on(put);
    }
    if (route.source) request.put_address(RTA_PREFSRC, *route.source);
    // The kernel would read 0 as 1024 when adding, but as "any" when deleting.
    const bool defaulted = route.metric == 0 && family == Family::Ipv6;
    request.put_u32(RTA_PRIORITY, defaulted ? ipv6_default_metric : route.metric);
    if (route.preference != 0) request.put_u8(RTA_PREF, route.preference);
    put_metrics(request, route);
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
    // Each device has a route of its own to fe80::/64, and somebody may have two of one destination and metric: there,
    // EXCL would refuse the second one.
    const IpAddress& to = route.destination.address();
    const bool each_has_it = to.family() == Family::Ipv6 && to.is_link_local();
    const bool is_ours = route.protocol == route_protocol;
    request->header()->nlmsg_flags |= NLM_F_CREATE | (each_has_it || !is_ours ? NLM_F_APPEND : NLM_F_EXCL);
    return socket.change(*request, doing);
}

Result<void> remove_route(Socket& socket, const Route& route, std::string_view doing) {
    auto request = request_for(socket, RTM_DELROUTE, route, doing);
    if (!request) return pass_on(request);
    return socket.change(*request, doing);
}

}  // namespace overlay::netlink
