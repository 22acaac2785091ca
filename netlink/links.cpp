#include "netlink/links.hpp"

#include "netlink/bridge.hpp"
#include "netlink/gretap.hpp"
#include "netlink/modules.hpp"
#include "netlink/tuntap.hpp"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <cerrno>
#include <cstring>

#include <net/if.h>
#include <net/if_arp.h>

namespace overlay::netlink {

namespace {

/// `hardware`: ifi_type, which tells TAP from TUN on every kernel.
LinkKind kind_of(std::string_view info_kind, unsigned hardware) {
    if (info_kind == "tun") return hardware == ARPHRD_ETHER ? LinkKind::Tap : LinkKind::Tun;
    for (const auto kind : {LinkKind::Bridge, LinkKind::Gretap, LinkKind::Ip6gretap,
                            LinkKind::Wireguard, LinkKind::Veth}) {
        if (info_kind == text(kind)) return kind;
    }
    return LinkKind::Other;
}

std::string_view module_of(LinkKind kind) {
    switch (kind) {
        case LinkKind::Bridge: return "bridge";
        case LinkKind::Gretap: return "ip_gre";
        case LinkKind::Ip6gretap: return "ip6_gre";
        case LinkKind::Wireguard: return "wireguard";
        case LinkKind::Tap:
        case LinkKind::Tun: return "tun";
        case LinkKind::Veth:
        case LinkKind::Other: break;
    }
    return "";
}

IfName name_of(const LinkNames& names, std::uint32_t index) {
    const auto found = names.find(index);
    return found == names.end() ? IfName{} : found->second;
}

/// Kind, and what the kind has: IFLA_LINKINFO.
void decode_info(const Attributes& info, unsigned hardware, const LinkNames& names, Link& link) {
    link.kind = kind_of(info.string(IFLA_INFO_KIND).value_or(""), hardware);
    const auto port = info.nest(IFLA_INFO_SLAVE_DATA);
    if (port && info.string(IFLA_INFO_SLAVE_KIND) == "bridge") link.port = decode_bridge_port(*port);
    const auto data = info.nest(IFLA_INFO_DATA);
    if (!data) return;
    if (link.kind == LinkKind::Bridge) link.bridge = decode_bridge(*data);
    if (link.kind == LinkKind::Gretap || link.kind == LinkKind::Ip6gretap) {
        const bool over_ipv6 = link.kind == LinkKind::Ip6gretap;
        link.gretap = decode_gretap(*data, over_ipv6 ? Family::Ipv6 : Family::Ipv4);
        link.gretap->device = name_of(names, gretap_device_index(*data));
    }
}

/// The bridge opens a port when its carrier is there and the kernel has looked, which it does once a second (Linux
/// net/bridge/br.c, br_device_event; net/core/link_watch.c). Before, nobody has blocked it.
bool is_operational(const Attributes& attributes) {
    constexpr std::uint8_t unknown = 0, up = 6;   // Linux include/uapi/linux/if.h, IF_OPER_*
    const std::uint8_t state = attributes.u8(IFLA_OPERSTATE).value_or(unknown);
    return state == up || state == unknown;
}

/// What the kernel gives a device when it becomes ready for IPv6, and not again (Linux net/ipv6/addrconf.c,
/// addrconf_dev_config), as long as its interface identifiers are those of RFC 4291. Carrier and operational
/// state come a moment earlier.
std::optional<IpAddress> link_local(const Attributes& attributes, const MacAddress& mac) {
    constexpr std::uint32_t ready = 0x80000000;   // Linux include/net/if_inet6.h, IF_READY
    const auto families = attributes.nest(IFLA_AF_SPEC);
    const auto ipv6 = families ? families->nest(AF_INET6) : std::nullopt;
    if (!ipv6 || (ipv6->u32(IFLA_INET6_FLAGS).value_or(0) & ready) == 0) return std::nullopt;
    if (ipv6->u8(IFLA_INET6_ADDR_GEN_MODE) != std::uint8_t{IN6_ADDR_GEN_MODE_EUI64}) return std::nullopt;
    return link_local_of(mac);
}

FoundLink decode_link(const nlmsghdr& message, const LinkNames& names) {
    const auto& header = *static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
    const auto attributes = Attributes::of(message, sizeof(ifinfomsg));
    Link link;
    link.name = link_name(attributes, IFLA_IFNAME).value_or(IfName{});
    link.alias = std::string{attributes.string(IFLA_IFALIAS).value_or("")};
    link.mtu = Mtu{attributes.u32(IFLA_MTU).value_or(0)};
    link.up = (header.ifi_flags & IFF_UP) != 0;
    link.arp = (header.ifi_flags & IFF_NOARP) == 0;
    link.master = name_of(names, attributes.u32(IFLA_MASTER).value_or(0));
    const auto address = attributes.bytes(IFLA_ADDRESS);
    if (address.size() == 6) link.mac = MacAddress::from_bytes(address.data());
    if (const auto info = attributes.nest(IFLA_LINKINFO)) decode_info(*info, header.ifi_type, names, link);
    const bool is_here = attributes.find(IFLA_LINK_NETNSID) == nullptr;
    const IfName parent = is_here ? name_of(names, attributes.u32(IFLA_LINK).value_or(0)) : IfName{};
    if (link.kind == LinkKind::Other && !parent.empty()) link.parent = parent;
    if (link.port && !is_operational(attributes)) link.port->blocked = false;
    if (link.kind == LinkKind::Bridge && link.mac)
        link.link_local = link_local(attributes, *link.mac);
    return {static_cast<std::uint32_t>(header.ifi_index), std::move(link)};
}

/// Those that could be the name of a link: an `altname` may be longer.
std::vector<IfName> alternative_names(const nlmsghdr& message) {
    std::vector<IfName> out;
    const auto attributes = Attributes::of(message, sizeof(ifinfomsg));
    const nlattr* const list = attributes.find(IFLA_PROP_LIST);
    if (list == nullptr) return out;
    for_each_inside(*list, [&](const nlattr& property) {
        if (mnl_attr_get_type(&property) != IFLA_ALT_IFNAME) return;
        const auto* const text = static_cast<const char*>(mnl_attr_get_payload(&property));
        const std::string_view name{text, ::strnlen(text, mnl_attr_get_payload_len(&property))};
        if (!name.empty() && name.size() < IFNAMSIZ) out.push_back(IfName::from_kernel(name));
    });
    return out;
}

bool holds_link(const nlmsghdr& message) {
    return message.nlmsg_type == RTM_NEWLINK && mnl_nlmsg_get_payload_len(&message) >= sizeof(ifinfomsg) &&
           link_name(Attributes::of(message, sizeof(ifinfomsg)), IFLA_IFNAME);
}

Result<std::uint32_t> index_or_zero(Socket& route, const IfName& name, std::string_view doing) {
    if (name.empty()) return 0U;
    const auto found = find_link(route, name, doing);
    if (!found) return pass_on(found);
    return found->index;
}

void put_info(Message& request, const Link& link, std::uint32_t device_index) {
    request.nest(IFLA_LINKINFO, [&] {
        request.put_string(IFLA_INFO_KIND, text(link.kind));
        if (!link.bridge && !link.gretap) return;
        request.nest(IFLA_INFO_DATA, [&] {
            if (link.bridge) put_bridge(request, *link.bridge);
            if (link.gretap) put_gretap(request, *link.gretap, device_index);
        });
    });
}

Message request_for(std::uint32_t index) {
    Message request{RTM_NEWLINK, 0};
    request.fixed_header<ifinfomsg>().ifi_index = static_cast<int>(index);
    return request;
}

Message port_request(const FoundLink& found, const BridgePort& port) {
    Message request = request_for(found.index);
    request.nest(IFLA_LINKINFO, [&] {
        request.put_string(IFLA_INFO_SLAVE_KIND, "bridge");
        request.nest(IFLA_INFO_SLAVE_DATA, [&] { put_bridge_port(request, port); });
    });
    return request;
}

/// The bridge's own request: one by IFLA_INFO_SLAVE_DATA ends in NETDEV_CHANGE, at which the bridge
/// opens a disabled port again (tried on 6.1; Linux net/bridge/br_if.c, br_port_carrier_check).
Message port_state_request(const FoundLink& found, const BridgePort& port) {
    Message request{RTM_SETLINK, 0};
    auto& header = request.fixed_header<ifinfomsg>();
    header.ifi_family = AF_BRIDGE;
    header.ifi_index = static_cast<int>(found.index);
    request.nest(IFLA_PROTINFO, [&] { put_port_state(request, port); });
    return request;
}

Result<void> set_port(Socket& route, const FoundLink& found, const BridgePort& port,
                      std::string_view doing) {
    Message flags = port_request(found, port);
    if (const auto changed = route.change(flags, doing); !changed) return changed;
    const bool sets_state =
        found.link.up == true && found.link.port && found.link.port->blocked != port.blocked;
    if (!sets_state) return {};
    Message state = port_state_request(found, port);
    return route.change(state, doing);
}

Result<void> set_mtu(Socket& route, std::uint32_t index, Mtu mtu, std::string_view doing) {
    Message request = request_for(index);
    request.put_u32(IFLA_MTU, mtu.bytes());
    return route.change(request, doing);
}

/// A bridge whose MTU was never *changed* follows its lowest port, and setting the value it has is no
/// change (tried on 6.1 and 6.18; Linux net/bridge/br_device.c br_change_mtu, BROPT_MTU_SET_BY_USER).
Result<void> pin_bridge_mtu(Socket& route, std::uint32_t index, Mtu mtu, std::string_view doing) {
    const auto aside = set_mtu(route, index, Mtu{mtu.bytes() + 1}, doing);
    if (!aside) return aside;
    return set_mtu(route, index, mtu, doing);
}

Result<void> mark_created(Socket& route, const Link& link, std::string_view doing) {
    const auto found = find_link(route, link.name, doing);
    if (!found) return pass_on(found);
    if (link.alias && !link.alias->empty()) {
        Message request = request_for(found->index);
        request.put_string(IFLA_IFALIAS, *link.alias);
        if (const auto marked = route.change(request, doing); !marked) return marked;
    }
    if (link.kind == LinkKind::Bridge && link.mtu) {
        return pin_bridge_mtu(route, found->index, *link.mtu, doing);
    }
    return {};
}

Result<void> delete_by_name(Socket& route, const IfName& name, std::string_view doing) {
    Message request{RTM_DELLINK, 0};
    request.fixed_header<ifinfomsg>();
    request.put_c_string(IFLA_IFNAME, name.str());
    return route.change(request, doing);
}

/// Whether a found link may be taken for the one that a step means: alias (or, where a death between
/// the two messages of a creation left none, MAC) and kind agree.
bool is_the_same(const Link& meant, const Link& found) {
    if (meant.kind != found.kind) return false;
    if (!meant.alias || meant.alias == found.alias) return true;
    return found.alias == "" && (!meant.mac || meant.mac == found.mac);
}

/// ignore-df must be off before DF can be asked for: the kernel tests the new DF against the old
/// ignore-df (Linux net/ipv4/ip_gre.c ipgre_netlink_parms). So that change takes two messages.
Result<void> clear_ignore_df(Socket& route, const FoundLink& found, std::uint32_t device_index,
                             std::string_view doing) {
    Link between{.name = found.link.name, .kind = found.link.kind, .gretap = found.link.gretap};
    between.gretap->pmtudisc = false;
    between.gretap->ignore_df = false;
    Message request = request_for(found.index);
    request.put_u32(IFLA_MTU, found.link.mtu->bytes());
    put_info(request, between, device_index);
    return route.change(request, doing);
}

bool asks_for_more_than_a_port(const Link& to) {
    return to.alias || to.mac || to.mtu || to.up || to.arp || to.master || to.bridge || to.gretap;
}

/// Everything of `to` that is set but the port, in one message.
Message change_request(const FoundLink& found, const Link& to, std::uint32_t device_index,
                       std::uint32_t master_index) {
    Message request = request_for(found.index);
    // The fixed header is the first thing in the message.
    auto& header = *static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(request.header()));
    const auto flag = [&](unsigned which, bool wanted) {
        header.ifi_flags |= wanted ? which : 0;
        header.ifi_change |= which;
    };
    if (to.up) flag(IFF_UP, *to.up);
    if (to.arp) flag(IFF_NOARP, !*to.arp);
    if (to.mac) request.put_bytes(IFLA_ADDRESS, {to.mac->data(), 6});
    if (to.alias) request.put_string(IFLA_IFALIAS, *to.alias);
    if (to.master) request.put_u32(IFLA_MASTER, master_index);
    if (to.mtu) request.put_u32(IFLA_MTU, to.mtu->bytes());
    // Changing a tunnel without an MTU in the message moves the MTU by the difference of the headers.
    else if (to.gretap) request.put_u32(IFLA_MTU, found.link.mtu->bytes());
    if (to.gretap || to.bridge) {
        Link info = to;
        info.kind = found.link.kind;
        put_info(request, info, device_index);
    }
    return request;
}

/// A port that is down, of a bridge that is down or under STP, is not blocked by anybody's hand.
void judge_blocked(std::map<IfName, Link>& links) {
    for (auto& [name, link] : links) {
        if (!link.port || !link.port->blocked || !link.master) continue;
        const auto bridge = links.find(*link.master);
        link.port->blocked = link.up == true && bridge != links.end() && bridge->second.up == true &&
                             bridge->second.bridge && bridge->second.bridge->stp == false;
    }
}

}  // namespace

