// What each part says to the kernel and reads from it, without a kernel: encoding and decoding.

#include "netlink/bridge.hpp"
#include "netlink/ethtool.hpp"
#include "netlink/fou.hpp"
#include "netlink/gretap.hpp"
#include "netlink/sysctl.hpp"
#include "netlink/udp_sockets.hpp"
#include "netlink/wireguard.hpp"

#include <doctest/doctest.h>

#include <linux/ethtool_netlink.h>
#include <linux/fou.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/ip6_tunnel.h>
#include <linux/rtnetlink.h>
#include <linux/wireguard.h>

#include <algorithm>
#include <utility>

using namespace overlay;
using namespace overlay::netlink;
using namespace std::literals;

namespace {

Attributes generic_attributes(const Message& message) {
    return Attributes::of(message.header(), sizeof(genlmsghdr));
}

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }
IfName if_name(std::string_view text) { return IfName::from_kernel(text); }

std::vector<Message> peer_messages(const SetPeer& step, const Secrets& secrets) {
    auto requests = peer_requests(40, step, secrets);
    REQUIRE(requests);
    return *std::move(requests);
}

/// The one peer of a message.
Attributes peer_of(const Message& message) {
    const auto attributes = generic_attributes(message);
    const nlattr* const peers = attributes.find(WGDEVICE_A_PEERS);
    REQUIRE(peers != nullptr);
    std::optional<Attributes> peer;
    for_each_inside(*peers, [&](const nlattr& element) {
        REQUIRE_FALSE(peer);
        peer = Attributes::inside(element);
    });
    REQUIRE(peer);
    return *peer;
}

std::size_t allowed_ips_of(const Message& message) {
    std::size_t count = 0;
    const nlattr* const list = peer_of(message).find(WGPEER_A_ALLOWEDIPS);
    if (list != nullptr) for_each_inside(*list, [&](const nlattr&) { ++count; });
    return count;
}

PublicKey some_key() { return PublicKey::from_bytes(SecretBytes{1, 2, 3}.data()); }

WireguardPeer with_many_allowed_ips(unsigned count) {
    WireguardPeer peer;
    for (unsigned i = 0; i < count; ++i) {
        const std::array<std::uint8_t, 4> bytes{10, 0, static_cast<std::uint8_t>(i >> 8),
                                                static_cast<std::uint8_t>(i)};
        peer.allowed_ips.insert(IpPrefix::host(IpAddress::from_bytes(Family::Ipv4, bytes.data())));
    }
    return peer;
}

}  // namespace

