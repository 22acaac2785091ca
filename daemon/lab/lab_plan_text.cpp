#include "daemon/lab/lab_plan.hpp"

#include <fmt/format.h>

namespace overlay::lab {
namespace {

std::string text_of(const LabHost& host) {
    std::string out = fmt::format("{}: {}\n", host.name, text(host.role));
    const auto is_on = [&](const char* key) {
        const auto found = host.sysctls.find(key);
        return found != host.sysctls.end() && found->second == "1";
    };
    if (is_on("net.ipv4.conf.all.forwarding")) out += "  forwards ipv4\n";
    if (is_on("net.ipv6.conf.all.forwarding")) out += "  forwards ipv6\n";
    if (is_on("net.ipv4.conf.all.proxy_arp")) out += "  proxies arp\n";
    for (const LabBridge& bridge : host.bridges) {
        out += fmt::format("  bridge {} mac {}", text(bridge.name), text(bridge.mac));
        for (const IfName& port : bridge.ports) out += " port " + port.str();
        out += "\n";
    }
    for (const Address& address : host.addresses) {
        out += fmt::format("  address {} {}\n", text(address.link), text(address.prefix));
    }
    for (const Route& route : host.routes) {
        out += "  route " + text(route.destination);
        if (route.gateway) out += " via " + text(*route.gateway);
        out += " dev " + route.device.str() + "\n";
    }
    if (host.nat) out += fmt::format("  masquerade {}\n", text(host.nat->out));
    if (host.nat) {
        for (const LabForward& forward : host.nat->forwards) {
            out += fmt::format("  forward udp {} to {}\n", forward.port, text(forward.to));
        }
    }
    if (host.advert) {
        out += "  advertise " + host.advert->interface.str();
        for (const IpPrefix& prefix : host.advert->prefixes) out += " " + text(prefix);
        out += "\n";
    }
    return out;
}

}   // namespace

std::string_view text(LabHost::Role role) {
    switch (role) {
        case LabHost::Role::Internet: return "the Internet's router";
        case LabHost::Role::Remote: return "a host on the Internet";
        case LabHost::Role::Nat: return "NAT router";
        case LabHost::Role::Node: return "node";
        case LabHost::Role::Lan: return "LAN host";
    }
    OVERLAY_ASSERT(!"a role without name");
    return {};
}

std::string text(const LabPlan& plan) {
    std::string out = "lab " + plan.network + "\n";
    for (const LabHost& host : plan.hosts) out += text_of(host);
    out += "cables\n";
    for (const LabCable& cable : plan.cables) {
        out += fmt::format("  {} {} -- {} {} mtu {}\n", cable.near.host, text(cable.near.interface),
                           cable.far.host, text(cable.far.interface), cable.mtu.bytes());
    }
    return out;
}

}   // namespace overlay::lab
