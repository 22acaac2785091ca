// Somebody else's things that the kernel throws away along with something of ours, or of the uplink: written
// neighbours, and routes that need no address of ours. They leave by steps of their own, before all else, and come
// back last; so they do on the way back, should it come to that. Those of an uplink in the bridge live on the
// bridge meanwhile: a provider's gateway may answer no ARP, and a proxy is what makes a routed address reachable.

#include "topology/planner.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

namespace {

template <class Kind, class Says>
bool any_step(const std::vector<PlannedStep>& steps, Says says) {
    return std::any_of(steps.begin(), steps.end(), [&](const PlannedStep& planned) {
        const auto* step = std::get_if<Kind>(&planned.step);
        return step != nullptr && says(*step, planned.phase);
    });
}

bool is_ipv4_on(const Address& address, const IfName& link) {
    return address.link == link && address.prefix.family() == Family::Ipv4;
}

}  // namespace

void Planner::take_first(Step step, Action action, std::string why) {
    add(Phase::FreeNames, std::move(step), action, Impact::Flap, std::move(why));
    std::rotate(plan_.steps.begin(), plan_.steps.end() - 1, plan_.steps.end());
}

// ---- of the uplink ------------------------------------------------------------------------------

/// See adopt_uplink_move().
void Planner::adopt_neighbours(const UplinkMove& move) {
    for (Neighbour each : found_.neighbours) {
        if (each.link != move.bridge) continue;
        each.link = move.uplink;
        plan_.ledger_after.moved_neighbours.insert(std::move(each));
    }
}

void Planner::moved_neighbours() {
    std::set<Neighbour>& moved = plan_.ledger_after.moved_neighbours;
    const auto stands = [&](const Neighbour& wanted) {   // this one, or what somebody wrote in its place
        return std::any_of(found_.neighbours.begin(), found_.neighbours.end(),
                           [&](const Neighbour& found) { return is_same_neighbour(found, wanted); });
    };
    if (intent_.uplink_move) {
        const auto& [uplink, bridge] = *intent_.uplink_move;
        for (const Neighbour& found : found_.neighbours) {
            if (found.link != uplink) continue;
            std::erase_if(moved, [&](const Neighbour& older) { return is_same_neighbour(older, found); });
            moved.insert(found);
            take_first(RemoveNeighbour{found}, Action::Remove, "moves to the bridge");
        }
        for (Neighbour there : moved) {
            there.link = bridge;
            if (survives(bridge) && stands(there)) continue;
            add(Phase::RestoreAcceptRa, AddNeighbour{there}, Action::Add, Impact::Live);
        }
        return;
    }
    for (const Neighbour& back : moved) {
        for (const Neighbour& copy : found_.neighbours) {
            Neighbour there = back;
            there.link = copy.link;
            const Link* bridge = found_link(copy.link);
            if (copy != there || bridge == nullptr || !is_ours(*bridge) || !survives(copy.link)) continue;
            take_first(RemoveNeighbour{copy}, Action::Remove, "goes back to the uplink");
        }
        if (survives(back.link) && !stands(back))
            add(Phase::RestoreAcceptRa, AddNeighbour{back}, Action::Add, Impact::Flap, "back from the bridge");
    }
    moved.clear();
}

// ---- of links that stay where they are ----------------------------------------------------------

void Planner::bystanders() {
    for (const Neighbour& each : found_.neighbours) {
        const bool goes = any_step<RemoveNeighbour>(
            plan_.steps, [&](const RemoveNeighbour& s, Phase) { return s.neighbour == each; });
        if (goes || !survives(each.link) || !loses_neighbours(each.link, each.address.family())) continue;
        take_first(RemoveNeighbour{each}, Action::Change, {});
        add(Phase::RestoreAcceptRa, AddNeighbour{each}, Action::Change, Impact::Flap, "comes back");
    }
    std::vector<Route> lost;
    for (const Route& each : found_.routes) {
        if (loses(each)) lost.push_back(each);
    }
    // One with a gateway after the one by which that is reached; and so before it on the way out.
    std::ranges::stable_partition(lost, [](const Route& route) { return !route.gateway; });
    for (const Route& each : lost) {
        const bool alone = stands_alone(each);
        if (alone && !each.beyond_us.empty()) {
            refuse(RemoveRoute{each},
                   fmt::format("it has {}, and would be lost with the last address of {}", each.beyond_us,
                               ways_of(each).front().device.str()),
                   "remove the route first, and add it again afterwards");
        }
        if (!each.beyond_us.empty()) continue;
        take_first(RemoveRoute{each}, alone ? Action::Change : Action::Remove, alone ? "" : "it needs our address");
        if (alone) add(Phase::RestoreAcceptRa, AddRoute{each}, Action::Change, Impact::Flap, "comes back");
    }
}

