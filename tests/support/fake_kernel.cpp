// The model: each step's effect on the state, and the refusals that Linux has for it.

#include "tests/support/fake_kernel.hpp"

#include "topology/attributes.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <tuple>

namespace overlay::test {

namespace {

constexpr std::array interface_sysctls{"forwarding", "accept_ra", "disable_ipv6",
                                       "promote_secondaries"};
constexpr std::uint8_t protocol_kernel = 2;   // RTPROT_KERNEL
constexpr std::uint8_t protocol_ra = 9;       // RTPROT_RA

tl::unexpected<Error> refuse(const Step& step, int code) {
    return fail(Error::Kind::Failed, describe(step), "refused by the model", code);
}

}  // namespace

Result<void> FakeKernel::execute(const Step& step) {
    const bool refused = fail_at && calls == *fail_at;
    ++calls;
    if (refused && refusal == Refusal::Clean) return refuse(step, EIO);
    auto result = carry_out(step);
    if (refused && result) return refuse(step, EIO);
    return result;
}

Result<void> FakeKernel::carry_out(const Step& step) {
    return std::visit(
        Overloaded{
            [&](const LoadModule& s) -> Result<void> {
                state.modules.insert(s.name);
                return {};
            },
            [](const KeepModule&) -> Result<void> { return {}; },
            [&](const ReplaceTable& s) { return replace_table(s); },
            [&](const SetSysctl& s) -> Result<void> {
                if (!state.sysctls.contains(s.key)) return refuse(step, ENOENT);
                write_sysctl(s);
                return {};
            },
            [&](const AddFouPort& s) { return add_fou_port(s); },
            [&](const RemoveFouPort& s) -> Result<void> {
                return state.fou_ports.erase(s.port) == 1 ? Result<void>{} : refuse(step, EINVAL);
            },
            [&](const CreateLink& s) { return create_link(s); },
            [&](const DeleteLink& s) { return remove_link(s.link.name); },
            [&](const RenameLink& s) { return rename(s); },
            [&](const ChangeLink& s) { return change(s); },
            [&](const AddAddress& s) { return add_address(s); },
            [&](const RemoveAddress& s) { return remove_address(s); },
            [&](const AddRoute& s) { return add_route(s); },
            [&](const RemoveRoute& s) -> Result<void> {
                return state.routes.erase(s.route) == 1 ? Result<void>{} : refuse(step, ESRCH);
            },
            [&](const AddNeighbour& s) { return add_neighbour(s); },
            [&](const RemoveNeighbour& s) -> Result<void> {
                return state.neighbours.erase(s.neighbour) == 1 ? Result<void>{} : refuse(step, ENOENT);
            },
            [&](const SetWireguard& s) -> Result<void> {
                const auto device = state.wireguard.find(s.link);
                if (device == state.wireguard.end()) return refuse(step, ENODEV);
                const bool up = state.links.at(s.link).up.value_or(false);
                if (up && s.to.listen_port && port_in_use(*s.to.listen_port, s.link))
                    return refuse(step, EADDRINUSE);
                device->second.public_key = s.to.public_key;
                device->second.fwmark = s.to.fwmark;
                if (s.to.listen_port) device->second.listen_port = s.to.listen_port;
                return {};
            },
            [&](const SetPeer& s) -> Result<void> {
                const auto device = state.wireguard.find(s.link);
                if (device == state.wireguard.end()) return refuse(step, ENODEV);
                if (s.to) {
                    device->second.peers[s.peer] = *s.to;
                } else {
                    device->second.peers.erase(s.peer);
                }
                return {};
            },
            [&](const SetOffload& s) -> Result<void> {
                const auto link = state.links.find(s.key.link);
                if (link == state.links.end()) return refuse(step, ENODEV);
                // Fixed: Linux net/ipv4/ip_gre.c, GRE_FEATURES.
                const bool is_fixed = link->second.gretap && s.key.feature == "rx";
                if (is_fixed && s.to) return refuse(step, EOPNOTSUPP);
                state.offloads[s.key] = s.to;
                return {};
            },
            [&](const RunOverlayd& s) -> Result<void> {
                state.overlayd = s.to;
                return {};
            },
        },
        step);
}

Result<void> FakeKernel::replace_table(const ReplaceTable& s) {
    const FirewallTable& named = s.to ? *s.to : *s.from;
    std::erase_if(state.tables, [&](const FirewallTable& t) {
        return t.family == named.family && t.name == named.name;
    });
    if (s.to) state.tables.push_back(*s.to);
    std::sort(state.tables.begin(), state.tables.end(), [](const auto& a, const auto& b) {
        return std::tie(a.family, a.name) < std::tie(b.family, b.name);
    });
    return {};
}

Result<void> FakeKernel::add_fou_port(const AddFouPort& s) {
    for (const FouPort& p : state.fou_ports) {
        if (p.family == s.port.family && p.port == s.port.port) return refuse(s, EADDRINUSE);
    }
    for (const auto& [name, device] : state.wireguard) {
        const bool up = state.links.at(name).up.value_or(false);
        if (up && device.listen_port == s.port.port) return refuse(s, EADDRINUSE);
    }
    state.fou_ports.insert(s.port);
    return {};
}

/// By a FOU port or another WireGuard device that is up (Linux drivers/net/wireguard/socket.c,
/// wg_socket_init).
bool FakeKernel::port_in_use(std::uint16_t port, const IfName& except) const {
    if (port == 0) return false;
    for (const FouPort& p : state.fou_ports) {
        if (p.port == port) return true;
    }
    return std::any_of(state.wireguard.begin(), state.wireguard.end(), [&](const auto& entry) {
        const bool up = state.links.at(entry.first).up.value_or(false);
        return entry.first != except && up && entry.second.listen_port == port;
    });
}

/// Who came first is a subnet's primary address; the others go with it, unless they are promoted (Linux
/// net/ipv4/devinet.c, __inet_insert_ifa and __inet_del_ifa).
Result<void> FakeKernel::add_address(const AddAddress& s) {
    const auto link = state.links.find(s.address.link);
    if (link == state.links.end()) return refuse(s, ENODEV);
    for (const Address& a : state.addresses) {
        if (is_same_address(a, s.address) && a.details.peer == s.address.details.peer)
            return refuse(s, EEXIST);
    }
    const auto silent =
        state.sysctls.find(conf_sysctl(Family::Ipv6, s.address.link.str(), "disable_ipv6"));
    const bool is_ipv6 = s.address.prefix.family() == Family::Ipv6;
    if (is_ipv6 && silent != state.sysctls.end() && silent->second == "1") return refuse(s, EACCES);
    state.addresses.insert(s.address);
    ages_[s.address] = ++age_;
    mark_secondaries();
    connect(s.address.link);
    return {};
}

Result<void> FakeKernel::remove_address(const RemoveAddress& s) {
    if (state.addresses.erase(s.address) == 0) return refuse(s, EADDRNOTAVAIL);
    const auto promotes = [&](const char* interface) {
        const auto value =
            state.sysctls.find(conf_sysctl(Family::Ipv4, interface, "promote_secondaries"));
        return value != state.sysctls.end() && value->second == "1";
    };
    const IfName& link = s.address.link;
    const auto age = [&](const Address& a) { return std::pair{ages_[a], a}; };
    std::set<Address> siblings;
    for (const Address& a : state.addresses) {
        if (a.link == link && a.prefix.family() == Family::Ipv4 &&
            a.prefix.network() == s.address.prefix.network())
            siblings.insert(a);
    }
    const bool is_primary =
        std::all_of(siblings.begin(), siblings.end(),
                    [&](const Address& a) { return age(s.address) < age(a); });
    if (is_primary && !promotes("all") && !promotes(link.c_str())) {
        for (const Address& a : siblings) state.addresses.erase(a);
    }
    ages_.erase(s.address);
    mark_secondaries();
    connect(link);
    const bool last = std::none_of(state.addresses.begin(), state.addresses.end(), [&](auto& a) {
        return a.link == link && a.prefix.family() == Family::Ipv4;
    });
    if (last && s.address.prefix.family() == Family::Ipv4) {   // fib_disable_ip
        lose_neighbours(link, Family::Ipv4);
        std::erase_if(state.routes, [&](const Route& route) {
            return uses(route, link) && route.destination.family() == Family::Ipv4;
        });
    }
    return {};
}

void FakeKernel::mark_secondaries() {
    std::set<Address> marked;
    for (Address address : state.addresses) {
        const auto came_first = [&](const Address& other) {
            return other.link == address.link && other.prefix.family() == Family::Ipv4 &&
                   other.prefix.network() == address.prefix.network() &&
                   std::pair{ages_[other], other} < std::pair{ages_[address], address};
        };
        address.details.secondary = std::ranges::any_of(state.addresses, came_first);
        marked.insert(std::move(address));
    }
    state.addresses = std::move(marked);
    list_addresses();
}

/// As a dump does: IPv4 by age, but the secondary ones behind; IPv6 the youngest first, but link-local ones behind
/// (__inet_insert_ifa; net/ipv6/addrconf.c, ipv6_link_dev_addr). Those of before us stand as the test has put them.
void FakeKernel::list_addresses() {
    std::vector<Address> all{state.addresses.begin(), state.addresses.end()};
    std::ranges::stable_sort(all, {}, [&](const Address& a) {
        const bool is_ipv6 = a.prefix.family() == Family::Ipv6;
        const bool is_behind = is_ipv6 ? a.prefix.address().is_link_local() : a.details.secondary;
        const auto age = static_cast<std::int64_t>(ages_[a]);
        return std::tuple{a.link, is_ipv6, is_behind, is_ipv6 ? -age : age, a.details.place};
    });
    std::map<std::pair<IfName, Family>, std::uint32_t> listed;
    for (Address& each : all) each.details.place = ++listed[{each.link, each.prefix.family()}];
    state.addresses = {all.begin(), all.end()};
}

/// The routes to the networks of its addresses (fib_add_ifaddr, addrconf_prefix_route).
void FakeKernel::connect(const IfName& link) {
    std::erase_if(state.routes, [&](const Route& route) {
        return route.device == link && route.protocol == protocol_kernel;
    });
    if (!state.links.at(link).up.value_or(false)) return;
    for (const Address& a : state.addresses) {
        const bool is_ipv4 = a.prefix.family() == Family::Ipv4;
        const bool has_route =
            a.link == link && a.prefix.length() < (is_ipv4 ? 32 : 128) && !a.no_prefix_route;
        if (!has_route) continue;
        const std::uint32_t usual_metric = is_ipv4 ? 0 : 256;
        state.routes.insert({.destination = a.prefix.network(),
                             .device = link,
                             .metric = a.details.metric != 0 ? a.details.metric : usual_metric,
                             .protocol = protocol_kernel});
    }
}

/// Linux net/ipv4/ip_tunnel.c ip_tunnel_find, net/ipv6/ip6_gre.c ip6gre_tunnel_find.
bool FakeKernel::tunnel_exists(const IfName& name, const GretapAttributes& tunnel) const {
    return std::any_of(state.links.begin(), state.links.end(), [&](const auto& entry) {
        const std::optional<GretapAttributes>& other = entry.second.gretap;
        return other && entry.first != name && !other->collect_metadata &&
               other->local == tunnel.local && other->remote == tunnel.remote &&
               other->input.key == tunnel.input.key && other->device == tunnel.device;
    });
}

Result<void> FakeKernel::create_link(const CreateLink& s) {
    if (state.links.contains(s.link.name)) return refuse(s, EEXIST);
    if (s.link.gretap && tunnel_exists(s.link.name, *s.link.gretap)) return refuse(s, EEXIST);
    const bool is_bound = s.link.gretap && !s.link.gretap->device.empty();
    if (is_bound && !state.links.contains(s.link.gretap->device)) return refuse(s, ENODEV);
    Link link = s.link;
    link.up = false;
    link.master = IfName{};
    link.port.reset();
    if (!link.mac && !is_wireguard(link.kind)) link.mac = MacAddress::parse("52:54:00:00:00:02");   // a random one
    if (!link.mtu) link.mtu = Mtu{1500};
    state.links.emplace(link.name, link);
    if (is_wireguard(link.kind)) state.wireguard[link.name].listen_port = 0;
    for (const char* feature : {"tx", "rx", "tso", "gso", "gro"}) {
        if (link.gretap) state.offloads[{link.name, feature}] = feature != std::string_view{"rx"};
    }
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        for (const char* name : interface_sysctls) {
            const auto from = state.sysctls.find(conf_sysctl(family, "default", name));
            if (from == state.sysctls.end()) continue;
            state.sysctls[conf_sysctl(family, link.name.str(), name)] = from->second;
        }
    }
    return {};
}

