// What the firewall's rules do to packets: left host – bridge – right host, three namespaces. The
// right host's wire is read with a packet socket; transmit checksum offload is off, so a SYN whose
// checksum the clamp broke would be refused and the connection would fail.

#include "netlink/firewall.hpp"
#include "support/network_namespace.hpp"

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <optional>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace overlay;
using overlay::netlink::Firewall;
using overlay::netlink::UniqueFd;
using overlay::support::Inside;
using overlay::support::NetworkNamespace;
using Direction = rule::ClampMssToConstant::Direction;
using std::chrono::milliseconds;

namespace {

constexpr std::uint16_t tcp_port = 7000;
constexpr milliseconds patience{3000};

const IfName left_port = *IfName::parse("port-left");
const IfName right_port = *IfName::parse("port-right");

/// The MSS option of a TCP header; nullopt: none. `kind, length, value` (RFC 9293 §3.1).
std::optional<std::uint16_t> mss_option(const std::uint8_t* tcp) {
    const std::size_t header_bytes = static_cast<std::size_t>(tcp[12] >> 4) * 4;
    for (std::size_t at = 20; at < header_bytes;) {
        if (tcp[at] == 0) return std::nullopt;
        if (tcp[at] == 1) {
            ++at;
            continue;
        }
        if (tcp[at] == 2) return static_cast<std::uint16_t>(tcp[at + 2] << 8 | tcp[at + 3]);
        at += tcp[at + 1];
    }
    return std::nullopt;
}

/// Everything that arrives at or leaves one namespace, from the making on.
class Capture {
  public:
    explicit Capture(const NetworkNamespace& where) {
        const Inside inside{where};
        fd_ = UniqueFd{::socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, htons(ETH_P_ALL))};
        REQUIRE(fd_.get() >= 0);
    }

    /// The first packet (from its IP header on) that `wanted` takes; false at the deadline.
    template <class Wanted>
    bool wait_for(const Wanted& wanted, milliseconds timeout = patience) const {
        const auto deadline = std::chrono::steady_clock::now() + timeout;
        std::array<std::uint8_t, 2048> packet{};
        while (std::chrono::steady_clock::now() < deadline) {
            pollfd ready{fd_.get(), POLLIN, 0};
            ::poll(&ready, 1, 50);
            while (::recv(fd_.get(), packet.data(), packet.size(), 0) > 0) {
                if (wanted(packet.data())) return true;
            }
        }
        return false;
    }

    /// The MSS in the next SYN to tcp_port (or SYN+ACK from it).
    std::optional<std::uint16_t> mss_of_next(bool acknowledges) const {
        std::optional<std::uint16_t> mss;
        wait_for([&](const std::uint8_t* packet) {
            const bool v6 = packet[0] >> 4 == 6;
            const std::uint8_t* tcp = packet + (v6 ? 40 : (packet[0] & 0x0f) * 4);
            if (packet[v6 ? 6 : 9] != IPPROTO_TCP) return false;
            const bool ack = (tcp[13] & 0x10) != 0;
            if ((tcp[13] & 0x02) == 0 || ack != acknowledges) return false;
            mss = mss_option(tcp);
            return true;
        });
        return mss;
    }

  private:
    UniqueFd fd_;
};

sockaddr_storage endpoint(const char* address, socklen_t& size) {
    sockaddr_storage out{};
    if (std::strchr(address, ':') != nullptr) {
        sockaddr_in6 v6{};
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(tcp_port);
        ::inet_pton(AF_INET6, address, &v6.sin6_addr);
        std::memcpy(&out, &v6, size = sizeof v6);
    } else {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(tcp_port);
        ::inet_pton(AF_INET, address, &v4.sin_addr);
        std::memcpy(&out, &v4, size = sizeof v4);
    }
    return out;
}

const sockaddr* generic(const sockaddr_storage& address) {
    return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

UniqueFd listener(const NetworkNamespace& where, const char* address) {
    const Inside inside{where};
    socklen_t size = 0;
    const sockaddr_storage at = endpoint(address, size);
    UniqueFd fd{::socket(at.ss_family, SOCK_STREAM, 0)};
    REQUIRE(::bind(fd.get(), generic(at), size) == 0);
    REQUIRE(::listen(fd.get(), 8) == 0);
    return fd;
}

/// Connects within the deadline; `mss`: what our SYN shall offer, 0 for the kernel's choice.
bool connects(const NetworkNamespace& from, const char* address, int mss = 0) {
    const Inside inside{from};
    socklen_t size = 0;
    const sockaddr_storage to = endpoint(address, size);
    const UniqueFd fd{::socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0)};
    if (mss != 0) REQUIRE(::setsockopt(fd.get(), IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof mss) == 0);
    ::connect(fd.get(), generic(to), size);
    pollfd ready{fd.get(), POLLOUT, 0};
    int error = 0;
    socklen_t error_size = sizeof error;
    if (::poll(&ready, 1, static_cast<int>(patience.count())) != 1) return false;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &error_size);
    return error == 0;
}

