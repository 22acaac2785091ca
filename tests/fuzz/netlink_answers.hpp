#pragma once
// Answers as Linux 6.1 writes them (include/uapi/linux): the types and sizes are right, the numbers are made up, and
// some attributes are missing. A fuzzer alone would not come upon a tunnel's attributes four nests deep.

#include "support/wireguard_bytes.hpp"

#include <linux/ethtool_netlink.h>
#include <linux/fou.h>
#include <linux/genetlink.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/rtnetlink.h>
#include <linux/wireguard.h>

#include <array>
#include <cstring>
#include <string_view>
#include <vector>

#include <sys/socket.h>

namespace overlay::fuzz {

class AnswerWriter {
    wireguard::SeededRandom& random_;   // before what is drawn from it

  public:
    explicit AnswerWriter(wireguard::SeededRandom& random) : random_{random} {}

    template <class Header>
    void header(const Header& header) {
        bytes.resize(bytes.size() + sizeof header);
        std::memcpy(bytes.data() + bytes.size() - sizeof header, &header, sizeof header);
    }
    void number(std::uint16_t type, std::size_t size_bytes) {
        attribute(type, [&] {
            const std::size_t at = bytes.size();
            bytes.resize(at + size_bytes);
            const wire::MutableBytes value = wire::MutableBytes{bytes}.subspan(at);
            const bool is_small = size_bytes <= 4 && random_.chance(0.5);   // an index, a flag, a type
            if (!is_small) random_.fill(value);
            else if (size_bytes > 0) value.front() = static_cast<std::byte>(random_.next() % 4);
        });
    }
    void address(std::uint16_t type) { number(type, is_ipv6 ? 16 : 4); }
    void text(std::uint16_t type, std::string_view text) {
        attribute(type, [&] {
            for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
            bytes.push_back(std::byte{0});
        });
    }
    template <class Inside>
    void attribute(std::uint16_t type, Inside inside) {
        if (random_.chance(0.1)) return;
        const std::size_t at = bytes.size();
        bytes.resize(at + sizeof(nlattr));
        inside();
        const nlattr header{.nla_len = static_cast<std::uint16_t>(bytes.size() - at), .nla_type = type};
        std::memcpy(bytes.data() + at, &header, sizeof header);
        bytes.resize((bytes.size() + 3) / 4 * 4);
    }
    std::uint8_t below(std::uint8_t end) { return static_cast<std::uint8_t>(random_.next() % end); }

