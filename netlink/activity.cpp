#include "netlink/activity.hpp"

#include "netlink/wireguard.hpp"

#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/wireguard.h>

#include <algorithm>
#include <cstring>

namespace overlay::netlink {

namespace {

LinkActivity decode_stats(std::span<const std::uint8_t> bytes) {
    rtnl_link_stats64 stats{};   // later kernels append; earlier ones send less
    if (!bytes.empty()) std::memcpy(&stats, bytes.data(), std::min(bytes.size(), sizeof stats));
    return {stats.rx_bytes, stats.tx_bytes, stats.rx_packets, stats.tx_packets,
            stats.rx_dropped, stats.tx_dropped, stats.rx_errors, stats.tx_errors};
}

std::uint64_t u64(const Attributes& attributes, std::uint16_t type) {
    std::uint64_t value = 0;
    const auto bytes = attributes.bytes(type);
    if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

void decode_peer(const Attributes& attributes, std::map<PublicKey, PeerActivity>& peers) {
    const auto name = attributes.bytes(WGPEER_A_PUBLIC_KEY);
    if (name.size() != 32) return;
    auto [found, is_new] = peers.try_emplace(PublicKey::from_bytes(name.data()));
    if (!is_new) return;   // a continuation: allowed IPs only
    PeerActivity& peer = found->second;
    peer.rx_bytes = u64(attributes, WGPEER_A_RX_BYTES);
    peer.tx_bytes = u64(attributes, WGPEER_A_TX_BYTES);
    peer.endpoint = decode_endpoint(attributes.bytes(WGPEER_A_ENDPOINT));
    const auto time = attributes.bytes(WGPEER_A_LAST_HANDSHAKE_TIME);
    std::int64_t seconds = 0;   // struct __kernel_timespec: seconds, nanoseconds
    if (time.size() >= sizeof seconds) std::memcpy(&seconds, time.data(), sizeof seconds);
    peer.last_handshake_seconds = seconds;
}

}  // namespace

Result<std::map<IfName, LinkActivity>> read_link_activity(Socket& route) {
    Message request{RTM_GETLINK, 0};
    request.fixed_header<ifinfomsg>();
    const auto replies = route.dump(request, "list links");
    if (!replies) return pass_on(replies);
    std::map<IfName, LinkActivity> out;
    replies->for_each([&](const nlmsghdr& message) {
        if (message.nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(&message) < sizeof(ifinfomsg)) return;
        const auto attributes = Attributes::of(message, sizeof(ifinfomsg));
        const auto name = link_name(attributes, IFLA_IFNAME);
        if (name) out[*name] = decode_stats(attributes.bytes(IFLA_STATS64));
    });
    return out;
}

Result<std::map<PublicKey, PeerActivity>> read_peer_activity(Socket& generic, std::uint16_t family,
                                                             const IfName& link) {
    Message request = generic_request(family, WG_CMD_GET_DEVICE, 0);
    request.put_c_string(WGDEVICE_A_IFNAME, link.str());
    const auto replies = generic.dump(request, "read wireguard " + link.str());
    if (!replies) return pass_on(replies);
    std::map<PublicKey, PeerActivity> out;
    replies->for_each([&](const nlmsghdr& message) {
        const auto attributes = Attributes::of(message, sizeof(genlmsghdr));
        const nlattr* const peers = attributes.find(WGDEVICE_A_PEERS);
        if (peers == nullptr) return;
        for_each_inside(*peers, [&](const nlattr& peer) { decode_peer(Attributes::inside(peer), out); });
    });
    return out;
}

}  // namespace overlay::netlink
