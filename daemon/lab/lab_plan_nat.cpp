#include "daemon/lab/lab_builder.hpp"

#include "topology/derive.hpp"

namespace overlay::lab {

void Builder::group_nats() {
    std::map<IpAddress, std::size_t> by_address;
    for (const Node& spoke : topology_.spokes) {
        const Uplink uplink = uplink_of(topology_, spoke);
        if (!uplink.behind_nat) continue;
        const auto stated = stated_nat_address(spoke);
        const auto known = stated ? by_address.find(*stated) : by_address.end();
        if (known == by_address.end()) {
            nats_.push_back({spoke.name + ".nat", stated.value_or(IpAddress{}), false, 0, 0});
            if (stated) by_address[*stated] = nats_.size() - 1;
            nat_of_[spoke.name] = nats_.size() - 1;
        } else {
            nat_of_[spoke.name] = known->second;
        }
        NatSite& site = nats_[nat_of_[spoke.name]];
        site.speaks_ipv6 |= uplink.uses_ipv6;
        ++site.members;
    }
    for (NatSite& site : nats_) {
        if (site.public_address.is_unspecified()) site.public_address = pool_.public_ipv4();
    }
}

void Builder::add_nat_router(const NatSite& site, const std::string& node, Mtu mtu) {
    LabHost& router = add_host(site.host, LabHost::Role::Nat, node);
    router.nat = LabNat{name("wan"), {}};
    if (site.members > 1) {
        const std::string words = topology_.network + "/" + site.host;
        router.bridges.push_back({name("lan"), fixed_mac(words), {}});
    }
    connect_to_internet({site.host,
                         name("wan"),
                         name("wan"),
                         {site.public_address},
                         {},
                         {},
                         {},
                         site.speaks_ipv6,
                         mtu});
}

void Builder::connect_to_nat(const Node& spoke, Uplink& uplink) {
    NatSite& site = nats_[nat_of_.at(spoke.name)];
    if (site.connected == 0) add_nat_router(site, spoke.name, uplink.mtu);
    ++site.connected;
    const IfName lan = name("lan");
    IfName port = lan;
    if (site.members > 1) {
        port = name("lan-" + std::to_string(site.connected));
        host(site.host).bridges.front().ports.push_back(port);
    }
    const Mtu mtu = uplink.on_bridge ? Mtu{1500} : uplink.mtu;
    add_cable({spoke.name, uplink.port}, {site.host, port}, mtu);
    address_behind_nat(spoke, uplink, {site.host, lan});
    for (const LinkSpec& link : spoke.links) add_forward(host(site.host), spoke, link, uplink);
}

void Builder::address_behind_nat(const Node& spoke, Uplink& uplink, const LabEnd& router) {
    if (uplink.ipv4.empty()) {
        uplink.ipv4 = {plus(pool_.private_subnet().address(), 2)};
    }
    const IpAddress mine = uplink.ipv4.front();
    if (!uplink.gateway4) {
        uplink.gateway4 = uplink.on_bridge ? bridged_gateway(spoke, mine) : usual_gateway(mine);
    }
    const IpAddress gateway = *uplink.gateway4;
    const std::uint8_t length = bridge_prefix_length(spoke, gateway);
    LabHost& machine = host(spoke.name);
    add_address(host(router.host), router.interface,
                IpPrefix::of(gateway, uplink.on_bridge ? length : 24));
    if (!uplink.on_bridge) {
        for (const IpAddress& each : uplink.ipv4) {
            add_address(machine, uplink.interface, IpPrefix::of(each, 24));
        }
    }
    if (!IpPrefix::of(mine, uplink.on_bridge ? length : 24).contains(gateway)) {
        add_route(machine, IpPrefix::host(gateway), std::nullopt, uplink.interface);
        add_route(host(router.host), IpPrefix::host(mine), std::nullopt, router.interface);
    }
    add_route(machine, default_route(Family::Ipv4), gateway, uplink.interface);
    if (uplink.uses_ipv6) carry_ipv6(spoke, uplink, router);
}

void Builder::carry_ipv6(const Node& spoke, Uplink& uplink, const LabEnd& router) {
    if (uplink.ipv6.empty()) uplink.ipv6 = {pool_.public_ipv6()};
    LabHost& machine = host(spoke.name);
    for (const IpAddress& mine : uplink.ipv6) {
        add_address(machine, uplink.interface, IpPrefix::host(mine));
        add_route(host(router.host), IpPrefix::host(mine), std::nullopt, router.interface);
        add_route(host(internet_), IpPrefix::host(mine), customer_link_local_,
                  internet_ports_.at(router.host));
    }
    route_ipv6_by(machine, uplink.interface, router, uplink.gateway6);
}

void Builder::add_forward(LabHost& router, const Node& spoke, const LinkSpec& link,
                          const Uplink& uplink) {
    if (link.nat) {
        const IpAddress to =
            spoke_underlay_address(topology_, spoke, link).value_or(uplink.ipv4.front());
        add_once(router.nat->forwards,
                 LabForward{link.nat->port.value, {to, spoke_gue_port(topology_, link)}});
    }
    const bool is_called =
        link.endpoint && link.listen_port && link.endpoint->value.address.family() == Family::Ipv4;
    if (is_called) {
        add_once(router.nat->forwards, LabForward{link.endpoint->value.port,
                                                  {uplink.ipv4.front(), link.listen_port->value}});
    }
}

}   // namespace overlay::lab
