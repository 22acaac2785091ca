// Composition: who reads what, and which part carries out which step. The knowledge is in the parts.

#include "netlink/kernel.hpp"

#include "netlink/addresses.hpp"
#include "netlink/ethtool.hpp"
#include "netlink/families.hpp"
#include "netlink/firewall.hpp"
#include "netlink/fou.hpp"
#include "netlink/links.hpp"
#include "netlink/modules.hpp"
#include "netlink/neighbours.hpp"
#include "netlink/routes.hpp"
#include "netlink/sysctl.hpp"
#include "netlink/udp_sockets.hpp"
#include "netlink/user_namespace.hpp"
#include "netlink/wireguard.hpp"

#include <linux/ethtool_netlink.h>
#include <linux/fou.h>
#include <linux/netlink.h>
#include <linux/wireguard.h>

#include <cerrno>

namespace overlay::netlink {

struct Kernel::Parts {
    Socket route;
    Socket generic;
    Sysctls sysctls;
    Modules modules;
    Firewall firewall;
    Families families;
    FeatureNames feature_names;
    std::uint64_t firewall_commits = 0;

    Result<void> read_families();
    Result<std::uint16_t> family_of(const char* name, std::string_view doing);
    Result<void> snapshot_generic(KernelState& state, const LinkNames& names, Secrets& secrets);
    Result<void> carry_out(const Step& step, const Secrets& secrets);
    using FouRequest = Message (*)(std::uint16_t family, const FouPort&, std::uint32_t device_index);
    Result<void> change_fou(FouRequest request_for, const FouPort& port, std::string_view doing);
    Result<void> change(const ChangeLink& step, std::string_view doing);
    Result<void> replace_table(const ReplaceTable& step);
};

// ---- reading ------------------------------------------------------------------------------------

/// Families come and go with modules; the names of features never change.
Result<void> Kernel::Parts::read_families() {
    if (const auto read = families.read(generic); !read) return read;
    const auto ethtool = families.find(ETHTOOL_GENL_NAME);
    if (!ethtool || !feature_names.empty()) return {};
    auto names = read_feature_names(generic, *ethtool);
    if (!names) return pass_on(names);
    feature_names = *std::move(names);
    return {};
}

/// FOU, WireGuard, offloads: a kernel without the family has none of them.
Result<void> Kernel::Parts::snapshot_generic(KernelState& state, const LinkNames& names,
                                             Secrets& secrets) {
    if (const auto read = read_families(); !read) return read;
    if (const auto fou = families.find(FOU_GENL_NAME)) {
        auto ports = snapshot_fou(generic, *fou, names);
        if (!ports) return pass_on(ports);
        state.fou_ports = *std::move(ports);
        state.modules.insert("fou");
    }
    if (const auto wireguard = families.find(WG_GENL_NAME)) {
        for (const auto& [name, link] : state.links) {
            if (link.kind != LinkKind::Wireguard) continue;
            auto device = read_wireguard(generic, *wireguard, name, secrets);
            if (!device && device.error().code == ENODEV) continue;   // gone since the list of links
            if (!device) return pass_on(device);
            state.wireguard.emplace(name, *std::move(device));
        }
        state.modules.insert("wireguard");
    }
    if (const auto ethtool = families.find(ETHTOOL_GENL_NAME)) {
        auto offloads = snapshot_offloads(generic, *ethtool, feature_names);
        if (!offloads) return pass_on(offloads);
        state.offloads = *std::move(offloads);
    }
    return {};
}

Result<KernelState> Kernel::snapshot(Secrets& secrets) {
    Parts& parts = *parts_;
    KernelState state;
    auto links = snapshot_links(parts.route);
    if (!links) return pass_on(links);
    state.links = std::move(links->links);
    state.alternative_names = std::move(links->alternative_names);

    auto addresses = snapshot_addresses(parts.route, links->names);
    if (!addresses) return pass_on(addresses);
    state.addresses = *std::move(addresses);

    auto routes = snapshot_routes(parts.route, links->names);
    if (!routes) return pass_on(routes);
    state.routes = *std::move(routes);

    auto neighbours = snapshot_neighbours(parts.route, links->names);
    if (!neighbours) return pass_on(neighbours);
    state.neighbours = *std::move(neighbours);

    auto sysctls = parts.sysctls.snapshot(state.links);
    if (!sysctls) return pass_on(sysctls);
    state.sysctls = *std::move(sysctls);

    auto firewall = parts.firewall.snapshot();
    if (!firewall) return pass_on(firewall);
    state.tables = std::move(firewall->tables);
    state.all_tables = std::move(firewall->all);

    state.modules = parts.modules.present();
    const auto generic = parts.snapshot_generic(state, links->names, secrets);
    if (!generic) return pass_on(generic);
    state.missing_modules = parts.modules.missing(state.modules);
    if (!in_initial_user_namespace()) {
        for (const char* name : {"fou", "fou6"}) {
            state.modules.erase(name);
            state.missing_modules.insert(name);
        }
    }
    state.udp_sockets = snapshot_udp_sockets();
    return state;
}

Result<Activity> Kernel::activity() {
    Parts& parts = *parts_;
    auto links = snapshot_links(parts.route);
    if (!links) return pass_on(links);
    auto counters = read_link_activity(parts.route);
    if (!counters) return pass_on(counters);
    Activity out{*std::move(counters), {}};
    if (const auto read = parts.read_families(); !read) return pass_on(read);
    const auto family = parts.families.find(WG_GENL_NAME);
    if (!family) return out;
    for (const auto& [name, link] : links->links) {
        if (link.kind != LinkKind::Wireguard) continue;
        auto peers = read_peer_activity(parts.generic, *family, name);
        if (peers) out.peers.emplace(name, *std::move(peers));
    }
    return out;
}

// ---- changing -----------------------------------------------------------------------------------

/// Asked again when missing: a step before this one may have loaded the module.
Result<std::uint16_t> Kernel::Parts::family_of(const char* name, std::string_view doing) {
    if (const auto known = families.find(name)) return *known;
    if (const auto read = read_families(); !read) return pass_on(read);
    if (const auto found = families.find(name)) return *found;
    return fail(Error{Error::Kind::Unsupported, std::string{doing},
                      "the kernel has no netlink family " + std::string{name}, ENOENT,
                      package_hint(name)});
}

/// With a tunnel's attributes its offloads would change.
Result<void> Kernel::Parts::change(const ChangeLink& step, std::string_view doing) {
    if (auto done = change_link(route, step.to, doing); !done || !step.to.gretap) return done;
    const auto ethtool = families.find(ETHTOOL_GENL_NAME);
    if (!ethtool) return {};
    return let_go_of_unwanted(generic, *ethtool, feature_names, step.to.name);
}

Result<void> Kernel::Parts::change_fou(FouRequest request_for, const FouPort& port,
                                       std::string_view doing) {
    const auto family = family_of(FOU_GENL_NAME, doing);
    if (!family) return pass_on(family);
    std::uint32_t index = 0;
    if (!port.device.empty()) {
        const auto device = find_link(route, port.device, doing);
        if (!device) return pass_on(device);
        index = device->index;
    }
    Message request = request_for(*family, port, index);
    auto done = generic.change(request, doing);
    if (!done && done.error().kind == Error::Kind::NotPermitted) {
        done.error().hint = "FOU ports need CAP_NET_ADMIN in the initial user namespace: a rootless "
                            "namespace is not enough";
    }
    if (!done && done.error().code == EADDRINUSE) {
        const auto owner = owner_of_udp_port(port.family, port.port);
        if (!owner.empty()) done.error().reason += ": the UDP port is held by " + owner;
    }
    return done;
}

Result<void> Kernel::Parts::replace_table(const ReplaceTable& step) {
    ++firewall_commits;
    return firewall.replace(step.from, step.to);
}

Result<void> Kernel::Parts::carry_out(const Step& step, const Secrets& secrets) {
    const std::string doing = describe(step);
    const auto with_family = [&](const char* name, auto&& change) -> Result<void> {
        const auto family = family_of(name, doing);
        if (!family) return pass_on(family);
        return change(*family);
    };
    return std::visit(
        Overloaded{
            [&](const LoadModule& s) { return modules.load(s.name); },
            [&](const KeepModule&) { return Result<void>{}; },
            [&](const ReplaceTable& s) { return replace_table(s); },
            [&](const SetSysctl& s) { return sysctls.set(s); },
            [&](const AddFouPort& s) { return change_fou(add_fou_request, s.port, doing); },
            [&](const RemoveFouPort& s) { return change_fou(remove_fou_request, s.port, doing); },
            [&](const CreateLink& s) { return create_link(route, s.link, doing); },
            [&](const DeleteLink& s) { return delete_link(route, s.link, doing); },
            [&](const RenameLink& s) { return rename_link(route, s.from, s.to, doing); },
            [&](const ChangeLink& s) { return change(s, doing); },
            [&](const AddAddress& s) { return add_address(route, s.address, doing); },
            [&](const RemoveAddress& s) { return remove_address(route, s.address, doing); },
            [&](const AddRoute& s) { return add_route(route, s.route, doing); },
            [&](const RemoveRoute& s) { return remove_route(route, s.route, doing); },
            [&](const AddNeighbour& s) { return add_neighbour(route, s.neighbour, doing); },
            [&](const RemoveNeighbour& s) { return remove_neighbour(route, s.neighbour, doing); },
            [&](const SetWireguard& s) {
                return with_family(WG_GENL_NAME, [&](std::uint16_t family) {
                    return set_wireguard(generic, family, s, secrets);
                });
            },
            [&](const SetPeer& s) {
                return with_family(WG_GENL_NAME, [&](std::uint16_t family) {
                    return set_peer(generic, family, s, secrets);
                });
            },
            [&](const SetOffload& s) {
                return with_family(ETHTOOL_GENL_NAME, [&](std::uint16_t family) {
                    return set_offload(generic, family, feature_names, {s.key, s.to});
                });
            },
            [&](const RunOverlayd&) {   // LiveKernel's business
                return Result<void>{fail(Error::Kind::Unsupported, doing, "not the kernel's")};
            },
        },
        step);
}

Result<void> Kernel::execute(const Step& step, const Secrets& secrets) {
    return parts_->carry_out(step, secrets);
}

std::uint64_t Kernel::writes() const {
    return parts_->route.changes() + parts_->generic.changes() + parts_->sysctls.writes() +
           parts_->modules.writes() + parts_->firewall_commits;
}

// ---- life ---------------------------------------------------------------------------------------

Kernel::Kernel(std::unique_ptr<Parts> parts) : parts_{std::move(parts)} {}
Kernel::Kernel(Kernel&&) noexcept = default;
Kernel& Kernel::operator=(Kernel&&) noexcept = default;
Kernel::~Kernel() = default;

Result<Kernel> Kernel::open() {
    auto route = Socket::open(NETLINK_ROUTE);
    if (!route) return pass_on(route);
    auto generic = Socket::open(NETLINK_GENERIC);
    if (!generic) return pass_on(generic);
    auto sysctls = Sysctls::open();
    if (!sysctls) return pass_on(sysctls);
    auto modules = Modules::open();
    if (!modules) return pass_on(modules);
    return Kernel{std::unique_ptr<Parts>{
        new Parts{*std::move(route), *std::move(generic), *std::move(sysctls), *std::move(modules),
                  Firewall{}, {}, {}, 0}}};
}

}  // namespace overlay::netlink
