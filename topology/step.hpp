#pragma once
// What a plan is made of: typed changes to kernel state, each with a total inverse. A step holds
// both the old and the new value, so that it can be shown, carried out and undone without asking
// anybody.

#include "topology/state.hpp"

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace overlay {

/// Modules are never unloaded (others may use them): the inverse of loading is keeping.
struct LoadModule {
    std::string name;
};
struct KeepModule {
    std::string name;
};

/// Guards, masquerade, clamp: the whole table in one nft transaction. At least one side is present.
struct ReplaceTable {
    std::optional<FirewallTable> from, to;
};

/// Writing conf.all.forwarding makes the kernel write every interface and `default`
/// (Linux net/ipv4/devinet.c inet_forward_change, net/ipv6/addrconf.c addrconf_forward_change).
/// `cascade` lists those values before and after; the inverse writes each one back.
struct SysctlValue {
    std::string key, from, to;
    friend bool operator==(const SysctlValue&, const SysctlValue&) = default;
};
struct SetSysctl {
    std::string key, from, to;
    std::vector<SysctlValue> cascade;
};

struct AddFouPort {
    FouPort port;
};
struct RemoveFouPort {
    FouPort port;
};

/// Creates the link down, without master, with kind, parameters, MAC, MTU (a bridge's is pinned)
/// and alias. `up` and `master` of the value are ignored: they are steps of their own.
struct CreateLink {
    Link link;
};
struct DeleteLink {
    Link link;
};
/// Another name for the same link, which must be down: before Linux 6.2 the kernel refuses it on one that
/// is up (net/core/dev.c, dev_change_name).
struct RenameLink {
    IfName from, to;
};
/// In place. Both sides name the same link and hold exactly the attributes that change; a gretap's
/// parameters, a group to the kernel, are always complete on both sides. A bridge's MTU that is the same
/// on both sides is pinned: from then on it does not follow the bridge's ports.
struct ChangeLink {
    Link from, to;
};

struct AddAddress {
    Address address;
};
struct RemoveAddress {
    Address address;
};
struct AddRoute {
    Route route;
};
struct RemoveRoute {
    Route route;
};

/// Of somebody else, which moves with the uplink, or which the kernel would throw away with something of ours.
struct AddNeighbour {
    Neighbour neighbour;
};
struct RemoveNeighbour {
    Neighbour neighbour;
};

/// Device settings; `peers` of both values is empty. Secrets are found by their public key (see
/// netlink/secrets.hpp). A zero public key means: no private key.
struct SetWireguard {
    IfName link;
    WireguardDevice from, to;
};
/// Adds (no `from`), removes (no `to`) or changes one peer; never touches another.
struct SetPeer {
    IfName link;
    PublicKey peer;
    std::optional<WireguardPeer> from, to;
};

struct SetOffload {
    OffloadKey key;
    bool from = false;
    bool to = false;
};

/// Starts overlayd, or ends it. Starting one that runs is no change; ending one that does not run is to forget what
/// it has kept for its next start.
struct RunOverlayd {
    bool from = false;
    bool to = false;
    // What one that does not run yet may still find kept: whatever else was carried is taken down since.
    std::set<FouPort> ports = {};
    std::set<IfName> links = {};
};

using Step = std::variant<LoadModule, KeepModule, ReplaceTable, SetSysctl, AddFouPort,
                          RemoveFouPort, CreateLink, DeleteLink, RenameLink, ChangeLink,
                          AddAddress, RemoveAddress, AddRoute, RemoveRoute, AddNeighbour,
                          RemoveNeighbour, SetWireguard, SetPeer, SetOffload, RunOverlayd>;

/// The step that undoes this one. Total: a new kind of step does not compile until it has one.
[[nodiscard]] Step inverse(const Step& step);

/// The object a step works on: "link gretap_office", "peer 8TYM…ZGA= of wg_vpns". Stable; no
/// secrets.
[[nodiscard]] std::string object_of(const Step& step);

/// What we were doing, for an error: "create link gretap_office".
[[nodiscard]] std::string describe(const Step& step);

}   // namespace overlay
