#pragma once
// Kernel state as values. One set of types says both what should be (compiled from the file) and what is
// (a snapshot), so that diff, status, verification, drift repair and golden tests are one comparison.
//
// In a desired state an empty optional means "not ours to decide"; a snapshot leaves empty only what the
// object does not have. A gretap's parameters are never optional: the kernel zeroes whatever a change
// request leaves out (Linux net/ipv4/ip_gre.c, ipgre_netlink_parms), so we always know and send all.
//
// This file refuses to know netlink: `netlink/` fills these values and carries out steps over them.

#include "topology/values.hpp"

#include <compare>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

namespace overlay {

/// Our own number in rtm_protocol (Linux include/uapi/linux/rtnetlink.h leaves 5…255 to user space;
/// `ip route` shows it as "proto 79"). A route that carries it was made by us.
inline constexpr std::uint8_t route_protocol = 79;

// ---- links --------------------------------------------------------------------------------------

/// Tap stands for a gretap and Tun for a WireGuard device whose packets overlayd carries: the attributes are
/// the same, and who holds them is told by the kind.
enum class LinkKind { Bridge, Gretap, Ip6gretap, Wireguard, Tap, Tun, Veth, Other };
[[nodiscard]] std::string_view text(LinkKind kind);   ///< IFLA_INFO_KIND's words, `ip tuntap`'s; "other"
[[nodiscard]] bool is_userspace(LinkKind kind);
/// A WireGuard interface, whoever carries it.
[[nodiscard]] bool is_wireguard(LinkKind kind);

struct BridgeAttributes {
    std::optional<bool> stp;
    std::optional<bool> multicast_snooping;
    std::optional<bool> vlan_filtering;
    friend bool operator==(const BridgeAttributes&, const BridgeAttributes&) = default;
};

/// One direction of a GRE tunnel (RFC 2890): ikey/okey, icsum/ocsum, iseq/oseq of `ip link`.
struct GreDirection {
    std::optional<std::uint32_t> key;   ///< host order; nullopt: no key on the wire
    bool checksum = false;
    bool sequence = false;
    friend bool operator==(const GreDirection&, const GreDirection&) = default;
};

struct GreEncap {
    enum class Type { None, Fou, Gue };
    Type type = Type::None;
    std::uint16_t source_port = 0;        ///< 0: hashed from the inner flow
    std::uint16_t destination_port = 0;
    bool checksum = false;                ///< encap-csum: UDP checksum over IPv4
    bool checksum6 = false;               ///< encap-csum6: UDP checksum over IPv6
    bool remote_checksum = false;         ///< encap-remcsum
    friend bool operator==(const GreEncap&, const GreEncap&) = default;
};

/// gretap or ip6gretap, by the family of its addresses. Always complete (see the top of this file), but for a
/// TAP that is found without overlayd, which has none.
struct GretapAttributes {
    IpAddress local;
    IpAddress remote;
    IfName device;             ///< `dev`; empty: none
    GreDirection input;
    GreDirection output;
    std::uint8_t ttl = 64;     ///< 0: inherit
    std::uint8_t tos = 0;
    bool pmtudisc = true;      ///< IPv4 only: DF on the outer packet
    bool ignore_df = false;    ///< IPv4 only
    std::optional<std::uint8_t> encap_limit;   ///< IPv6 only; nullopt: none
    std::uint32_t flow_label = 0;              ///< IPv6 only
    GreEncap encap;
    std::uint32_t fwmark = 0;                  ///< of the outer packet; never wanted, only found
    bool copies_dscp = false;                  ///< IPv6, `dscp inherit`; never wanted, only found
    bool inherits_fwmark = false;              ///< IPv6, `fwmark inherit`; never wanted, only found
    bool allows_local_remote = false;          ///< IPv6, `allow-localremote`; never wanted, only found
    bool collect_metadata = false;             ///< `external`; never wanted, only found
    friend bool operator==(const GretapAttributes&, const GretapAttributes&) = default;
};

/// How a bridge treats one of its ports: `bridge -d link`. The defaults are the kernel's (Linux
/// net/bridge/br_if.c, new_nbp), and what a tunnel's port shall be: spoke to spoke is the purpose.
struct BridgePort {
    bool hairpin = false;
    bool guard = false;
    bool root_block = false;
    bool learning = true;
    bool flood = true;
    bool multicast_flood = true;
    bool broadcast_flood = true;
    bool multicast_to_unicast = false;
    bool neighbour_suppression = false;
    bool proxy_arp = false;
    bool proxy_arp_wifi = false;
    bool isolated = false;
    bool locked = false;
    bool blocked = false;   ///< not forwarding, though up and without spanning tree: `state` by hand
    friend bool operator==(const BridgePort&, const BridgePort&) = default;
};

struct Link {
    IfName name;
    LinkKind kind = LinkKind::Other;
    std::optional<std::string> alias;      ///< "" = none; "overlay:<network>:<id>" marks ours
    std::optional<MacAddress> mac;
    std::optional<Mtu> mtu;
    std::optional<bool> up;                ///< IFF_UP, administrative
    std::optional<bool> arp;               ///< without IFF_NOARP; IPv6's neighbour discovery goes by it, too
    std::optional<IfName> master;          ///< empty name = none
    std::optional<BridgeAttributes> bridge;
    std::optional<GretapAttributes> gretap;
    std::optional<BridgePort> port;        ///< found: of a bridge's port alone
    std::optional<IpAddress> link_local;   ///< found: of a bridge that IPv6 runs on (RFC 4291, 2.5.6)
    std::optional<IfName> parent;          ///< found: what a VLAN or the like (of kind Other) lies on
    friend bool operator==(const Link&, const Link&) = default;
};

// ---- addresses and routes -----------------------------------------------------------------------

/// What we never ask for, but give back with somebody's address that we moved or replaced. Where packets go
/// depends on the peer, the scope and the metric: they are compared. The rest rides along.
struct AddressDetails {
    std::optional<IpAddress> peer;
    std::optional<IpAddress> broadcast;
    std::string label;                      ///< IPv4 only; "": the link's name
    std::uint8_t scope = 0;                 ///< IPv4 only; rtnetlink.h, RT_SCOPE_*
    std::uint32_t metric = 0;               ///< of its connected route; 0: the kernel's choice
    std::uint32_t flags = 0;                ///< those of IFA_F_* that are a wish, not a state
    std::optional<std::uint32_t> valid_seconds, preferred_seconds;   ///< when not for ever
    bool secondary = false;                 ///< found, IPv4: another of its network came first
    std::uint32_t place = 0;                ///< found: 1, 2, … as the kernel lists its link's of this family
    bool by_kernel = false;                 ///< IPv6's link-local address, which the kernel makes by itself
};

struct Address {
    IfName link;
    IpPrefix prefix;              ///< host bits kept
    bool permanent = true;        ///< valid and preferred for ever; false: SLAAC, DHCP or a hand-set lifetime
    bool no_prefix_route = false;
    AddressDetails details;

