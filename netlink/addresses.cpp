#include "netlink/addresses.hpp"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cstring>
#include <limits>
#include <map>
#include <utility>
#include <sys/socket.h>

namespace overlay::netlink {

namespace {

constexpr std::uint32_t for_ever = std::numeric_limits<std::uint32_t>::max();   // INFINITY_LIFE_TIME

/// Of IPv4 the kernel tells no preferred lifetime of 0 beside an endless valid one, only its flag (Linux
/// net/ipv4/devinet.c, inet_fill_ifaddr).
bool is_permanent(const Attributes& attributes) {
    if ((attributes.u32(IFA_FLAGS).value_or(0) & IFA_F_DEPRECATED) != 0) return false;
    const auto bytes = attributes.bytes(IFA_CACHEINFO);
    if (bytes.size() < sizeof(ifa_cacheinfo)) return true;
    ifa_cacheinfo lifetime{};
    std::memcpy(&lifetime, bytes.data(), sizeof lifetime);
    return lifetime.ifa_valid == for_ever && lifetime.ifa_prefered == for_ever;
}

/// A wish of whoever added the address; the other flags say how it fares.
constexpr std::uint32_t wishes =
    IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_MCAUTOJOIN;

AddressDetails decode_details(const Attributes& attributes, std::string_view link) {
    AddressDetails out;
    const auto own = attributes.address(IFA_LOCAL);
    const auto other = attributes.address(IFA_ADDRESS);
    if (own && other && *own != *other) out.peer = other;
    out.broadcast = attributes.address(IFA_BROADCAST);
    const std::string_view label = attributes.string(IFA_LABEL).value_or("");
    if (label != link) out.label = label;
    out.metric = attributes.u32(IFA_RT_PRIORITY).value_or(0);
    const std::uint32_t flags = attributes.u32(IFA_FLAGS).value_or(0);
    out.flags = flags & wishes;
    out.secondary = own && own->family() == Family::Ipv4 && (flags & IFA_F_SECONDARY) != 0;
    const auto bytes = attributes.bytes(IFA_CACHEINFO);
    if (is_permanent(attributes) || bytes.size() < sizeof(ifa_cacheinfo)) return out;
    ifa_cacheinfo lifetime{};
    std::memcpy(&lifetime, bytes.data(), sizeof lifetime);
    out.valid_seconds = lifetime.ifa_valid;
    const bool deprecated = (flags & IFA_F_DEPRECATED) != 0;
    out.preferred_seconds = deprecated ? 0 : lifetime.ifa_prefered;
    return out;
}

/// IPv6 has no choice (net/ipv6/addrconf.c derives it from the address), a loopback address neither.
std::uint8_t scope_of(std::uint8_t found, const IpAddress& address) {
    const bool derived = address.family() == Family::Ipv6 || address.is_loopback();
    return derived ? std::uint8_t{RT_SCOPE_UNIVERSE} : found;
}

/// nullopt: no address, or one with any of the `unwanted` flags.
std::optional<Address> decode_address(const nlmsghdr& message, const LinkNames& names,
                                      std::uint32_t unwanted) {
    if (message.nlmsg_type != RTM_NEWADDR) return std::nullopt;
    if (mnl_nlmsg_get_payload_len(&message) < sizeof(ifaddrmsg)) return std::nullopt;
    const auto& header = *static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&message));
    if (header.ifa_family != AF_INET && header.ifa_family != AF_INET6) return std::nullopt;
    const auto attributes = Attributes::of(message, sizeof(ifaddrmsg));
    // With a peer, IFA_ADDRESS is the peer's; without one, IPv6 has no IFA_LOCAL.
    auto own = attributes.address(IFA_LOCAL);
    if (!own) own = attributes.address(IFA_ADDRESS);
    const auto link = names.find(header.ifa_index);
    if (!own || link == names.end()) return std::nullopt;
    const auto prefix = prefix_of(*own, header.ifa_prefixlen);
    if (!prefix) return std::nullopt;

