// Names, keys and ports: things that only one owner may have. The other nouns have files of their
// own.

#include "topology/validate.hpp"

#include "topology/validate_parts.hpp"

#include <algorithm>
#include <array>
#include <tuple>

namespace overlay {

std::vector<Diagnostic> validate(const Topology& topology) {
    Findings findings{topology.file_name};
    validate_names(topology, findings);
    validate_key_files(topology, findings);
    validate_underlay(topology, findings);
    validate_links(topology, findings);
    validate_addresses(topology, findings);
    validate_tunnel_addresses(topology, findings);
    validate_bridges(topology, findings);
    validate_router_advertisement(topology, findings);
    validate_routing(topology, findings);
    validate_exit(topology, findings);
    validate_mtus(topology, findings);
    return findings.take();
}

bool is_routed(const Node& spoke) {
    return std::any_of(spoke.links.begin(), spoke.links.end(),
                       [](const LinkSpec& link) { return !is_gretap(link); });
}

bool forwards(const Node& node, Family family) {
    return std::any_of(node.forwarding.begin(), node.forwarding.end(),
                       [&](const auto& on) { return on.value == family; });
}

namespace {

/// Interfaces of one node. The uplink and borrowed ports count: a tunnel of that name would clash.
class InterfaceNames {
  public:
    explicit InterfaceNames(Findings& findings)
        : findings_{findings}, names_{findings, "the name of", "give one of the two another name"} {}

    void claim(const IfName& name, Claim claim) {
        const std::string shown = name.str();
        names_.claim(name, shown, std::move(claim));
    }
    void stated(const std::optional<Located<IfName>>& name, const std::string& path) {
        if (name) claim(name->value, Claim{path, path, name->at, false});
    }
    /// A name that is stated or follows from others.
    void link_end(const IfName& name, const std::optional<Located<IfName>>& stated,
                  const Claim& derived, std::string_view key) {
        if (!stated) return claim(name, derived);
        const std::string path = joined(derived.path, key);
        own(*stated, path);
        claim(name, Claim{path, path, stated->at, false});
    }
    /// A name that we are to give, not one that is there.
    void own(const Located<IfName>& name, const std::string& path) {
        if (!is_taken_by_module(name.value)) return;
        findings_.error(name.at, path,
                        fmt::format("the kernel makes an interface called {} itself",
                                    name.value.str()),
                        "give it another name");
    }

  private:
    /// Each network namespace gets these when a module is loaded that we or others need: Linux 6.1
    /// net/ipv4/ip_gre.c, ipip.c, ip_vti.c, net/ipv6/ip6_gre.c, ip6_tunnel.c, ip6_vti.c, sit.c.
    static bool is_taken_by_module(const IfName& name) {
        constexpr std::array names{"gre0",    "gretap0", "erspan0", "ip6gre0", "ip6tnl0",
                                   "ip6_vti0", "ip_vti0", "sit0",    "tunl0"};
        return std::find(names.begin(), names.end(), name.str()) != names.end();
    }