    [[nodiscard]] auto compared() const {
        return std::tie(link, prefix, permanent, no_prefix_route, details.peer, details.scope,
                        details.metric);
    }
    friend bool operator==(const Address& a, const Address& b) { return (a <=> b) == 0; }
    friend std::strong_ordering operator<=>(const Address& a, const Address& b) {
        return a.compared() <=> b.compared();
    }
};

/// Nobody takes it away by and by: it may be deprecated all the same ("preferred_lft 0").
[[nodiscard]] inline bool is_for_ever(const Address& address) {
    constexpr std::uint32_t infinity = 0xffffffff;   // Linux net/addrconf.h, INFINITY_LIFE_TIME
    return address.permanent || address.details.valid_seconds == infinity;
}

/// Of addresses that would do equally well, packets leave from the one that the kernel lists first: that is the oldest
/// of IPv4 (Linux net/ipv4/devinet.c, __inet_insert_ifa), the youngest of IPv6 (net/ipv6/addrconf.c,
/// ipv6_link_dev_addr). Those that were listed somewhere are to be listed so again, before what is new: who is added
/// earlier has the smaller turn.
[[nodiscard]] std::pair<bool, std::int64_t> turn_of(const Address& address);
[[nodiscard]] std::vector<Address> as_listed(const std::set<Address>& addresses);   ///< in the order of their turns

/// What the kernel takes for one and the same address: for IPv6 its length is not part of it (Linux
/// net/ipv6/addrconf.c, ipv6_chk_same_addr), for IPv4 it is (net/ipv4/devinet.c, __inet_insert_ifa).
[[nodiscard]] inline bool is_same_address(const Address& a, const Address& b) {
    if (a.link != b.link || a.prefix.family() != b.prefix.family()) return false;
    return a.prefix.family() == Family::Ipv6 ? a.prefix.address() == b.prefix.address()
                                             : a.prefix == b.prefix;
}

enum class RouteType : std::uint8_t { Unicast, Multicast, Blackhole, Unreachable, Prohibit, Throw };
[[nodiscard]] std::string_view text(RouteType type);   ///< `ip route`'s words

/// One way of a multipath route.
struct NextHop {
    std::optional<IpAddress> gateway;   ///< of either family (RTA_VIA)
    IfName device;
    bool on_link = false;
    std::uint16_t weight = 1;
    friend auto operator<=>(const NextHop&, const NextHop&) = default;
};

struct Route {
    IpPrefix destination;         ///< a network; 0.0.0.0/0 is the default route
    std::optional<IpAddress> gateway;
    IfName device;
    std::uint32_t table = 254;    ///< main
    std::uint32_t metric = 0;     ///< IPv6: the kernel turns 0 into 1024; we send and compare 1024
    std::uint8_t protocol = route_protocol;
    // Found only, or of somebody's route that we moved: ours are unicast and have nothing of this.
    RouteType type = RouteType::Unicast;
    std::optional<IpAddress> source;               ///< `src`
    bool on_link = false;                          ///< `onlink`
    std::map<std::string, std::uint32_t> metrics;  ///< "mtu", "advmss" … ("lock": bits); by number if unknown
    std::uint8_t tos = 0;                          ///< IPv4 only
    std::optional<std::uint8_t> scope;             ///< IPv4: when it does not follow from the rest
    std::uint8_t preference = 0;                   ///< IPv6: RFC 4191, of several routers
    bool expires = false;                          ///< IPv6: not for ever
    std::string congestion_control;
    std::vector<NextHop> hops;                     ///< multipath: then no `gateway`, `device`, `on_link`
    std::string beyond_us;                         ///< what of it we could not put back; "": nothing
    friend auto operator<=>(const Route&, const Route&) = default;
};

/// What the kernel takes for one and the same route, whatever its device (Linux net/ipv4/fib_trie.c
/// fib_find_alias, net/ipv6/ip6_fib.c fib6_add_rt2node).
[[nodiscard]] inline bool is_same_route(const Route& a, const Route& b) {
    return a.destination == b.destination && a.table == b.table && a.metric == b.metric &&
           a.tos == b.tos;
}

/// The same but for its MTU, nullptr: none. The kernel writes its device's MTU into an IPv6 route that states a larger
/// one, or the former one (Linux net/ipv6/route.c, rt6_mtu_change_route).
[[nodiscard]] const Route* with_other_mtu(const Route& route, const std::set<Route>& routes);

/// Each of its ways, be it one or several.
[[nodiscard]] std::vector<NextHop> ways_of(const Route& route);
[[nodiscard]] bool uses(const Route& route, const IfName& device);
/// The same route by another device.
[[nodiscard]] Route moved(Route route, const IfName& from, const IfName& to);

// ---- neighbours ---------------------------------------------------------------------------------

/// An entry of the neighbour table that somebody wrote there: `ip neigh add … nud permanent`, or `proxy`. Found, or
/// somebody's that we put back; ours there are none. What the kernel learns by itself is left out.
struct Neighbour {
    IfName link;
    IpAddress address;
    std::optional<MacAddress> mac;   ///< of a proxy, and on a link without MACs: none
    bool is_proxy = false;           ///< we answer for it
    bool is_router = false;
    bool is_learned = false;         ///< `extern_learn`: a routing daemon's
    std::uint8_t protocol = 0;       ///< who wrote it, as a route's; 0: nobody says
    friend auto operator<=>(const Neighbour&, const Neighbour&) = default;
};

/// What the kernel takes for one and the same entry (Linux net/core/neighbour.c, neigh_lookup and pneigh_lookup).
[[nodiscard]] inline bool is_same_neighbour(const Neighbour& a, const Neighbour& b) {
    return a.link == b.link && a.address == b.address && a.is_proxy == b.is_proxy;
}

/// In the order in which the kernel takes them: one with a gateway after the one by which that is reached, and else a
/// narrow one before a wide one. The route that keeps the hub outside the tunnel stands before those that lead
/// everything into it, or the tunnel's own packets enter the tunnel for a moment, and the kernel remembers the MTU of
/// that way for ten minutes (net.ipv4.route.mtu_expires). They go in the reverse order.
[[nodiscard]] std::vector<Route> in_order_of_need(const std::set<Route>& routes);

// ---- UDP encapsulation ports --------------------------------------------------------------------

/// Who receives on a UDP port and carries what comes in.
enum class Datapath : std::uint8_t { Kernel, Userspace };

/// A kernel FOU socket, or overlayd's socket in its place. Identity in the kernel: (family, port, local,
/// peer, peer_port, device);
/// type and protocol are NOT part of it (Linux 6.1 net/ipv4/fou_core.c, fou_cfg_cmp).
struct FouPort {
    Family family = Family::Ipv4;
    std::uint16_t port = 0;
    GreEncap::Type type = GreEncap::Type::Gue;
    std::uint8_t ip_protocol = 0;             ///< direct FOU only; never sent for GUE
    std::optional<IpAddress> local;
    std::optional<Endpoint> peer;
    IfName device;
    Datapath datapath = Datapath::Kernel;
    friend auto operator<=>(const FouPort&, const FouPort&) = default;
};

// ---- WireGuard ----------------------------------------------------------------------------------

struct WireguardPeer {
    Fingerprint preshared_key;                ///< none: no PSK
    std::optional<Endpoint> endpoint;         ///< desired: nullopt = the peer tells us by roaming
    std::uint16_t keepalive_seconds = 0;      ///< 0: off
    std::set<IpPrefix> allowed_ips;           ///< networks
    friend bool operator==(const WireguardPeer&, const WireguardPeer&) = default;
};

struct WireguardDevice {
    PublicKey public_key;                     ///< stands for the private key, which never appears here
    std::optional<std::uint16_t> listen_port; ///< desired: nullopt = any
    std::uint32_t fwmark = 0;
    std::map<PublicKey, WireguardPeer> peers;
    friend bool operator==(const WireguardDevice&, const WireguardDevice&) = default;
};

// ---- firewall -----------------------------------------------------------------------------------

enum class TableFamily : std::uint8_t { Inet, Bridge };
[[nodiscard]] std::string_view text(TableFamily family);   ///< "inet", "bridge"

namespace rule {
/// oifname OUT ip saddr SOURCE masquerade
/// oifname OUT meta nfproto ipv4 [ip saddr != EXCEPT]… masquerade
struct Masquerade {
    IfName out;
    std::vector<IpPrefix> sources;          ///< sorted; empty: everything that leaves there
    std::vector<IpAddress> except = {};     ///< sorted; without sources alone: what keeps its address
    friend bool operator==(const Masquerade&, const Masquerade&) = default;
};
/// tcp flags syn / syn,rst   tcp option maxseg size set rt mtu      (both families, as iptables' TCPMSS)
struct ClampMssToRoute {
    friend bool operator==(const ClampMssToRoute&, const ClampMssToRoute&) = default;
};
/// {iifname|oifname} PORT meta protocol {ip|ip6} tcp flags syn / syn,rst   tcp option maxseg size set MSS
struct ClampMssToConstant {
    enum class Direction { In, Out };
    IfName port;
    Direction direction = Direction::Out;
    Family family = Family::Ipv4;
    std::uint16_t mss = 0;
    friend bool operator==(const ClampMssToConstant&, const ClampMssToConstant&) = default;
};
/// iifname PORT meta protocol ip udp dport {67, 68} counter drop
struct DropDhcp {
    IfName port;
    friend bool operator==(const DropDhcp&, const DropDhcp&) = default;
};
/// iifname PORT meta protocol ip6 icmpv6 type nd-router-advert counter drop
struct DropRouterAdvertisement {
    IfName port;
    friend bool operator==(const DropRouterAdvertisement&, const DropRouterAdvertisement&) = default;
};
/// Found only: a rule of somebody else's in our table, as libnftables' JSON without handle and counts.
struct Unknown {
    std::string json;
    friend bool operator==(const Unknown&, const Unknown&) = default;
};
}  // namespace rule

using FirewallRule = std::variant<rule::Masquerade, rule::ClampMssToRoute, rule::ClampMssToConstant,
                                  rule::DropDhcp, rule::DropRouterAdvertisement, rule::Unknown>;

struct FirewallChain {
    std::string name;
    std::string type;       ///< "nat", "filter"
    std::string hook;       ///< "prerouting", "forward", "postrouting"
    int priority = 0;
    bool accept = true;     ///< policy
    std::vector<FirewallRule> rules;
    friend bool operator==(const FirewallChain&, const FirewallChain&) = default;
};

/// One table per network and family, `overlay_<network>`. Every rule carries the comment
/// `overlay:<network>`, which is the table's mark of ownership.
struct FirewallTable {
    TableFamily family = TableFamily::Inet;
    std::string name;
    std::string mark;                     ///< the comment; found: of its first rule that has one
    std::vector<FirewallChain> chains;    ///< in order of name
    std::vector<std::string> extras;      ///< found only: sets, maps, objects that we never make
    friend bool operator==(const FirewallTable&, const FirewallTable&) = default;
};

// ---- the whole ----------------------------------------------------------------------------------

/// A device and a feature group of `ethtool -K`: "tx", "rx", "tso", "gso", "gro".
struct OffloadKey {
    IfName link;
    std::string feature;
    friend auto operator<=>(const OffloadKey&, const OffloadKey&) = default;
};

struct FoundTable {   ///< any nft table, ours or not, by name
    std::string family;
    std::string name;
    friend auto operator<=>(const FoundTable&, const FoundTable&) = default;
};

struct UdpSocket {   ///< a user-space or kernel UDP socket that holds a port
    Family family = Family::Ipv4;
    IpAddress local;
    std::uint16_t port = 0;
    std::string owner;   ///< "pid 812 (dnsmasq)", "" when the kernel itself or unknown
    friend auto operator<=>(const UdpSocket&, const UdpSocket&) = default;
};

struct KernelState {
    std::map<IfName, Link> links;
    std::set<Address> addresses;
    std::set<Route> routes;                              ///< of every table but local
    std::set<FouPort> fou_ports;
    std::map<IfName, WireguardDevice> wireguard;
    std::map<std::string, std::string> sysctls;          ///< "net.ipv4.conf.all.forwarding" → "1"
    std::map<OffloadKey, bool> offloads;                 ///< what was requested, not what a cascade left
    std::vector<FirewallTable> tables;                   ///< desired: ours; found: those named overlay_*
    std::set<std::string> modules;                       ///< loaded or built in, by kmod's name
    bool overlayd = false;                               ///< runs, to carry what the kernel does not

    // Found only; what else a plan must know in order not to collide or to fail.
    std::set<std::string> missing_modules;               ///< neither in this kernel nor on disk for it
    std::set<FoundTable> all_tables;
    std::set<UdpSocket> udp_sockets;
    std::set<Neighbour> neighbours;                      ///< that somebody wrote by hand
    std::map<IfName, IfName> alternative_names;          ///< `altname` → the link that has it

    friend bool operator==(const KernelState&, const KernelState&) = default;
};

/// IPv4 or IPv6 sysctl of one interface. An interface name may hold dots, which sysctl(8) writes as
/// slashes: net.ipv4.conf.eth0/100.forwarding.
[[nodiscard]] std::string conf_sysctl(Family family, std::string_view interface, std::string_view name);

}  // namespace overlay
