#include "netlink/fou.hpp"

#include <linux/fou.h>
#include <linux/genetlink.h>

#include <sys/socket.h>

namespace overlay::netlink {

namespace {

/// What the kernel tells ports apart by.
void put_identity(Message& request, const FouPort& port, std::uint32_t device_index) {
    request.put_be16(FOU_ATTR_PORT, port.port);
    request.put_u8(FOU_ATTR_AF, port.family == Family::Ipv4 ? AF_INET : AF_INET6);
    const bool ipv4 = port.family == Family::Ipv4;
    if (port.local) {
        request.put_address(ipv4 ? FOU_ATTR_LOCAL_V4 : FOU_ATTR_LOCAL_V6, *port.local);
    }
    if (port.peer) {
        request.put_address(ipv4 ? FOU_ATTR_PEER_V4 : FOU_ATTR_PEER_V6, port.peer->address);
        request.put_be16(FOU_ATTR_PEER_PORT, port.peer->port);
    }
    if (device_index != 0) request.put_u32(FOU_ATTR_IFINDEX, device_index);
}

}  // namespace

Result<std::set<FouPort>> snapshot_fou(Socket& generic, std::uint16_t family,
                                       const LinkNames& names) {
    Message request = generic_request(family, FOU_CMD_GET, 0);
    const auto replies = generic.dump(request, "list fou ports");
    if (!replies) return pass_on(replies);
    std::set<FouPort> found;
    replies->for_each([&](const nlmsghdr& message) {
        found.insert(decode_fou(Attributes::of(message, sizeof(genlmsghdr)), names));
    });
    return found;
}

Message add_fou_request(std::uint16_t family, const FouPort& port, std::uint32_t device_index) {
    Message request = generic_request(family, FOU_CMD_ADD, 0);
    put_identity(request, port, device_index);
    const bool gue = port.type == GreEncap::Type::Gue;
    request.put_u8(FOU_ATTR_TYPE, gue ? FOU_ENCAP_GUE : FOU_ENCAP_DIRECT);
    // GUE names its payload in each packet; kernels since 6.18.x refuse a protocol of 0 (ERANGE, after
    // CVE-2026-23083), so for GUE the attribute stays out.
    if (!gue) request.put_u8(FOU_ATTR_IPPROTO, port.ip_protocol);
    return request;
}

Message remove_fou_request(std::uint16_t family, const FouPort& port, std::uint32_t device_index) {
    Message request = generic_request(family, FOU_CMD_DEL, 0);
    put_identity(request, port, device_index);
    return request;
}

FouPort decode_fou(const Attributes& attributes, const LinkNames& names) {
    FouPort port;
    const bool ipv6 = attributes.u8(FOU_ATTR_AF).value_or(AF_INET) == AF_INET6;
    port.family = ipv6 ? Family::Ipv6 : Family::Ipv4;
    port.port = attributes.be16(FOU_ATTR_PORT).value_or(0);
    const bool gue = attributes.u8(FOU_ATTR_TYPE).value_or(FOU_ENCAP_DIRECT) == FOU_ENCAP_GUE;
    port.type = gue ? GreEncap::Type::Gue : GreEncap::Type::Fou;
    if (!gue) port.ip_protocol = attributes.u8(FOU_ATTR_IPPROTO).value_or(0);

    const auto local = attributes.address(ipv6 ? FOU_ATTR_LOCAL_V6 : FOU_ATTR_LOCAL_V4);
    if (local && !local->is_unspecified()) port.local = local;
    const auto peer = attributes.address(ipv6 ? FOU_ATTR_PEER_V6 : FOU_ATTR_PEER_V4);
    if (peer && !peer->is_unspecified()) {
        port.peer = Endpoint{*peer, attributes.be16(FOU_ATTR_PEER_PORT).value_or(0)};
    }
    const auto device = names.find(attributes.u32(FOU_ATTR_IFINDEX).value_or(0));
    if (device != names.end()) port.device = device->second;
    return port;
}

}  // namespace overlay::netlink