    const std::uint32_t flags = attributes.u32(IFA_FLAGS).value_or(header.ifa_flags);
    if ((flags & unwanted) != 0) return std::nullopt;
    Address address{.link = link->second,
                    .prefix = *prefix,
                    .permanent = is_permanent(attributes),
                    .no_prefix_route = (flags & IFA_F_NOPREFIXROUTE) != 0,
                    .details = decode_details(attributes, link->second.str())};
    address.details.scope = scope_of(header.ifa_scope, address.prefix.address());
    address.details.by_kernel = attributes.u8(IFA_PROTO) == IFAPROT_KERNEL_LL;   // Linux ≥ 5.18 tells
    return address;
}

Result<std::set<Address>> list_addresses(Socket& route, const LinkNames& names,
                                         std::uint32_t unwanted) {
    Message request{RTM_GETADDR, 0};
    request.fixed_header<ifaddrmsg>();
    const auto replies = route.dump(request, "list addresses");
    if (!replies) return pass_on(replies);
    std::set<Address> found;
    std::map<std::pair<IfName, Family>, std::uint32_t> listed;
    replies->for_each([&](const nlmsghdr& message) {
        auto address = decode_address(message, names, unwanted);
        if (!address) return;
        address->details.place = ++listed[{address->link, address->prefix.family()}];
        found.insert(std::move(*address));
    });
    return found;
}

Result<Message> request_for(Socket& route, std::uint16_t type, const Address& address,
                            std::string_view doing) {
    const auto link = find_link(route, address.link, doing);
    if (!link) return pass_on(link);
    Message request{type, 0};
    auto& header = request.fixed_header<ifaddrmsg>();
    header.ifa_family = address.prefix.family() == Family::Ipv4 ? AF_INET : AF_INET6;
    header.ifa_prefixlen = address.prefix.length();
    header.ifa_index = link->index;
    header.ifa_scope = address.details.scope;
    if (address.prefix.address().is_loopback()) header.ifa_scope = RT_SCOPE_HOST;
    request.put_address(IFA_LOCAL, address.prefix.address());
    // Without it, the first one of whatever length goes (net/ipv4/devinet.c, inet_rtm_deladdr).
    request.put_address(IFA_ADDRESS, address.details.peer.value_or(address.prefix.address()));
    return request;
}

}  // namespace

Result<std::set<Address>> snapshot_addresses(Socket& route, const LinkNames& names) {
    return list_addresses(route, names, 0);
}

Result<std::set<Address>> usable_addresses() {
    auto route = Socket::open(NETLINK_ROUTE);
    if (!route) return pass_on(route);
    const auto links = snapshot_links(*route);
    if (!links) return pass_on(links);
    return list_addresses(*route, links->names, IFA_F_TENTATIVE | IFA_F_DADFAILED);
}

Result<void> add_address(Socket& route, const Address& address, std::string_view doing) {
    auto request = request_for(route, RTM_NEWADDR, address, doing);
    if (!request) return pass_on(request);
    request->header()->nlmsg_flags |= NLM_F_CREATE | NLM_F_EXCL;
    const AddressDetails& details = address.details;
    if (details.broadcast) request->put_address(IFA_BROADCAST, *details.broadcast);
    if (!details.label.empty()) request->put_c_string(IFA_LABEL, details.label);
    if (details.metric != 0) request->put_u32(IFA_RT_PRIORITY, details.metric);
    if (details.by_kernel) request->put_u8(IFA_PROTO, IFAPROT_KERNEL_LL);   // it reads so again
    const std::uint32_t flags =
        details.flags | (address.no_prefix_route ? std::uint32_t{IFA_F_NOPREFIXROUTE} : 0);
    if (flags != 0) request->put_u32(IFA_FLAGS, flags);
    if (!address.permanent && details.valid_seconds && details.preferred_seconds) {
        ifa_cacheinfo lifetime{};
        lifetime.ifa_valid = *details.valid_seconds;
        lifetime.ifa_prefered = *details.preferred_seconds;
        std::array<std::uint8_t, sizeof lifetime> bytes{};
        std::memcpy(bytes.data(), &lifetime, sizeof lifetime);
        request->put_bytes(IFA_CACHEINFO, bytes);
    }
    return route.change(*request, doing);
}

Result<void> remove_address(Socket& route, const Address& address, std::string_view doing) {
    auto request = request_for(route, RTM_DELADDR, address, doing);
    if (!request) return pass_on(request);
    return route.change(*request, doing);
}

}  // namespace overlay::netlink
