#include "topology/underlay.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

namespace {

bool has(const KernelState& state, const IpAddress& address) {
    return std::any_of(state.addresses.begin(), state.addresses.end(),
                       [&](const Address& each) { return each.prefix.address() == address; });
}

bool has(const KernelState& state, const IfName& interface) {
    return state.links.contains(interface) || state.alternative_names.contains(interface);
}

}  // namespace

std::vector<UnderlayDoubt> doubts_about_underlay(const NodeIntent& intent,
                                                 const KernelState& found) {
    std::vector<UnderlayDoubt> out;
    const auto& [interface, starts, called] = intent.underlay;
    // A borrowed one is missed elsewhere, and refused.
    if (!interface.empty() && !intent.borrowed.contains(interface) && !has(found, interface)) {
        out.push_back({"uplink " + interface.str(),
                       fmt::format("the underlay's interface {} is not there", interface.str()),
                       "correct underlay.interface in the file, or make it"});
    }
    const auto is_strange = [&](const IpAddress& address) {
        return !has(found, address) && !has(intent.desired, address);
    };
    for (const IpAddress& address : starts) {
        if (!is_strange(address)) continue;
        out.push_back({"underlay address " + text(address),
                       fmt::format("{} is not an address of this node: tunnels that start from it stay "
                                   "silent until it is",
                                   text(address)),
                       "correct it in the file (underlay.addresses, or the link's \"local\"), or give it "
                       "to the uplink"});
    }
    for (const IpAddress& address : called) {
        if (!is_strange(address)) continue;
        out.push_back({"underlay address " + text(address),
                       fmt::format("{} is not an address of this node: spokes that call it arrive only if "
                                   "a NAT in front of this node has it",
                                   text(address)),
                       "correct underlay.addresses in the file, or give it to the uplink; none is needed "
                       "behind such a NAT",
                       false});
    }
    return out;
}

}  // namespace overlay