TEST_SUITE("netlink encoding") {

TEST_CASE("a GUE port is sent without protocol, a FOU port with it") {
    const Message gue = add_fou_request(30, {.port = 5555}, 0);
    const Message fou = add_fou_request(
        30, {.port = 5555, .type = GreEncap::Type::Fou, .ip_protocol = 47}, 0);

    CHECK_FALSE(generic_attributes(gue).has(FOU_ATTR_IPPROTO));
    CHECK(generic_attributes(gue).u8(FOU_ATTR_TYPE) == 2);
    CHECK(generic_attributes(gue).be16(FOU_ATTR_PORT) == 5555);
    CHECK(generic_attributes(gue).u8(FOU_ATTR_AF) == 2);
    CHECK(generic_attributes(fou).u8(FOU_ATTR_IPPROTO) == 47);
    CHECK(generic_attributes(fou).u8(FOU_ATTR_TYPE) == 1);
}

TEST_CASE("removing a port sends what the kernel tells ports apart by, and nothing else") {
    const FouPort port{
        .port = 5555, .local = ip("192.0.2.1"), .peer = Endpoint{ip("192.0.2.2"), 9}};
    const Message message = remove_fou_request(30, port, 7);
    const auto attributes = generic_attributes(message);

    CHECK(attributes.address(FOU_ATTR_LOCAL_V4) == ip("192.0.2.1"));
    CHECK(attributes.address(FOU_ATTR_PEER_V4) == ip("192.0.2.2"));
    CHECK(attributes.be16(FOU_ATTR_PEER_PORT) == 9);
    CHECK(attributes.u32(FOU_ATTR_IFINDEX) == 7U);
    CHECK_FALSE(attributes.has(FOU_ATTR_TYPE));
}

TEST_CASE("an address of zeros in a port's dump is no address") {
    Message message = generic_request(30, FOU_CMD_GET, 0);
    message.put_be16(FOU_ATTR_PORT, 5555);
    message.put_u8(FOU_ATTR_AF, 10);
    message.put_u8(FOU_ATTR_TYPE, FOU_ENCAP_GUE);
    message.put_address(FOU_ATTR_LOCAL_V6, ip("::"));
    message.put_u32(FOU_ATTR_IFINDEX, 3);

    const FouPort port = decode_fou(generic_attributes(message), {{3, if_name("eth0")}});

    CHECK(port == FouPort{.family = Family::Ipv6, .port = 5555, .device = if_name("eth0")});
}

TEST_CASE("a tunnel is sent with all its parameters, also those that are off") {
    const GretapAttributes tunnel{.local = ip("192.0.2.1"), .remote = ip("192.0.2.2")};
    Message message{1, 0};
    put_gretap(message, tunnel, 0);
    const auto attributes = Attributes::of(std::as_const(message).header(), 0);

    for (const std::uint16_t type :
         {IFLA_GRE_LINK, IFLA_GRE_IFLAGS, IFLA_GRE_OFLAGS, IFLA_GRE_IKEY, IFLA_GRE_OKEY,
          IFLA_GRE_LOCAL, IFLA_GRE_REMOTE, IFLA_GRE_TTL, IFLA_GRE_TOS, IFLA_GRE_PMTUDISC,
          IFLA_GRE_IGNORE_DF, IFLA_GRE_ENCAP_TYPE, IFLA_GRE_ENCAP_FLAGS, IFLA_GRE_ENCAP_SPORT,
          IFLA_GRE_ENCAP_DPORT}) {
        CAPTURE(type);
        CHECK(attributes.has(type));
    }
    CHECK(decode_gretap(attributes, Family::Ipv4) == tunnel);
}

TEST_CASE("an IPv6 tunnel without encapsulation limit says so by a flag") {
    const GretapAttributes tunnel{.local = ip("2001:db8::1"), .remote = ip("2001:db8::2")};
    Message message{1, 0};
    put_gretap(message, tunnel, 0);
    const auto attributes = Attributes::of(std::as_const(message).header(), 0);

    CHECK(attributes.u32(IFLA_GRE_FLAGS) == 0x1U);   // IP6_TNL_F_IGN_ENCAP_LIMIT
    CHECK_FALSE(attributes.has(IFLA_GRE_ENCAP_LIMIT));
    CHECK(decode_gretap(attributes, Family::Ipv6) == tunnel);
}

TEST_CASE("what an IPv6 tunnel inherits from the inner packet survives reading and writing") {
    GretapAttributes tunnel{.local = ip("2001:db8::1"), .remote = ip("2001:db8::2")};
    tunnel.tos = 1;
    tunnel.flow_label = flow_label_inherit;
    Message message{1, 0};
    put_gretap(message, tunnel, 0);
    const auto attributes = Attributes::of(std::as_const(message).header(), 0);

    CHECK(attributes.u32(IFLA_GRE_FLAGS) == 0x7U);   // … | USE_ORIG_TCLASS | USE_ORIG_FLOWLABEL
    CHECK(attributes.be32(IFLA_GRE_FLOWINFO) == 0U);
    CHECK(decode_gretap(attributes, Family::Ipv6) == tunnel);
}

TEST_CASE("what a hand has switched on at an IPv6 tunnel is read, and sent when it is to come back") {
    struct Row {
        bool GretapAttributes::*member;
        std::uint32_t flag;   // linux/ip6_tunnel.h
    };
    for (const Row& row : {Row{&GretapAttributes::copies_dscp, 0x10},
                           Row{&GretapAttributes::inherits_fwmark, 0x20},
                           Row{&GretapAttributes::allows_local_remote, 0x40}}) {
        CAPTURE(row.flag);
        GretapAttributes tunnel{.local = ip("2001:db8::1"), .remote = ip("2001:db8::2")};
        tunnel.*row.member = true;
        Message message{1, 0};
        put_gretap(message, tunnel, 0);
        const auto attributes = Attributes::of(std::as_const(message).header(), 0);

        CHECK(attributes.u32(IFLA_GRE_FLAGS) == (0x1U | row.flag));   // and IGN_ENCAP_LIMIT
        CHECK(decode_gretap(attributes, Family::Ipv6) == tunnel);
    }
}

TEST_CASE("a port that answers ARP for others, and gets no floods, is read, and sent back as others are") {
    for (const auto& [type, flag] : {std::pair{IFLA_BRPORT_PROXYARP, &BridgePort::proxy_arp},
                                     std::pair{IFLA_BRPORT_PROXYARP_WIFI, &BridgePort::proxy_arp_wifi}}) {
        BridgePort port;
        port.*flag = true;
        Message request{RTM_SETLINK, 0};
        request.fixed_header<ifinfomsg>();
        put_bridge_port(request, port);
        put_port_state(request, port);
        const Attributes sent = Attributes::of(std::as_const(request).header(), sizeof(ifinfomsg));
        CHECK(sent.u8(static_cast<std::uint16_t>(type)) == 1);
        CHECK(decode_bridge_port(sent) == port);

        Message usual{RTM_SETLINK, 0};
        usual.fixed_header<ifinfomsg>();
        put_bridge_port(usual, BridgePort{});
        const Attributes off = Attributes::of(std::as_const(usual).header(), sizeof(ifinfomsg));
        CHECK(off.u8(static_cast<std::uint16_t>(type)) == 0);
    }
}

TEST_CASE("allowed IPs that fit into one message make one, with the flag that replaces") {
    const Secrets none;
    const auto messages = peer_messages(
        {if_name("wg0"), some_key(), std::nullopt, with_many_allowed_ips(10)}, none);

    REQUIRE(messages.size() == 1);
    CHECK(peer_of(messages[0]).u32(WGPEER_A_FLAGS) == 2U);   // WGPEER_F_REPLACE_ALLOWEDIPS
    CHECK(allowed_ips_of(messages[0]) == 10);
}

TEST_CASE("many allowed IPs are split; a continuation repeats the peer and replaces nothing") {
    const Secrets none;
    const auto messages = peer_messages(
        {if_name("wg0"), some_key(), std::nullopt, with_many_allowed_ips(2000)}, none);

    CHECK(messages.size() > 1);
    std::size_t sum = 0;
    for (std::size_t i = 0; i < messages.size(); ++i) {
        CAPTURE(i);
        const auto peer = peer_of(messages[i]);
        CHECK(peer.bytes(WGPEER_A_PUBLIC_KEY)[2] == 3);
        CHECK(peer.u32(WGPEER_A_FLAGS) == (i == 0 ? 2U : 4U));   // 4: WGPEER_F_UPDATE_ONLY
        CHECK(messages[i].header().nlmsg_len <= Message::capacity_bytes);
        sum += allowed_ips_of(messages[i]);
    }
    CHECK(sum == 2000);
}

TEST_CASE("a change of one setting sends that setting alone and keeps the sessions") {
    const Secrets none;
    WireguardPeer from = with_many_allowed_ips(3);
    from.endpoint = Endpoint{ip("192.0.2.9"), 7};
    WireguardPeer to = from;
    to.keepalive_seconds = 25;

    const auto messages = peer_messages({if_name("wg0"), some_key(), from, to}, none);

    REQUIRE(messages.size() == 1);
    const auto peer = peer_of(messages[0]);
    CHECK(peer.u32(WGPEER_A_FLAGS) == 4U);   // WGPEER_F_UPDATE_ONLY
    CHECK(peer.u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL) == 25);
    CHECK_FALSE(peer.has(WGPEER_A_ENDPOINT));
    CHECK_FALSE(peer.has(WGPEER_A_PRESHARED_KEY));
    CHECK_FALSE(peer.has(WGPEER_A_ALLOWEDIPS));
    CHECK_FALSE(generic_attributes(messages[0]).has(WGDEVICE_A_FLAGS));   // never all peers
}

