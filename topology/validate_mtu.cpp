// MTUs: what is stated must fit into what the headers leave, and IPv6 needs 1280 bytes everywhere
// (RFC 8200 §5). Every refusal shows the sum, as `explain mtu` would.

#include "topology/mtu.hpp"
#include "topology/validate_parts.hpp"

#include <algorithm>
#include <span>

namespace overlay {
namespace {

constexpr std::uint32_t ipv6_minimum_bytes = 1280;

template <class T>
bool is_stated(const Setting<T>& setting) {
    return setting.mode == Setting<T>::Mode::Stated;
}

/// "1500 underlay MTU - 20 outer IPv4 header - 8 UDP header = 1472"
std::string sum(const MtuBreakdown& breakdown) {
    std::string out;
    for (const MtuLine& line : breakdown.lines) {
        if (out.empty())
            out = fmt::format("{} {}", line.bytes, line.label);
        else
            out += fmt::format(" {} {} {}", line.bytes < 0 ? '-' : '+', std::abs(line.bytes),
                               line.label);
    }
    return fmt::format("{} = {}", out, breakdown.link.bytes());
}

/// As if the file stated no MTU for the tunnel.
MtuBreakdown without_stated(const MtuEngine& mtus, const Node& spoke, LinkSpec link) {
    link.mtu.mode = Setting<Mtu>::Mode::Derived;
    return mtus.explain(spoke, link);
}

/// What fits into WireGuard on this link, whatever the file states for the two devices.
MtuBreakdown wireguard_room(const Topology& topology, const Node& spoke, LinkSpec link) {
    Topology alone;
    alone.network = topology.network;
    alone.hub.underlay = topology.hub.underlay;
    alone.hub.wireguard = topology.hub.wireguard;
    if (alone.hub.wireguard) alone.hub.wireguard->mtu.mode = Setting<Mtu>::Mode::Derived;
    link.type.value = LinkType::Wireguard;
    link.wireguard_mtu.mode = Setting<Mtu>::Mode::Derived;
    link.mtu.mode = Setting<Mtu>::Mode::Derived;
    Node node;
    node.name = spoke.name;
    node.underlay = spoke.underlay;
    node.links = {link};
    alone.spokes = {node};
    return MtuEngine{alone}.explain(node, link);
}

bool has_ipv6(const std::vector<Located<IpPrefix>>& addresses) {
    return std::any_of(addresses.begin(), addresses.end(),
                       [](const auto& address) { return address.value.family() == Family::Ipv6; });
}

/// Whether IPv6 packets travel inside this link.
bool carries_ipv6(const Topology& topology, const Node& spoke, const LinkSpec& link) {
    if (!is_gretap(link)) return has_family_inside(topology, spoke, link, Family::Ipv6);
    const Node& hub = topology.hub;
    return hub.router_advertisement || (hub.bridge && has_ipv6(hub.bridge->addresses)) ||
           (spoke.bridge && has_ipv6(spoke.bridge->addresses)) || has_ipv6(spoke.addresses);
}

class MtuRules {
  public:
    MtuRules(const Topology& topology, Findings& findings)
        : topology_{topology}, mtus_{topology}, findings_{findings} {}

    void check(const Node& spoke, const LinkSpec& link) {
        const std::string path = link_path(spoke, link);
        check_outer(topology_.hub, link, path);
        check_outer(spoke, link, path);
        const MtuBreakdown room = without_stated(mtus_, spoke, link);
        if (is_stated(link.mtu) && link.mtu.value > room.link) {
            findings_.error(link.mtu.at, path + ".mtu",
                            fmt::format("{} does not fit: {}", link.mtu.value.bytes(), sum(room)));
        }
        if (uses_wireguard(link))
            check_device(link.wireguard_mtu, spoke, link, path + ".wireguard_mtu");
        if (uses_wireguard(link) && !check_device_for_ipv6(spoke, link, path)) return;
        const bool left_to_kernel = link.mtu.mode == Setting<Mtu>::Mode::Kernel;
        const MtuBreakdown whole = mtus_.explain(spoke, link);
        if (left_to_kernel || whole.link.bytes() >= ipv6_minimum_bytes) return;
        if (!carries_ipv6(topology_, spoke, link)) return;
        findings_.error(is_stated(link.mtu) ? link.mtu.at : link.at, path,
                        fmt::format("IPv6 needs {} bytes, and it is used inside: {}",
                                    ipv6_minimum_bytes, sum(whole)));
    }

    /// One device serves all links, so the narrowest decides.
    void check_hub_device() {
        const auto& device = topology_.hub.wireguard;
        if (!device || !is_stated(device->mtu)) return;
        if (hub_has_ipv6_inside()) needs_minimum(device->mtu, "hub.wireguard.mtu");
        for_each_link(topology_, [&](const Node& spoke, const LinkSpec& link) {
            if (reported_ || !uses_wireguard(link)) return;
            reported_ = !check_device(device->mtu, spoke, link, "hub.wireguard.mtu");
        });
    }

    void check_bridge(const Node& node) {
        if (!node.bridge) return;
        const Setting<Mtu>& stated = node.bridge->mtu;
        const auto room = narrowest_port(node);
        if (room && is_stated(stated) && stated.value > *room) {
            findings_.error(stated.at, node_path(node) + ".bridge.mtu",
                            fmt::format("{} is more than the {} that its narrowest port carries",
                                        stated.value.bytes(), room->bytes()),
                            "larger frames would vanish without a word");
        }
        if (has_ipv6(node.bridge->addresses)) {
            needs_minimum(stated, node_path(node) + ".bridge.mtu");
            if (!is_stated(stated) && mtus_.bridge(node) == node.underlay.mtu.value)
                needs_minimum({Setting<Mtu>::Mode::Stated, node.underlay.mtu.value,
                               node.underlay.mtu.at},
                              node_path(node) + ".underlay.mtu");
        }
        check_advertised(node, room);
    }

