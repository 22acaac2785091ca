// The way of a plan: fill in what only the found state knows (the old gateway, the uplink's own MAC
// and addresses), compare object by object, sort by phase. A stable sort keeps the order of
// discovery within a phase, so that equal input gives an equal plan.

#include "topology/plan.hpp"

#include "topology/derive.hpp"
#include "topology/planner.hpp"
#include "topology/underlay.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

std::string_view text(Impact impact) {
    switch (impact) {
        case Impact::Live: return "live";
        case Impact::Flap: return "flap";
        case Impact::Recreate: return "recreate";
        case Impact::SessionLoss: return "session-loss";
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

bool is_marked(const Link& link, std::string_view network) {
    return link.alias && link.alias->starts_with(ownership_mark(network, ""));
}

bool is_marked_by_any(const Link& link) { return link.alias && link.alias->starts_with("overlay:"); }

bool is_the_one_made(const Link& found, const Link& made) {
    return found.kind == made.kind && (!made.mac || found.mac == made.mac);
}

bool Ledger::is_empty() const {
    Ledger nothing;
    nothing.network = network;
    nothing.node = node;
    return *this == nothing;
}

Plan plan(const NodeIntent& intent, const KernelState& found, const Ledger& ledger,
          const std::vector<Ledger>& neighbours) {
    return Planner{intent, found, ledger, neighbours}.run();
}

Planner::Planner(const NodeIntent& intent, const KernelState& found, const Ledger& ledger,
                 const std::vector<Ledger>& neighbours)
    : intent_{intent},
      original_{found},
      found_{found},
      ledger_{ledger},
      neighbours_{neighbours},
      desired_{intent.desired} {
    made_ = ledger;
    plan_.ledger_after = ledger;
    plan_.ledger_after.network = intent.network;
    plan_.ledger_after.node = intent.node;
    plan_.ledger_after.bystanders = {};
    plan_.notes = intent.notes;
    std::erase_if(plan_.ledger_after.moved_routes,   // a ledger of before has them: see resolve_uplink_move()
                  [](const Route& route) { return route.protocol == protocol_ra; });
}

Plan Planner::run() {
    renames();
    leave_strange_masters();
    resolve_uplink_move();
    resolve_pins();
    links();
    modules();
    overlayd();
    tables();
    sysctls();
    fou_ports();
    wireguard();
    offloads();
    addresses();
    routes();
    moved_neighbours();
    bystanders();
    doubt_underlay();
    doubt_networks();
    count_foreign();
    std::stable_sort(plan_.steps.begin(), plan_.steps.end(),
                     [](const PlannedStep& a, const PlannedStep& b) { return a.phase < b.phase; });
    Ledger during = plan_.ledger_after;  // while steps run, both may be true
    during.links.insert(ledger_.links.begin(), ledger_.links.end());
    during.wireguard_keys.insert(ledger_.wireguard_keys.begin(), ledger_.wireguard_keys.end());
    during.fou_ports.insert(ledger_.fou_ports.begin(), ledger_.fou_ports.end());
    during.tables.insert(ledger_.tables.begin(), ledger_.tables.end());
    during.addresses.insert(ledger_.addresses.begin(), ledger_.addresses.end());
    during.routes.insert(ledger_.routes.begin(), ledger_.routes.end());
    during.sysctls.insert(ledger_.sysctls.begin(), ledger_.sysctls.end());
    during.offloads.insert(ledger_.offloads.begin(), ledger_.offloads.end());
    during.borrowed.insert(ledger_.borrowed.begin(), ledger_.borrowed.end());
    during.moved_addresses.insert(ledger_.moved_addresses.begin(), ledger_.moved_addresses.end());
    during.moved_routes.insert(ledger_.moved_routes.begin(), ledger_.moved_routes.end());
    for (const Neighbour& each : ledger_.moved_neighbours) {
        const auto is_newer = [&](const Neighbour& newer) { return is_same_neighbour(newer, each); };
        if (std::ranges::none_of(during.moved_neighbours, is_newer)) during.moved_neighbours.insert(each);
    }
    during.bystanders = plan_.bystanders_after;
    during.bystanders.add(ledger_.bystanders);
    during.bystanders.add(plan_.bystanders_before);
    during.overlayd = during.overlayd || ledger_.overlayd;
    plan_.ledger_during = std::move(during);
    return std::move(plan_);
}

/// The way out that is not ours: a tunnel's hub may advertise itself, too. A PPP line has no gateway.
std::optional<NextHop> Planner::default_way(Family family, const IfName& device) const {
    const auto rank = [](const Route& route) {
        return std::pair{route.metric, route.protocol == protocol_ra};
    };
    const Route* best = nullptr;
    std::optional<NextHop> out;
    for (const Route& route : found_.routes) {
        const bool is_default =
            route.destination.length() == 0 && route.destination.family() == family;
        if (!is_default || route.type != RouteType::Unicast || route.table != 254) continue;
        if (best != nullptr && !(rank(route) < rank(*best))) continue;
        for (const NextHop& way : ways_of(route)) {
            const Link* link = found_link(way.device);
            if (link == nullptr || is_ours(*link)) continue;
            if (!device.empty() && way.device != device) continue;
            best = &route;
            out = way;
            break;
        }
    }
    return out;
}

/// A pinned host's gateway comes from the file, else from the default route that is found, else from a
/// pin that we made before: who moves to another network takes his old pin along.
void Planner::resolve_pins() {
    for (const PinnedHost& pin : intent_.pinned) {
        Route route{
            .destination = IpPrefix::host(pin.host), .gateway = pin.gateway, .device = pin.device};
        if (pin.host.family() == Family::Ipv6) route.metric = 1024;
        const auto made =
            std::find_if(ledger_.routes.begin(), ledger_.routes.end(),
                         [&](const Route& r) { return r.destination == route.destination; });
        if (!route.gateway || route.device.empty()) {
            auto way = default_way(pin.host.family(), pin.device);
            if (!way && made != ledger_.routes.end()) way = ways_of(*made).front();
            if (!way) {
                refuse(AddRoute{route}, "no default route to keep the hub's underlay address on",
                       "state underlay.interface and underlay.gateways");
                continue;
            }
            if (!route.gateway) {
                route.gateway = way->gateway;
                route.on_link = way->on_link;
            }
            if (route.device.empty()) route.device = way->device;
        }
        const auto same =
            [&](const Route& r) {  // an on-link or equal route of somebody else's will do
                return r.destination == route.destination && r.gateway == route.gateway &&
                       r.device == route.device && r.protocol != route_protocol &&
                       r.type == RouteType::Unicast;
            };
        if (std::any_of(found_.routes.begin(), found_.routes.end(), same)) continue;
        desired_.routes.insert(route);
    }
}

/// The bridge takes over what the uplink had: its MAC (providers filter by it), its addresses and
/// the routes through it. What was moved before stays desired on the bridge.
void Planner::resolve_uplink_move() {
    if (!intent_.uplink_move) return;
    const auto& [uplink, bridge] = *intent_.uplink_move;
    if (is_another_in_the_bridge()) return;
    if (const Link* link = found_link(uplink)) desired_.links[bridge].mac = link->mac;
    // A port speaks no IP. The addresses and routes that it learnt by router advertisement, until the last moment,
    // go with this; the bridge learns them anew, and so does the uplink when it may speak again. A route that is
    // written in the place of an advertised one keeps the kernel from taking any advertisement at all (Linux
    // net/ipv6/ndisc.c, ndisc_router_discovery: it cannot add its own, and leaves the rest).
    const std::string no_ipv6 = conf_sysctl(Family::Ipv6, uplink.str(), "disable_ipv6");
    if (found_.sysctls.contains(no_ipv6))
        desired_.sysctls.insert_or_assign(no_ipv6, std::string{'1'});
    adopt_uplink_move();
    Ledger& after = plan_.ledger_after;
    for (const Address& address : found_.addresses) {
        if (address.link != uplink || address.prefix.address().is_link_local()) continue;
        after.moved_addresses.insert(address);
    }
    for (const Route& route : found_.routes) {
        refuse_route_of_no_address(route);
        const bool automatic = route.protocol == protocol_kernel || route.protocol == protocol_ra;
        if (!uses(route, uplink) || automatic || route.protocol == route_protocol) continue;
        if (!route.beyond_us.empty()) {
            refuse(AddRoute{moved(route, uplink, bridge)},
                   fmt::format("it has {}, which we cannot move to the bridge", route.beyond_us),
                   "remove the route, or keep the uplink out of the bridge");
        }
        after.moved_routes.insert(route);
    }
    for (const Address& address : after.moved_addresses) {
        // One made by autoconfiguration makes itself again on the bridge (same MAC, accept_ra).
        const bool autoconf = !is_for_ever(address) && address.prefix.family() == Family::Ipv6;
        if (autoconf) continue;
        const bool permanent = address.permanent || !is_for_ever(address);
        Address there{bridge, address.prefix, permanent, address.no_prefix_route, address.details};
        there.details.label.clear();   // it begins with the uplink's name
        desired_.addresses.erase(there);   // should the file name it, too, it has no place there
        desired_.addresses.insert(std::move(there));
    }
    for (const Route& route : after.moved_routes) desired_.routes.insert(moved(route, uplink, bridge));
}

/// The gateways of one uplink are not reached by another: what was moved goes back first, by a plan of its own.
bool Planner::is_another_in_the_bridge() {
    const IfName& uplink = intent_.uplink_move->uplink;
    const Ledger& moved = plan_.ledger_after;
    std::optional<IfName> other;
    for (const Address& each : moved.moved_addresses) {
        if (each.link != uplink) other = each.link;
    }
    for (const Neighbour& each : moved.moved_neighbours) {
        if (each.link != uplink) other = each.link;
    }
    for (const Route& each : moved.moved_routes) {
        if (!uses(each, uplink)) other = ways_of(each).front().device;
    }
    if (!other) return false;
    refuse(ChangeLink{{.name = uplink}, {.name = uplink}},
           fmt::format("{} is the uplink in the bridge now", other->str()),
           "take it out first: apply with in_bridge false, or down");
    return true;
}

/// NetworkManager tells the kernel to make no route for an address, and makes one itself that looks like the
/// kernel's. The bridge would not get it, and without it no gateway can be reached.
void Planner::refuse_route_of_no_address(const Route& route) {
    const auto& [uplink, bridge] = *intent_.uplink_move;
    if (!uses(route, uplink) || route.protocol != protocol_kernel || route.gateway) return;
    bool by_hand = false;
    for (const Address& address : found_.addresses) {
        const bool is_its = address.link == uplink && address.prefix.network() == route.destination;
        if (!is_its || address.prefix.address().is_link_local()) continue;   // which stays on the uplink
        if (!address.no_prefix_route && is_same_route(connected(address), route)) return;
        by_hand = by_hand || address.no_prefix_route;
    }
    if (!by_hand) return;
    refuse(AddRoute{moved(route, uplink, bridge)},
           "it was made by hand for an address with noprefixroute, as NetworkManager does, and we cannot move it",
           "leave the uplink to ifupdown, systemd-networkd or ip, or keep it out of the bridge");
}

/// The uplink can be a port of our bridge already, and the ledger know nothing of it: by the script
/// of `render`, or since the ledger was lost. What the file does not ask for on the bridge was the
/// uplink's then, and goes back to it, or the host would be cut off when the bridge goes.
void Planner::adopt_uplink_move() {
    const auto& [uplink, bridge] = *intent_.uplink_move;
    const Link* port = found_link(uplink);
    const Link* master = found_link(bridge);
    Ledger& after = plan_.ledger_after;
    const bool is_there = port != nullptr && port->master == bridge;
    if (!is_there || master == nullptr || !is_ours(*master)) return;
    if (after.borrowed.contains(uplink)) return;
    const Link nothing{.name = uplink, .kind = port->kind};
    Former<Link> former{nothing, nothing, {}};
    former.before.master = IfName{};
    former.ours.master = bridge;
    after.borrowed.emplace(uplink, std::move(former));
    const std::string no_ipv6 = conf_sysctl(Family::Ipv6, uplink.str(), "disable_ipv6");
    const auto silent = found_.sysctls.find(no_ipv6);
    if (silent != found_.sysctls.end() && silent->second == "1")
        after.sysctls.try_emplace(no_ipv6, Former<std::string>{"0", "1", ""});
    for (Address address : found_.addresses) {
        const bool is_asked_for = desired_.addresses.contains(address);
        const bool is_automatic = address.prefix.address().is_link_local();
        if (address.link != bridge || is_asked_for || is_automatic) continue;
        address.link = uplink;
        if (address.details.label == bridge.str()) address.details.label.clear();
        after.moved_addresses.insert(std::move(address));
    }
    for (const Route& route : found_.routes) {
        if (!uses(route, bridge) || route.protocol == protocol_kernel ||
            route.protocol == protocol_ra || route.protocol == route_protocol)
            continue;
        after.moved_routes.insert(moved(route, bridge, uplink));
    }
    adopt_neighbours(*intent_.uplink_move);
}

/// The uplink is not ours to mend, and may come up after us: its reader is told, nothing is refused.
void Planner::doubt_underlay() {
    for (UnderlayDoubt& doubt : doubts_about_underlay(intent_, found_))
        plan_.notes.push_back(std::move(doubt.evidence));
}

/// On a link where it has a say in where packets go: one that is up, and neither a port nor in a VRF.
bool Planner::is_somebody_elses(const Address& address) const {
    const Link* link = found_link(address.link);
    const bool moves = intent_.uplink_move && address.link == intent_.uplink_move->uplink;
    if (link == nullptr || is_ours(*link) || moves || made_.addresses.contains(address)) return false;
    const bool is_port = link->master && !link->master->empty();
    return link->up.value_or(false) && !is_port && !desired_.links.contains(address.link) &&
           !link->alias.value_or("").starts_with("overlay:");
}

/// The kernel takes the route of whoever came first, or the longer one: ours may be in vain.
void Planner::doubt_networks() {
    const auto is_one_host = [](const IpPrefix& prefix) {
        return prefix.length() == (prefix.family() == Family::Ipv4 ? 32 : 128) || prefix.address().is_link_local();
    };
    for (const Address& ours : desired_.addresses) {
        if (is_one_host(ours.prefix)) continue;
        std::set<IfName> told;
        for (const Address& theirs : original_.addresses) {
            if (!ours.prefix.overlaps(theirs.prefix) || is_one_host(theirs.prefix)) continue;
            if (!is_somebody_elses(theirs) || !told.insert(theirs.link).second) continue;
            plan_.notes.push_back(
                fmt::format("{} on {}, which is not ours, overlaps {} on {}: some packets will take the wrong way",
                            text(theirs.prefix), theirs.link.str(), text(ours.prefix), ours.link.str()));
        }
    }
}

void Planner::count_foreign() {
    std::size_t count = 0;
    for (const auto& [name, link] : found_.links) {
        const bool wanted = desired_.links.contains(name) || is_ours(link);
        if (!wanted && name.str() != "lo") ++count;
    }
    for (const FoundTable& table : found_.all_tables) {
        if (!plan_.ledger_after.tables.contains(table) && !ledger_.tables.contains(table)) ++count;
    }
    for (const FouPort& port : found_.fou_ports) {
        if (!desired_.fou_ports.contains(port) && !ledger_.fou_ports.contains(port)) ++count;
    }
    plan_.foreign_objects = count;
}

// ---- what every part uses -----------------------------------------------------------------------

void Planner::add(Phase phase, Step step, Action action, Impact impact, std::string why) {
    std::string object = object_of(step);
    Origin origin = origin_of(object);
    plan_.steps.push_back({phase, std::move(step), action, impact, std::move(origin),
                           std::move(object), std::move(why)});
}

void Planner::refuse(const Step& step, std::string reason, std::string hint) {
    std::string object = object_of(step);
    Origin origin = origin_of(object);
    plan_.refusals.push_back(
        {std::move(object), std::move(reason), std::move(hint), std::move(origin)});
}

Origin Planner::origin_of(const std::string& object) const {
    const auto known = intent_.origins.find(object);
    return known == intent_.origins.end() ? Origin{} : known->second;
}

const Link* Planner::found_link(const IfName& name) const {
    const auto link = found_.links.find(name);
    return link == found_.links.end() ? nullptr : &link->second;
}

/// By the mark on the object. A link that lost its mark by hand is still known by the ledger, unless
/// another one has taken its name.
bool Planner::is_ours(const Link& link) const {
    if (is_marked(link, intent_.network)) return true;
    const auto made = ledger_.links.find(link.name);
    return made != ledger_.links.end() && is_remembered(link, made->second);
}

/// By the MAC that we gave it, or WireGuard by its key. A name and a kind alone say little: whoever
/// deletes ours and makes his own uses them again.
bool Planner::is_remembered(const Link& link, const Link& made) const {
    const std::string alias = link.alias.value_or("");
    if (is_marked_by_any(link) || !is_the_one_made(link, made)) return false;
    if (made.mac) return true;
    const auto key = ledger_.wireguard_keys.find(made.name);
    const auto device = found_.wireguard.find(link.name);
    if (key == ledger_.wireguard_keys.end() || device == found_.wireguard.end())
        return alias.empty();   // a ledger of before, or a TUN while overlayd does not run
    // One that has no key yet, nor a mark: whoever made it died before the next message.
    const PublicKey& now = device->second.public_key;
    return now.is_zero() ? alias.empty() : key->second == now;
}

bool Planner::survives(const IfName& name) const {
    return found_link(name) != nullptr && !deleted_.contains(name);
}

bool Planner::survives(const Route& route) const {
    const auto ways = ways_of(route);
    return std::all_of(ways.begin(), ways.end(),
                       [&](const NextHop& way) { return survives(way.device); });
}

bool Planner::is_lost(const Route& route) const {
    const auto ways = ways_of(route);
    return std::any_of(ways.begin(), ways.end(),
                       [&](const NextHop& way) { return deleted_.contains(way.device); });
}

}  // namespace overlay
