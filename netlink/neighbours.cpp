#include "netlink/neighbours.hpp"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <cstring>
#include <sys/socket.h>

namespace overlay::netlink {

namespace {

std::optional<Neighbour> decode_neighbour(const nlmsghdr& message, const LinkNames& names) {
    if (message.nlmsg_type != RTM_NEWNEIGH) return std::nullopt;
    ndmsg header{};
    std::memcpy(&header, mnl_nlmsg_get_payload(&message), sizeof header);
    const auto attributes = Attributes::of(message, sizeof header);
    const auto address = attributes.address(NDA_DST);
    const auto link = names.find(static_cast<std::uint32_t>(header.ndm_ifindex));
    const bool is_proxy = (header.ndm_flags & NTF_PROXY) != 0;
    if (!address || link == names.end() || (!is_proxy && (header.ndm_state & NUD_PERMANENT) == 0)) return std::nullopt;
    Neighbour out{.link = link->second, .address = *address, .mac = {}, .is_proxy = is_proxy};
    const auto mac = attributes.bytes(NDA_LLADDR);
    if (mac.size() == 6) {
        out.mac = MacAddress::from_bytes(mac.data());
    } else if (!mac.empty()) {
        return std::nullopt;   // of a tunnel: none of ours is one
    }
    out.is_router = (header.ndm_flags & NTF_ROUTER) != 0;
    out.is_learned = (header.ndm_flags & NTF_EXT_LEARNED) != 0;
    out.protocol = attributes.u8(NDA_PROTOCOL).value_or(0);
    return out;
}

/// Proxies are told only when asked for (Linux net/core/neighbour.c, neigh_dump_info).
Result<void> list(Socket& route, std::uint8_t flags, const LinkNames& names, std::set<Neighbour>& out) {
    Message request{RTM_GETNEIGH, 0};
    request.fixed_header<ndmsg>().ndm_flags = flags;
    const auto replies = route.dump(request, "list neighbours");
    if (!replies) return pass_on(replies);
    replies->for_each([&](const nlmsghdr& message) {
        if (auto neighbour = decode_neighbour(message, names)) out.insert(*std::move(neighbour));
    });
    return {};
}

Result<Message> request_for(Socket& route, std::uint16_t type, const Neighbour& neighbour, std::string_view doing) {
    const auto link = find_link(route, neighbour.link, doing);
    if (!link) return pass_on(link);
    Message request{type, 0};
    auto& header = request.fixed_header<ndmsg>();
    header.ndm_family = neighbour.address.family() == Family::Ipv4 ? AF_INET : AF_INET6;
    header.ndm_ifindex = static_cast<int>(link->index);
    header.ndm_state = NUD_PERMANENT;
    if (neighbour.is_proxy) header.ndm_flags |= NTF_PROXY;
    if (neighbour.is_router) header.ndm_flags |= NTF_ROUTER;
    if (neighbour.is_learned) header.ndm_flags |= NTF_EXT_LEARNED;
    request.put_address(NDA_DST, neighbour.address);
    return request;
}

}  // namespace

Result<std::set<Neighbour>> snapshot_neighbours(Socket& route, const LinkNames& names) {
    std::set<Neighbour> found;
    for (const std::uint8_t flags : {std::uint8_t{0}, std::uint8_t{NTF_PROXY}}) {
        if (const auto listed = list(route, flags, names, found); !listed) return pass_on(listed);
    }
    return found;
}

Result<void> add_neighbour(Socket& route, const Neighbour& neighbour, std::string_view doing) {
    auto request = request_for(route, RTM_NEWNEIGH, neighbour, doing);
    if (!request) return pass_on(request);
    request->header()->nlmsg_flags |= NLM_F_CREATE | NLM_F_REPLACE;
    if (neighbour.mac) request->put_bytes(NDA_LLADDR, {neighbour.mac->data(), 6});
    if (neighbour.protocol != 0) request->put_u8(NDA_PROTOCOL, neighbour.protocol);
    return route.change(*request, doing);
}

Result<void> remove_neighbour(Socket& route, const Neighbour& neighbour, std::string_view doing) {
    auto request = request_for(route, RTM_DELNEIGH, neighbour, doing);
    if (!request) return pass_on(request);
    return route.change(*request, doing);
}

}  // namespace overlay::netlink