std::optional<IfName> link_name(const Attributes& attributes, std::uint16_t type) {
    const auto name = attributes.string(type);
    if (!name || name->empty() || name->size() >= IFNAMSIZ) return std::nullopt;
    return IfName::from_kernel(*name);
}

std::optional<IpPrefix> prefix_of(const IpAddress& address, std::uint8_t length) {
    if (length > address.max_prefix_length()) return std::nullopt;
    return IpPrefix::of(address, length);
}

Result<FoundLinks> snapshot_links(Socket& route) {
    Message request{RTM_GETLINK, 0};
    request.fixed_header<ifinfomsg>();
    request.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    const auto replies = route.dump(request, "list links");
    if (!replies) return pass_on(replies);

    FoundLinks found;
    replies->for_each([&](const nlmsghdr& message) {
        if (!holds_link(message)) return;
        auto [index, link] = decode_link(message, {});
        found.names.emplace(index, std::move(link.name));
    });
    replies->for_each([&](const nlmsghdr& message) {
        if (!holds_link(message)) return;
        Link link = decode_link(message, found.names).link;
        for (const IfName& other : alternative_names(message))
            found.alternative_names.emplace(other, link.name);
        found.links.emplace(link.name, std::move(link));
    });
    judge_blocked(found.links);
    return found;
}