/// When the link goes down or gets another MAC (Linux net/core/neighbour.c, neigh_ifdown and neigh_changeaddr),
/// or loses the family: on the way there or on the way back.
bool Planner::loses_neighbours(const IfName& link, Family family) const {
    const bool changes = any_step<ChangeLink>(plan_.steps, [&](const ChangeLink& s, Phase) {
        return s.to.name == link && (s.from.up != s.to.up || s.from.mac != s.to.mac);
    });
    if (changes) return true;
    if (family == Family::Ipv4) return loses_ipv4(link) || gains_ipv4(link);
    const std::string off = conf_sysctl(Family::Ipv6, link.str(), "disable_ipv6");
    return any_step<SetSysctl>(plan_.steps, [&](const SetSysctl& s, Phase) { return s.key == off; });
}

/// With its last address (Linux net/ipv4/fib_frontend.c, fib_disable_ip).
bool Planner::loses_ipv4(const IfName& link) const {
    std::optional<Phase> last;
    for (const Address& address : found_.addresses) {
        if (!is_ipv4_on(address, link)) continue;
        const bool goes = any_step<RemoveAddress>(plan_.steps, [&](const RemoveAddress& s, Phase phase) {
            const bool is_it = s.address == address;
            if (is_it) last = std::max(last.value_or(phase), phase);
            return is_it;
        });
        if (!goes) return false;
    }
    return last && !any_step<AddAddress>(plan_.steps, [&](const AddAddress& s, Phase phase) {
        return is_ipv4_on(s.address, link) && phase <= *last;
    });
}

/// The way back takes its only address.
bool Planner::gains_ipv4(const IfName& link) const {
    return std::none_of(found_.addresses.begin(), found_.addresses.end(),
                        [&](const Address& address) { return is_ipv4_on(address, link); }) &&
           any_step<AddAddress>(plan_.steps, [&](const AddAddress& s, Phase) { return is_ipv4_on(s.address, link); });
}

bool Planner::loses(const Route& route) const {
    const bool automatic = route.protocol == protocol_kernel || route.protocol == protocol_ra;
    if (route.destination.family() != Family::Ipv4 || automatic || !survives(route)) return false;
    if (intent_.uplink_move && uses(route, intent_.uplink_move->uplink)) return false;   // see moved_routes()
    const auto ways = ways_of(route);
    const bool lost = std::any_of(ways.begin(), ways.end(), [&](const NextHop& way) {
        return loses_ipv4(way.device) || gains_ipv4(way.device);
    });
    return lost && !any_step<RemoveRoute>(plan_.steps, [&](const RemoveRoute& s, Phase) { return s.route == route; });
}

/// Without an address of ours, as it may have stood before.
bool Planner::stands_alone(const Route& route) const {
    const auto is_source = [&](const RemoveAddress& s, Phase) { return s.address.prefix.address() == route.source; };
    const bool leaves_by_ours = route.source && any_step<RemoveAddress>(plan_.steps, is_source);
    const auto ways = ways_of(route);
    return !leaves_by_ours && std::all_of(ways.begin(), ways.end(), [&](const NextHop& way) {
        const bool needs_none = !way.gateway || way.on_link || way.gateway->family() == Family::Ipv6;
        if (needs_none || !loses_ipv4(way.device)) return true;
        return std::any_of(found_.routes.begin(), found_.routes.end(), [&](const Route& other) {
            return other.device == way.device && !other.gateway && other.protocol != protocol_kernel &&
                   other.destination.length() > 0 && other.destination.contains(*way.gateway);
        });
    });
}

}  // namespace overlay
