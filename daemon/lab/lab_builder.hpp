#pragma once
// How the plan of a lab comes about: the Internet first, then each node with what stands around it.
// lab_plan.cpp holds the hosts and the Internet, lab_plan_nat.cpp the translations,
// lab_plan_lan.cpp the nodes' own bridges and LANs.

#include "daemon/lab/lab_addresses.hpp"
#include "daemon/lab/lab_plan.hpp"
#include "daemon/lab/lab_uplink.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace overlay::lab {

// Literals of our own, which are right or a bug.
[[nodiscard]] IfName name(std::string_view words);
[[nodiscard]] IpAddress address(std::string_view words);
[[nodiscard]] IpPrefix prefix(std::string_view words);

[[nodiscard]] IpPrefix default_route(Family family);

/// Locally administered, from a 32-bit FNV-1a of the words: fixed, and different for each bridge.
[[nodiscard]] MacAddress fixed_mac(std::string_view words);

template <class Value>
void add_once(std::vector<Value>& list, Value value) {
    if (std::find(list.begin(), list.end(), value) == list.end()) list.push_back(std::move(value));
}

/// A machine's end of a cable to the Internet.
struct InternetPort {
    std::string host;
    IfName interface;   ///< where the addresses go
    IfName cable_end;
    std::vector<IpAddress> ipv4, ipv6;
    std::optional<IpAddress> gateway4, gateway6;
    bool speaks_ipv6 = false;
    Mtu mtu{1500};
};

struct LanSite {
    std::string node;
    IfName port;   ///< of the node
    std::vector<IpPrefix> subnets;
    std::vector<IpAddress> gateways;
};

/// A NAT router, and the spokes behind it: those whose `nat.address` is the same.
struct NatSite {
    std::string host;
    IpAddress public_address;
    bool speaks_ipv6 = false;
    std::size_t members = 0;
    std::size_t connected = 0;
};

class Builder {
  public:
    explicit Builder(const Topology& topology);
    [[nodiscard]] LabPlan build();

  private:
    // hosts, cables
    LabHost& host(const std::string& wanted);
    /// The lab's own host names yield to the file's.
    [[nodiscard]] std::string free_name(std::string wanted) const;
    LabHost& add_host(const std::string& host_name, LabHost::Role role, const std::string& node);
    void add_cable(LabEnd near, LabEnd far, Mtu mtu);
    static void add_address(LabHost& on, const IfName& link, const IpPrefix& wanted);
    static void add_route(LabHost& on, const IpPrefix& to, std::optional<IpAddress> gateway,
                          const IfName& device);
    IfName internet_port(const std::string& customer);

    /// The gateway of the address's /24, as providers have it: one for all that live there.
    [[nodiscard]] IpAddress usual_gateway(const IpAddress& node);
    /// A gateway for the node alone, in the smallest of its networks: all others are bridged to it.
    [[nodiscard]] IpAddress bridged_gateway(const Node& node, const IpAddress& address);

    // the Internet
    void connect_to_internet(const InternetPort& at);
    /// The IPv6 default route of `customer` to the router at the other end of its cable.
    void route_ipv6_by(LabHost& customer, const IfName& interface, const LabEnd& router,
                       const std::optional<IpAddress>& stated);
    void add_remote();
    /// What the provider routes to the hub, as Linode does with a /64: every public overlay
    /// network.
    void route_prefixes_to_hub();
    static std::vector<IpPrefix> public_overlay_networks(const Topology& topology);

    // NAT routers
    void group_nats();
    void add_nat_router(const NatSite& site, const std::string& node, Mtu mtu);
    /// The private side: a cable from the spoke, the gateway's address, the port forwards.
    void connect_to_nat(const Node& spoke, Uplink& uplink);
    void address_behind_nat(const Node& spoke, Uplink& uplink, const LabEnd& router);
    /// IPv6 is routed, not translated: the spoke's addresses through its router.
    void carry_ipv6(const Node& spoke, Uplink& uplink, const LabEnd& router);
    void add_forward(LabHost& router, const Node& spoke, const LinkSpec& link,
                     const Uplink& uplink);

    // nodes and their LANs
    void add_node(const Node& node);
    static void take_bridge_address(const Node& node, Uplink& uplink);
    void add_borrowed_bridge(const Node& node, const Uplink& uplink);
    /// Vultr: the /64 is on the cable, the provider's router advertises it and asks for neighbours.
    void advertise_on_link(const Node& hub, const Uplink& uplink);
    void add_lans(const Node& node, const Uplink& uplink);
    static bool is_in_bridge(const Node& node, const IpPrefix& lan);
    /// One LAN host per port that the file names; a borrowed bridge without any gets one of the
    /// lab's.
    void add_bridged_sites(const Node& node, const Uplink& uplink, std::vector<LanSite>& sites);
    /// IPv4 only: a bridged LAN has its IPv6 addresses from the advertised prefix.
    [[nodiscard]] std::vector<IpPrefix> bridged_subnets(const Node& node) const;
    static std::vector<IpAddress> bridged_gateways(const Node& node, const Uplink& uplink);
    LanSite routed_site(const Node& node, const std::vector<IpPrefix>& subnets);
    /// Where the node masquerades for its LAN, else lan0.
    [[nodiscard]] IfName lan_port(const Node& node) const;
    void add_lan_host(const LanSite& site, const std::string& lan_name);

    const Topology& topology_;
    AddressPool pool_;
    // Both ends of every cable to a router.
    IpAddress router_link_local_ = pool_.link_local();
    IpAddress customer_link_local_ = pool_.link_local();
    std::map<IpPrefix, IpAddress> gateways_;  ///< by /24
    LabPlan plan_;
    std::string internet_;
    std::map<std::string, IfName> internet_ports_;   ///< by customer
    std::vector<NatSite> nats_;
    std::map<std::string, std::size_t> nat_of_;   ///< by spoke
};

}   // namespace overlay::lab