Result<FoundLink> find_link(Socket& route, const IfName& name, std::string_view doing) {
    Message request{RTM_GETLINK, 0};
    request.fixed_header<ifinfomsg>();
    request.put_c_string(IFLA_IFNAME, name.str());
    const auto replies = route.ask(request, doing);
    if (!replies) {
        Error error = replies.error();
        if (error.kind == Error::Kind::NotFound) error.reason = "there is no link " + name.str();
        return fail(std::move(error));
    }
    std::optional<FoundLink> found;
    replies->for_each([&](const nlmsghdr& message) {
        if (holds_link(message)) found = decode_link(message, {});
    });
    if (!found) return fail(Error::Kind::NotFound, doing, "there is no link " + name.str(), ENODEV);
    return *std::move(found);
}

namespace {

Result<void> create_for_overlayd(Socket& route, const Link& link, std::string_view doing) {
    const auto device = create_tuntap(link.name, link.kind, doing);
    if (!device) return pass_on(device);
    Link rest{.name = link.name, .kind = link.kind, .alias = link.alias};
    if (link.kind == LinkKind::Tap) rest.mac = link.mac;
    rest.mtu = link.mtu;
    const auto marked = change_link(route, rest, doing);
    return marked ? keep_tuntap(*device, doing) : marked;
}

}  // namespace

