#pragma once
// The lab as data: which hosts, cables, addresses, routes and translations stand in for the
// Internet, the homes and the offices around the nodes of one topology file. Everything here exists
// before any overlay does; lab_up.cpp makes it, `overlayctl apply` then runs in each node as on a
// real machine.
//
//     host ──┐                 ┌── hub        (public address of the file, routed IPv6 prefix)
//            ├──── internet ───┤
//            │                 └── home.nat ── home ── home.lan
//
// Pure: the same file gives the same lab. docs/lab.md draws and explains it.

#include "topology/state.hpp"
#include "topology/topology.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace overlay::lab {

struct LabBridge {
    IfName name;
    MacAddress mac;              ///< fixed, as a router's firmware does
    std::vector<IfName> ports;   ///< of the same host's cables
    friend bool operator==(const LabBridge&, const LabBridge&) = default;
};

/// A port forward on the public side of a NAT router, UDP.
struct LabForward {
    std::uint16_t port = 0;
    Endpoint to;
    friend bool operator==(const LabForward&, const LabForward&) = default;
};

struct LabNat {
    IfName out;
    std::vector<LabForward> forwards;
    friend bool operator==(const LabNat&, const LabNat&) = default;
};

/// The provider of a hub whose uplink is a port of its bridge advertises the prefixes itself.
struct LabAdvert {
    IfName interface;
    std::vector<IpPrefix> prefixes;
    friend bool operator==(const LabAdvert&, const LabAdvert&) = default;
};

struct LabHost {
    enum class Role { Internet, Remote, Nat, Node, Lan };
    std::string name;   ///< "home", "home.nat", "home.lan", "internet", "host"
    Role role = Role::Node;
    std::string node;   ///< the node it is or stands beside; "" for internet and host
    std::map<std::string, std::string> sysctls;   ///< written before any link exists
    std::vector<LabBridge> bridges;
    std::vector<Address> addresses;
    std::vector<Route> routes;
    std::optional<LabNat> nat;
    std::optional<LabAdvert> advert;
    friend bool operator==(const LabHost&, const LabHost&) = default;
};
[[nodiscard]] std::string_view text(LabHost::Role role);

struct LabEnd {
    std::string host;
    IfName interface;
    friend auto operator<=>(const LabEnd&, const LabEnd&) = default;
};

/// A veth pair between two hosts.
struct LabCable {
    LabEnd near, far;
    Mtu mtu{1500};
    friend bool operator==(const LabCable&, const LabCable&) = default;
};

struct LabPlan {
    std::string network;
    std::vector<LabHost> hosts;   ///< internet, host, hub, then each spoke with its router and LAN
    std::vector<LabCable> cables;

    [[nodiscard]] const LabHost* find(std::string_view host) const;
    [[nodiscard]] LabHost* find(std::string_view host);
    [[nodiscard]] std::vector<std::string> host_names() const;
    /// "home.office": the name of a host's namespace, as `ip netns` shows it.
    [[nodiscard]] std::string namespace_of(std::string_view host) const;
    friend bool operator==(const LabPlan&, const LabPlan&) = default;
};

/// `protocol` of the lab's routes: RTPROT_STATIC (linux/rtnetlink.h), what a distribution's own
/// network scripts write; never ours (route_protocol), which `apply` would take for its own.
inline constexpr std::uint8_t lab_route_protocol = 4;

/// The Internet-side host: RFC 2544 and RFC 5180 benchmarking addresses, which no real network
/// routes.
inline constexpr const char* remote_ipv4 = "198.18.0.2";
inline constexpr const char* remote_ipv6 = "2001:2::2";

[[nodiscard]] LabPlan make_lab_plan(const Topology& topology);

/// One line per fact, hosts in order, of the sysctls only what makes a router one; the form that
/// tests and `lab up --dry-run` show.
[[nodiscard]] std::string text(const LabPlan& plan);

}   // namespace overlay::lab