void send_udp(const NetworkNamespace& from, const char* address, std::uint16_t port) {
    const Inside inside{from};
    socklen_t size = 0;
    sockaddr_storage to = endpoint(address, size);
    const std::uint16_t wire_order = htons(port);
    std::memcpy(static_cast<char*>(static_cast<void*>(&to)) + offsetof(sockaddr_in, sin_port),
                &wire_order, sizeof wire_order);
    const UniqueFd fd{::socket(AF_INET, SOCK_DGRAM, 0)};
    REQUIRE(::sendto(fd.get(), "x", 1, 0, generic(to), size) == 1);
}

/// An ICMPv6 message of a type, without options, to the right host; the kernel fills in the
/// checksum.
void send_icmp6(const NetworkNamespace& from, std::uint8_t type) {
    const Inside inside{from};
    socklen_t size = 0;
    sockaddr_storage to = endpoint("fd09::2", size);
    constexpr std::uint16_t no_port = 0;   // a raw socket takes a protocol number here, or 0
    std::memcpy(static_cast<char*>(static_cast<void*>(&to)) + offsetof(sockaddr_in6, sin6_port),
                &no_port, sizeof no_port);
    const UniqueFd fd{::socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)};
    const std::array<std::uint8_t, 16> message{type};
    REQUIRE(::sendto(fd.get(), message.data(), message.size(), 0, generic(to), size) == 16);
}

auto is_udp(std::uint16_t port) {
    return [port](const std::uint8_t* packet) {
        const std::uint8_t* udp = packet + (packet[0] & 0x0f) * 4;
        return packet[0] >> 4 == 4 && packet[9] == IPPROTO_UDP && (udp[2] << 8 | udp[3]) == port;
    };
}

auto is_icmp6(std::uint8_t type) {
    return [type](const std::uint8_t* packet) {
        return packet[0] >> 4 == 6 && packet[6] == IPPROTO_ICMPV6 && packet[40] == type;
    };
}

struct BridgedHosts {
    NetworkNamespace left, middle, right;

    BridgedHosts() {
        middle.run("ip link add name bridge0 type bridge mcast_snooping 0");
        attach(left, "port-left", "10.9.0.1", "fd09::1");
        attach(right, "port-right", "10.9.0.2", "fd09::2");
        middle.run("ip addr add 10.9.0.3/24 dev bridge0");
        middle.run("ip link set bridge0 up");
    }

    void attach(const NetworkNamespace& host, const std::string& port, const std::string& address,
                const std::string& address6) {
        middle.run("ip link add " + port + " type veth peer name eth0 netns " + host.path());
        middle.run("ip link set " + port + " master bridge0 up");
        host.run("ip addr add " + address + "/24 dev eth0");
        host.run("ip addr add " + address6 + "/64 dev eth0 nodad");
        host.run("ip link set eth0 up");
        host.run("ethtool -K eth0 tx off");
    }

    Firewall firewall() const {
        const Inside inside{middle};
        return Firewall{};
    }
};

FirewallTable clamp_table(const std::string& hook, std::vector<FirewallRule> rules) {
    return {TableFamily::Bridge, "overlay_home", "overlay:home",
            {{"clamp", "filter", hook, -150, true, std::move(rules)}}, {}};
}

rule::ClampMssToConstant clamp(const IfName& port, Direction direction, Family family,
                               std::uint16_t mss) {
    return {port, direction, family, mss};
}

}  // namespace