    Findings& findings_;
    Register<IfName> names_;
};

void claim_node_interfaces(const Node& node, InterfaceNames& names) {
    const std::string path = node_path(node);
    const bool uplink_is_bridge = node.bridge && node.bridge->existing.value &&
                                  node.underlay.interface &&
                                  node.underlay.interface->value == node.bridge->name.value;
    if (!uplink_is_bridge) names.stated(node.underlay.interface, path + ".underlay.interface");
    if (!node.bridge) return;
    names.stated(node.bridge->name, path + ".bridge.name");
    if (!node.bridge->existing.value) names.own(node.bridge->name, path + ".bridge.name");
    for (std::size_t i = 0; i < node.bridge->ports.size(); ++i) {
        names.stated(node.bridge->ports[i], fmt::format("{}.bridge.ports[{}]", path, i));
    }
}

void validate_interface_names(const Topology& topology, Findings& findings) {
    InterfaceNames at_hub{findings};
    claim_node_interfaces(topology.hub, at_hub);
    if (const auto& device = topology.hub.wireguard) {
        at_hub.stated(device->interface, "hub.wireguard.interface");
        at_hub.own(device->interface, "hub.wireguard.interface");
    }
    for (const Node& spoke : topology.spokes) {
        InterfaceNames at_spoke{findings};
        claim_node_interfaces(spoke, at_spoke);
        for (const LinkSpec& link : spoke.links) {
            const std::string path = link_path(spoke, link);
            const Claim derived{path, path, link.at, true};
            if (is_gretap(link)) {
                at_hub.link_end(hub_interface(topology, spoke, link), link.hub_interface, derived,
                                "hub_interface");
            }
            at_spoke.link_end(spoke_interface(topology, spoke, link), link.interface, derived,
                              "interface");
            if (link.type.value == LinkType::GretapWireguard) {
                at_spoke.link_end(spoke_wireguard_interface(topology, spoke, link),
                                  link.wireguard_interface, derived, "wireguard_interface");
            }
        }
    }
}

void validate_public_keys(const Topology& topology, Findings& findings) {
    Register<PublicKey> keys{findings, "the key of", "every node has a key pair of its own"};
    if (const auto& device = topology.hub.wireguard) {
        keys.claim(device->public_key.value, "this",
                   Claim{"hub", "hub.wireguard.public_key", device->public_key.at, false});
    }
    for_each_link(topology, [&](const Node& spoke, const LinkSpec& link) {
        if (!link.public_key) return;
        const std::string path = link_path(spoke, link);
        keys.claim(link.public_key->value, "this",
                   Claim{path, path + ".public_key", link.public_key->at, false});
    });
}

/// One Ethernet has every MAC once, whoever made it up.
void validate_macs(const Topology& topology, Findings& findings) {
    Register<MacAddress> macs{findings, "the MAC of",
                              "two equal MACs in one Ethernet steal each other's frames"};
    const auto claim = [&](const std::optional<MacAddress>& mac, const Setting<MacAddress>& setting,
                           const std::string& owner, const std::string& path) {
        if (!mac) return;
        const bool derived = setting.mode == Setting<MacAddress>::Mode::Derived;
        macs.claim(*mac, text(*mac), Claim{owner, path, setting.at, derived});
    };
    const auto claim_bridge = [&](const Node& node) {
        if (!node.bridge) return;
        const std::string path = node_path(node) + ".bridge";
        claim(bridge_mac(topology, node), node.bridge->mac, path, path + ".mac");
    };
    claim_bridge(topology.hub);
    for (const Node& spoke : topology.spokes) claim_bridge(spoke);
    for_each_link(topology, [&](const Node& spoke, const LinkSpec& link) {
        const std::string path = link_path(spoke, link);
        claim(link_mac(topology, spoke, link, true), link.hub_mac, path + " at the hub",
              path + ".hub_mac");
        claim(link_mac(topology, spoke, link, false), link.mac, path, path + ".mac");
    });
}

/// UDP ports: a FOU socket and a WireGuard socket cannot share one.
void validate_ports(const Topology& topology, Findings& findings) {
    const std::string hint = "FOU and WireGuard each need a UDP port of their own";
    const Node& hub = topology.hub;
    Register<std::uint16_t> at_hub{findings, "the port of", hint};
    if (hub.gue) {
        at_hub.claim(hub.gue->port.value, fmt::format("UDP port {}", hub.gue->port.value),
                     Claim{"hub.gue", "hub.gue.port", hub.gue->port.at, false});
    }
    if (hub.wireguard) {
        at_hub.claim(hub.wireguard->listen_port.value,
                     fmt::format("UDP port {}", hub.wireguard->listen_port.value),
                     Claim{"hub.wireguard", "hub.wireguard.listen_port",
                           hub.wireguard->listen_port.at, false});
    }
    for (const Node& spoke : topology.spokes) {
        Register<std::uint16_t> at_spoke{findings, "the port of", hint};
        std::map<std::uint16_t, bool> fou;  // one FOU socket serves all GUE links of a node
        for (const LinkSpec& link : spoke.links) {
            const std::string path = link_path(spoke, link);
            if (is_gue(link)) {
                const std::uint16_t port = spoke_gue_port(topology, link);
                if (!fou.emplace(port, true).second) continue;
                at_spoke.claim(port, fmt::format("UDP port {}", port),
                               link.port ? Claim{path, path + ".port", link.port->at, false}
                                         : Claim{path, path, link.at, true});
            } else if (link.listen_port) {
                at_spoke.claim(link.listen_port->value,
                               fmt::format("UDP port {}", link.listen_port->value),
                               Claim{path, path + ".listen_port", link.listen_port->at, false});
            }
        }
    }
}

}  // namespace

void validate_names(const Topology& topology, Findings& findings) {
    for (const Node& spoke : topology.spokes) {
        if (spoke.name != topology.hub.name) continue;
        const bool later = topology.hub.at < spoke.at;
        findings.error(later ? spoke.at : topology.hub.at, later ? node_path(spoke) : "hub.name",
                       fmt::format("\"{}\" is already the name of {} ({})", spoke.name,
                                   later ? "the hub" : "a spoke",
                                   findings.place(later ? topology.hub.at : spoke.at)));
    }
    validate_interface_names(topology, findings);
    validate_public_keys(topology, findings);
    validate_macs(topology, findings);
    validate_ports(topology, findings);
}

}  // namespace overlay
