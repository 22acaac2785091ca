#include "daemon/lab/lab_hosts.hpp"

#include "netlink/kernel.hpp"
#include "netlink/lab_links.hpp"
#include "netlink/namespaces.hpp"

#include <algorithm>

namespace overlay::lab {
namespace {

using netlink::Kernel;
using netlink::Namespace;

Result<void> run(Kernel& kernel, const std::vector<Step>& steps) {
    const Secrets none;
    for (const Step& step : steps) {
        if (auto done = kernel.execute(step, none); !done) return done;
    }
    return {};
}

Step set_up(const IfName& link, LinkKind kind) {
    ChangeLink change;
    change.from.name = change.to.name = link;
    change.from.kind = change.to.kind = kind;
    change.from.up = false;
    change.to.up = true;
    return change;
}

Step enslave(const IfName& port, const IfName& bridge) {
    ChangeLink change;
    change.from.name = change.to.name = port;
    change.from.kind = change.to.kind = LinkKind::Veth;
    change.from.master = IfName{};
    change.to.master = bridge;
    return change;
}

Step create_bridge(const LabBridge& bridge) {
    Link link;
    link.name = bridge.name;
    link.kind = LinkKind::Bridge;
    link.mac = bridge.mac;
    return CreateLink{link};
}

std::vector<IfName> cables_of(const LabPlan& plan, const LabHost& host) {
    std::vector<IfName> out;
    for (const LabCable& cable : plan.cables) {
        if (cable.near.host == host.name) out.push_back(cable.near.interface);
        if (cable.far.host == host.name) out.push_back(cable.far.interface);
    }
    return out;
}

/// Before any cable is plugged in: what new interfaces inherit.
Result<void> start_host(const LabHost& host) {
    auto kernel = Kernel::open();
    if (!kernel) return pass_on(kernel);
    std::vector<Step> steps;
    for (const auto& [key, value] : host.sysctls) steps.push_back(SetSysctl{key, "", value, {}});
    steps.push_back(set_up(IfName::from_kernel("lo"), LinkKind::Other));
    return run(*kernel, steps);
}

/// Addresses before "up", so that no interface is up without them; routes last, they need both.
Result<void> configure_host(const LabPlan& plan, const LabHost& host) {
    auto kernel = Kernel::open();
    if (!kernel) return pass_on(kernel);
    std::vector<Step> steps;
    for (const LabBridge& bridge : host.bridges) {
        steps.push_back(create_bridge(bridge));
        for (const IfName& port : bridge.ports) steps.push_back(enslave(port, bridge.name));
    }
    for (const Address& address : host.addresses) steps.push_back(AddAddress{address});
    for (const IfName& cable : cables_of(plan, host))
        steps.push_back(set_up(cable, LinkKind::Veth));
    for (const LabBridge& bridge : host.bridges)
        steps.push_back(set_up(bridge.name, LinkKind::Bridge));
    for (const Route& route : host.routes) steps.push_back(AddRoute{route});
    if (auto done = run(*kernel, steps); !done) return done;
    if (!host.nat) return {};
    std::vector<netlink::PortForward> forwards;
    for (const LabForward& each : host.nat->forwards) forwards.push_back({each.port, each.to});
    return netlink::install_nat(host.nat->out, forwards);
}

template <class Work>
Result<void> in_host(const LabPlan& plan, const std::string& host, Work&& work) {
    const auto there = Namespace::open(plan.namespace_of(host));
    if (!there) return pass_on(there);
    auto done = netlink::run_inside(*there, work);
    if (!done) {
        Error error = done.error();
        error.doing = host + ": " + error.doing;
        return fail(std::move(error));
    }
    return {};
}

Result<void> plug_in(const LabPlan& plan, const LabCable& cable) {
    const auto near = Namespace::open(plan.namespace_of(cable.near.host));
    if (!near) return pass_on(near);
    const auto far = Namespace::open(plan.namespace_of(cable.far.host));
    if (!far) return pass_on(far);
    return netlink::create_veth({*near, cable.near.interface}, {*far, cable.far.interface},
                                cable.mtu);
}

}   // namespace

Result<void> make_hosts(const LabPlan& plan) {
    for (const LabHost& host : plan.hosts) {
        if (auto made = netlink::make_namespace(plan.namespace_of(host.name)); !made) return made;
        const auto start = [&] { return start_host(host); };
        if (auto done = in_host(plan, host.name, start); !done) return done;
    }
    for (const LabCable& cable : plan.cables) {
        if (auto done = plug_in(plan, cable); !done) return done;
    }
    for (const LabHost& host : plan.hosts) {
        const auto configure = [&] { return configure_host(plan, host); };
        if (auto done = in_host(plan, host.name, configure); !done) return done;
    }
    return {};
}

Result<void> remove_hosts(const std::vector<std::string>& namespaces) {
    Result<void> first;
    for (const std::string& name : namespaces) {
        auto removed = netlink::remove_namespace(name);
        if (!removed && first) first = std::move(removed);
    }
    return first;
}

}   // namespace overlay::lab
