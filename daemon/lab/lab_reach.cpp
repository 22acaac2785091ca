#include "daemon/lab/lab_reach.hpp"

#include "daemon/lab/lab_world.hpp"
#include "netlink/kernel.hpp"
#include "topology/datapath.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace overlay::lab {
namespace {

constexpr int max_hops = 16;

struct Translation {
    std::string host;
    IpAddress outside, inside;
};

/// A packet on its way.
struct Packet {
    std::string at;
    std::optional<IpAddress> source;   ///< chosen by the first host
    IpAddress destination;
    Mtu mtu{65535};
    std::vector<Translation> translations;
    bool is_reply = false;   ///< undoes translations instead of making them
};

struct NextHop {
    std::string host;
    Mtu mtu;
};

unsigned common_bits(const IpAddress& a, const IpAddress& b) {
    unsigned bits = 0;
    while (bits < a.max_prefix_length() &&
           IpPrefix::of(a, static_cast<std::uint8_t>(bits + 1)).contains(b)) {
        ++bits;
    }
    return bits;
}

class Walk {
  public:
    explicit Walk(const World& world) : world_{world} {}

    /// nullopt: it arrived at the owner of its destination. Else the reason why not.
    std::optional<std::string> run(Packet& packet) const {
        for (int hop = 0; hop < max_hops; ++hop) {
            const WorldHost& host = world_.hosts.at(packet.at);
            if (host.owns(packet.destination) && !untranslate(packet)) return std::nullopt;
            if (host.owns(packet.destination)) return std::nullopt;
            const Family family = packet.destination.family();
            if (hop > 0 && !host.forwards(family)) {
                return fmt::format("{} does not forward {}", packet.at, text(family));
            }
            const WorldRoute* route = host.best_route(packet.destination);
            if (route == nullptr) {
                return fmt::format("{} has no route to {}", packet.at, told(packet.destination));
            }
            if (auto problem = choose_source(host, *route, packet)) return problem;
            auto next = next_hop(host, *route, packet);
            if (!next) return next.error();
            packet.at = next->host;
            packet.mtu = std::min(packet.mtu, next->mtu);
            if (family != Family::Ipv6) continue;
            for (const auto* told : {&host.advertised_mtus, &host.learnt_mtus}) {
                const auto mtu = told->find(route->device);
                if (mtu != told->end()) packet.mtu = std::min(packet.mtu, mtu->second);
            }
        }
        return "it goes in circles";
    }

  private:
    /// As a person knows it: the stand-in for an address by advertisement is its prefix.
    [[nodiscard]] std::string told(const IpAddress& address) const {
        for (const auto& [name, host] : world_.hosts) {
            for (const WorldAddress& each : host.addresses) {
                const bool is_stand_in = each.target.by_advertisement && each.address == address;
                if (is_stand_in) return text(each.target.prefix);
            }
        }
        return text(address);
    }

    static bool untranslate(Packet& packet) {
        if (!packet.is_reply || packet.translations.empty()) return false;
        const Translation& last = packet.translations.back();
        if (last.host != packet.at || last.outside != packet.destination) return false;
        packet.destination = last.inside;
        packet.translations.pop_back();
        return true;
    }

    /// RFC 6724 §5 as far as it matters here: of the outgoing interface, then the longest match.
    static std::optional<std::string> choose_source(const WorldHost& host, const WorldRoute& route,
                                                    Packet& packet) {
        if (!packet.source) {
            const WorldAddress* best = nullptr;
            std::pair<bool, unsigned> best_score{};
            for (const WorldAddress& each : host.addresses) {
                if (each.address.family() != packet.destination.family()) continue;
                if (each.address.is_link_local()) continue;
                const std::pair<bool, unsigned> score{
                    each.target.interface == route.device,
                    common_bits(each.address, packet.destination)};
                if (best != nullptr && score <= best_score) continue;
                best = &each;
                best_score = score;
            }
            if (best == nullptr) {
                return fmt::format("{} has no {} address", packet.at,
                                   text(packet.destination.family()));
            }
            packet.source = best->address;
        }
        if (!packet.is_reply && packet.source->family() == Family::Ipv4)
            masquerade(host, route, packet);
        return std::nullopt;
    }

