#include "netlink/wireguard.hpp"

#include <linux/genetlink.h>
#include <linux/wireguard.h>

#include <algorithm>
#include <cstring>
#include <netinet/in.h>

namespace overlay::netlink {

namespace {

constexpr SecretBytes no_key{};   // to WireGuard, 32 zero bytes mean "none"
/// An IPv6 allowed IP: its nest (4), family (8), address (20) and mask (8); see Message::room_bytes.
constexpr std::size_t allowed_ip_bytes = 40;

/// A secret on the stack, wiped when it leaves.
struct Key {
    SecretBytes bytes{};
    Key() = default;
    Key(const Key&) = delete;
    Key& operator=(const Key&) = delete;
    ~Key() { explicit_bzero(bytes.data(), bytes.size()); }
};

std::span<const std::uint8_t> bytes_of(const PublicKey& key) { return {key.data(), 32}; }

// ---- reading ------------------------------------------------------------------------------------

bool read_key(const Attributes& attributes, std::uint16_t type, Key& key) {
    const auto bytes = attributes.bytes(type);
    if (bytes.size() != key.bytes.size()) return false;
    std::copy(bytes.begin(), bytes.end(), key.bytes.begin());
    return key.bytes != no_key;
}

void decode_allowed_ips(const nlattr& list, std::set<IpPrefix>& allowed_ips) {
    for_each_inside(list, [&](const nlattr& element) {
        const auto attributes = Attributes::inside(element);
        const auto address = attributes.address(WGALLOWEDIP_A_IPADDR);
        const auto length = attributes.u8(WGALLOWEDIP_A_CIDR_MASK);
        const auto prefix = address && length ? prefix_of(*address, *length) : std::nullopt;
        if (prefix) allowed_ips.insert(*prefix);
    });
}

void decode_peer(const Attributes& attributes, WireguardDevice& device, Secrets& secrets) {
    const auto name = attributes.bytes(WGPEER_A_PUBLIC_KEY);
    if (name.size() != 32) return;
    auto [found, is_new] = device.peers.try_emplace(PublicKey::from_bytes(name.data()));
    WireguardPeer& peer = found->second;
    if (is_new) {   // a continuation holds further allowed IPs only
        Key preshared;
        if (read_key(attributes, WGPEER_A_PRESHARED_KEY, preshared)) {
            peer.preshared_key = secrets.add_preshared_key(preshared.bytes);
        }
        peer.endpoint = decode_endpoint(attributes.bytes(WGPEER_A_ENDPOINT));
        peer.keepalive_seconds = attributes.u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL).value_or(0);
    }
    const nlattr* const list = attributes.find(WGPEER_A_ALLOWEDIPS);
    if (list != nullptr) decode_allowed_ips(*list, peer.allowed_ips);
}

// ---- writing ------------------------------------------------------------------------------------

Message device_request(std::uint16_t family, const IfName& link) {
    Message request = generic_request(family, WG_CMD_SET_DEVICE, 0);
    request.put_c_string(WGDEVICE_A_IFNAME, link.str());
    return request;
}

void put_endpoint(Message& request, const Endpoint& endpoint) {
    const auto put = [&](const auto& address) {
        request.put_bytes(WGPEER_A_ENDPOINT, {static_cast<const std::uint8_t*>(
                                                  static_cast<const void*>(&address)),
                                              sizeof address});
    };
    if (endpoint.address.family() == Family::Ipv4) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(endpoint.port);
        std::memcpy(&address.sin_addr, endpoint.address.data(), 4);
        put(address);
        return;
    }
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(endpoint.port);
    std::memcpy(&address.sin6_addr, endpoint.address.data(), 16);
    put(address);
}

void put_allowed_ip(Message& request, const IpPrefix& prefix) {
    request.nest(0, [&] {
        const bool ipv4 = prefix.family() == Family::Ipv4;
        request.put_u16(WGALLOWEDIP_A_FAMILY, ipv4 ? AF_INET : AF_INET6);
        request.put_address(WGALLOWEDIP_A_IPADDR, prefix.address());
        request.put_u8(WGALLOWEDIP_A_CIDR_MASK, prefix.length());
    });
}

