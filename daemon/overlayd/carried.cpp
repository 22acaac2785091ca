#include "daemon/overlayd/carried.hpp"

#include "daemon/io/files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include <net/if.h>

namespace overlay::overlayd {

namespace {

std::string name_of(const FouPort& port) {
    return fmt::format("fou port {}/{}", port.port, text(port.family));
}

/// The attribute that only a kernel's gretap can have; empty: there is none.
std::string_view beyond_us(const GretapAttributes& gretap) {
    if (gretap.input.key != gretap.output.key) return "ikey and okey that differ";
    if (gretap.input.checksum || gretap.output.checksum) return "icsum and ocsum";
    if (gretap.input.sequence || gretap.output.sequence) return "iseq and oseq";
    if (gretap.ignore_df || !gretap.pmtudisc) return "nopmtudisc and ignore-df";
    if (gretap.encap.type == GreEncap::Type::Fou) return "encap fou";
    if (gretap.encap_limit) return "encaplimit";
    if (gretap.flow_label != 0) return "flowlabel";
    if (gretap.fwmark != 0) return "fwmark";
    if (gretap.collect_metadata) return "external";
    return {};
}

bool goes_through(const GretapAttributes& gretap, const FouPort& port) {
    return gretap.encap.type == GreEncap::Type::Gue && gretap.local.family() == port.family &&
           gretap.encap.source_port == port.port;
}

bool goes_through(const GretapAttributes& gretap, const IfName& device) {
    return gretap.encap.type == GreEncap::Type::None && gretap.device == device;
}

}  // namespace

// ---- the engine's words -------------------------------------------------------------------------

Result<void> Carried::carry(const FouPort& port, const Links& links) {
    datapath::GueEndpointConfig config{.name = name_of(port)};
    config.socket.family = port.family;
    config.socket.port = port.port;
    config.socket.local_address = io::UdpOptions::LocalAddress::Tell;
    for (const auto& [name, gretap] : links) {
        if (!goes_through(gretap, port)) continue;
        config.links.push_back({.device = name,
                                .local = gretap.local,
                                .remote = gretap.remote,
                                .remote_port = gretap.encap.destination_port,
                                .key = gretap.output.key,
                                .ttl = gretap.ttl,
                                .traffic_class = gretap.tos});
    }
    return engine_.set(config);
}

Result<void> Carried::carry(const IfName& device, const Links& links) {
    std::vector<datapath::GretapLinkConfig> inside;
    for (const auto& [name, gretap] : links) {
        if (!goes_through(gretap, device)) continue;
        inside.push_back({.device = name,
                          .address = {gretap.local, gretap.remote, gretap.output.key},
                          .ttl = gretap.ttl,
                          .traffic_class = gretap.tos});
    }
    std::optional<IfName> tun;
    if (!without_tun_.contains(device)) tun = device;
    return engine_.wireguard(device.str())->set_devices(tun, inside);
}

/// All that goes the way that `where` goes; nothing, when its port has been removed.
Result<void> Carried::carry_where(const GretapAttributes& where, const Links& links) {
    if (const FouPort* port = port_of(where)) return carry(*port, links);
    if (where.encap.type == GreEncap::Type::Gue) return {};
    return carry(where.device, links);
}

const FouPort* Carried::port_of(const GretapAttributes& gretap) const {
    const auto found = std::ranges::find_if(
        ports_, [&](const FouPort& port) { return goes_through(gretap, port); });
    return found == ports_.end() ? nullptr : &*found;
}

// ---- ports --------------------------------------------------------------------------------------

Result<void> Carried::add_port(const FouPort& port) {
    const std::string doing = "add " + name_of(port);
    if (port.type != GreEncap::Type::Gue || port.local || port.peer || !port.device.empty())
        return fail(Error::Kind::Unsupported, doing, "only GUE on all addresses", EOPNOTSUPP);
    if (ports_.contains(port)) return {};
    if (const auto opened = carry(port, links_); !opened) return opened;
    ports_.insert(port);
    return {};
}

Result<void> Carried::remove_port(const FouPort& port) {
    const std::string doing = "remove " + name_of(port);
    if (!ports_.contains(port)) return fail(Error::Kind::NotFound, doing, "there is none", ENOENT);
    engine_.remove(name_of(port));
    ports_.erase(port);
    return {};
}

// ---- gretaps ------------------------------------------------------------------------------------

Result<void> Carried::set_link(const IfName& name, const GretapAttributes& gretap) {
    const std::string doing = "carry " + name.str();
    if (const auto what = beyond_us(gretap); !what.empty())
        return fail(Error::Kind::Unsupported, doing, fmt::format("{}: only a kernel does that", what),
                    EOPNOTSUPP);
    if (::if_nametoindex(name.c_str()) == 0) return fail(io::system_error(doing, ENODEV));
    const bool by_port = gretap.encap.type == GreEncap::Type::Gue;
    if (!by_port && !devices_.contains(gretap.device))
        return fail(Error::Kind::NotFound, doing,
                    fmt::format("{} is no WireGuard device of ours", gretap.device.str()), ENODEV);
    Links wanted = links_;
    wanted.insert_or_assign(name, gretap);
    const auto before = links_.find(name);
    // One that moves to another endpoint is let go there before it can be opened here.
    const bool moves = before != links_.end() && (port_of(before->second) != port_of(gretap) ||
                                                  before->second.device != gretap.device);
    if (moves) {
        if (const auto released = carry_where(before->second, wanted); !released) return released;
    }
    if (const auto carried = carry_where(gretap, wanted); !carried) {
        if (before != links_.end()) (void)carry_where(before->second, links_);
        return carried;
    }
    links_ = std::move(wanted);
    return {};
}

// ---- WireGuard ----------------------------------------------------------------------------------

Result<void> Carried::add_device(const IfName& name) {
    if (devices_.contains(name)) return retake_tun(name);   // it may have been made anew
    if (name.str().size() >= IFNAMSIZ)
        return fail(Error::Kind::Invalid, "open " + name.str(), "no name of an interface", EINVAL);
    datapath::WireguardEndpointConfig config{.name = name.str()};
    config.tun = name;
    config.stamp_file = fmt::format("{}/{}.stamp", state_directory_, name.str());
    config.mtu_bytes = io::mtu_of(name).value_or(config.mtu_bytes);
    if (const auto opened = engine_.set(config); !opened) return opened;
    devices_.insert(name);
    return {};
}

Result<void> Carried::retake_tun(const IfName& name) {
    without_tun_.erase(name);
    auto carried = carry(name, links_);
    if (!carried) without_tun_.insert(name);
    return carried;
}

void Carried::retake_tuns() {
    const std::set<IfName> gone = without_tun_;
    for (const IfName& name : gone) (void)retake_tun(name);
}

Carried::Links Carried::let_go_of_broken() {
    Links out;
    std::set<IfName> devices;
    for (auto link = links_.begin(); link != links_.end();) {
        const bool waits = link->second.encap.type == GreEncap::Type::Gue && port_of(link->second) == nullptr;
        const auto next = std::next(link);
        if (waits && ::if_nametoindex(link->first.c_str()) == 0) out.insert(links_.extract(link));
        link = next;
    }
    for (const IfName& name : engine_.broken()) {
        if (const auto link = links_.find(name); link != links_.end()) out.insert(links_.extract(link));
        else devices.insert(name);
    }
    without_tun_.merge(std::set{devices});
    for (const IfName& name : devices) (void)carry(name, links_);
    for (const auto& [name, gretap] : out) (void)carry_where(gretap, links_);
    return out;
}

void Carried::follow_mtus() {
    for (const IfName& name : devices_) {
        if (const auto mtu = io::mtu_of(name)) engine_.wireguard(name.str())->set_mtu(*mtu);
    }
}

// ---- both ---------------------------------------------------------------------------------------

Result<void> Carried::remove(const IfName& name) {
    if (devices_.erase(name) == 1) {
        without_tun_.erase(name);
        engine_.remove(name.str());
        std::erase_if(links_, [&](const auto& link) { return goes_through(link.second, name); });
        return {};
    }
    const auto link = links_.find(name);
    if (link == links_.end())
        return fail(Error::Kind::NotFound, "forget " + name.str(), "is not carried here", ENOENT);
    const GretapAttributes where = link->second;
    links_.erase(link);
    return carry_where(where, links_);
}

KernelState Carried::state() const {
    KernelState out;
    out.overlayd = true;
    out.fou_ports = ports_;
    for (const auto& [name, gretap] : links_)
        out.links.emplace(name, Link{.name = name, .kind = LinkKind::Tap, .gretap = gretap});
    for (const IfName& name : devices_) out.wireguard.emplace(name, WireguardDevice{});
    return out;
}

}  // namespace overlay::overlayd