    static void masquerade(const WorldHost& host, const WorldRoute& route, Packet& packet) {
        for (const rule::Masquerade& rule : host.masquerades) {
            const bool is_meant =
                rule.sources.empty() ||
                std::any_of(rule.sources.begin(), rule.sources.end(), [&](const IpPrefix& source) {
                    return source.contains(*packet.source);
                });
            const bool is_left_alone = std::ranges::find(rule.except, *packet.source) !=
                                       rule.except.end();
            if (rule.out != route.device || !is_meant || is_left_alone) continue;
            for (const WorldAddress& each : host.addresses) {
                if (each.target.interface != rule.out || each.address.family() != Family::Ipv4)
                    continue;
                if (each.address == *packet.source) return;
                packet.translations.push_back({packet.at, each.address, *packet.source});
                packet.source = each.address;
                return;
            }
        }
    }

    tl::expected<NextHop, std::string> next_hop(const WorldHost& host, const WorldRoute& route,
                                                const Packet& packet) const {
        if (const auto device = host.wireguard.find(route.device); device != host.wireguard.end()) {
            return through_wireguard(device->first, device->second, packet);
        }
        const IpAddress wanted = route.gateway.value_or(packet.destination);
        const auto segment = world_.segment_of({packet.at, route.device});
        const auto found = std::find_if(segment.begin(), segment.end(), [&](const auto& reached) {
            return reached.first.host != packet.at && answers(reached.first, route, wanted);
        });
        if (found != segment.end()) return NextHop{found->first.host, found->second};
        for (const auto& [end, mtu] : segment) {
            if (end.host != packet.at && proxies(end, wanted)) return NextHop{end.host, mtu};
        }
        return tl::unexpected<std::string>{
            fmt::format("nobody on {} of {} is {}", text(route.device), packet.at, told(wanted))};
    }

    /// IPv4: a host answers ARP for any of its addresses (arp_ignore 0); IPv6: on the interface
    /// only.
    [[nodiscard]] bool answers(const LabEnd& end, const WorldRoute& route,
                               const IpAddress& wanted) const {
        if (!route.gateway_host.empty()) return end.host == route.gateway_host;
        const WorldHost& host = world_.hosts.at(end.host);
        return std::any_of(
            host.addresses.begin(), host.addresses.end(), [&](const WorldAddress& each) {
                const bool is_there =
                    wanted.family() == Family::Ipv4 || each.target.interface == end.interface;
                return is_there && each.address == wanted;
            });
    }

    [[nodiscard]] bool proxies(const LabEnd& end, const IpAddress& wanted) const {
        const WorldHost& host = world_.hosts.at(end.host);
        if (!host.proxies_arp || wanted.family() != Family::Ipv4) return false;
        const WorldRoute* route = host.best_route(wanted);
        return route != nullptr && route->device != end.interface;
    }

    tl::expected<NextHop, std::string> through_wireguard(const IfName& device,
                                                         const WireguardDevice& own,
                                                         const Packet& packet) const {
        const auto peer = peer_for(own, packet.destination);
        if (!peer) {
            return tl::unexpected<std::string>{fmt::format("no peer of {} on {} is allowed {}",
                                                           text(device), packet.at,
                                                           told(packet.destination))};
        }
        for (const auto& [name, host] : world_.hosts) {
            for (const auto& [its_device, its] : host.wireguard) {
                if (its.public_key != *peer) continue;
                const auto back = peer_for(its, *packet.source);
                if (!back || *back != own.public_key) {
                    return tl::unexpected<std::string>{fmt::format(
                        "{} does not let {} in from {}", name, told(*packet.source), packet.at)};
                }
                const Mtu mtu =
                    std::min(world_.mtu_of({packet.at, device}), world_.mtu_of({name, its_device}));
                return NextHop{name, mtu};
            }
        }
        return tl::unexpected<std::string>{
            fmt::format("the peer of {} is not in the lab", packet.at)};
    }

    /// Cryptokey routing: the longest allowed-ip decides.
    static std::optional<PublicKey> peer_for(const WireguardDevice& device,
                                             const IpAddress& address) {
        std::optional<PublicKey> best;
        int best_length = -1;
        for (const auto& [key, peer] : device.peers) {
            for (const IpPrefix& allowed : peer.allowed_ips) {
                if (!allowed.contains(address) || int{allowed.length()} <= best_length) continue;
                best = key;
                best_length = allowed.length();
            }
        }
        return best;
    }

