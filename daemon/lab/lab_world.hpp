#pragma once
// The lab with the overlay in it, as one graph: what each host has, and which end is wired to
// which. Built by make_world(), walked by lab_reach.cpp.

#include "daemon/lab/lab_reach.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace overlay::lab {

struct WorldAddress {
    LabTarget target;
    IpAddress address;   ///< by advertisement: a stand-in inside the prefix
    int rank = 0;        ///< lower: rather asked for; the overlay's before the underlay's
};

struct WorldRoute {
    IpPrefix destination;
    std::optional<IpAddress> gateway;
    std::string gateway_host;   ///< instead of `gateway`: who advertised itself
    IfName device;
    std::uint32_t metric = 0;
};

struct WorldHost {
    LabHost::Role role = LabHost::Role::Node;
    std::vector<WorldAddress> addresses;
    std::vector<WorldRoute> routes;
    std::map<IfName, IfName> masters;   ///< port → bridge
    std::map<IfName, Mtu> mtus;
    std::map<IfName, Mtu> advertised_mtus;   ///< of IPv6 alone (RFC 4861 §4.6.4)
    /// Of IPv6 alone, too: what a tunnel that is plugged into this bridge carries. Once the host
    /// itself has sent anything into it, Linux keeps that with the route, for everybody on the
    /// bridge, on the processor that did it (6.1 net/ipv4/ip_tunnel.c, tnl_update_pmtu:
    /// dst_metric_set). For IPv4 it is kept by destination.
    std::map<IfName, Mtu> learnt_mtus;
    std::map<IfName, WireguardDevice> wireguard;
    std::vector<rule::Masquerade> masquerades;
    std::map<std::string, std::string> sysctls;
    bool proxies_arp = false;

    [[nodiscard]] bool forwards(Family family) const;
    [[nodiscard]] bool owns(const IpAddress& address) const;
    /// The narrowest one, of those with the smallest metric; nullptr: none.
    [[nodiscard]] const WorldRoute* best_route(const IpAddress& to) const;
};

struct Wire {
    LabEnd to;
    Mtu mtu;
};

struct World {
    std::map<std::string, WorldHost> hosts;
    std::map<LabEnd, Wire> wires;   ///< cables and Ethernet tunnels, both directions

    /// The ends with addresses that a frame from `start` can reach, each with the smallest MTU on
    /// the way.
    [[nodiscard]] std::map<LabEnd, Mtu> segment_of(const LabEnd& start) const;
    [[nodiscard]] Mtu mtu_of(const LabEnd& end) const;
};

[[nodiscard]] World make_world(const LabPlan& plan, const Topology& topology,
                               const Intents& intents);

}   // namespace overlay::lab
