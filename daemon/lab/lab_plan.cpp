#include "daemon/lab/lab_plan.hpp"

#include "daemon/lab/lab_builder.hpp"
#include "topology/derive.hpp"

#include <array>

namespace overlay::lab {

// ---- words --------------------------------------------------------------------------------------

IfName name(std::string_view words) {
    const auto parsed = IfName::parse(words);
    OVERLAY_ASSERT(parsed);
    return *parsed;
}

IpAddress address(std::string_view words) {
    const auto parsed = IpAddress::parse(words);
    OVERLAY_ASSERT(parsed);
    return *parsed;
}

IpPrefix prefix(std::string_view words) {
    const auto parsed = IpPrefix::parse(words);
    OVERLAY_ASSERT(parsed);
    return *parsed;
}

IpPrefix default_route(Family family) {
    return prefix(family == Family::Ipv4 ? "0.0.0.0/0" : "::/0");
}

MacAddress fixed_mac(std::string_view words) {
    std::uint32_t hash = 2166136261U;
    for (const char letter : words) hash = (hash ^ static_cast<std::uint8_t>(letter)) * 16777619U;
    const std::array<std::uint8_t, 6> bytes = {0x02,
                                               0x1a,
                                               static_cast<std::uint8_t>(hash >> 24U),
                                               static_cast<std::uint8_t>(hash >> 16U),
                                               static_cast<std::uint8_t>(hash >> 8U),
                                               static_cast<std::uint8_t>(hash)};
    return MacAddress::from_bytes(bytes.data());
}

// ---- hosts, cables ------------------------------------------------------------------------------

Builder::Builder(const Topology& topology) : topology_{topology}, pool_{networks_of(topology)} {}

LabPlan Builder::build() {
    plan_.network = topology_.network;
    internet_ = free_name("internet");
    add_host(internet_, LabHost::Role::Internet, "");
    add_remote();
    group_nats();
    add_node(topology_.hub);
    route_prefixes_to_hub();
    for (const Node& spoke : topology_.spokes) add_node(spoke);
    return std::move(plan_);
}

LabHost& Builder::host(const std::string& wanted) {
    LabHost* found = plan_.find(wanted);
    OVERLAY_ASSERT(found != nullptr);
    return *found;
}

std::string Builder::free_name(std::string wanted) const {
    while (topology_.find(wanted) != nullptr) wanted = "lab-" + wanted;
    return wanted;
}

LabHost& Builder::add_host(const std::string& host_name, LabHost::Role role,
                           const std::string& node) {
    LabHost made;
    made.name = host_name;
    made.role = role;
    made.node = node;
    const bool routes = role == LabHost::Role::Internet || role == LabHost::Role::Nat;
    // A new namespace starts with the IPv4 settings of the machine
    // (net.core.devconf_inherit_init_net = 0, Linux net/ipv4/devinet.c devinet_init_net): say what
    // a fresh machine has.
    made.sysctls["net.ipv4.conf.all.forwarding"] = routes ? "1" : "0";
    made.sysctls["net.ipv4.conf.all.rp_filter"] = "0";
    made.sysctls["net.ipv4.conf.default.rp_filter"] = "0";
    if (role != LabHost::Role::Node) {
        // Nobody else has our addresses: no second of waiting for duplicate address detection.
        made.sysctls["net.ipv6.conf.all.accept_dad"] = "0";
        made.sysctls["net.ipv6.conf.default.accept_dad"] = "0";
    }
    if (routes) {
        made.sysctls["net.ipv4.conf.all.send_redirects"] = "0";
        made.sysctls["net.ipv4.conf.default.send_redirects"] = "0";
        made.sysctls["net.ipv6.conf.all.forwarding"] = "1";
    }
    // Two customers may have neighbouring addresses of one /24, each on a cable of its own.
    if (role == LabHost::Role::Internet) made.sysctls["net.ipv4.conf.all.proxy_arp"] = "1";
    plan_.hosts.push_back(std::move(made));
    return plan_.hosts.back();
}

void Builder::add_cable(LabEnd near, LabEnd far, Mtu mtu) {
    plan_.cables.push_back(LabCable{std::move(near), std::move(far), mtu});
}

void Builder::add_address(LabHost& on, const IfName& link, const IpPrefix& wanted) {
    add_once(on.addresses, Address{link, wanted, true, false});
}

void Builder::add_route(LabHost& on, const IpPrefix& to, std::optional<IpAddress> gateway,
                        const IfName& device) {
    const bool is_v6 = to.family() == Family::Ipv6;
    Route route{to, gateway, device, 254, is_v6 ? 1024U : 0U, lab_route_protocol};
    // Routes without gateway first: they make the gateways of the others reachable.
    const auto at = gateway ? on.routes.end() : on.routes.begin();
    if (std::find(on.routes.begin(), on.routes.end(), route) == on.routes.end()) {
        on.routes.insert(at, route);
    }
}

IpAddress Builder::usual_gateway(const IpAddress& node) {
    const IpPrefix network = IpPrefix::of(node, 24).network();
    const auto known = gateways_.find(network);
    if (known != gateways_.end()) return known->second;
    return gateways_.emplace(network, pool_.gateway_of(network)).first->second;
}

IpAddress Builder::bridged_gateway(const Node& node, const IpAddress& address) {
    IpPrefix smallest = IpPrefix::of(address, 24);
    const auto consider = [&](const auto& stated) {
        if (!stated.value.contains(address) || stated.value.length() <= smallest.length()) return;
        smallest = stated.value;
    };
    for (const auto& stated : node.bridge->addresses) consider(stated);
    for (const auto& stated : node.lan) consider(stated);
    return pool_.gateway_of(smallest.network());
}

IfName Builder::internet_port(const std::string& customer) {
    const auto spoken = IfName::parse(customer);
    IfName port = spoken ? *spoken : name("port" + std::to_string(internet_ports_.size()));
    internet_ports_[customer] = port;
    return port;
}

// ---- the Internet -------------------------------------------------------------------------------

void Builder::connect_to_internet(const InternetPort& at) {
    const IfName port = internet_port(at.host);
    add_cable({at.host, at.cable_end}, {internet_, port}, at.mtu);
    LabHost& customer = host(at.host);
    LabHost& internet = host(internet_);
    for (const IpAddress& mine : at.ipv4) {
        const IpAddress gateway = at.gateway4 ? *at.gateway4 : usual_gateway(mine);
        const IpPrefix subnet = IpPrefix::of(mine, 24);
        add_address(customer, at.interface, subnet);
        add_address(internet, port, IpPrefix::host(gateway));
        add_route(internet, IpPrefix::host(mine), std::nullopt, port);
        if (mine != at.ipv4.front()) continue;
        if (!subnet.contains(gateway)) {
            add_route(customer, IpPrefix::host(gateway), std::nullopt, at.interface);
        }
        add_route(customer, default_route(Family::Ipv4), gateway, at.interface);
    }
    if (!at.speaks_ipv6) return;
    add_address(internet, port, IpPrefix::of(router_link_local_, 64));
    add_address(customer, at.interface, IpPrefix::of(customer_link_local_, 64));
    for (const IpAddress& mine : at.ipv6) {
        add_address(customer, at.interface, IpPrefix::host(mine));
        add_route(internet, IpPrefix::host(mine), std::nullopt, port);
    }
    route_ipv6_by(customer, at.interface, {internet_, port}, at.gateway6);
}

void Builder::route_ipv6_by(LabHost& customer, const IfName& interface, const LabEnd& router,
                            const std::optional<IpAddress>& stated) {
    const IpAddress gateway = stated.value_or(router_link_local_);
    if (gateway.is_link_local()) {
        add_address(host(router.host), router.interface, IpPrefix::of(gateway, 64));
    } else {
        add_address(host(router.host), router.interface, IpPrefix::host(gateway));
        add_route(customer, IpPrefix::host(gateway), std::nullopt, interface);
    }
    add_route(customer, default_route(Family::Ipv6), gateway, interface);
}

void Builder::add_remote() {
    const std::string remote = free_name("host");
    add_host(remote, LabHost::Role::Remote, "");
    const auto is_foreign = [&](const IpAddress& wanted) {
        const auto stated = networks_of(topology_);
        return std::none_of(stated.begin(), stated.end(),
                            [&](const IpPrefix& other) { return other.contains(wanted); });
    };
    const IpAddress v4 = address(remote_ipv4);
    const IpAddress v6 = address(remote_ipv6);
    InternetPort at{remote, name("eth0"), name("eth0"), {}, {}, {}, {}, true, Mtu{1500}};
    at.ipv4 = {is_foreign(v4) ? v4 : pool_.public_ipv4()};
    at.ipv6 = {is_foreign(v6) ? v6 : pool_.public_ipv6()};
    connect_to_internet(at);
}

void Builder::route_prefixes_to_hub() {
    const Node& hub = topology_.hub;
    if (hub.underlay.in_bridge.value) return;
    const Uplink uplink = uplink_of(topology_, hub);
    const IfName port = internet_ports_.at(hub.name);
    for (const IpPrefix& network : public_overlay_networks(topology_)) {
        const bool is_v4 = network.family() == Family::Ipv4;
        if (is_v4 && uplink.ipv4.empty()) continue;
        const IpAddress gateway = is_v4 ? uplink.ipv4.front() : customer_link_local_;
        if (is_v4 && network.contains(gateway)) continue;
        add_route(host(internet_), network, gateway, port);
    }
}

std::vector<IpPrefix> Builder::public_overlay_networks(const Topology& topology) {
    std::vector<IpPrefix> out;
    const auto add = [&](const IpPrefix& stated) {
        if (!is_private(stated.address())) add_once(out, stated.network());
    };
    if (topology.hub.bridge) {
        for (const auto& stated : topology.hub.bridge->addresses) add(stated.value);
    }
    if (topology.hub.router_advertisement) {
        for (const auto& stated : topology.hub.router_advertisement->prefixes) {
            add(stated.prefix.value);
        }
    }
    if (topology.hub.wireguard) {
        for (const IpPrefix& tunnel : hub_tunnel_addresses(topology)) add(tunnel);
    }
    for (const Node& spoke : topology.spokes) {
        for (const auto& stated : spoke.lan) add(stated.value);
    }
    return out;
}

// ---- the plan -----------------------------------------------------------------------------------

const LabHost* LabPlan::find(std::string_view wanted) const {
    const auto found = std::find_if(hosts.begin(), hosts.end(),
                                    [&](const LabHost& each) { return each.name == wanted; });
    return found == hosts.end() ? nullptr : &*found;
}

LabHost* LabPlan::find(std::string_view wanted) {
    return const_cast<LabHost*>(std::as_const(*this).find(wanted));
}

std::vector<std::string> LabPlan::host_names() const {
    std::vector<std::string> out;
    for (const LabHost& each : hosts) out.push_back(each.name);
    return out;
}

std::string LabPlan::namespace_of(std::string_view host) const {
    return network + "." + std::string{host};
}

LabPlan make_lab_plan(const Topology& topology) { return Builder{topology}.build(); }

}   // namespace overlay::lab
