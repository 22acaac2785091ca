#include "topology/datapath.hpp"

#include "topology/step.hpp"

#include <fmt/format.h>

#include <vector>

namespace overlay {

namespace {

void add_modules_of(const Link& link, std::set<std::string>& out) {
    switch (link.kind) {
        case LinkKind::Gretap: out.insert("ip_gre"); return;
        case LinkKind::Ip6gretap: out.insert("ip6_gre"); return;
        case LinkKind::Wireguard: out.insert("wireguard"); return;
        case LinkKind::Tap:
        case LinkKind::Tun: out.insert("tun"); return;
        case LinkKind::Bridge:
        case LinkKind::Veth:
        case LinkKind::Other: return;
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

void add_modules_of(const FouPort& port, std::set<std::string>& out) {
    if (port.datapath == Datapath::Kernel) out.insert(port.family == Family::Ipv4 ? "fou" : "fou6");
}

std::set<std::string> modules_of(const EndpointIntent& endpoint, const KernelState& desired) {
    std::set<std::string> out;
    if (endpoint.port) add_modules_of(*endpoint.port, out);
    else add_modules_of(desired.links.at(endpoint.wireguard), out);
    for (const IfName& name : endpoint.gretaps) add_modules_of(desired.links.at(name), out);
    return out;
}

/// What the kernel lacks of what the endpoint needs.
std::vector<std::string> lacking(const EndpointIntent& endpoint, const NodeIntent& intent,
                                 const KernelState& found) {
    std::vector<std::string> out;
    for (const std::string& module : modules_of(endpoint, intent.desired)) {
        if (!found.modules.contains(module) && found.missing_modules.contains(module))
            out.push_back(module);
    }
    return out;
}

std::string name_of(const EndpointIntent& endpoint) {
    return endpoint.port ? object_of(AddFouPort{*endpoint.port}) : endpoint.wireguard.str();
}

void hand_to_overlayd(const EndpointIntent& endpoint, KernelState& desired) {
    if (endpoint.port) {
        FouPort port = *endpoint.port;
        desired.fou_ports.erase(port);
        port.datapath = Datapath::Userspace;
        desired.fou_ports.insert(port);
    } else {
        desired.links.at(endpoint.wireguard).kind = LinkKind::Tun;
    }
    for (const IfName& name : endpoint.gretaps) {
        Link& link = desired.links.at(name);
        link.kind = LinkKind::Tap;
        if (!endpoint.port) link.gretap->device = endpoint.wireguard;   // not found by a route
    }
    desired.overlayd = true;
}

/// Of all links and ports as they are now; others (nf_tables) stay.
void choose_modules(NodeIntent& intent) {
    static const std::set<std::string> of_endpoints{"fou",     "fou6",      "ip_gre",
                                                    "ip6_gre", "wireguard", "tun"};
    std::set<std::string>& modules = intent.desired.modules;
    std::erase_if(modules, [](const std::string& each) { return of_endpoints.contains(each); });
    for (const auto& [name, link] : intent.desired.links) add_modules_of(link, modules);
    for (const FouPort& port : intent.desired.fou_ports) add_modules_of(port, modules);
}

}  // namespace

void choose_datapaths(NodeIntent& intent, const KernelState& found) {
    for (const EndpointIntent& endpoint : intent.endpoints) {
        std::string why = "the file says so";
        if (endpoint.choice == DatapathChoice::Kernel) continue;
        if (endpoint.choice == DatapathChoice::Auto) {
            const auto lacks = lacking(endpoint, intent, found);
            if (lacks.empty()) continue;
            why = fmt::format("this kernel has no {}", fmt::join(lacks, ", "));
        }
        hand_to_overlayd(endpoint, intent.desired);
        for (const std::string& object : {object_of(RunOverlayd{}), object_of(LoadModule{"tun"})})
            intent.origins.emplace(object, endpoint.origin);
        intent.notes.push_back(
            fmt::format("{}: carried by overlayd, in user space: {}", name_of(endpoint), why));
    }
    if (intent.desired.overlayd) choose_modules(intent);
}

}  // namespace overlay