    const World& world_;
};

std::vector<const WorldAddress*> addresses_of(const WorldHost& host, Family family) {
    std::vector<const WorldAddress*> out;
    for (const WorldAddress& each : host.addresses) {
        const bool is_usable = each.address.family() == family && !each.address.is_link_local() &&
                               !host.masters.contains(each.target.interface);
        if (is_usable) out.push_back(&each);
    }
    std::stable_sort(out.begin(), out.end(),
                     [](const auto* a, const auto* b) { return a->rank < b->rank; });
    return out;
}

/// Forth and, as the translations allow, back.
std::optional<std::string> try_target(const World& world, const WorldAddress& target,
                                      LabPair& pair) {
    const Walk walk{world};
    Packet forth;
    forth.at = pair.from;
    forth.destination = target.address;
    if (auto problem = walk.run(forth)) return problem;
    if (forth.at != pair.to) return fmt::format("{} answers instead", forth.at);
    Packet back;
    back.at = pair.to;
    back.source = target.address;
    back.destination = *forth.source;
    back.translations = forth.translations;
    back.is_reply = true;
    if (auto problem = walk.run(back)) return "no way back: " + *problem;
    if (back.at != pair.from) return fmt::format("the answer goes to {}", back.at);
    pair.expected = true;
    pair.target = target.target;
    pair.mtu = std::min(forth.mtu, back.mtu);
    pair.reason.clear();
    return std::nullopt;
}

LabPair make_pair(const World& world, const std::string& from, const std::string& to,
                  Family family) {
    LabPair pair;
    pair.from = from;
    pair.to = to;
    pair.family = family;
    for (const WorldAddress* target : addresses_of(world.hosts.at(to), family)) {
        const auto problem = try_target(world, *target, pair);
        if (!problem) return pair;
        if (pair.reason.empty()) pair.reason = *problem;
    }
    if (pair.reason.empty()) pair.reason = fmt::format("{} has no {} address", to, text(family));
    return pair;
}

}   // namespace

Intents compile_all(const Topology& topology) {
    Intents out;
    out.emplace(topology.hub.name, compile(topology, topology.hub, {}));
    for (const Node& spoke : topology.spokes) out.emplace(spoke.name, compile(topology, spoke, {}));
    return out;
}

Result<void> choose_datapaths(Intents& intents) {
    auto kernel = netlink::Kernel::open();
    if (!kernel) return pass_on(kernel);
    Secrets none;
    const auto found = kernel->snapshot(none);
    if (!found) return pass_on(found);
    for (auto& [node, intent] : intents) overlay::choose_datapaths(intent, *found);
    return {};
}

std::vector<std::string> matrix_hosts(const LabPlan& plan) {
    std::vector<std::string> out;
    for (const LabHost& host : plan.hosts) {
        const bool is_asked =
            host.role != LabHost::Role::Internet && host.role != LabHost::Role::Nat;
        if (is_asked) out.push_back(host.name);
    }
    return out;
}

std::vector<LabPair> make_pairs(const LabPlan& plan, const Topology& topology,
                                const Intents& intents) {
    const World world = make_world(plan, topology, intents);
    std::vector<LabPair> out;
    for (const std::string& from : matrix_hosts(plan)) {
        for (const std::string& to : matrix_hosts(plan)) {
            if (from == to) continue;
            for (const Family family : {Family::Ipv4, Family::Ipv6}) {
                out.push_back(make_pair(world, from, to, family));
            }
        }
    }
    return out;
}

std::string text(const LabPair& pair) {
    const std::string who = fmt::format("{} -> {} {}", pair.from, pair.to, text(pair.family));
    if (!pair.expected) return who + " no: " + pair.reason;
    const std::string where = pair.target.by_advertisement
                                  ? "advertised in " + text(pair.target.prefix)
                                  : text(pair.target.prefix.address());
    return fmt::format("{} {} mtu {}", who, where, pair.mtu.bytes());
}

}   // namespace overlay::lab
