#include "daemon/lab/lab_world.hpp"

#include "daemon/lab/lab_addresses.hpp"
#include "topology/derive.hpp"
#include "topology/mtu.hpp"

#include <algorithm>
#include <deque>

namespace overlay::lab {
namespace {

/// What a kernel gives a WireGuard device that was told nothing (Linux
/// drivers/net/wireguard/device.c: 1500 less 80 for IPv6, UDP and its own header).
constexpr Mtu wireguard_default_mtu{1420};

class WorldBuilder {
  public:
    WorldBuilder(const LabPlan& plan, const Topology& topology, const Intents& intents)
        : plan_{plan}, topology_{topology}, mtus_{topology}, intents_{intents} {}

    World build() {
        for (const LabHost& host : plan_.hosts) add_host(host);
        for (const LabCable& cable : plan_.cables) connect(cable.near, cable.far, cable.mtu);
        for (const auto& [node, intent] : intents_) overlay_on(node, intent);
        if (!intents_.empty()) {
            for (const Node& spoke : topology_.spokes) add_tunnels(spoke);
            for (const Node& spoke : topology_.spokes) connect_tunnels(spoke);
        }
        advertise();
        return std::move(world_);
    }

  private:
    void add_host(const LabHost& lab) {
        WorldHost& host = world_.hosts[lab.name];
        host.role = lab.role;
        host.sysctls = lab.sysctls;
        host.proxies_arp = lab.sysctls.contains("net.ipv4.conf.all.proxy_arp");
        const bool is_node = lab.role == LabHost::Role::Node;
        for (const LabBridge& bridge : lab.bridges) {
            for (const IfName& port : bridge.ports) host.masters[port] = bridge.name;
        }
        for (const Address& each : lab.addresses) {
            const bool on_bridge = !lab.bridges.empty() && lab.bridges.front().name == each.link;
            add_address(host, each, is_node && !on_bridge ? 2 : 0);
        }
        for (const Route& each : lab.routes) add_route(host, each);
        if (lab.nat) host.masquerades.push_back({lab.nat->out, {}});
    }

    static void add_address(WorldHost& host, const Address& each, int rank) {
        if (host.owns(each.prefix.address()) && !each.prefix.address().is_link_local()) return;
        host.addresses.push_back({{each.link, each.prefix, false}, each.prefix.address(), rank});
        host.routes.push_back({each.prefix.network(), {}, "", each.link, 0});
    }

    static void add_route(WorldHost& host, const Route& each) {
        host.routes.push_back({each.destination, each.gateway, "", each.device, each.metric});
    }

    void connect(const LabEnd& near, const LabEnd& far, Mtu mtu) {
        world_.wires[near] = {far, mtu};
        world_.wires[far] = {near, mtu};
    }

    void overlay_on(const std::string& node, const NodeIntent& intent) {
        WorldHost& host = world_.hosts[node];
        const KernelState& desired = intent.desired;
        if (intent.uplink_move) move_uplink(host, *intent.uplink_move);
        for (const auto& [link_name, link] : desired.links) {
            if (link.master && !link.master->empty()) host.masters[link_name] = *link.master;
            if (link.mtu) host.mtus[link_name] = *link.mtu;
        }
        host.wireguard = desired.wireguard;
        for (const auto& [device, ignored] : desired.wireguard) {
            host.mtus.emplace(device, wireguard_default_mtu);
        }
        for (const Address& each : desired.addresses) {
            add_address(host, each, desired.wireguard.contains(each.link) ? 1 : 0);
        }
        for (const Route& each : desired.routes) add_route(host, each);
        for (const auto& [key, value] : desired.sysctls) host.sysctls[key] = value;
        for (const FirewallTable& table : desired.tables) add_masquerades(host, table);
        for (const PinnedHost& pinned : intent.pinned) pin(host, pinned);
    }

    static void move_uplink(WorldHost& host, const UplinkMove& move) {
        for (WorldAddress& each : host.addresses) {
            if (each.target.interface != move.uplink) continue;
            each.target.interface = move.bridge;
            each.rank = 0;
        }
        for (WorldRoute& each : host.routes) {
            if (each.device == move.uplink) each.device = move.bridge;
        }
        host.masters[move.uplink] = move.bridge;
    }

    static void add_masquerades(WorldHost& host, const FirewallTable& table) {
        for (const FirewallChain& chain : table.chains) {
            for (const FirewallRule& each : chain.rules) {
                if (const auto* rule = std::get_if<rule::Masquerade>(&each)) {
                    host.masquerades.push_back(*rule);
                }
            }
        }
    }