TEST_SUITE("firewall on the wire") {

TEST_CASE("a constant clamp lowers an MSS that is too large and never raises a smaller one") {
    const BridgedHosts hosts;
    Firewall firewall = hosts.firewall();
    const UniqueFd server4 = listener(hosts.right, "10.9.0.2");
    const UniqueFd server6 = listener(hosts.right, "fd09::2");
    REQUIRE(firewall.replace(std::nullopt,
                             clamp_table("forward",
                                         {clamp(right_port, Direction::Out, Family::Ipv4, 1404),
                                          clamp(right_port, Direction::In, Family::Ipv4, 1300),
                                          clamp(right_port, Direction::Out, Family::Ipv6, 1384)})));
    struct Row {
        const char* to;
        int offered;
        std::uint16_t arrives;
    };
    // The kernel offers its MTU less 40 (RFC 9293 §3.7.1), 60 over IPv6, when not told otherwise.
    for (const Row& row : {Row{"10.9.0.2", 0, 1404}, Row{"10.9.0.2", 1405, 1404},
                           Row{"10.9.0.2", 1404, 1404}, Row{"10.9.0.2", 1403, 1403},
                           Row{"10.9.0.2", 536, 536}, Row{"fd09::2", 0, 1384},
                           Row{"fd09::2", 1220, 1220}}) {
        CAPTURE(row.offered);
        CAPTURE(row.arrives);
        const Capture wire{hosts.right};
        CHECK(connects(hosts.left, row.to, row.offered));
        CHECK(wire.mss_of_next(false) == row.arrives);
    }
    const Capture wire{hosts.left};   // the answer's MSS, clamped on its way in
    CHECK(connects(hosts.left, "10.9.0.2"));
    CHECK(wire.mss_of_next(true) == 1300);
}

TEST_CASE("the bridge's own connections pass postrouting, not forward") {
    const BridgedHosts hosts;
    Firewall firewall = hosts.firewall();
    const UniqueFd server = listener(hosts.right, "10.9.0.2");
    const std::vector<FirewallRule> rules{clamp(right_port, Direction::Out, Family::Ipv4, 1404)};

    REQUIRE(firewall.replace(std::nullopt, clamp_table("forward", rules)));
    const Capture before{hosts.right};
    CHECK(connects(hosts.middle, "10.9.0.2"));
    CHECK(before.mss_of_next(false) == 1460);

    REQUIRE(firewall.replace(clamp_table("forward", rules), clamp_table("postrouting", rules)));
    const Capture after{hosts.right};
    CHECK(connects(hosts.middle, "10.9.0.2"));
    CHECK(after.mss_of_next(false) == 1404);
    const Capture forwarded{hosts.right};
    CHECK(connects(hosts.left, "10.9.0.2"));
    CHECK(forwarded.mss_of_next(false) == 1404);
}

TEST_CASE("answers to the bridge's own connections pass prerouting") {
    const BridgedHosts hosts;
    Firewall firewall = hosts.firewall();
    const UniqueFd server = listener(hosts.right, "10.9.0.2");
    REQUIRE(firewall.replace(std::nullopt,
                             clamp_table("prerouting", {clamp(right_port, Direction::In,
                                                              Family::Ipv4, 1300)})));

    const Inside inside{hosts.middle};
    socklen_t size = 0;
    const sockaddr_storage to = endpoint("10.9.0.2", size);
    const UniqueFd client{::socket(AF_INET, SOCK_STREAM, 0)};
    REQUIRE(::connect(client.get(), generic(to), size) == 0);
    tcp_info info{};
    socklen_t info_size = sizeof info;
    REQUIRE(::getsockopt(client.get(), IPPROTO_TCP, TCP_INFO, &info, &info_size) == 0);

    // Timestamps (RFC 7323) take 12 bytes of each segment.
    CHECK(info.tcpi_snd_mss == 1300 - 12);
}

TEST_CASE("guards drop DHCP and router advertisements of one port, and nothing else") {
    const BridgedHosts hosts;
    Firewall firewall = hosts.firewall();
    REQUIRE(firewall.replace(
        std::nullopt, FirewallTable{TableFamily::Bridge, "overlay_home", "overlay:home",
                                    {{"guard", "filter", "prerouting", -300, true,
                                      {rule::DropDhcp{left_port},
                                       rule::DropRouterAdvertisement{left_port}}}},
                                    {}}));
    constexpr std::uint8_t advert = ND_ROUTER_ADVERT, solicit = ND_ROUTER_SOLICIT;
    constexpr milliseconds moment{300};

    for (const std::uint16_t port : std::array<std::uint16_t, 2>{67, 68}) {
        CAPTURE(port);
        const Capture wire{hosts.right};
        send_udp(hosts.left, "10.9.0.2", port);
        send_udp(hosts.left, "10.9.0.2", 69);
        CHECK_FALSE(wire.wait_for(is_udp(port), moment));
    }
    {
        const Capture wire{hosts.right};
        send_udp(hosts.left, "10.9.0.2", 69);
        CHECK(wire.wait_for(is_udp(69)));
    }
    {
        const Capture wire{hosts.left};   // the other direction is not guarded
        send_udp(hosts.right, "10.9.0.1", 67);
        CHECK(wire.wait_for(is_udp(67)));
    }
    {
        const Capture wire{hosts.right};
        send_icmp6(hosts.left, advert);
        CHECK_FALSE(wire.wait_for(is_icmp6(advert), moment));
    }
    {
        const Capture wire{hosts.right};
        send_icmp6(hosts.left, solicit);
        CHECK(wire.wait_for(is_icmp6(solicit)));
    }
}

TEST_CASE("masquerade leaves the address alone that a tunnel leaves from") {
    const NetworkNamespace node, far;
    node.run("ip link add eth0 type veth peer name eth0 netns " + far.path());
    node.run("ip addr add 10.9.0.1/24 dev eth0");   // the first: what masquerade puts in
    node.run("ip addr add 10.9.0.3/24 dev eth0");
    node.run("ip addr add 192.168.7.1/24 dev lo");
    node.run("ip link set eth0 up");
    node.run("ip link set lo up");
    far.run("ip addr add 10.9.0.2/24 dev eth0");
    far.run("ip link set eth0 up");
    std::optional<Firewall> firewall;
    {
        const Inside inside{node};
        firewall.emplace();
    }
    const auto arrives_from = [&](const char* source) {
        const Capture wire{far};
        node.run("ping -n -c 1 -W 2 -I " + std::string{source} + " 10.9.0.2");
        std::array<char, INET_ADDRSTRLEN> text{};
        wire.wait_for([&](const std::uint8_t* packet) {
            if (packet[0] >> 4 != 4 || packet[9] != IPPROTO_ICMP) return false;
            return ::inet_ntop(AF_INET, packet + 12, text.data(), text.size()) != nullptr;
        });
        return std::string{text.data()};
    };
    const auto table = [](std::vector<IpAddress> except) {
        return FirewallTable{TableFamily::Inet, "overlay_home", "overlay:home",
                             {{"source_nat", "nat", "postrouting", 100, true,
                               {rule::Masquerade{*IfName::parse("eth0"), {}, std::move(except)}}}},
                             {}};
    };
    REQUIRE(firewall->replace(std::nullopt, table({})));
    CHECK(arrives_from("10.9.0.3") == "10.9.0.1");

    REQUIRE(firewall->replace(table({}), table({*IpAddress::parse("10.9.0.3")})));
    CHECK(arrives_from("10.9.0.3") == "10.9.0.3");
    CHECK(arrives_from("192.168.7.1") == "10.9.0.1");
}

TEST_CASE("the route's MTU clamps what the node itself opens and what it routes") {
    const NetworkNamespace node, far;
    node.run("ip link add eth0 type veth peer name eth0 netns " + far.path());
    for (const auto* side : {&node, &far}) {
        side->run(side == &node ? "ip addr add 10.9.0.1/24 dev eth0"
                                : "ip addr add 10.9.0.2/24 dev eth0");
        side->run("ip link set eth0 up");
        side->run("ethtool -K eth0 tx off");
    }
    node.run("ip route add 10.9.1.0/24 via 10.9.0.2 mtu lock 1300");
    far.run("ip addr add 10.9.1.2/24 dev lo");
    const UniqueFd server = listener(far, "10.9.1.2");
    std::optional<Firewall> firewall;
    {
        const Inside inside{node};
        firewall.emplace();
    }
    const auto offered = [&] {
        const Capture wire{far};
        // TCP_MAXSEG above what the route carries: the clamp, not the stack, must lower it.
        CHECK(connects(node, "10.9.1.2"));
        return wire.mss_of_next(false);
    };
    // The stack offers by the device's MTU, or by the route's when that is locked (1300 − 40).
    CHECK(offered() == 1260);
    node.run("ip route change 10.9.1.0/24 via 10.9.0.2 mtu lock 1300 advmss 1460");
    CHECK(offered() == 1460);

    REQUIRE(firewall->replace(
        std::nullopt, FirewallTable{TableFamily::Inet, "overlay_home", "overlay:home",
                                    {{"clamp", "filter", "postrouting", -150, true,
                                      {rule::ClampMssToRoute{}}}},
                                    {}}));
    CHECK(offered() == 1260);
}

}  // TEST_SUITE
