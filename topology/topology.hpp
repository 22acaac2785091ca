#pragma once
// The file as values: what a person wrote about the whole network, with the place of every fact and
// the static defaults filled in. What follows from names (MACs, keys, tunnel addresses, interface names,
// MTUs) is left open here and computed by derive.hpp and mtu.hpp. docs/topology.md is the reference.

#include "topology/diagnostic.hpp"
#include "topology/values.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace overlay {

/// A fact that can be stated, derived by us, or left to the kernel ("kernel"; for a key: "none").
template <class T>
struct Setting {
    enum class Mode { Derived, Stated, Kernel };
    Mode mode = Mode::Derived;
    T value{};
    Span at;
};

enum class LinkType { GretapGue, GretapWireguard, Wireguard };
[[nodiscard]] std::string_view text(LinkType type);   ///< "gretap-gue", …

/// Who carries the packets of an endpoint (a GUE port, a WireGuard device). Auto: the kernel where it can.
enum class DatapathChoice { Auto, Kernel, Userspace };
[[nodiscard]] std::string_view text(DatapathChoice choice);   ///< "auto", "kernel", "userspace"

/// How a node reaches the Internet.
struct Underlay {
    Span at;
    std::optional<Located<IfName>> interface;
    std::vector<Located<IpAddress>> addresses;   ///< where others reach this node (hub), or its own (spoke)
    std::vector<Located<IpAddress>> gateways;    ///< at most one per family; else the found default route's
    Located<Mtu> mtu{Mtu{1500}, {}};
    Located<bool> accept_ra{true, {}};   ///< accept_ra=2 on the uplink while forwarding IPv6; false: leave it
    Located<bool> in_bridge{false, {}};  ///< hub: the uplink is a port of the bridge (Vultr variant)
};

struct BridgeSpec {
    Span at;
    Located<IfName> name;
    Located<bool> existing{false, {}};           ///< borrowed: made and owned by somebody else
    std::vector<Located<IpPrefix>> addresses;
    std::vector<Located<IfName>> ports;          ///< borrowed interfaces to enslave besides our tunnels
    Setting<MacAddress> mac;
    Setting<Mtu> mtu;
    Located<bool> multicast_snooping{false, {}};
    Located<bool> stp{false, {}};
};

struct AdvertisedPrefix {
    Span at;
    Located<IpPrefix> prefix;
    bool on_link = true;
    bool autonomous = true;
    bool router_address = false;                 ///< RFC 6275 R flag, radvd's AdvRouterAddr
    Located<std::uint32_t> valid_seconds{86400, {}};   ///< radvd's defaults
    Located<std::uint32_t> preferred_seconds{14400, {}};
};

struct RouterAdvertisement {
    Span at;
    std::vector<AdvertisedPrefix> prefixes;
    std::vector<Located<IpAddress>> rdnss;
    std::vector<Located<std::string>> dnssl;
    Setting<Mtu> mtu;                            ///< derived: the bridge's; Kernel: none is sent
    Located<std::uint32_t> max_interval_seconds{600, {}};
    Located<std::uint32_t> min_interval_seconds{200, {}};
    Located<std::uint32_t> lifetime_seconds{1800, {}};
    bool managed = false;
    bool other_config = false;
};

struct Masquerade {
    Span at;
    Located<IfName> out;
    std::vector<Located<IpPrefix>> sources;      ///< IPv4 networks; empty: everything
};

/// Layer-2 safety. Each guard is on unless switched off.
struct Guards {
    Located<bool> dhcp{true, {}};                  ///< drop DHCPv4 that comes in by a tunnel
    Located<bool> router_advertisement{true, {}};  ///< hub: drop RAs that come in by a tunnel
    Located<bool> mss{true, {}};                   ///< clamp the MSS of bridged TCP to the derived constant
};

struct GueEndpoint {          ///< `gue` of the hub
    Span at;
    Located<std::uint16_t> port;
    Located<DatapathChoice> datapath{DatapathChoice::Auto, {}};
};

struct WireguardEndpoint {    ///< `wireguard` of the hub
    Span at;
    Located<IfName> interface;                    ///< default "wg_<network>" cut to 15
    Located<std::uint16_t> listen_port{51820, {}};
    std::vector<Located<IpPrefix>> addresses;     ///< key "address": one, or a list with one per family
    Located<std::string> private_key_file;        ///< relative to the directory of the file
    Located<PublicKey> public_key;
    Setting<Mtu> mtu;
    Located<DatapathChoice> datapath{DatapathChoice::Auto, {}};
};

struct Nat { Span at; Located<IpAddress> address; Located<std::uint16_t> port; };