    static void pin(WorldHost& host, const PinnedHost& pinned) {
        for (const WorldRoute& each : host.routes) {
            const bool is_default = each.destination.length() == 0 && each.gateway &&
                                    each.destination.family() == pinned.host.family();
            if (!is_default) continue;
            const WorldRoute copy{IpPrefix::host(pinned.host),
                                  pinned.gateway ? pinned.gateway : each.gateway, "", each.device,
                                  0};
            host.routes.push_back(copy);
            return;
        }
    }

    [[nodiscard]] std::pair<LabEnd, LabEnd> ends_of(const Node& spoke, const LinkSpec& link) const {
        return {{topology_.hub.name, hub_interface(topology_, spoke, link)},
                {spoke.name, spoke_interface(topology_, spoke, link)}};
    }

    void add_tunnels(const Node& spoke) {
        for (const LinkSpec& link : spoke.links) {
            if (link.type.value == LinkType::Wireguard) continue;
            const Mtu mtu = mtus_.explain(spoke, link).link;
            const auto [at_hub, at_spoke] = ends_of(spoke, link);
            world_.hosts[at_hub.host].mtus.emplace(at_hub.interface, mtu);
            world_.hosts[at_spoke.host].mtus.emplace(at_spoke.interface, mtu);
        }
    }

    /// Once all devices have their MTU: the way of a tunnel's packets can be a bridge that follows
    /// its ports.
    void connect_tunnels(const Node& spoke) {
        for (const LinkSpec& link : spoke.links) {
            if (link.type.value == LinkType::Wireguard) continue;
            const auto [at_hub, at_spoke] = ends_of(spoke, link);
            Mtu mtu = world_.mtu_of(at_hub);
            for (const LabEnd& end : {at_hub, at_spoke}) {
                const auto left = left_by_underlay(end);
                if (!left) continue;
                mtu = std::min(mtu, *left);
                learn(end, *left);
            }
            connect(at_hub, at_spoke, mtu);
        }
    }

    /// What the device beneath it leaves of a frame, whatever MTU the tunnel itself has: both kinds
    /// of tunnel refuse the rest (Linux 6.1 net/ipv4/ip_tunnel.c, tnl_update_pmtu;
    /// net/ipv6/ip6_tunnel.c, ip6_tnl_xmit).
    [[nodiscard]] std::optional<Mtu> left_by_underlay(const LabEnd& end) const {
        const GretapAttributes& gretap = *link_of(end).gretap;
        IfName device = gretap.device;
        if (device.empty()) {
            const WorldRoute* route = world_.hosts.at(end.host).best_route(gretap.remote);
            if (route == nullptr) return std::nullopt;
            device = route->device;
        }
        const std::uint32_t beneath = world_.mtu_of({end.host, device}).bytes();
        return Mtu{beneath - overhead_bytes(gretap)};
    }

    [[nodiscard]] const Link& link_of(const LabEnd& end) const {
        return intents_.at(end.host).desired.links.at(end.interface);
    }

    /// IP, UDP and GUE, GRE, its key, Ethernet (RFC 791, 8200, 768, 2784, 2890,
    /// draft-ietf-intarea-gue-09 §3.1).
    static std::uint32_t overhead_bytes(const GretapAttributes& gretap) {
        const std::uint32_t ip = gretap.local.family() == Family::Ipv4 ? 20 : 40;
        const std::uint32_t gue = gretap.encap.type == GreEncap::Type::None ? 0 : 8 + 4;
        const std::uint32_t gre = gretap.output.key ? 8 : 4;
        return ip + gue + gre + 14;
    }

    void learn(const LabEnd& end, Mtu left) {
        const Link& tunnel = link_of(end);
        if (tunnel.kind != LinkKind::Gretap || !tunnel.master || tunnel.master->empty()) return;
        auto& learnt = world_.hosts[end.host].learnt_mtus;
        const auto known = learnt.emplace(*tunnel.master, left).first;
        known->second = std::min(known->second, left);
    }

    // ---- router advertisements ------------------------------------------------------------------

    void advertise() {
        const Node& hub = topology_.hub;
        if (hub.router_advertisement && hub.bridge && !intents_.empty()) {
            for (const auto& prefix : hub.router_advertisement->prefixes) {
                if (!prefix.autonomous) continue;
                advertise_from({hub.name, hub.bridge->name.value}, prefix.prefix.value,
                               mtus_.advertised());
            }
        }
        for (const LabHost& host : plan_.hosts) {
            if (!host.advert) continue;
            for (const IpPrefix& prefix : host.advert->prefixes) {
                advertise_from({host.name, host.advert->interface}, prefix, std::nullopt);
            }
        }
    }

