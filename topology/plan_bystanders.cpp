// Somebody else's things on links that a plan touches. The kernel throws some of them away with something of ours: an
// interface that goes down loses its routes, IPv6 addresses and written neighbours; with its last IPv4 address,
// another MAC, a smaller MTU it loses some of that; and a bridge gets another MAC with another port. Which of it will
// happen is not foretold here: all that was there and is missing when all steps are done, or undone, is put back
// (daemon/reconcile/execute.hpp). The ledger has it meanwhile, for whoever must go on after a kill.
//
// Of an uplink in the bridge, neighbours live on the bridge meanwhile: a provider's gateway may answer no ARP, and a
// proxy is what makes a routed address reachable.

#include "topology/planner.hpp"

#include <algorithm>

namespace overlay {

namespace {

template <class Kind, class Says>
bool any_step(const std::vector<PlannedStep>& steps, Says says) {
    return std::any_of(steps.begin(), steps.end(), [&](const PlannedStep& planned) {
        const auto* step = std::get_if<Kind>(&planned.step);
        return step != nullptr && says(*step);
    });
}

bool is_automatic(const Route& route) {
    return route.protocol == protocol_kernel || route.protocol == protocol_ra;
}

/// Before Linux 5.18 the kernel does not tell of a link-local address whether it made it: it did if it follows from
/// the MAC.
bool is_automatic(const Address& address, const KernelState& found) {
    if (!is_for_ever(address) || address.details.by_kernel) return true;
    const auto link = found.links.find(address.link);
    return link != found.links.end() && link->second.mac &&
           address.prefix.address() == link_local_of(*link->second.mac);
}

/// With what lies on them: a VLAN goes down with its parent (Linux net/8021q/vlan.c, vlan_device_event).
std::set<IfName> with_stacked(std::set<IfName> names, const std::map<IfName, Link>& links) {
    for (std::size_t before = 0; before != names.size();) {
        before = names.size();
        for (const auto& [name, link] : links) {
            if (link.parent && names.contains(*link.parent)) names.insert(name);
        }
    }
    return names;
}

/// Whose things may suffer from a step.
std::set<IfName> links_of(const Step& step) {
    std::set<IfName> out;
    const auto link = [&](const Link& each) {
        out.insert(each.name);
        if (each.master) out.insert(*each.master);
    };
    std::visit(Overloaded{
                   [&](const CreateLink& s) { link(s.link); },
                   [&](const DeleteLink& s) { link(s.link); },
                   [&](const RenameLink& s) { out = {s.from, s.to}; },
                   [&](const ChangeLink& s) {
                       link(s.from);
                       link(s.to);
                   },
                   [&](const AddAddress& s) { out = {s.address.link}; },
                   [&](const RemoveAddress& s) { out = {s.address.link}; },
                   [&](const SetSysctl& s) {
                       constexpr std::string_view start = "net.ipv6.conf.", end = ".disable_ipv6";
                       if (!s.key.starts_with(start) || !s.key.ends_with(end)) return;
                       std::string name = s.key.substr(start.size(), s.key.size() - start.size() - end.size());
                       std::replace(name.begin(), name.end(), '/', '.');
                       out = {IfName::from_kernel(name)};
                   },
                   [](const auto&) {},
               },
               step);
    return out;
}

}  // namespace

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
    follow_moved_neighbours();
    if (intent_.uplink_move) {
        const auto& [uplink, bridge] = *intent_.uplink_move;
        for (const Neighbour& found : found_.neighbours) {
            if (found.link != uplink) continue;
            std::erase_if(moved, [&](const Neighbour& older) { return is_same_neighbour(older, found); });
            moved.insert(found);
            add(Phase::FreeNames, RemoveNeighbour{found}, Action::Remove, Impact::Flap, "moves to the bridge");
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
            const Link* bridge = found_link(copy.link);
            if (!is_copy(copy, back) || bridge == nullptr || !is_ours(*bridge) || !survives(copy.link)) continue;
            add(Phase::FreeNames, RemoveNeighbour{copy}, Action::Remove, Impact::Flap, "goes back to the uplink");
        }
        if (survives(back.link) && !stands(back))
            add(Phase::RestoreAcceptRa, AddNeighbour{back}, Action::Add, Impact::Flap, "back from the bridge");
    }
    moved.clear();
}

/// What somebody wrote on our bridge in the place of one is what goes back.
void Planner::follow_moved_neighbours() {
    std::set<Neighbour> newer;
    for (Neighbour back : plan_.ledger_after.moved_neighbours) {
        for (const Neighbour& found : found_.neighbours) {
            const Link* bridge = found_link(found.link);
            Neighbour there = back;
            there.link = found.link;
            if (bridge == nullptr || bridge->kind != LinkKind::Bridge || !is_ours(*bridge)) continue;
            if (!is_same_neighbour(found, there)) continue;
            there = found;
            there.link = back.link;
            back = there;
            break;
        }
        newer.insert(std::move(back));
    }
    plan_.ledger_after.moved_neighbours = std::move(newer);
}

bool Planner::is_copy(const Neighbour& copy, Neighbour moved) {
    moved.link = copy.link;
    return moved == copy;
}

// ---- of all links that are touched --------------------------------------------------------------