std::uint32_t flags_of(const SetPeer& step) {
    if (!step.to) return WGPEER_F_REMOVE_ME | WGPEER_F_UPDATE_ONLY;
    if (!step.from) return WGPEER_F_REPLACE_ALLOWEDIPS;
    const bool moved = step.from->allowed_ips != step.to->allowed_ips;
    std::uint32_t flags = WGPEER_F_UPDATE_ONLY;
    if (moved) flags |= WGPEER_F_REPLACE_ALLOWEDIPS;
    return flags;
}

/// A peer that was moved must hear from us at its new place before we hear from it, or its next packet
/// takes the endpoint back to where it was. A keepalive that goes on is sent at once (Linux 6.1
/// drivers/net/wireguard/netlink.c, set_peer), so it is put off and on.
bool calls_at_new_endpoint(const SetPeer& step) {
    return step.from && step.to && step.to->endpoint && step.to->endpoint != step.from->endpoint &&
           step.from->keepalive_seconds != 0 && step.to->keepalive_seconds != 0;
}

/// What differs, but for the allowed IPs. The kernel cannot forget an endpoint: a peer that shall have
/// none keeps the one that it has until it roams.
void put_settings(Message& request, const SetPeer& step, const SecretBytes* preshared) {
    const WireguardPeer before = step.from.value_or(WireguardPeer{});
    if (preshared != nullptr) request.put_bytes(WGPEER_A_PRESHARED_KEY, *preshared);
    if (step.to->endpoint && step.to->endpoint != before.endpoint) {
        put_endpoint(request, *step.to->endpoint);
    }
    const bool off = calls_at_new_endpoint(step);
    const std::uint16_t keepalive_seconds = off ? 0 : step.to->keepalive_seconds;
    if (keepalive_seconds != before.keepalive_seconds) {
        request.put_u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, keepalive_seconds);
    }
}

/// The preshared key to send: nullptr when it stays as it is.
Result<const SecretBytes*> preshared_key_of(const SetPeer& step, const Secrets& secrets) {
    const Fingerprint before = step.from ? step.from->preshared_key : Fingerprint{};
    if (!step.to || step.to->preshared_key == before) return nullptr;
    if (step.to->preshared_key.is_none()) return &no_key;
    const SecretBytes* const key = secrets.preshared_key(step.to->preshared_key);
    if (key != nullptr) return key;
    return fail(Error::Kind::NotFound, describe(step), "its preshared key is not at hand");
}

/// The allowed IPs that are still to be sent.
struct Remaining {
    std::set<IpPrefix>::const_iterator next, end;
    [[nodiscard]] bool none() const { return next == end; }
};

/// One message about one peer: `settings` and as many of the allowed IPs as fit.
template <class Settings>
Message peer_request(std::uint16_t family, const SetPeer& step, Settings&& settings,
                     Remaining& allowed_ips) {
    Message request = device_request(family, step.link);
    request.nest(WGDEVICE_A_PEERS, [&] {
        request.nest(0, [&] {
            request.put_bytes(WGPEER_A_PUBLIC_KEY, bytes_of(step.peer));
            settings(request);
            if (allowed_ips.none()) return;
            request.nest(WGPEER_A_ALLOWEDIPS, [&] {
                while (!allowed_ips.none() && request.room_bytes() >= allowed_ip_bytes) {
                    put_allowed_ip(request, *allowed_ips.next++);
                }
            });
        });
    });
    return request;
}

}  // namespace

std::optional<Endpoint> decode_endpoint(std::span<const std::uint8_t> bytes) {
    if (bytes.size() == sizeof(sockaddr_in)) {
        sockaddr_in address{};
        std::memcpy(&address, bytes.data(), sizeof address);
        return Endpoint{IpAddress::from_bytes(Family::Ipv4, &address.sin_addr),
                        ntohs(address.sin_port)};
    }
    if (bytes.size() == sizeof(sockaddr_in6)) {
        sockaddr_in6 address{};
        std::memcpy(&address, bytes.data(), sizeof address);
        return Endpoint{IpAddress::from_bytes(Family::Ipv6, &address.sin6_addr),
                        ntohs(address.sin6_port)};
    }
    return std::nullopt;
}