Result<void> create_link(Socket& route, const Link& link, std::string_view doing) {
    if (module_of(link.kind).empty()) {
        return fail(Error::Kind::Unsupported, doing, "this kind of link is not ours to make");
    }
    const auto device = index_or_zero(route, link.gretap ? link.gretap->device : IfName{}, doing);
    if (!device) return pass_on(device);

    if (is_userspace(link.kind)) return create_for_overlayd(route, link, doing);
    Link made = link;
    // As every new bridge is; a kernel without CONFIG_BRIDGE_VLAN_FILTERING would refuse to be told.
    if (made.bridge && made.bridge->vlan_filtering == false) made.bridge->vlan_filtering.reset();
    Message request{RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL};
    request.fixed_header<ifinfomsg>();
    request.put_c_string(IFLA_IFNAME, link.name.str());
    if (link.mac) request.put_bytes(IFLA_ADDRESS, {link.mac->data(), 6});
    if (link.mtu && link.kind != LinkKind::Bridge) request.put_u32(IFLA_MTU, link.mtu->bytes());
    put_info(request, made, *device);
    if (auto created = route.change(request, doing); !created) {
        Error error = created.error();
        if (error.kind == Error::Kind::Unsupported) error.hint = package_hint(module_of(link.kind));
        if (error.code == EEXIST && link.gretap) {
            error.hint = "a tunnel with the same local, remote and key exists, perhaps one that was moved "
                         "to another network namespace";
        }
        if (error.code == EINVAL && link.gretap && link.gretap->encap.type != GreEncap::Type::None) {
            error.hint = "the encapsulation may be missing in this kernel: " +
                         package_hint(link.kind == LinkKind::Gretap ? "fou" : "fou6");
        }
        return fail(std::move(error));
    }
    const auto marked = mark_created(route, link, doing);
    if (!marked) (void)delete_by_name(route, link.name, doing);   // the first failure is the story
    return marked;
}