void Planner::bystanders() {
    std::set<IfName> touched;
    for (const PlannedStep& planned : plan_.steps) touched.merge(links_of(planned.step));
    touched = with_stacked(std::move(touched), original_.links);
    Bystanders& before = plan_.bystanders_before;
    Bystanders& after = plan_.bystanders_after;
    for (const Neighbour& each : original_.neighbours) {
        if (!touched.contains(each.link)) continue;
        before.neighbours.insert(each);
        Neighbour there = each;
        there.link = new_name(each.link);
        if (stays(there)) after.neighbours.insert(std::move(there));
    }
    for (const Address& each : original_.addresses) {
        if (!touched.contains(each.link) || is_automatic(each, original_)) continue;
        before.addresses.insert(each);
        Address there = each;
        there.link = new_name(each.link);
        if (stays(there)) after.addresses.insert(std::move(there));
    }
    for (const Route& each : original_.routes) {
        const auto ways = ways_of(each);
        const bool is_touched =
            loses_source(each) ||
            std::any_of(ways.begin(), ways.end(), [&](const NextHop& way) { return touched.contains(way.device); });
        if (!is_touched || is_automatic(each)) continue;
        before.routes.insert(each);
        Route there = each;
        for (const NextHop& way : ways) there = moved(there, way.device, new_name(way.device));
        if (stays(there)) after.routes.insert(std::move(there));
    }
    take_over_bystanders(after);
}

/// A route goes with the address that its packets start from, whatever its device (Linux net/ipv4/fib_semantics.c,
/// fib_sync_down_addr).
bool Planner::loses_source(const Route& route) const {
    return route.source && any_step<RemoveAddress>(plan_.steps, [&](const RemoveAddress& s) {
        return s.address.prefix.address() == *route.source;
    });
}

/// Of an apply that did not come to its end, or that could not put everything back.
void Planner::take_over_bystanders(Bystanders& after) const {
    const Bystanders& left = ledger_.bystanders;
    for (const Neighbour& each : left.neighbours) {
        if (survives(each.link) && !found_.neighbours.contains(each) && stays(each)) after.neighbours.insert(each);
    }
    for (const Address& each : left.addresses) {
        if (survives(each.link) && !found_.addresses.contains(each) && stays(each)) after.addresses.insert(each);
    }
    for (const Route& each : left.routes) {
        if (!survives(each) || found_.routes.contains(each) || !stays(each)) continue;
        const Route* narrowed = with_other_mtu(each, found_.routes);
        const Link* link = found_link(ways_of(each).front().device);
        const bool by_kernel = narrowed != nullptr && link != nullptr && link->mtu &&
                               narrowed->metrics.at("mtu") == link->mtu->bytes();
        const bool is_replaced = std::any_of(found_.routes.begin(), found_.routes.end(), [&](const Route& now) {
            const auto ways = ways_of(each);   // two of IPv6 by different devices stand beside each other
            const bool beside = now.destination.family() == Family::Ipv6 &&
                                std::ranges::none_of(ways, [&](const NextHop& way) { return uses(now, way.device); });
            return is_same_route(now, each) && !beside && now.protocol != route_protocol && !is_automatic(now);
        });
        if (by_kernel) after.routes.erase(*narrowed);
        else if (is_replaced) continue;   // by somebody, meanwhile
        after.routes.insert(each);
    }
}

IfName Planner::new_name(const IfName& name) const {
    const auto renamed = new_names_.find(name);
    return renamed == new_names_.end() ? name : renamed->second;
}

/// The plan leaves it, and will leave it: neither ours, nor the uplink's.
bool Planner::stays(const Neighbour& neighbour) const {
    const auto& moved = ledger_.moved_neighbours;
    const bool goes_back = !intent_.uplink_move && std::any_of(moved.begin(), moved.end(), [&](const Neighbour& each) {
        return each.link != neighbour.link && is_copy(neighbour, each);
    });
    return survives(neighbour.link) && !goes_back && !is_moving(neighbour.link) &&
           !any_step<RemoveNeighbour>(plan_.steps, [&](const RemoveNeighbour& s) { return s.neighbour == neighbour; });
}

bool Planner::stays(const Address& address) const {
    const bool ours = made_.addresses.contains(address) || desired_.addresses.contains(address);
    return survives(address.link) && !ours && !is_moving(address.link) &&
           !any_step<RemoveAddress>(plan_.steps, [&](const RemoveAddress& s) { return s.address == address; });
}

bool Planner::stays(const Route& route) const {
    const auto ways = ways_of(route);
    const bool moves = std::any_of(ways.begin(), ways.end(), [&](const NextHop& way) { return is_moving(way.device); });
    const auto& all = ledger_.moved_routes;
    const auto is_copy = [&](const Route& each) { return each != route && is_same_route(each, route); };
    const bool goes_back = !intent_.uplink_move && std::any_of(all.begin(), all.end(), is_copy);
    return survives(route) && route.protocol != route_protocol && !moves && !goes_back &&
           !any_step<RemoveRoute>(plan_.steps, [&](const RemoveRoute& s) { return s.route == route; });
}

bool Planner::is_moving(const IfName& link) const { return intent_.uplink_move && link == intent_.uplink_move->uplink; }

}  // namespace overlay
