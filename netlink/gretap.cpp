#include "netlink/gretap.hpp"

#include <linux/if.h>
#include <linux/if_tunnel.h>
#include <linux/ip6_tunnel.h>

#include <arpa/inet.h>

namespace overlay::netlink {

namespace {

constexpr std::uint32_t flow_label_mask = 0xfffff;   // RFC 8200 §3
/// A TOS of 1 means "inherit" to IPv4 tunnels; IPv6 tunnels have a flag for it, shown the same way.
constexpr std::uint8_t tos_inherit = 1;

std::uint16_t be16_flags(const GreDirection& direction) {
    std::uint16_t flags = 0;
    if (direction.key) flags |= GRE_KEY;
    if (direction.checksum) flags |= GRE_CSUM;
    if (direction.sequence) flags |= GRE_SEQ;
    return flags;   // the GRE_* constants are big-endian already
}

void put_direction(Message& request, std::uint16_t flags_type, std::uint16_t key_type,
                   const GreDirection& direction) {
    request.put_u16(flags_type, be16_flags(direction));
    request.put_be32(key_type, direction.key.value_or(0));
}

GreDirection decode_direction(const Attributes& data, std::uint16_t flags_type,
                              std::uint16_t key_type) {
    const std::uint16_t flags = data.u16(flags_type).value_or(0);
    GreDirection direction{.checksum = (flags & GRE_CSUM) != 0, .sequence = (flags & GRE_SEQ) != 0};
    if ((flags & GRE_KEY) != 0) direction.key = data.be32(key_type).value_or(0);
    return direction;
}

void put_encap(Message& request, const GreEncap& encap) {
    std::uint16_t type = TUNNEL_ENCAP_NONE;
    if (encap.type == GreEncap::Type::Fou) type = TUNNEL_ENCAP_FOU;
    if (encap.type == GreEncap::Type::Gue) type = TUNNEL_ENCAP_GUE;
    std::uint16_t flags = 0;
    if (encap.checksum) flags |= TUNNEL_ENCAP_FLAG_CSUM;
    if (encap.checksum6) flags |= TUNNEL_ENCAP_FLAG_CSUM6;
    if (encap.remote_checksum) flags |= TUNNEL_ENCAP_FLAG_REMCSUM;
    request.put_u16(IFLA_GRE_ENCAP_TYPE, type);
    request.put_u16(IFLA_GRE_ENCAP_FLAGS, flags);
    request.put_be16(IFLA_GRE_ENCAP_SPORT, encap.source_port);
    request.put_be16(IFLA_GRE_ENCAP_DPORT, encap.destination_port);
}

GreEncap decode_encap(const Attributes& data) {
    GreEncap encap;
    const auto type = data.u16(IFLA_GRE_ENCAP_TYPE).value_or(TUNNEL_ENCAP_NONE);
    if (type == TUNNEL_ENCAP_FOU) encap.type = GreEncap::Type::Fou;
    if (type == TUNNEL_ENCAP_GUE) encap.type = GreEncap::Type::Gue;
    const auto flags = data.u16(IFLA_GRE_ENCAP_FLAGS).value_or(0);
    encap.checksum = (flags & TUNNEL_ENCAP_FLAG_CSUM) != 0;
    encap.checksum6 = (flags & TUNNEL_ENCAP_FLAG_CSUM6) != 0;
    encap.remote_checksum = (flags & TUNNEL_ENCAP_FLAG_REMCSUM) != 0;
    encap.source_port = data.be16(IFLA_GRE_ENCAP_SPORT).value_or(0);
    encap.destination_port = data.be16(IFLA_GRE_ENCAP_DPORT).value_or(0);
    return encap;
}

void put_ipv4(Message& request, const GretapAttributes& tunnel) {
    request.put_u8(IFLA_GRE_TOS, tunnel.tos);
    request.put_u8(IFLA_GRE_PMTUDISC, tunnel.pmtudisc ? 1 : 0);
    request.put_u8(IFLA_GRE_IGNORE_DF, tunnel.ignore_df ? 1 : 0);
}

void put_ipv6(Message& request, const GretapAttributes& tunnel) {
    std::uint32_t flags = 0;
    if (!tunnel.encap_limit) flags |= IP6_TNL_F_IGN_ENCAP_LIMIT;
    if (tunnel.tos == tos_inherit) flags |= IP6_TNL_F_USE_ORIG_TCLASS;
    if (tunnel.flow_label == flow_label_inherit) flags |= IP6_TNL_F_USE_ORIG_FLOWLABEL;
    if (tunnel.copies_dscp) flags |= IP6_TNL_F_RCV_DSCP_COPY;
    if (tunnel.inherits_fwmark) flags |= IP6_TNL_F_USE_ORIG_FWMARK;
    if (tunnel.allows_local_remote) flags |= IP6_TNL_F_ALLOW_LOCAL_REMOTE;
    const std::uint32_t traffic_class = tunnel.tos == tos_inherit ? 0 : tunnel.tos;
    request.put_u32(IFLA_GRE_FLAGS, flags);
    if (tunnel.encap_limit) request.put_u8(IFLA_GRE_ENCAP_LIMIT, *tunnel.encap_limit);
    request.put_be32(IFLA_GRE_FLOWINFO,
                     traffic_class << 20 | (tunnel.flow_label & flow_label_mask));
}

void decode_ipv6(const Attributes& data, GretapAttributes& tunnel) {
    const std::uint32_t flags = data.u32(IFLA_GRE_FLAGS).value_or(0);
    if ((flags & IP6_TNL_F_IGN_ENCAP_LIMIT) == 0) {
        tunnel.encap_limit = data.u8(IFLA_GRE_ENCAP_LIMIT).value_or(0);
    }
    tunnel.copies_dscp = (flags & IP6_TNL_F_RCV_DSCP_COPY) != 0;
    tunnel.inherits_fwmark = (flags & IP6_TNL_F_USE_ORIG_FWMARK) != 0;
    tunnel.allows_local_remote = (flags & IP6_TNL_F_ALLOW_LOCAL_REMOTE) != 0;
    const std::uint32_t flow = data.be32(IFLA_GRE_FLOWINFO).value_or(0);
    tunnel.flow_label = flow & flow_label_mask;
    tunnel.tos = static_cast<std::uint8_t>(flow >> 20 & 0xff);
    if ((flags & IP6_TNL_F_USE_ORIG_FLOWLABEL) != 0) tunnel.flow_label = flow_label_inherit;
    if ((flags & IP6_TNL_F_USE_ORIG_TCLASS) != 0) tunnel.tos = tos_inherit;
}

}  // namespace

void put_gretap(Message& request, const GretapAttributes& tunnel, std::uint32_t device_index) {
    request.put_u32(IFLA_GRE_LINK, device_index);
    put_direction(request, IFLA_GRE_IFLAGS, IFLA_GRE_IKEY, tunnel.input);
    put_direction(request, IFLA_GRE_OFLAGS, IFLA_GRE_OKEY, tunnel.output);
    request.put_address(IFLA_GRE_LOCAL, tunnel.local);
    request.put_address(IFLA_GRE_REMOTE, tunnel.remote);
    request.put_u8(IFLA_GRE_TTL, tunnel.ttl);
    request.put_u32(IFLA_GRE_FWMARK, tunnel.fwmark);
    if (tunnel.local.family() == Family::Ipv4) put_ipv4(request, tunnel);
    else put_ipv6(request, tunnel);
    put_encap(request, tunnel.encap);
    if (tunnel.collect_metadata) request.put_flag(IFLA_GRE_COLLECT_METADATA);
}

GretapAttributes decode_gretap(const Attributes& data, Family underlay) {
    static constexpr std::array<std::uint8_t, 16> zero{};
    const auto unspecified = IpAddress::from_bytes(underlay, zero.data());
    GretapAttributes tunnel;
    tunnel.local = data.address(IFLA_GRE_LOCAL).value_or(unspecified);
    tunnel.remote = data.address(IFLA_GRE_REMOTE).value_or(unspecified);
    tunnel.input = decode_direction(data, IFLA_GRE_IFLAGS, IFLA_GRE_IKEY);
    tunnel.output = decode_direction(data, IFLA_GRE_OFLAGS, IFLA_GRE_OKEY);
    tunnel.ttl = data.u8(IFLA_GRE_TTL).value_or(0);
    tunnel.fwmark = data.u32(IFLA_GRE_FWMARK).value_or(0);
    tunnel.encap = decode_encap(data);
    tunnel.collect_metadata = data.has(IFLA_GRE_COLLECT_METADATA);
    if (underlay == Family::Ipv6) {
        decode_ipv6(data, tunnel);
        return tunnel;
    }
    tunnel.tos = data.u8(IFLA_GRE_TOS).value_or(0);
    tunnel.pmtudisc = data.u8(IFLA_GRE_PMTUDISC).value_or(0) != 0;
    tunnel.ignore_df = data.u8(IFLA_GRE_IGNORE_DF).value_or(0) != 0;
    return tunnel;
}

std::uint32_t gretap_device_index(const Attributes& data) {
    return data.u32(IFLA_GRE_LINK).value_or(0);
}

}  // namespace overlay::netlink