    void advertise_from(const LabEnd& router, const IpPrefix& prefix,
                        const std::optional<Mtu>& advertised) {
        for (const auto& [end, mtu] : world_.segment_of(router)) {
            WorldHost& host = world_.hosts[end.host];
            if (end.host == router.host || !accepts_advertisements(host, end.interface)) continue;
            // Never a real address: modified EUI-64 of a MAC has ff:fe in its middle (RFC 4291
            // §2.5.1).
            const IpAddress stand_in = plus(prefix.network().address(), ++stand_ins_);
            host.addresses.push_back({{end.interface, prefix.network(), true}, stand_in, 0});
            host.routes.push_back({prefix.network(), {}, "", end.interface, 256});
            if (advertised) host.advertised_mtus[end.interface] = *advertised;
            const IpPrefix anywhere = *IpPrefix::parse("::/0");
            host.routes.push_back({anywhere, {}, router.host, end.interface, 1024});
        }
    }

    /// Linux net/ipv6/ndisc.c, ipv6_accept_ra(): a forwarding host listens only with 2.
    static bool accepts_advertisements(const WorldHost& host, const IfName& interface) {
        const auto stated =
            host.sysctls.find(conf_sysctl(Family::Ipv6, interface.str(), "accept_ra"));
        if (stated != host.sysctls.end() && stated->second == "2") return true;
        const bool refuses = stated != host.sysctls.end() && stated->second == "0";
        return !refuses && !host.forwards(Family::Ipv6);
    }

    const LabPlan& plan_;
    const Topology& topology_;
    MtuEngine mtus_;
    const Intents& intents_;
    World world_;
    std::uint64_t stand_ins_ = 0xfff0000;
};

}   // namespace

bool WorldHost::forwards(Family family) const {
    const auto found = sysctls.find(conf_sysctl(family, "all", "forwarding"));
    return found != sysctls.end() && found->second == "1";
}

bool WorldHost::owns(const IpAddress& address) const {
    return std::any_of(addresses.begin(), addresses.end(),
                       [&](const WorldAddress& each) { return each.address == address; });
}

const WorldRoute* WorldHost::best_route(const IpAddress& to) const {
    const WorldRoute* best = nullptr;
    for (const WorldRoute& each : routes) {
        if (!each.destination.contains(to)) continue;
        // An interface that became a port routes nothing: what it had has moved or is dead.
        if (masters.contains(each.device)) continue;
        const bool is_better = best == nullptr ||
                               each.destination.length() > best->destination.length() ||
                               (each.destination.length() == best->destination.length() &&
                                each.metric < best->metric);
        if (is_better) best = &each;
    }
    return best;
}

/// A bridge carries no more than its smallest port, unless it was told (docs/kernel: br_min_mtu).
Mtu World::mtu_of(const LabEnd& end) const {
    const WorldHost& host = hosts.at(end.host);
    if (const auto stated = host.mtus.find(end.interface); stated != host.mtus.end())
        return stated->second;
    if (const auto wire = wires.find(end); wire != wires.end()) return wire->second.mtu;
    Mtu smallest{1500};
    for (const auto& [port, bridge] : host.masters) {
        if (bridge == end.interface) smallest = std::min(smallest, mtu_of({end.host, port}));
    }
    return smallest;
}

std::map<LabEnd, Mtu> World::segment_of(const LabEnd& start) const {
    std::map<LabEnd, Mtu> reached;
    std::set<LabEnd> wired;
    std::deque<std::pair<LabEnd, Mtu>> ports;   // ends whose wire a frame leaves by
    const auto arrive = [&](const LabEnd& end, Mtu mtu) {
        reached.emplace(end, std::min(mtu, mtu_of(end)));
        for (const auto& [port, bridge] : hosts.at(end.host).masters) {
            if (bridge == end.interface) ports.emplace_back(LabEnd{end.host, port}, mtu);
        }
    };
    arrive(start, mtu_of(start));
    ports.emplace_back(start, mtu_of(start));
    while (!ports.empty()) {
        const auto [port, mtu] = ports.front();
        ports.pop_front();
        const auto wire = wires.find(port);
        if (wire == wires.end() || !wired.insert(port).second) continue;
        const LabEnd& far = wire->second.to;
        wired.insert(far);
        const WorldHost& host = hosts.at(far.host);
        const auto master = host.masters.find(far.interface);
        const LabEnd end{far.host, master == host.masters.end() ? far.interface : master->second};
        arrive(end, std::min(mtu, wire->second.mtu));
    }
    return reached;
}

World make_world(const LabPlan& plan, const Topology& topology, const Intents& intents) {
    return WorldBuilder{plan, topology, intents}.build();
}

}   // namespace overlay::lab