TEST_CASE("a peer that is moved is called at its new endpoint: its keepalive goes off and on") {
    const Secrets none;
    const WireguardPeer from{.endpoint = Endpoint{ip("192.0.2.9"), 7}, .keepalive_seconds = 25};
    WireguardPeer to = from;
    to.endpoint = Endpoint{ip("2001:db8::9"), 7};

    const auto messages = peer_messages({if_name("wg0"), some_key(), from, to}, none);

    REQUIRE(messages.size() == 2);
    CHECK(peer_of(messages[0]).has(WGPEER_A_ENDPOINT));
    CHECK(peer_of(messages[0]).u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL) == 0);
    CHECK_FALSE(peer_of(messages[1]).has(WGPEER_A_ENDPOINT));
    CHECK(peer_of(messages[1]).u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL) == 25);
    to.keepalive_seconds = 0;   // then it goes off, and nothing calls
    CHECK(peer_messages({if_name("wg0"), some_key(), from, to}, none).size() == 1);
}

TEST_CASE("clearing a preshared key sends zeros; removing a peer sends nothing but its name") {
    Secrets secrets;
    const WireguardPeer with_key{.preshared_key = secrets.add_preshared_key(SecretBytes{9})};

    const auto cleared =
        peer_messages({if_name("wg0"), some_key(), with_key, WireguardPeer{}}, secrets);
    const auto key = peer_of(cleared.at(0)).bytes(WGPEER_A_PRESHARED_KEY);
    CHECK(key.size() == 32);
    CHECK(std::ranges::count(key, 0) == 32);
    const auto removed =
        peer_messages({if_name("wg0"), some_key(), with_key, std::nullopt}, secrets);
    CHECK(peer_of(removed.at(0)).u32(WGPEER_A_FLAGS) == 5U);   // REMOVE_ME | UPDATE_ONLY
    CHECK_FALSE(peer_of(removed.at(0)).has(WGPEER_A_PRESHARED_KEY));
}