struct Offload { std::map<std::string, Located<bool>> features; };   ///< "tx", "rx", "tso", "gso", "gro"

/// One connection between a spoke and the hub; both ends are derived from it.
struct LinkSpec {
    std::string id;                               ///< "" for `link`; else its key in `links`
    Span at;
    Located<LinkType> type;
    std::optional<Located<Family>> underlay;      ///< "ipv4"/"ipv6"; default: ipv4 if the hub has one

    Located<DatapathChoice> datapath{DatapathChoice::Auto, {}};   ///< at the spoke

    // gretap-gue and gretap-wireguard: the Ethernet tunnel
    std::optional<Located<IfName>> hub_interface; ///< name of the hub's end; default derived
    std::optional<Located<IfName>> interface;     ///< name of the spoke's end; `wireguard`: its device
    Setting<std::uint32_t> key;                   ///< GRE key; Kernel mode = "none"
    Located<std::uint8_t> ttl{64, {}};
    Setting<Mtu> mtu;                             ///< of the tunnel's both ends
    Setting<MacAddress> mac;                      ///< of the spoke's end
    Setting<MacAddress> hub_mac;
    Offload offload;                              ///< of the spoke's end
    Offload hub_offload;

    // gretap-gue
    std::optional<Located<IpAddress>> local;      ///< the spoke's own underlay address
    std::optional<Nat> nat;                       ///< where the hub reaches the spoke
    std::optional<Located<std::uint16_t>> port;   ///< the spoke's FOU port; default: the hub's
    Located<bool> udp_checksum{true, {}};

    // gretap-wireguard and wireguard: the spoke's WireGuard
    std::vector<Located<IpPrefix>> addresses;     ///< key "address"; default derived
    std::optional<Located<PublicKey>> public_key;
    std::optional<Located<std::string>> private_key_file;   ///< default: derive.hpp
    std::optional<Located<std::string>> preshared_key_file;
    std::optional<Located<IfName>> wireguard_interface;     ///< gretap-wireguard: its WireGuard device
    std::optional<Located<std::uint16_t>> listen_port;
    std::optional<Located<Endpoint>> endpoint;    ///< where the hub may call the spoke
    Located<std::uint16_t> keepalive_seconds{25, {}};       ///< of the spoke towards the hub; 0: off
    std::vector<Located<IpPrefix>> allowed_ips;   ///< of the hub, at the spoke; default derived
    Setting<Mtu> wireguard_mtu;                   ///< of the spoke's device
};

/// The hub or a spoke. Which keys each may have is the parser's knowledge.
struct Node {
    std::string name;
    Span at;                                      ///< of its key (spoke) or name value (hub)
    bool is_hub = false;
    Underlay underlay;
    std::optional<BridgeSpec> bridge;
    std::vector<Located<IpPrefix>> addresses;     ///< spoke without bridge: on its (only) gretap
    std::vector<Located<IpPrefix>> lan;           ///< networks behind this node
    std::vector<Located<Family>> forwarding;
    std::optional<Masquerade> masquerade;
    Located<bool> mss_clamp{false, {}};           ///< "pmtu" = true, "off" = false
    Guards guards;

    std::optional<RouterAdvertisement> router_advertisement;   // hub
    std::optional<GueEndpoint> gue;                            // hub
    std::optional<WireguardEndpoint> wireguard;                // hub

    std::vector<LinkSpec> links;                               // spoke, ≥ 1, in order of id
    std::optional<Located<bool>> exit;                         // spoke: "hub" = true: everything leaves there
};

struct Topology {
    std::string file_name;
    std::string network;         ///< [a-z][a-z0-9_-]{0,31}
    Span network_at;
    Node hub;
    std::vector<Node> spokes;    ///< in order of name

    [[nodiscard]] const Node* find(std::string_view node) const;
    [[nodiscard]] std::vector<std::string> node_names() const;   ///< the hub first
};

struct ParsedFile {
    std::optional<Topology> topology;       ///< present when the shape is right
    std::vector<Diagnostic> diagnostics;    ///< of shape and of meaning; sorted by place
};

/// Reads a file's bytes: shape (types, ranges, unknown and duplicate keys), then meaning (validate.hpp),
/// and says everything it finds in one run. Pure; limits: 1 MiB, depth 32, strings 4 KiB, 4096 members,
/// 65 536 values; UTF-8 only; comments allowed.
[[nodiscard]] ParsedFile parse_topology(std::string_view source, std::string_view file_name);

/// [a-z][a-z0-9_-]{0,31}: part of marks, table names and paths.
[[nodiscard]] bool is_network_name(std::string_view name);

}  // namespace overlay