  private:
    /// Hosts must not be told of more than the bridge carries.
    void check_advertised(const Node& node, std::optional<Mtu> room) {
        if (!node.router_advertisement || !is_stated(node.router_advertisement->mtu)) return;
        const Setting<Mtu>& told = node.router_advertisement->mtu;
        std::optional<Mtu> carried = mtus_.bridge(node);
        if (room) carried = carried ? std::min(*carried, *room) : *room;
        if (!carried || told.value <= *carried) return;
        findings_.error(told.at, "hub.router_advertisement.mtu",
                        fmt::format("hosts would send {} bytes, and the bridge carries {}",
                                    told.value.bytes(), carried->bytes()));
    }

    /// The kernel takes IPv6 off a device with a smaller MTU: net/ipv6/addrconf.c, addrconf_notify.
    void needs_minimum(const Setting<Mtu>& setting, const std::string& path) {
        if (!is_stated(setting) || setting.value.bytes() >= ipv6_minimum_bytes) return;
        findings_.error(setting.at, path,
                        fmt::format("{} is less than the {} that IPv6 needs, and there is an IPv6 "
                                    "address",
                                    setting.value.bytes(), ipv6_minimum_bytes));
    }

    [[nodiscard]] bool hub_has_ipv6_inside() const {
        const std::vector<IpPrefix> inside = hub_tunnel_addresses(topology_);
        return std::any_of(inside.begin(), inside.end(), [](const IpPrefix& address) {
            return address.family() == Family::Ipv6;
        });
    }

    /// The spoke's WireGuard device, and the hub's, which is as wide as the narrowest of its links.
    /// False: too narrow for the IPv6 address that it has, and reported.
    bool check_device_for_ipv6(const Node& spoke, const LinkSpec& link, const std::string& path) {
        const Setting<Mtu>& hub = topology_.hub.wireguard->mtu;
        const bool at_spoke = has_family_inside(topology_, spoke, link, Family::Ipv6);
        const bool at_hub = !is_stated(hub) && hub_has_ipv6_inside();
        if (at_spoke && is_stated(link.wireguard_mtu) &&
            link.wireguard_mtu.value.bytes() < ipv6_minimum_bytes) {
            needs_minimum(link.wireguard_mtu, path + ".wireguard_mtu");
            return false;
        }
        if (at_spoke && !is_gretap(link))  // the link is the device: its own sum follows
            return !is_stated(hub) || hub.value.bytes() >= ipv6_minimum_bytes;
        if (!at_spoke && !at_hub) return true;
        const MtuBreakdown room = wireguard_room(topology_, spoke, link);
        if (room.link.bytes() >= ipv6_minimum_bytes) return true;
        findings_.error(link.at, path,
                        fmt::format("IPv6 needs {} bytes, and the WireGuard devices have IPv6 "
                                    "addresses: {}",
                                    ipv6_minimum_bytes, sum(room)));
        return false;
    }

    void check_outer(const Node& node, const LinkSpec& link, const std::string& path) {
        const auto& mtu = node.underlay.mtu;
        if (underlay_family(topology_, link) == Family::Ipv4 ||
            mtu.value.bytes() >= ipv6_minimum_bytes)
            return;
        findings_.error(mtu.at, node_path(node) + ".underlay.mtu",
                        fmt::format("{} is less than the {} that IPv6 needs, which {} uses outside",
                                    mtu.value.bytes(), ipv6_minimum_bytes, path));
    }

    /// nullopt: no tunnel is a port, or the kernel decides about one.
    [[nodiscard]] std::optional<Mtu> narrowest_port(const Node& node) const {
        std::optional<Mtu> smallest;
        if (node.underlay.in_bridge.value) smallest = node.underlay.mtu.value;
        const std::span<const Node> spokes =
            node.is_hub ? std::span{topology_.spokes} : std::span{&node, 1};
        for (const Node& spoke : spokes) {
            for (const LinkSpec& link : spoke.links) {
                if (!is_gretap(link)) continue;
                const auto mtu = mtus_.tunnel(spoke, link);
                if (!mtu) return std::nullopt;
                smallest = smallest ? std::min(*smallest, *mtu) : *mtu;
            }
        }
        return smallest;
    }

    bool check_device(const Setting<Mtu>& setting, const Node& spoke, const LinkSpec& link,
                      const std::string& path) {
        if (!is_stated(setting)) return true;
        const MtuBreakdown room = wireguard_room(topology_, spoke, link);
        if (setting.value <= room.link) return true;
        findings_.error(setting.at, path,
                        fmt::format("{} does not fit into the way to {}: {}", setting.value.bytes(),
                                    spoke.name, sum(room)));
        return false;
    }

    const Topology& topology_;
    MtuEngine mtus_;
    Findings& findings_;
    bool reported_ = false;
};

}  // namespace

void validate_mtus(const Topology& topology, Findings& findings) {
    MtuRules rules{topology, findings};
    for_each_link(topology,
                  [&](const Node& spoke, const LinkSpec& link) { rules.check(spoke, link); });
    rules.check_hub_device();
    rules.check_bridge(topology.hub);
    for (const Node& spoke : topology.spokes) rules.check_bridge(spoke);
}

}  // namespace overlay