/// By a route without a gateway (Linux net/ipv4/fib_semantics.c, fib_check_nh_v4_gw; of IPv6 an address on the link may
/// be a link-local one).
bool FakeKernel::reaches(const NextHop& way) const {
    if (!way.gateway || way.on_link || way.gateway->is_link_local()) return true;
    return std::any_of(state.routes.begin(), state.routes.end(), [&](const Route& route) {
        return route.device == way.device && !route.gateway && route.hops.empty() && route.table == 254 &&
               route.destination.family() == way.gateway->family() && route.destination.contains(*way.gateway);
    });
}

Result<void> FakeKernel::add_route(const AddRoute& s) {
    // The kernel would take it, and no advertisement from then on (net/ipv6/ndisc.c, ndisc_router_discovery).
    if (s.route.protocol == protocol_ra) return refuse(s, EEXIST);
    for (const NextHop& way : ways_of(s.route)) {
        if (s.route.type != RouteType::Unicast) break;
        const auto device = state.links.find(way.device);
        if (device == state.links.end()) return refuse(s, ENODEV);
        if (!device->second.up.value_or(false)) return refuse(s, ENETDOWN);
        if (!reaches(way)) return refuse(s, ENETUNREACH);
    }
    for (const Route& r : state.routes) {
        if (is_same_route(r, s.route)) return refuse(s, EEXIST);
    }
    state.routes.insert(s.route);
    return {};
}