Result<void> delete_link(Socket& route, const Link& link, std::string_view doing) {
    const auto found = find_link(route, link.name, doing);
    if (!found) return pass_on(found);
    if (!is_the_same(link, found->link)) {
        return fail(Error::Kind::Conflict, doing,
                    "another link has taken this name (alias \"" + *found->link.alias + "\")");
    }
    Message request{RTM_DELLINK, 0};
    request.fixed_header<ifinfomsg>().ifi_index = static_cast<int>(found->index);
    return route.change(request, doing);
}

Result<void> rename_link(Socket& route, const IfName& from, const IfName& to,
                         std::string_view doing) {
    const auto found = find_link(route, from, doing);
    if (!found) return pass_on(found);
    Message request = request_for(found->index);
    request.put_c_string(IFLA_IFNAME, to.str());
    return route.change(request, doing);
}

Result<void> change_link(Socket& route, const Link& to, std::string_view doing) {
    const auto found = find_link(route, to.name, doing);
    if (!found) return pass_on(found);
    const auto device = index_or_zero(route, to.gretap ? to.gretap->device : IfName{}, doing);
    if (!device) return pass_on(device);
    const auto master = index_or_zero(route, to.master.value_or(IfName{}), doing);
    if (!master) return pass_on(master);

    if (to.gretap && to.gretap->pmtudisc && found->link.gretap && found->link.gretap->ignore_df) {
        const auto cleared = clear_ignore_df(route, *found, *device, doing);
        if (!cleared) return cleared;
    }
    if (to.port) {
        if (const auto set = set_port(route, *found, *to.port, doing); !set) return set;
    }
    if (!asks_for_more_than_a_port(to)) return {};
    Message request = change_request(*found, to, *device, *master);
    const auto changed = route.change(request, doing);
    const bool pin = to.kind == LinkKind::Bridge && to.mtu && to.mtu == found->link.mtu;
    if (!changed || !pin) return changed;
    return pin_bridge_mtu(route, found->index, *to.mtu, doing);
}

}  // namespace overlay::netlink