TEST_CASE("a preshared key that is not at hand is refused before anything is sent") {
    const Secrets none;
    Secrets others;
    const WireguardPeer wanted{.preshared_key = others.add_preshared_key(SecretBytes{9})};

    const SetPeer step{if_name("wg0"), some_key(), std::nullopt, wanted};
    const auto requests = peer_requests(40, step, none);

    REQUIRE_FALSE(requests);
    CHECK(requests.error().reason == "its preshared key is not at hand");
}

TEST_CASE("a peer that a dump continues in its next message is one peer with all its allowed IPs") {
    const Secrets none;
    const auto messages = peer_messages(
        {if_name("wg0"), some_key(), std::nullopt, with_many_allowed_ips(2000)}, none);
    WireguardDevice device;
    Secrets secrets;

    for (const Message& message : messages) {
        decode_wireguard(generic_attributes(message), device, secrets);
    }

    REQUIRE(device.peers.size() == 1);
    CHECK(device.peers.begin()->second == with_many_allowed_ips(2000));
}

TEST_CASE("offloads report what was asked for, unless the device cannot change it") {
    const FeatureNames names{"tx-checksum-ip-generic", "tx-tcp-segmentation", "rx-checksum",
                             "rx-gro"};
    Message message = generic_request(20, ETHTOOL_MSG_FEATURES_GET_REPLY, 0);
    message.nest(ETHTOOL_A_FEATURES_HEADER,
                 [&] { message.put_c_string(ETHTOOL_A_HEADER_DEV_NAME, "v0"); });
    const auto put_bits = [&](std::uint16_t type, std::uint32_t bits) {
        message.nest(type, [&] {
            message.put_u32(ETHTOOL_A_BITSET_SIZE, 4);
            message.put_u32(ETHTOOL_A_BITSET_VALUE, bits);
        });
    };
    put_bits(ETHTOOL_A_FEATURES_HW, 0b1011);
    put_bits(ETHTOOL_A_FEATURES_WANTED, 0b0010);
    put_bits(ETHTOOL_A_FEATURES_ACTIVE, 0b0100);   // TSO is off by the cascade of tx

    const auto found = decode_offloads(generic_attributes(message), names);

    CHECK(found == std::map<OffloadKey, bool>{{{if_name("v0"), "tx"}, false},
                                              {{if_name("v0"), "tso"}, true},
                                              {{if_name("v0"), "rx"}, true},
                                              {{if_name("v0"), "gro"}, false}});
}