Result<void> FakeKernel::add_neighbour(const AddNeighbour& s) {
    if (!state.links.contains(s.neighbour.link)) return refuse(s, ENODEV);
    std::erase_if(state.neighbours, [&](const Neighbour& n) { return is_same_neighbour(n, s.neighbour); });
    state.neighbours.insert(s.neighbour);
    return {};
}

/// What hangs on the link keeps hanging on it.
Result<void> FakeKernel::rename(const RenameLink& s) {
    const auto found = state.links.find(s.from);
    if (found == state.links.end()) return refuse(s, ENODEV);
    if (state.links.contains(s.to)) return refuse(s, EEXIST);
    if (found->second.up.value_or(false)) return refuse(s, EBUSY);   // before Linux 6.2
    const auto rename_in = [&](auto& values, auto name) {
        std::remove_reference_t<decltype(values)> out;
        for (auto each : values) {
            if (each.*name == s.from) each.*name = s.to;
            out.insert(std::move(each));
        }
        values = std::move(out);
    };
    auto node = state.links.extract(found);
    node.key() = node.mapped().name = s.to;
    state.links.insert(std::move(node));
    for (auto& [name, link] : state.links) {
        if (link.master == s.from) link.master = s.to;
        if (link.parent == s.from) link.parent = s.to;
    }
    rename_in(state.addresses, &Address::link);
    std::map<Address, std::size_t> ages;
    for (const auto& [known, age] : ages_) {
        Address address = known;
        if (address.link == s.from) address.link = s.to;
        ages.emplace(std::move(address), age);
    }
    ages_ = std::move(ages);
    rename_in(state.routes, &Route::device);
    rename_in(state.neighbours, &Neighbour::link);
    if (auto device = state.wireguard.extract(s.from)) {
        device.key() = s.to;
        state.wireguard.insert(std::move(device));
    }
    std::map<OffloadKey, bool> offloads;
    for (const auto& [key, value] : state.offloads)
        offloads[{key.link == s.from ? s.to : key.link, key.feature}] = value;
    state.offloads = offloads;
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        for (const char* name : interface_sysctls) {
            auto value = state.sysctls.extract(conf_sysctl(family, s.from.str(), name));
            if (!value) continue;
            value.key() = conf_sysctl(family, s.to.str(), name);
            state.sysctls.insert(std::move(value));
        }
    }
    return {};
}

