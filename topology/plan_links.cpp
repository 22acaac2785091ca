// Links: those that we make, those that we borrow, those that are left over. A gretap whose
// parameters differ is changed in place (the kernel allows it on an up link); another kind means
// making it anew.

#include "topology/attributes.hpp"
#include "topology/planner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

namespace overlay {

namespace {

/// Parents first: a bridge before its ports, WireGuard before the gretap inside it.
int rank(LinkKind kind) {
    switch (kind) {
        case LinkKind::Bridge: return 0;
        case LinkKind::Wireguard:
        case LinkKind::Tun: return 1;
        case LinkKind::Gretap:
        case LinkKind::Tap:
        case LinkKind::Ip6gretap:
        case LinkKind::Veth:
        case LinkKind::Other: return 2;
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

std::vector<Link> in_rank_order(const std::map<IfName, Link>& links) {
    std::vector<Link> out;
    for (const auto& [name, link] : links) out.push_back(link);
    std::stable_sort(out.begin(), out.end(),
                     [](const Link& a, const Link& b) { return rank(a.kind) < rank(b.kind); });
    return out;
}

/// What a change of these attributes does to traffic.
Impact impact_of(const LinkDifference& changed) {
    if (changed.to.gretap || changed.to.mac) return Impact::Flap;
    return Impact::Live;
}

}  // namespace

void Planner::links() {
    free_tunnels();
    for (const Link& desired : in_rank_order(desired_.links)) {
        intent_.borrowed.contains(desired.name) ? borrowed_link(desired) : own_link(desired);
    }
    remove_gone_links();
    return_borrowed_links();
}

namespace {

/// "overlay:<network>:<id>": the network; empty: no mark of ours.
std::string network_of(const std::string& alias) {
    constexpr std::string_view prefix = "overlay:";
    const std::size_t end = alias.starts_with(prefix) ? alias.find(':', prefix.size())
                                                      : std::string::npos;
    if (end == std::string::npos) return {};
    return alias.substr(prefix.size(), end - prefix.size());
}

/// Default names follow from nodes, not from the network: two files may want the same.
std::string keys_for_name(LinkKind kind) {
    switch (kind) {
        case LinkKind::Bridge: return "\"name\" of the bridge";
        case LinkKind::Wireguard:
        case LinkKind::Tun: return "\"interface\", or \"wireguard_interface\" of the link";
        default: return "\"interface\", at the hub \"hub_interface\", of the link";
    }
}

}  // namespace

void Planner::refuse_name(const Link& desired, const Link& found) {
    const std::string alias = found.alias.value_or("");
    const std::string other = network_of(alias);
    if (other.empty()) {
        refuse(CreateLink{desired},
               fmt::format("an interface named {} exists ({}{}) and is not ours",
                           desired.name.str(), text(found.kind),
                           alias.empty() ? "" : ", alias \"" + alias + "\""),
               "remove or rename it, or give ours another name in the file");
    } else {
        refuse(CreateLink{desired},
               fmt::format("an interface named {} exists ({}, of network {}) and is not ours",
                           desired.name.str(), text(found.kind), other),
               fmt::format("if {0} is this network's former name: overlayctl down {0}, then again; else give "
                           "ours another name in the file: {1}", other, keys_for_name(desired.kind)));
    }
}

void Planner::own_link(const Link& desired) {
    plan_.ledger_after.links.insert_or_assign(desired.name, Link{.name = desired.name,
                                                                 .kind = desired.kind,
                                                                 .alias = desired.alias,
                                                                 .mac = desired.mac});
    if (const Link* holder = holder_of_tunnel(desired); holder != nullptr && !is_ours(*holder)) {
        refuse(CreateLink{desired},
               fmt::format("{} is a tunnel with the same local, remote and key, and is not ours",
                           holder->name.str()),
               "remove it, or give the link another key");
        return;
    }
    const Link* found = found_link(desired.name);
    if (const auto taken = found_.alternative_names.find(desired.name);
        found == nullptr && taken != found_.alternative_names.end()) {
        const Link* holder = found_link(taken->second);
        refuse(CreateLink{desired},
               fmt::format("{} is another name (altname) of {}{}", desired.name.str(), taken->second.str(),
                           holder != nullptr && is_ours(*holder) ? "" : ", which is not ours"),
               fmt::format("ip link property del dev {} altname {}, or give ours another name",
                           taken->second.str(), desired.name.str()));
        created_.insert(desired.name);   // what belongs to it would only repeat the refusal
        return;
    }
    if (found == nullptr) {
        create_link(desired, Action::Add, {});
        return;
    }
    if (deleted_.contains(desired.name)) {
        create_link(desired, Action::Recreate, "what it was is another link's now");
        return;
    }
    if (!is_ours(*found)) {
        refuse_name(desired, *found);
        return;
    }
    const bool external = found->gretap && found->gretap->collect_metadata;
    if (found->kind != desired.kind || external) {
        dismantle(*found, {Phase::FreeNames, Phase::FreeNames, Phase::FreeNames, Phase::FreeNames},
                  Action::Recreate);
        create_link(desired, Action::Recreate,
                    external ? "found with external (metadata) mode"
                             : fmt::format("found as {}", text(found->kind)));
        return;
    }
    change_link(desired, *found, false);
}

/// Two tunnels with one (local, remote, key, device) cannot both exist (Linux net/ipv4/ip_tunnel.c,
/// ip_tunnel_find; net/ipv6/ip6_gre.c, ip6gre_tunnel_find): the other one that is what `desired` will be.
const Link* Planner::holder_of_tunnel(const Link& desired) const {
    if (!desired.gretap) return nullptr;
    const GretapAttributes& wanted = *desired.gretap;
    for (const auto& [name, link] : found_.links) {
        if (!link.gretap || link.kind != desired.kind || name == desired.name) continue;
        const GretapAttributes& theirs = *link.gretap;
        const bool same = theirs.local == wanted.local && theirs.remote == wanted.remote &&
                          theirs.input.key == wanted.input.key && theirs.device == wanted.device &&
                          !theirs.collect_metadata;
        if (same) return &link;
    }
    return nullptr;
}

/// One of ours that is in another's way goes first, whether it is left over or will be made anew.
void Planner::free_tunnels() {
    for (const auto& [name, desired] : desired_.links) {
        const Link* holder = holder_of_tunnel(desired);
        if (holder == nullptr || !is_ours(*holder) || deleted_.contains(holder->name)) continue;
        dismantle(*holder,
                  {Phase::FreeNames, Phase::FreeNames, Phase::FreeNames, Phase::FreeNames},
                  desired_.links.contains(holder->name) ? Action::Recreate : Action::Remove);
    }
}

void Planner::create_link(const Link& desired, Action action, std::string why) {
    created_.insert(desired.name);
    add(Phase::Links, CreateLink{desired}, action,
        action == Action::Recreate ? Impact::Recreate : Impact::Live, std::move(why));
    const Link base{.name = desired.name, .kind = desired.kind};
    if (desired.master && !desired.master->empty()) {
        Link from = base, to = base;
        from.master = IfName{};
        to.master = desired.master;
        add(Phase::Masters, ChangeLink{from, to}, action, Impact::Live);
        before_port_joins(desired);
    }
    if (desired.up && *desired.up) {
        Link from = base, to = base;
        from.up = false;
        to.up = true;
        add(Phase::Up, ChangeLink{from, to}, action, Impact::Live);
    }
}

/// A bridge whose MAC nobody ever set has the lowest of its ports (Linux net/bridge/br_stp_if.c,
/// br_stp_recalculate_bridge_id). One whose MTU nobody ever set follows its narrowest port (net/bridge/br_if.c,
/// br_mtu_auto_adjust) and recovers when the port leaves. Whether they were set cannot be read: so where the file wants
/// an MTU that is there already, it is set once more to pin it; else the reader is told.
void Planner::before_port_joins(const Link& port) {
    const Link* bridge = found_link(*port.master);
    if (bridge == nullptr || !intent_.borrowed.contains(*port.master)) return;
    if (port.mac && bridge->mac && *port.mac < *bridge->mac) {
        plan_.notes.push_back(fmt::format(
            "{} joins {}: unless its MAC was set by hand, the kernel gives it the lowest of its ports, {} -> {}, until "
            "we leave",
            port.name.str(), port.master->str(), text(*bridge->mac), text(*port.mac)));
    }
    if (!bridge->mtu) return;
    if (port.mtu && *port.mtu >= *bridge->mtu) return;
    const std::string lower = port.mtu ? text(*port.mtu) : "the kernel's choice";
    const std::optional<Mtu>& wanted = desired_.links[*port.master].mtu;
    if (wanted && wanted == bridge->mtu) {
        Link pinned{.name = bridge->name, .kind = bridge->kind};
        pinned.mtu = bridge->mtu;
        add(Phase::Attributes, ChangeLink{pinned, pinned}, Action::Change, Impact::Live,
            fmt::format("mtu {} pinned, since {} would lower it to {}", bridge->mtu->bytes(),
                        port.name.str(), lower));
    } else if (!wanted) {
        plan_.notes.push_back(fmt::format(
            "{} joins {}: unless its MTU was set by hand, the kernel lowers it {} -> {}, until we "
            "leave",
            port.name.str(), port.master->str(), bridge->mtu->bytes(), lower));
    }
}

/// Attributes, master and up are steps of their own, since they belong to different phases.
void Planner::change_link(const Link& desired, const Link& found, bool borrowed) {
    LinkDifference changed = difference(desired, found);
    if (changed.is_empty()) return;
    if (changed.from.master && deleted_.contains(*changed.from.master)) changed.from.master = IfName{};
    const Link base{.name = desired.name, .kind = found.kind};
    const auto split = [&](auto member, Phase phase, Impact impact) {
        if (!(changed.to.*member)) return;
        Link from = base, to = base;
        std::swap(from.*member, changed.from.*member);
        std::swap(to.*member, changed.to.*member);
        add(phase, ChangeLink{from, to}, Action::Change, impact);
    };
    const bool was_free = !found.master || found.master->empty();
    if (borrowed && changed.to.master && !changed.to.master->empty()) lro_goes_with_bridge(desired.name);
    split(&Link::master, Phase::Masters, borrowed || !was_free ? Impact::Flap : Impact::Live);
    split(&Link::up, Phase::Up, desired.up.value_or(true) ? Impact::Live : Impact::Flap);
    changed.from.kind = changed.to.kind = found.kind;
    if (!changed.is_empty()) {
        const Impact impact = impact_of(changed);
        add(Phase::Attributes, ChangeLink{changed.from, changed.to}, Action::Change, impact);
    }
}

void Planner::borrowed_link(const Link& desired) {
    const Link* found = found_link(desired.name);
    if (found == nullptr) {
        refuse(CreateLink{desired}, fmt::format("there is no interface {}", desired.name.str()),
               "the file says that it exists already; make it, or correct its name");
        return;
    }
    if (desired.kind == LinkKind::Bridge && found->kind != LinkKind::Bridge) {
        refuse(CreateLink{desired}, fmt::format("{} is not a bridge", desired.name.str()),
               "name an existing bridge, or drop \"existing\"");
        return;
    }
    const Link nothing{.name = desired.name, .kind = found->kind};
    auto& formers = plan_.ledger_after.borrowed;
    Former<Link>& former =
        formers.try_emplace(desired.name, Former<Link>{nothing, nothing, {}}).first->second;
    share_borrowed(desired, *found, former);
    // A port's VLANs and entries in the fdb, a bond's ways, a VRF's addresses and routes would not come back.
    const bool elsewhere = desired.master && found->master && !found->master->empty();
    if (elsewhere && found->master != desired.master && !former.before.master) {
        const Link* master = found_link(*found->master);
        if (master == nullptr || !is_ours(*master)) {
            refuse(ChangeLink{*found, desired},
                   fmt::format("{} is in {} already, which is not ours", desired.name.str(),
                               found->master->str()),
                   fmt::format("take it out of {}, or leave it out of the file", found->master->str()));
            return;
        }
    }
    Link wanted = desired;
    if (!desired.mtu && former.before.mtu) wanted.mtu = mtu_given_back(*found, former);
    // The first time, whether it must be changed or is as we want it: what a hand makes of it later, and we repair,
    // never was its former value.
    const auto remember = [&](auto member) {
        if (!(desired.*member)) return;
        if (!(former.before.*member)) former.before.*member = found->*member;
        former.ours.*member = desired.*member;
    };
    const Link* bridge = desired.master && found->master ? found_link(*found->master) : nullptr;
    if (bridge != nullptr && is_ours(*bridge) && !former.before.master) former.before.master = IfName{};
    remember(&Link::mac);
    remember(&Link::mtu);
    remember(&Link::up);
    remember(&Link::master);
    if (former.before == nothing) formers.erase(desired.name);
    change_link(wanted, *found, true);
}

/// The file says nothing of it any more. A bridge whose MTU was set never follows its ports again, so a tunnel
/// that is narrower than its former MTU keeps it as low as the kernel would have made it.
std::optional<Mtu> Planner::mtu_given_back(const Link& found, Former<Link>& former) const {
    const bool shared = neighbour([&](const Ledger& other) {
        const auto theirs = other.borrowed.find(found.name);
        return theirs != other.borrowed.end() && theirs->second.before.mtu;
    });
    std::optional<Mtu> wanted;
    if (!shared && former.ours.mtu == found.mtu) {
        wanted = former.before.mtu;
        for (const auto& [name, port] : desired_.links) {
            if (port.master == found.name && port.mtu) wanted = std::min(*wanted, *port.mtu);
        }
    }
    former.ours.mtu = wanted;
    if (!wanted || wanted == former.before.mtu) former.before.mtu = former.ours.mtu = std::nullopt;
    return wanted;
}

/// What another network has made of it already is ours, too, with the former value that it remembers. Two
/// networks that want different things would undo each other's work for ever.
void Planner::share_borrowed(const Link& desired, const Link& found, Former<Link>& former) {
    for (const Ledger& other : neighbours_) {
        const auto theirs = other.borrowed.find(desired.name);
        if (theirs == other.borrowed.end()) continue;
        const auto& [before, made, cause] = theirs->second;
        bool differs = false;
        const auto share = [&](auto member) {
            if (!(desired.*member) || !(before.*member)) return;
            differs = differs || (desired.*member != made.*member && made.*member == found.*member);
            if (desired.*member != made.*member || former.before.*member) return;
            former.before.*member = before.*member;
            former.ours.*member = made.*member;
        };
        share(&Link::mac);
        share(&Link::mtu);
        share(&Link::up);
        share(&Link::master);
        if (!differs) continue;
        refuse(ChangeLink{found, desired},
               fmt::format("network {} has borrowed {}, too, and wants it otherwise", other.network,
                           desired.name.str()),
               "let both files say the same, or leave it to one of them");
    }
}

void Planner::remove_gone_links() {
    std::vector<Link> ours = in_rank_order(found_.links);
    std::reverse(ours.begin(), ours.end());  // ports before their bridge
    for (const Link& link : ours) {
        if (desired_.links.contains(link.name) || !is_ours(link)) continue;
        if (deleted_.contains(link.name)) continue;
        const Link* master = link.master ? found_link(*link.master) : nullptr;
        const bool master_first = master != nullptr && is_ours(*master) && is_in_the_way(*master) &&
                                  !desired_.links.contains(master->name);
        const bool first = master_first || is_in_the_way(link);
        dismantle(link,
                  first ? RemovalPhases{Phase::FreeNames, Phase::FreeNames, Phase::FreeNames,
                                        Phase::FreeNames}
                        : RemovalPhases{Phase::RemoveRoutes, Phase::RemovePeers,
                                        Phase::RemoveAddresses, Phase::RemoveLinks},
                  Action::Remove);
    }
    std::erase_if(plan_.ledger_after.links,
                  [&](const auto& entry) { return !desired_.links.contains(entry.first); });
}

/// What it holds is another's in the new file: a UDP port, or the way to a network.
bool Planner::is_in_the_way(const Link& link) const {
    const auto device = found_.wireguard.find(link.name);
    if (device != found_.wireguard.end() && device->second.listen_port &&
        port_is_wanted(*device->second.listen_port, link.name))
        return true;
    return std::any_of(found_.routes.begin(), found_.routes.end(), [&](const Route& found) {
        return uses(found, link.name) && is_taken_over(found);
    });
}

/// Removes a link piece by piece, though the kernel would take everything along: so that each piece
/// has its inverse and a rollback finds nothing missing.
void Planner::dismantle(const Link& link, const RemovalPhases& phases, Action action) {
    deleted_.insert(link.name);
    const bool is_early = phases.links == Phase::FreeNames;
    if (is_early) ports_come_from_nowhere(link.name);
    const Impact impact = action == Action::Recreate ? Impact::Recreate : Impact::SessionLoss;
    const std::size_t first = plan_.steps.size();
    std::set<Route> routes;
    for (const Route& route : found_.routes) {
        const bool automatic = route.protocol == protocol_kernel || route.protocol == protocol_ra;
        if (uses(route, link.name) && !automatic) routes.insert(route);
    }
    for (const Route& route : std::views::reverse(in_order_of_need(routes)))
        add(phases.routes, RemoveRoute{route}, action, impact);
    if (const auto device = found_.wireguard.find(link.name); device != found_.wireguard.end()) {
        for (const auto& [key, peer] : device->second.peers) {
            add(phases.peers, SetPeer{link.name, key, peer, std::nullopt}, action, impact);
        }
        WireguardDevice from = device->second;
        from.peers.clear();
        add(phases.peers, SetWireguard{link.name, from, WireguardDevice{.listen_port = 0}}, action,
            impact);
    }
    for (const Address& address : secondaries_first(found_.addresses)) {
        const bool automatic = !address.permanent || address.prefix.address().is_link_local();
        if (address.link == link.name && !automatic)
            remove_address(phases.addresses, address, {action, impact, {}});
    }
    // Made anew on the way back it has the host's defaults: no IPv6, perhaps, and would refuse its addresses.
    for (const char* name : {"disable_ipv6", "accept_ra"}) {
        const std::string key = conf_sysctl(Family::Ipv6, link.name.str(), name);
        const auto found = found_.sysctls.find(key);
        if (found != found_.sysctls.end() && found->second != inherited(key))
            add(phases.links, SetSysctl{key, found->second, inherited(key), {}}, action, impact);
    }
    for (const auto& [key, former] : made_.offloads) {   // a new one has the kernel's
        const auto now = found_.offloads.find(key);
        if (key.link == link.name && now != found_.offloads.end() && now->second == former.ours)
            add(phases.links, SetOffload{key, former.ours, former.before}, action, impact);
    }
    const auto set = [&](const Link& target, auto member, auto value) {
        Link from{.name = target.name, .kind = target.kind}, to = from;
        from.*member = target.*member;
        to.*member = value;
        add(phases.links, ChangeLink{from, to}, action, impact);
    };
    for (const auto& [name, port] : found_.links) {  // a bridge lets its ports go
        if (port.master != link.name || deleted_.contains(name)) continue;
        if (is_early || !goes_elsewhere(name, link.name)) set(port, &Link::master, IfName{});
    }
    if (link.up.value_or(false)) set(link, &Link::up, false);
    if (link.master && !link.master->empty()) set(link, &Link::master, IfName{});
    add(phases.links, DeleteLink{link}, action, impact);
    for (std::size_t i = first; i < plan_.steps.size(); ++i) {  // one object to the reader
        plan_.steps[i].object = object_of(Step{DeleteLink{link}});
    }
}

/// Into another bridge, before the old one goes.
bool Planner::goes_elsewhere(const IfName& port, const IfName& bridge) const {
    const auto desired = desired_.links.find(port);
    if (desired == desired_.links.end()) return false;
    const std::optional<IfName>& master = desired->second.master;
    return master && !master->empty() && *master != bridge;
}

/// In later phases: the bridge has let its ports go by then, and on the way back is not there yet.
void Planner::ports_come_from_nowhere(const IfName& bridge) {
    std::erase_if(plan_.steps, [&](PlannedStep& step) {
        auto* change = std::get_if<ChangeLink>(&step.step);
        const bool leaves = step.phase != Phase::FreeNames && change != nullptr && change->from.master == bridge;
        if (leaves) change->from.master = IfName{};
        return leaves && change->to.master == IfName{};
    });
}

/// Puts a borrowed link's former values back, each one only while it still is what we made it.
void Planner::return_borrowed_links() {
    for (const auto& [name, former] : ledger_.borrowed) {
        if (desired_.links.contains(name)) continue;
        plan_.ledger_after.borrowed.erase(name);
        const Link* found = found_link(name);
        if (found == nullptr) continue;
        Link wanted{.name = name, .kind = found->kind}, as_made = former.ours;
        // Under whatever name: its own may have changed since.
        const Link* bridge = found->master ? found_link(*found->master) : nullptr;
        if (bridge != nullptr && is_ours(*bridge)) as_made.master = found->master;
        const auto put_back = [&](auto member) {
            const bool shared = neighbour([&](const Ledger& other) {
                const auto theirs = other.borrowed.find(name);
                return theirs != other.borrowed.end() && theirs->second.before.*member;
            });
            if (!shared && former.before.*member && as_made.*member == found->*member) {
                wanted.*member = former.before.*member;
            }
        };
        put_back(&Link::mac);
        put_back(&Link::mtu);
        put_back(&Link::up);
        // A bridge that goes has let it go already, and is not there yet on the way back.
        if (!found->master || !deleted_.contains(*found->master)) put_back(&Link::master);
        LinkDifference changed = difference(wanted, *found);
        if (changed.is_empty()) continue;
        changed.from.kind = changed.to.kind = found->kind;
        add(Phase::RemoveLinks, ChangeLink{changed.from, changed.to}, Action::Change, Impact::Flap,
            "former value of a borrowed interface");
    }
}

}  // namespace overlay