void decode_wireguard(const Attributes& attributes, WireguardDevice& device, Secrets& secrets) {
    Key private_key;
    if (read_key(attributes, WGDEVICE_A_PRIVATE_KEY, private_key)) {
        device.public_key = secrets.add_private_key(private_key.bytes);
    }
    if (const auto port = attributes.u16(WGDEVICE_A_LISTEN_PORT)) device.listen_port = *port;
    if (const auto mark = attributes.u32(WGDEVICE_A_FWMARK)) device.fwmark = *mark;
    const nlattr* const peers = attributes.find(WGDEVICE_A_PEERS);
    if (peers == nullptr) return;
    for_each_inside(*peers, [&](const nlattr& element) {
        decode_peer(Attributes::inside(element), device, secrets);
    });
}

Result<WireguardDevice> read_wireguard(Socket& generic, std::uint16_t family, const IfName& link,
                                       Secrets& secrets) {
    Message request = generic_request(family, WG_CMD_GET_DEVICE, 0);
    request.put_c_string(WGDEVICE_A_IFNAME, link.str());
    const auto replies = generic.dump(request, "read wireguard " + link.str());
    if (!replies) return pass_on(replies);
    WireguardDevice device;
    replies->for_each([&](const nlmsghdr& message) {
        decode_wireguard(Attributes::of(message, sizeof(genlmsghdr)), device, secrets);
    });
    return device;
}

Result<void> set_wireguard(Socket& generic, std::uint16_t family, const SetWireguard& step,
                           const Secrets& secrets) {
    const SecretBytes* key = secrets.private_key(step.to.public_key);
    if (step.to.public_key.is_zero()) key = &no_key;
    if (key == nullptr && step.to.public_key != step.from.public_key) {
        return fail(Error::Kind::NotFound, describe(step), "its private key is not at hand");
    }
    Message request = device_request(family, step.link);
    if (key != nullptr) request.put_bytes(WGDEVICE_A_PRIVATE_KEY, *key);
    if (step.to.listen_port) request.put_u16(WGDEVICE_A_LISTEN_PORT, *step.to.listen_port);
    request.put_u32(WGDEVICE_A_FWMARK, step.to.fwmark);
    return generic.change(request, describe(step));
}

Result<std::vector<Message>> peer_requests(std::uint16_t family, const SetPeer& step,
                                           const Secrets& secrets) {
    OVERLAY_ASSERT(step.from || step.to);
    const auto preshared = preshared_key_of(step, secrets);
    if (!preshared) return pass_on(preshared);
    const std::uint32_t flags = flags_of(step);
    Remaining allowed_ips{};
    if (step.to && (flags & WGPEER_F_REPLACE_ALLOWEDIPS) != 0) {
        allowed_ips = {step.to->allowed_ips.begin(), step.to->allowed_ips.end()};
    }

    std::vector<Message> requests;
    const auto first = [&](Message& request) {
        request.put_u32(WGPEER_A_FLAGS, flags);
        if (step.to) put_settings(request, step, *preshared);
    };
    const auto continued = [](Message& request) {
        request.put_u32(WGPEER_A_FLAGS, WGPEER_F_UPDATE_ONLY);
    };
    requests.push_back(peer_request(family, step, first, allowed_ips));
    while (!allowed_ips.none()) {
        requests.push_back(peer_request(family, step, continued, allowed_ips));
    }
    const auto keepalive_on = [&](Message& request) {
        request.put_u32(WGPEER_A_FLAGS, WGPEER_F_UPDATE_ONLY);
        request.put_u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, step.to->keepalive_seconds);
    };
    if (calls_at_new_endpoint(step)) {
        requests.push_back(peer_request(family, step, keepalive_on, allowed_ips));
    }
    return requests;
}

Result<void> set_peer(Socket& generic, std::uint16_t family, const SetPeer& step,
                      const Secrets& secrets) {
    auto requests = peer_requests(family, step, secrets);
    if (!requests) return pass_on(requests);
    for (Message& request : *requests) {
        if (const auto sent = generic.change(request, describe(step)); !sent) return sent;
    }
    return {};
}

}  // namespace overlay::netlink