Result<void> FakeKernel::change(const ChangeLink& s) {
    const auto found = state.links.find(s.to.name);
    if (found == state.links.end()) return refuse(s, ENODEV);
    Link& link = found->second;
    if (s.to.master && !s.to.master->empty() && !state.links.contains(*s.to.master))
        return refuse(s, ENODEV);
    if (s.to.gretap && tunnel_exists(s.to.name, *s.to.gretap)) return refuse(s, EEXIST);
    if (s.to.alias) link.alias = s.to.alias;
    if (s.to.mac && link.mac != s.to.mac) lose_neighbours(link.name, {});   // neigh_changeaddr
    if (s.to.mac) link.mac = s.to.mac;
    if (s.to.mtu) resize(link, *s.to.mtu);
    if (s.to.port) {
        if (!link.port) return refuse(s, EINVAL);
        link.port = s.to.port;
    }
    if (s.to.master) {
        const auto master = state.links.find(link.master.value_or(IfName{}));
        const bool leaves_strange =
            master != state.links.end() && master->second.kind != LinkKind::Bridge;
        if (leaves_strange && link.up.value_or(false)) {   // as drivers/net/vrf.c, cycle_netdev
            go_down(link.name);
            connect(link.name);
        }
        link.master = s.to.master;
        const bool joins_bridge =
            !s.to.master->empty() && state.links.at(*s.to.master).kind == LinkKind::Bridge;
        link.port = joins_bridge ? std::optional{BridgePort{}} : std::nullopt;
    }
    if (s.to.gretap) link.gretap = s.to.gretap;
    if (s.to.bridge && link.bridge) {
        if (s.to.bridge->stp) link.bridge->stp = s.to.bridge->stp;
        if (s.to.bridge->multicast_snooping)
            link.bridge->multicast_snooping = s.to.bridge->multicast_snooping;
        if (s.to.bridge->vlan_filtering) link.bridge->vlan_filtering = s.to.bridge->vlan_filtering;
    }
    const auto device = state.wireguard.find(s.to.name);
    if (s.to.up && *s.to.up && device != state.wireguard.end() && device->second.listen_port &&
        port_in_use(*device->second.listen_port, s.to.name))
        return refuse(s, EADDRINUSE);
    if (s.to.up) link.up = s.to.up;
    if (s.to.arp) link.arp = s.to.arp;
    if (s.to.up && !*s.to.up) go_down(link.name);
    if (s.to.up) connect(link.name);
    return {};
}