TEST_CASE("a group of offloads of which some are requested is neither on nor off") {
    const FeatureNames names{"tx-tcp-segmentation", "tx-tcp6-segmentation",
                             "tx-tcp-mangleid-segmentation", "rx-gro", "tx-sctp-segmentation"};
    const std::uint32_t network_card = 0b01111;
    const std::uint32_t tunnel = 0b11111;   // NETIF_F_GSO_SOFTWARE: identifiers and SCTP, too
    const auto read_with = [&](std::uint32_t wanted, std::uint32_t hardware) {
        Message message = generic_request(20, ETHTOOL_MSG_FEATURES_GET_REPLY, 0);
        message.nest(ETHTOOL_A_FEATURES_HEADER,
                     [&] { message.put_c_string(ETHTOOL_A_HEADER_DEV_NAME, "v0"); });
        const auto put_bits = [&](std::uint16_t type, std::uint32_t bits) {
            message.nest(type, [&] {
                message.put_u32(ETHTOOL_A_BITSET_SIZE, 5);
                message.put_u32(ETHTOOL_A_BITSET_VALUE, bits);
            });
        };
        put_bits(ETHTOOL_A_FEATURES_HW, hardware);
        put_bits(ETHTOOL_A_FEATURES_WANTED, wanted);
        return decode_offloads(generic_attributes(message), names);
    };
    const OffloadKey tso{if_name("v0"), "tso"};

    CHECK(read_with(0b0111, network_card).at(tso));
    CHECK(read_with(0b0011, network_card).at(tso));   // mangleid is for those who ask by its name
    CHECK_FALSE(read_with(0b0011, tunnel).contains(tso));
    CHECK(read_with(0b0111, tunnel).at(tso));
    CHECK_FALSE(read_with(0b1000, network_card).at(tso));
    CHECK_FALSE(read_with(0b0101, network_card).contains(tso));
    CHECK_FALSE(read_with(0b0100, network_card).contains(tso));
    CHECK(read_with(0b1010, network_card).contains({if_name("v0"), "gro"}));
}

TEST_CASE("the path of a sysctl keeps dots of interface names and never leaves net") {
    CHECK(path_of_sysctl("net.ipv4.conf.all.forwarding") == "net/ipv4/conf/all/forwarding");
    CHECK(path_of_sysctl("net.ipv4.conf.v0/1.forwarding") == "net/ipv4/conf/v0.1/forwarding");
    CHECK(path_of_sysctl("net.ipv4.conf.v0//1.forwarding") == "net/ipv4/conf/v0..1/forwarding");
    for (const std::string_view key :
         {"kernel.hostname", "net.ipv4.//.hostname", "net../.x", "net.", "net..x", "", "net"}) {
        CHECK_FALSE(path_of_sysctl(key));
    }
    CHECK_FALSE(path_of_sysctl("net.ipv4.//\0"sv));   // as a C string it would be "net/ipv4/.."
}

TEST_CASE("lines of /proc/net/udp and udp6 are read as the kernel of this byte order prints them") {
    // Captured on Linux 6.18, x86-64, with sockets on 127.0.0.53:53 and [2001:db8::7]:5555.
    const auto ipv4 = parse_udp_line(
        Family::Ipv4, "12084: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 "
                      "00000000     0        0 266433 2 00000000526d24af 0        ");
    const auto ipv6 = parse_udp_line(
        Family::Ipv6, " 1202: B80D0120000000000000000007000000:15B3 "
                      "00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 "
                      "00000000     0        0 266434 2 0000000033ff873b 0");

    REQUIRE(ipv4);
    CHECK(text(ipv4->socket.local) == "127.0.0.53");
    CHECK(ipv4->socket.port == 53);
    CHECK(ipv4->inode == "266433");
    REQUIRE(ipv6);
    CHECK(text(ipv6->socket.local) == "2001:db8::7");
    CHECK(ipv6->socket.port == 5555);
    CHECK_FALSE(parse_udp_line(Family::Ipv4, "  sl  local_address rem_address   st tx_queue"));
    CHECK_FALSE(parse_udp_line(Family::Ipv4, ""));
}

}
