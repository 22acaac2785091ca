// What the bridge's rules do to frames behind VLAN tags, sent byte by byte: no host here needs a
// VLAN device, which not every kernel has.

#include "netlink/firewall.hpp"
#include "support/network_namespace.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <vector>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <poll.h>
#include <sys/socket.h>

using namespace overlay;
using overlay::netlink::Firewall;
using overlay::netlink::UniqueFd;
using overlay::support::Inside;
using overlay::support::NetworkNamespace;
using Bytes = std::vector<std::uint8_t>;
using Direction = rule::ClampMssToConstant::Direction;

namespace {

constexpr std::size_t mss_at = 42;   // in syn(): behind IPv4's 20 bytes and TCP's 20, kind and length

/// IPv4, UDP (RFC 768) without checksum.
Bytes udp_to(std::uint8_t port) {
    return {0x45, 0, 0, 32, 0,   0, 0, 0,    64, 17, 0, 0, 10,  9,   0,   1,
            255,  255, 255, 255, 0, 69, 0, port, 0, 12, 0, 0, 'm', 'a', 'r', 'k'};
}

/// IPv4, a SYN (RFC 9293 §3.1) whose only option is an MSS of 1460.
Bytes syn() {
    return {0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6,    0,    0,    10,   9, 0, 1, 10, 9, 0, 2, 0x1f, 0x90,
            0x1b, 0x58, 0, 0, 0, 1, 0, 0,  0,    0,    0x60, 2,    255, 255, 0, 0, 0, 0, 2, 4, 0x05, 0xb4};
}

/// IPv6 to all nodes, an ICMPv6 message (RFC 4443 §2.1) without options.
Bytes icmp6(std::uint8_t type) {
    Bytes out{0x60, 0, 0, 0, 0, 16, 58, 255};
    for (const char* address : {"fe80::1", "ff02::1"}) {
        std::array<std::uint8_t, 16> bytes{};
        ::inet_pton(AF_INET6, address, bytes.data());
        out.insert(out.end(), bytes.begin(), bytes.end());
    }
    out.push_back(type);
    out.resize(out.size() + 15);
    return out;
}

struct Tag {
    std::uint16_t protocol;
    std::uint8_t id;   // 0: a priority and no VLAN
};

UniqueFd packet_socket(const NetworkNamespace& where, int type) {
    const Inside inside{where};
    UniqueFd fd{::socket(AF_PACKET, type | SOCK_NONBLOCK, htons(ETH_P_ALL))};
    REQUIRE(fd.get() >= 0);
    return fd;
}

struct Wire {
    NetworkNamespace left, middle, right;

    Wire() {
        middle.run("ip link add name bridge0 type bridge mcast_snooping 0");
        middle.run("ip link set bridge0 up");
        attach(left, "port-left");
        attach(right, "port-right");
    }

    void attach(const NetworkNamespace& host, const std::string& port) const {
        middle.run("ip link add " + port + " type veth peer name eth0 netns " + host.path());
        middle.run("ip link set " + port + " master bridge0 up");
        host.run("ip link set eth0 up");
    }

    void send(const Tag& tag, std::uint16_t protocol, const Bytes& packet) const {
        const UniqueFd fd = packet_socket(left, SOCK_RAW);
        Bytes frame{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7};
        for (const std::uint16_t word : {tag.protocol, std::uint16_t{tag.id}, protocol}) {
            frame.push_back(static_cast<std::uint8_t>(word >> 8));
            frame.push_back(static_cast<std::uint8_t>(word & 0xff));
        }
        frame.insert(frame.end(), packet.begin(), packet.end());
        sockaddr_ll to{};
        to.sll_family = AF_PACKET;
        to.sll_halen = ETH_ALEN;
        {
            const Inside inside{left};
            to.sll_ifindex = static_cast<int>(::if_nametoindex("eth0"));
        }
        const void* address = &to;
        REQUIRE(::sendto(fd.get(), frame.data(), frame.size(), 0,
                         static_cast<const sockaddr*>(address), sizeof to) ==
                static_cast<ssize_t>(frame.size()));
    }

    /// As it arrives at the right, without the tag; nullopt: it does not, within the time. Compared by
    /// its first 36 bytes, which no rule of ours changes (a clamp does the checksum behind them).
    [[nodiscard]] std::optional<Bytes> carried(const Tag& tag, std::uint16_t protocol,
                                               const Bytes& packet,
                                               std::chrono::milliseconds timeout) const {
        const UniqueFd fd = packet_socket(right, SOCK_DGRAM);
        const auto deadline = std::chrono::steady_clock::now() + timeout;
        const auto compared = static_cast<std::ptrdiff_t>(std::min<std::size_t>(packet.size(), 36));
        while (std::chrono::steady_clock::now() < deadline) {
            send(tag, protocol, packet);   // again and again: a new port forwards after a while
            pollfd ready{fd.get(), POLLIN, 0};
            ::poll(&ready, 1, 50);
            Bytes heard(2048);
            const ssize_t size = ::recv(fd.get(), heard.data(), heard.size(), 0);
            if (size < static_cast<ssize_t>(packet.size())) continue;
            heard.resize(static_cast<std::size_t>(size));
            if (std::equal(packet.begin(), packet.begin() + compared, heard.begin())) return heard;
        }
        return std::nullopt;
    }
};

FirewallTable rules_at(const IfName& port) {
    return {TableFamily::Bridge, "overlay_home", "overlay:home",
            {{"clamp_in", "filter", "prerouting", -150, true,
              {rule::ClampMssToConstant{port, Direction::In, Family::Ipv4, 1300}}},
             {"guard", "filter", "prerouting", -300, true,
              {rule::DropDhcp{port}, rule::DropRouterAdvertisement{port}}}},
            {}};
}

}  // namespace

TEST_SUITE("firewall behind tags") {

TEST_CASE("guards and clamps hold behind a VLAN tag, too") {
    const Wire wire;
    std::optional<Firewall> firewall;
    {
        const Inside inside{wire.middle};
        firewall.emplace();
    }
    REQUIRE(firewall->replace(std::nullopt, rules_at(*IfName::parse("port-left"))));
    using std::chrono::milliseconds;
    constexpr milliseconds patience{3000}, moment{300};

    for (const Tag& tag : {Tag{ETH_P_8021Q, 7}, Tag{ETH_P_8021Q, 0}, Tag{ETH_P_8021AD, 7}}) {
        CAPTURE(tag.protocol);
        CAPTURE(tag.id);
        CHECK(wire.carried(tag, ETH_P_IP, udp_to(69), patience));
        CHECK_FALSE(wire.carried(tag, ETH_P_IP, udp_to(67), moment));
        CHECK_FALSE(wire.carried(tag, ETH_P_IP, udp_to(68), moment));
        CHECK(wire.carried(tag, ETH_P_IPV6, icmp6(ND_ROUTER_SOLICIT), patience));
        CHECK_FALSE(wire.carried(tag, ETH_P_IPV6, icmp6(ND_ROUTER_ADVERT), moment));
        const auto opened = wire.carried(tag, ETH_P_IP, syn(), patience);
        REQUIRE(opened);
        CHECK(((*opened)[mss_at] << 8 | (*opened)[mss_at + 1]) == 1300);
    }
}

}  // TEST_SUITE