/// Of one family, or of both (neigh_ifdown).
void FakeKernel::lose_neighbours(const IfName& link, std::optional<Family> family) {
    std::erase_if(state.neighbours, [&](const Neighbour& n) {
        return n.link == link && n.address.family() == family.value_or(n.address.family());
    });
}

/// Routes go with it, neighbours, and IPv6 addresses (fib_disable_ip, addrconf_ifdown).
void FakeKernel::go_down(const IfName& name) {
    lose_neighbours(name, {});
    std::erase_if(state.routes, [&](const Route& r) { return uses(r, name); });
    std::erase_if(state.addresses, [&](const Address& a) {
        return a.link == name && a.prefix.family() == Family::Ipv6;
    });
    for (const auto& [stacked, link] : state.links) {
        if (link.parent == name) go_down(stacked);
    }
}

/// IPv6 routes that state a larger MTU, or the former one, get the new one (net/ipv6/route.c, rt6_mtu_change_route).
void FakeKernel::resize(Link& link, Mtu mtu) {
    std::set<Route> routes;
    for (Route route : state.routes) {
        const auto stated = route.metrics.find("mtu");
        const bool is_its = route.destination.family() == Family::Ipv6 && uses(route, link.name);
        if (is_its && stated != route.metrics.end() &&
            (stated->second >= mtu.bytes() || (link.mtu && stated->second == link.mtu->bytes())))
            stated->second = mtu.bytes();
        routes.insert(std::move(route));
    }
    state.routes = std::move(routes);
    link.mtu = mtu;
}

Result<void> FakeKernel::remove_link(const IfName& name) {
    if (state.links.erase(name) == 0) return refuse(DeleteLink{Link{.name = name}}, ENODEV);
    std::erase_if(state.addresses, [&](const Address& a) { return a.link == name; });
    std::erase_if(state.routes, [&](const Route& r) { return uses(r, name); });
    std::erase_if(state.offloads, [&](const auto& entry) { return entry.first.link == name; });
    lose_neighbours(name, {});
    state.wireguard.erase(name);
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        for (const char* key : interface_sysctls)
            state.sysctls.erase(conf_sysctl(family, name.str(), key));
    }
    for (auto& [port, link] : state.links) {
        if (link.master != name) continue;
        link.master = IfName{};
        link.port.reset();
    }
    return {};
}

/// conf.all.forwarding writes every interface and `default` (see SetSysctl), and a router's devices lose
/// their large receive offload (Linux net/ipv4/devinet.c, inet_forward_change).
void FakeKernel::write_sysctl(const SetSysctl& s) {
    state.sysctls[s.key] = s.to;
    for (const auto& [name, link] : state.links) {   // addrconf_ifdown, and what advertisements bring again
        if (s.key != conf_sysctl(Family::Ipv6, name.str(), "disable_ipv6")) continue;
        if (s.to == "1") lose_neighbours(name, Family::Ipv6);
        std::set<Route>& from = s.to == "1" ? state.routes : advertised_;
        std::set<Route>& to = s.to == "1" ? advertised_ : state.routes;
        for (auto route = from.begin(); route != from.end();) {
            const auto each = route++;
            if (each->protocol == protocol_ra && each->device == name) to.insert(from.extract(each));
        }
    }
    const auto all = s.key.find(".conf.all.forwarding");
    if (all == std::string::npos) return;
    const std::string prefix = s.key.substr(0, all) + ".conf.";
    for (auto& [key, value] : state.sysctls) {
        if (key.starts_with(prefix) && key.ends_with(".forwarding")) value = s.to;
    }
    for (auto& [key, on] : state.offloads) {
        if (key.feature == "lro" && s.to != "0" && prefix == "net.ipv4.conf.") on = false;
    }
    for (const SysctlValue& side : s.cascade) {   // a key that is gone went with its interface
        if (const auto there = state.sysctls.find(side.key); there != state.sysctls.end()) there->second = side.to;
    }
}

}  // namespace overlay::test
