#pragma once
// One node's share of the file, as kernel state: what compile() makes and plan() compares with a snapshot.

#include "topology/state.hpp"
#include "topology/topology.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace overlay {

/// Where in the file an object comes from.
struct Origin {
    Span at;
    std::string path;   ///< "spokes.office.link"
};

/// A host that must stay reachable outside the tunnel (the hub, when the tunnel becomes the exit). Its
/// gateway is stated, or taken from the default route that is found.
struct PinnedHost {
    IpAddress host;
    std::optional<IpAddress> gateway;
    IfName device;    ///< empty: the default route's
    Origin origin;
};

/// The uplink becomes a port of the bridge; its MAC, addresses and routes move there (Vultr variant).
struct UplinkMove {
    IfName uplink;
    IfName bridge;
};

/// What the file takes for given of this node's way to the Internet. None of it is ours to make.
struct UnderlayIntent {
    IfName interface;              ///< empty: not stated
    std::set<IpAddress> starts;    ///< where tunnels of GUE start: no packet leaves from a strange address
    std::set<IpAddress> called;    ///< the hub's others, where spokes call it: a NAT in front may have them
};

/// A UDP port of GUE or a WireGuard device, with the Ethernet links on it: what the kernel carries as a whole,
/// or overlayd does.
struct EndpointIntent {
    std::optional<FouPort> port;   ///< of GUE; else:
    IfName wireguard;
    DatapathChoice choice = DatapathChoice::Auto;
    std::set<IfName> gretaps;
    Origin origin;                 ///< of what states the choice
};

struct NodeIntent {
    std::string network;
    std::string node;
    KernelState desired;
    std::set<IfName> borrowed;              ///< must exist; only the attributes in `desired` are managed
    std::vector<PinnedHost> pinned;
    std::optional<UplinkMove> uplink_move;
    UnderlayIntent underlay;
    std::vector<EndpointIntent> endpoints;
    std::map<std::string, Origin> origins;  ///< by object_of(step) text
    /// Where the private key of each WireGuard device is, and the public key it must match.
    std::map<IfName, std::string> private_key_files;
    /// The preshared key file of a peer that has one, by device and peer. For `render` only.
    std::map<std::pair<IfName, PublicKey>, std::string> preshared_key_files;
    std::vector<std::string> notes;         ///< for the diff's reader
};

/// Fingerprints of the preshared keys, by the path in the file. Reading files is the caller's business.
using PresharedKeys = std::map<std::string, Fingerprint>;

/// Slices the checked topology for one node. Pure; the topology must be free of errors and `node` one of
/// its nodes. A preshared key file missing from `keys` yields a peer without PSK.
[[nodiscard]] NodeIntent compile(const Topology& topology, const Node& node, const PresharedKeys& keys);

/// Files with secrets that this node needs, relative as written.
struct SecretFile : Located<std::string> {
    std::string path;   ///< of the key that names it: "hub.wireguard.private_key_file"
};
struct SecretFiles {
    std::vector<SecretFile> private_keys;
    std::vector<SecretFile> preshared_keys;
};
[[nodiscard]] SecretFiles secret_files(const Topology& topology, const Node& node);

}  // namespace overlay
