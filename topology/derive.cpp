// Defaults from names. Material for the hash: "overlay", the network, the purpose and the id, each
// followed by a NUL, so that no two purposes or names can run together. First bytes first.

#include "topology/derive.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

namespace overlay {
namespace {

using Digest = std::array<std::uint8_t, 32>;

Digest sha256(std::string_view bytes) {
    Digest out{};
    unsigned size = 0;
    const int ok = EVP_Digest(bytes.data(), bytes.size(), out.data(), &size, EVP_sha256(), nullptr);
    OVERLAY_ASSERT(ok == 1 && size == out.size());
    return out;
}

Digest digest(const Topology& topology, std::string_view purpose, std::string_view id) {
    std::string material;
    for (const std::string_view part :
         {std::string_view{"overlay"}, std::string_view{topology.network}, purpose, id}) {
        material.append(part);
        material += '\0';
    }
    return sha256(material);
}

std::uint32_t first_word(const Digest& digest) {
    return (std::uint32_t{digest[0]} << 24U) | (std::uint32_t{digest[1]} << 16U) |
           (std::uint32_t{digest[2]} << 8U) | std::uint32_t{digest[3]};
}

/// Locally administered, one receiver (IEEE 802c-2017: the lowest two bits of the first byte are
/// 10).
MacAddress mac_from(const Digest& digest) {
    std::array<std::uint8_t, 6> bytes{};
    std::copy_n(digest.begin(), bytes.size(), bytes.begin());
    bytes[0] = static_cast<std::uint8_t>((bytes[0] & 0xfcU) | 0x02U);
    return MacAddress::from_bytes(bytes.data());
}

std::string suffix(const LinkSpec& link) { return link.id.empty() ? "" : "-" + link.id; }

bool is_gretap(const LinkSpec& link) { return link.type.value != LinkType::Wireguard; }

const IpAddress* of_family(const std::vector<Located<IpAddress>>& addresses, Family family) {
    for (const auto& address : addresses) {
        if (address.value.family() == family) return &address.value;
    }
    return nullptr;
}

}  // namespace

IfName short_interface_name(std::string_view wanted) {
    constexpr std::size_t max_bytes = 15, hash_characters = 5;
    if (wanted.size() <= max_bytes) return IfName::from_kernel(wanted);
    const Digest hash = sha256(wanted);
    const std::string tail = fmt::format("{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2]);
    return IfName::from_kernel(fmt::format("{}{}", wanted.substr(0, max_bytes - hash_characters),
                                           tail.substr(0, hash_characters)));
}

std::string default_key_file(std::string_view network) {
    return fmt::format("/etc/overlay/{}.key", network);
}

std::string private_key_file(const Topology& topology, const LinkSpec& link) {
    if (link.private_key_file) return link.private_key_file->value;
    // No name of a network has a dot.
    return default_key_file(link.id.empty() ? topology.network
                                            : fmt::format("{}.{}", topology.network, link.id));
}

std::string link_path(const Node& spoke, const LinkSpec& link) {
    return link.id.empty() ? fmt::format("spokes.{}.link", spoke.name)
                           : fmt::format("spokes.{}.links.{}", spoke.name, link.id);
}

std::string link_id(const Node& spoke, const LinkSpec& link) {
    return link.id.empty() ? spoke.name : fmt::format("{}.{}", spoke.name, link.id);
}

// ---- names of interfaces ------------------------------------------------------------------------

IfName hub_interface(const Topology& topology, const Node& spoke, const LinkSpec& link) {
    if (!is_gretap(link))
        return topology.hub.wireguard ? topology.hub.wireguard->interface.value : IfName{};
    if (link.hub_interface) return link.hub_interface->value;
    return short_interface_name("gt-" + spoke.name + suffix(link));
}

IfName spoke_interface(const Topology& topology, const Node& spoke, const LinkSpec& link) {
    if (!is_gretap(link)) return spoke_wireguard_interface(topology, spoke, link);
    if (link.interface) return link.interface->value;
    return short_interface_name("gt-" + topology.hub.name + suffix(link));
}

IfName spoke_wireguard_interface(const Topology& topology, const Node&, const LinkSpec& link) {
    const auto& stated = is_gretap(link) ? link.wireguard_interface : link.interface;
    if (stated) return stated->value;
    return short_interface_name("wg-" + topology.hub.name + suffix(link));
}

// ---- keys and MACs ------------------------------------------------------------------------------

std::optional<std::uint32_t> gre_key(const Topology& topology, const Node& spoke,
                                     const LinkSpec& link) {
    if (!is_gretap(link) || link.key.mode == Setting<std::uint32_t>::Mode::Kernel)
        return std::nullopt;
    if (link.key.mode == Setting<std::uint32_t>::Mode::Stated) return link.key.value;
    return first_word(digest(topology, "gre key", link_id(spoke, link)));
}

std::optional<MacAddress> link_mac(const Topology& topology, const Node& spoke,
                                   const LinkSpec& link, bool hub_end) {
    if (!is_gretap(link)) return std::nullopt;
    const Setting<MacAddress>& setting = hub_end ? link.hub_mac : link.mac;
    if (setting.mode == Setting<MacAddress>::Mode::Kernel) return std::nullopt;
    if (setting.mode == Setting<MacAddress>::Mode::Stated) return setting.value;
    return mac_from(digest(topology, hub_end ? "hub mac" : "spoke mac", link_id(spoke, link)));
}

std::optional<MacAddress> bridge_mac(const Topology& topology, const Node& node) {
    if (!node.bridge) return std::nullopt;
    const Setting<MacAddress>& setting = node.bridge->mac;
    if (setting.mode == Setting<MacAddress>::Mode::Stated) return setting.value;
    const bool others = node.bridge->existing.value || node.underlay.in_bridge.value;
    if (others || setting.mode == Setting<MacAddress>::Mode::Kernel) return std::nullopt;
    return mac_from(digest(topology, "bridge mac", node.name));
}

// ---- underlay -----------------------------------------------------------------------------------

Family underlay_family(const Topology& topology, const LinkSpec& link) {
    if (link.underlay) return link.underlay->value;
    const bool has_ipv4 = of_family(topology.hub.underlay.addresses, Family::Ipv4) != nullptr;
    return has_ipv4 ? Family::Ipv4 : Family::Ipv6;
}

std::optional<IpAddress> hub_underlay_address(const Topology& topology, const LinkSpec& link) {
    const auto* found = of_family(topology.hub.underlay.addresses, underlay_family(topology, link));
    return found != nullptr ? std::optional{*found} : std::nullopt;
}

std::uint16_t spoke_gue_port(const Topology& topology, const LinkSpec& link) {
    constexpr std::uint16_t usual = 5555;
    if (link.port) return link.port->value;
    return topology.hub.gue ? topology.hub.gue->port.value : usual;
}

std::optional<IpAddress> spoke_underlay_address(const Topology& topology, const Node& spoke,
                                                const LinkSpec& link) {
    if (link.local) return link.local->value;
    const auto* found = of_family(spoke.underlay.addresses, underlay_family(topology, link));
    return found != nullptr ? std::optional{*found} : std::nullopt;
}

std::optional<Endpoint> spoke_gue_endpoint(const Topology& topology, const Node& spoke,
                                           const LinkSpec& link) {
    if (link.nat) return Endpoint{link.nat->address.value, link.nat->port.value};
    const auto own = spoke_underlay_address(topology, spoke, link);
    if (!own) return std::nullopt;
    return Endpoint{*own, spoke_gue_port(topology, link)};
}

// ---- addresses inside WireGuard -----------------------------------------------------------------

std::vector<IpPrefix> hub_tunnel_addresses(const Topology& topology) {
    std::vector<IpPrefix> out;
    if (!topology.hub.wireguard) return out;
    for (const auto& prefix : topology.hub.wireguard->addresses) out.push_back(prefix.value);
    if (!out.empty()) return out;
    // 100.64.0.0/10 (RFC 6598) has 64 networks of /16.
    const auto pick = static_cast<std::uint8_t>(digest(topology, "tunnel network", "")[0] % 64U);
    const std::array<std::uint8_t, 4> bytes{100, static_cast<std::uint8_t>(64U + pick), 0, 1};
    return {IpPrefix::of(IpAddress::from_bytes(Family::Ipv4, bytes.data()), 16)};
}

namespace {

/// The host that a name picks in a subnet, never the hub's, the network's or the broadcast address;
/// nullopt when the subnet has no room. Bytes after the prefix come from the hash; a forbidden
/// result is moved by one.
std::optional<IpPrefix> host_in(const IpPrefix& hub, const Digest& hash) {
    const std::uint8_t length = hub.length();
    const unsigned host_bits = unsigned{hub.address().max_prefix_length()} - unsigned{length};
    if (host_bits < 2) return std::nullopt;
    const IpPrefix network = hub.network();
    std::array<std::uint8_t, 16> bytes{};
    const std::size_t size = hub.address().size_bytes();
    std::copy_n(network.address().data(), size, bytes.begin());
    for (std::size_t i = 0; i < size; ++i) {
        const std::size_t kept = std::clamp<std::size_t>(length, i * 8, i * 8 + 8) - i * 8;
        const auto mask = static_cast<std::uint8_t>(0xffU >> kept);
        bytes[i] = static_cast<std::uint8_t>(bytes[i] | (hash[i] & mask));
    }
    const auto forbidden = [&] {
        const IpAddress address = IpAddress::from_bytes(hub.family(), bytes.data());
        bool all_ones = true;
        for (unsigned bit = length; bit < size * 8; ++bit) {
            all_ones = all_ones && (bytes[bit / 8] & (0x80U >> (bit % 8))) != 0;
        }
        return address == hub.address() || address == network.address() || all_ones;
    };
    for (unsigned tries = 0; forbidden(); ++tries) {  // at most three values are forbidden
        OVERLAY_ASSERT(tries < 4);
        const unsigned mask = (1U << std::min(host_bits, 8U)) - 1U;
        const unsigned last = bytes[size - 1];
        bytes[size - 1] = static_cast<std::uint8_t>((last & ~mask) | ((last + 1U) & mask));
    }
    return IpPrefix::of(IpAddress::from_bytes(hub.family(), bytes.data()), length);
}

}  // namespace

std::vector<IpPrefix> spoke_tunnel_addresses(const Topology& topology, const Node& spoke,
                                             const LinkSpec& link) {
    std::vector<IpPrefix> out;
    if (link.type.value == LinkType::GretapGue) return out;
    for (const auto& prefix : link.addresses) out.push_back(prefix.value);
    if (!out.empty()) return out;
    const Digest hash = digest(topology, "tunnel address", link_id(spoke, link));
    for (const IpPrefix& hub : hub_tunnel_addresses(topology)) {
        if (const auto host = host_in(hub, hash)) out.push_back(*host);
    }
    return out;
}

std::optional<TunnelEnds> tunnel_ends(const Topology& topology, const Node& spoke,
                                      const LinkSpec& link) {
    const auto hub = hub_tunnel_addresses(topology);
    const auto own = spoke_tunnel_addresses(topology, spoke, link);
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        const auto fits = [&](const IpPrefix& prefix) { return prefix.family() == family; };
        const auto h = std::find_if(hub.begin(), hub.end(), fits);
        const auto s = std::find_if(own.begin(), own.end(), fits);
        if (h != hub.end() && s != own.end()) return TunnelEnds{h->address(), s->address()};
    }
    return std::nullopt;
}

// ---- layer 3 ------------------------------------------------------------------------------------

const LinkSpec* routed_link(const Node& spoke) {
    for (const LinkSpec& link : spoke.links) {
        if (!is_gretap(link)) return &link;
    }
    return nullptr;
}

bool has_family_inside(const Topology& topology, const Node& spoke, const LinkSpec& link,
                       Family family) {
    const std::vector<IpPrefix> inside = spoke_tunnel_addresses(topology, spoke, link);
    return std::any_of(inside.begin(), inside.end(),
                       [&](const IpPrefix& prefix) { return prefix.family() == family; });
}

std::vector<Located<IpPrefix>> routed_lans(const Topology& topology, const Node& spoke) {
    std::vector<Located<IpPrefix>> out;
    const LinkSpec* link = routed_link(spoke);
    if (link == nullptr || spoke.lan.empty()) return out;
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        if (!has_family_inside(topology, spoke, *link, family)) continue;
        for (const auto& lan : spoke.lan) {
            if (lan.value.family() == family) out.push_back({lan.value.network(), lan.at});
        }
    }
    return out;
}

bool can_exit(const Topology& topology, const IpAddress& source) {
    if (source.family() == Family::Ipv4) return true;
    static const IpPrefix global = *IpPrefix::parse("2000::/3");  // RFC 4291 §2.4, IANA
    const auto& on = topology.hub.forwarding;
    return global.contains(source) && std::any_of(on.begin(), on.end(), [](const auto& family) {
               return family.value == Family::Ipv6;
           });
}

// ---- marks and bridges --------------------------------------------------------------------------

std::string ownership_mark(std::string_view network, std::string_view id) {
    return fmt::format("overlay:{}:{}", network, id);
}

bool spoke_end_is_bridged(const Node& spoke, const LinkSpec& link) {
    return is_gretap(link) && spoke.bridge.has_value();
}

bool hub_end_is_bridged(const Topology& topology, const LinkSpec& link) {
    return is_gretap(link) && topology.hub.bridge.has_value();
}

}  // namespace overlay