    const bool is_ipv6 = below(2) == 1;
    const std::uint8_t family = is_ipv6 ? AF_INET6 : AF_INET;
    std::vector<std::byte> bytes;
};

inline void write_tunnel(AnswerWriter& to) {
    for (const std::uint16_t type : {IFLA_GRE_TTL, IFLA_GRE_TOS, IFLA_GRE_PMTUDISC, IFLA_GRE_ENCAP_LIMIT,
                                     IFLA_GRE_IGNORE_DF})
        to.number(type, 1);
    for (const std::uint16_t type : {IFLA_GRE_IFLAGS, IFLA_GRE_OFLAGS, IFLA_GRE_ENCAP_TYPE, IFLA_GRE_ENCAP_FLAGS,
                                     IFLA_GRE_ENCAP_SPORT, IFLA_GRE_ENCAP_DPORT})
        to.number(type, 2);
    for (const std::uint16_t type : {IFLA_GRE_LINK, IFLA_GRE_IKEY, IFLA_GRE_OKEY, IFLA_GRE_FLOWINFO, IFLA_GRE_FLAGS,
                                     IFLA_GRE_FWMARK})
        to.number(type, 4);
    to.address(IFLA_GRE_LOCAL);
    to.address(IFLA_GRE_REMOTE);
    if (to.below(4) == 0) to.number(IFLA_GRE_COLLECT_METADATA, 0);
}

inline void write_link(AnswerWriter& to) {
    constexpr std::array<std::string_view, 6> kinds{"gretap", "ip6gretap", "bridge", "wireguard", "tun", "vlan"};
    const std::string_view kind = kinds.at(to.is_ipv6 ? 1 : to.below(kinds.size()));
    to.header(ifinfomsg{.ifi_type = to.below(2), .ifi_index = to.below(3), .ifi_flags = to.below(2)});
    to.text(IFLA_IFNAME, to.below(2) == 0 ? "eth0" : "wg0");
    to.text(IFLA_IFALIAS, "overlay:home");
    to.number(IFLA_ADDRESS, 6);
    to.number(IFLA_MTU, 4);
    to.number(IFLA_MASTER, 4);
    to.number(IFLA_OPERSTATE, 1);
    to.number(IFLA_STATS64, sizeof(rtnl_link_stats64));
    to.attribute(IFLA_PROP_LIST, [&] { to.text(IFLA_ALT_IFNAME, "uplink"); });
    to.attribute(IFLA_LINKINFO, [&] {
        to.text(IFLA_INFO_KIND, kind);
        to.attribute(IFLA_INFO_DATA, [&] {
            if (kind.ends_with("gretap")) return write_tunnel(to);
            to.number(IFLA_BR_STP_STATE, 4);
            to.number(IFLA_BR_MCAST_SNOOPING, 1);
            to.number(IFLA_BR_VLAN_FILTERING, 1);
        });
        to.text(IFLA_INFO_SLAVE_KIND, "bridge");
        to.attribute(IFLA_INFO_SLAVE_DATA, [&] {
            for (std::uint16_t type = IFLA_BRPORT_STATE; type <= IFLA_BRPORT_LOCKED; ++type) to.number(type, 1);
        });
    });
}

inline void write_address(AnswerWriter& to) {
    to.header(ifaddrmsg{.ifa_family = to.family, .ifa_prefixlen = to.below(34), .ifa_scope = to.below(3),
                        .ifa_index = to.below(3)});
    for (const std::uint16_t type : {IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST}) to.address(type);
    to.text(IFA_LABEL, "eth0:1");
    to.number(IFA_FLAGS, 4);
    to.number(IFA_RT_PRIORITY, 4);
    to.number(IFA_CACHEINFO, sizeof(ifa_cacheinfo));
}

inline void write_route(AnswerWriter& to) {
    to.header(rtmsg{.rtm_family = to.family, .rtm_dst_len = to.below(34), .rtm_table = 254, .rtm_protocol = to.below(5),
                    .rtm_type = to.below(10)});
    for (const std::uint16_t type : {RTA_DST, RTA_GATEWAY, RTA_PREFSRC}) to.address(type);
    for (const std::uint16_t type : {RTA_OIF, RTA_PRIORITY, RTA_TABLE}) to.number(type, 4);
    to.number(RTA_PREF, 1);
    to.number(RTA_CACHEINFO, sizeof(rta_cacheinfo));
    to.attribute(RTA_METRICS, [&] {
        for (std::uint16_t type = RTAX_LOCK; type <= RTAX_INITRWND; ++type) to.number(type, 4);
        to.text(RTAX_CC_ALGO, "bbr");
    });
    if (to.below(2) == 0) to.number(RTA_VIA, sizeof(rtvia) + 4);
    if (to.below(4) == 0) to.number(RTA_NH_ID, 4);
    if (to.below(2) == 0) return;
    to.attribute(RTA_MULTIPATH, [&] {
        for (std::uint8_t n = to.below(4); n > 0; --n) {
            const std::size_t at = to.bytes.size();
            to.header(rtnexthop{.rtnh_flags = to.below(8), .rtnh_hops = to.below(3), .rtnh_ifindex = to.below(3)});
            to.address(RTA_GATEWAY);
            const auto size_bytes = static_cast<unsigned short>(to.bytes.size() - at);
            std::memcpy(to.bytes.data() + at, &size_bytes, sizeof size_bytes);   // rtnh_len is the first
        }
    });
}

inline void write_fou(AnswerWriter& to) {
    to.header(genlmsghdr{});
    to.number(FOU_ATTR_PORT, 2);
    to.number(FOU_ATTR_IPPROTO, 1);
    to.number(FOU_ATTR_TYPE, 1);
    to.attribute(FOU_ATTR_AF, [&] { to.bytes.push_back(std::byte{to.family}); });
    to.address(to.is_ipv6 ? FOU_ATTR_LOCAL_V6 : FOU_ATTR_LOCAL_V4);
    to.address(to.is_ipv6 ? FOU_ATTR_PEER_V6 : FOU_ATTR_PEER_V4);
    to.number(FOU_ATTR_PEER_PORT, 2);
    to.number(FOU_ATTR_IFINDEX, 4);
}

inline void write_wireguard(AnswerWriter& to) {
    to.header(genlmsghdr{});
    to.number(WGDEVICE_A_PRIVATE_KEY, 32);
    to.number(WGDEVICE_A_LISTEN_PORT, 2);
    to.number(WGDEVICE_A_FWMARK, 4);
    const auto peer = [&] {
        to.number(WGPEER_A_PUBLIC_KEY, 32);
        to.number(WGPEER_A_PRESHARED_KEY, 32);
        to.number(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, 2);
        to.number(WGPEER_A_ENDPOINT, to.is_ipv6 ? 28 : 16);   // sockaddr_in6, sockaddr_in
        to.number(WGPEER_A_LAST_HANDSHAKE_TIME, 16);
        to.number(WGPEER_A_RX_BYTES, 8);
        to.number(WGPEER_A_TX_BYTES, 8);
        to.attribute(WGPEER_A_ALLOWEDIPS, [&] {
            for (std::uint8_t n = to.below(4); n > 0; --n) {
                to.attribute(0, [&] {
                    to.number(WGALLOWEDIP_A_CIDR_MASK, 1);
                    to.address(WGALLOWEDIP_A_IPADDR);
                });
            }
        });
    };
    to.attribute(WGDEVICE_A_PEERS, [&] {
        for (std::uint8_t n = to.below(4); n > 0; --n) to.attribute(0, peer);
    });
}

inline void write_features(AnswerWriter& to) {
    to.header(genlmsghdr{});
    to.attribute(ETHTOOL_A_FEATURES_HEADER, [&] { to.text(ETHTOOL_A_HEADER_DEV_NAME, "eth0"); });
    for (std::uint16_t type = ETHTOOL_A_FEATURES_HW; type <= ETHTOOL_A_FEATURES_NOCHANGE; ++type) {
        to.attribute(type, [&] {
            to.number(ETHTOOL_A_BITSET_SIZE, 4);
            to.number(ETHTOOL_A_BITSET_VALUE, 4U * to.below(4));
        });
    }
}

inline void write_feature_names(AnswerWriter& to) {
    to.header(genlmsghdr{});
    to.attribute(ETHTOOL_A_STRSET_STRINGSETS, [&] {
        to.attribute(ETHTOOL_A_STRINGSETS_STRINGSET, [&] {
            to.attribute(ETHTOOL_A_STRINGSET_STRINGS, [&] {
                for (std::uint8_t n = to.below(8); n > 0; --n) {
                    to.attribute(ETHTOOL_A_STRINGS_STRING, [&] {
                        to.number(ETHTOOL_A_STRING_INDEX, 4);
                        to.text(ETHTOOL_A_STRING_VALUE, "rx-gro");
                    });
                }
            });
        });
    });
}

inline void write_family(AnswerWriter& to) {
    to.header(genlmsghdr{});
    to.text(CTRL_ATTR_FAMILY_NAME, "wireguard");
    to.number(CTRL_ATTR_FAMILY_ID, 2);
}

}  // namespace overlay::fuzz
