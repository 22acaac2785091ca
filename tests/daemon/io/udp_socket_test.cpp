// Real sockets on the loopback device. What a kernel cannot do, the tests do without.

#include "daemon/io/udp_socket.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include <poll.h>

using namespace overlay;
using io::UdpOptions;

namespace {

io::UdpSocket open(const char* local, const io::Offloads& offloads = {}) {
    UdpOptions options;
    options.local = *IpAddress::parse(local);
    options.family = options.local->family();
    auto socket = io::UdpSocket::open(options, offloads);
    REQUIRE(socket);
    return std::move(*socket);
}

io::SocketAddress at(const char* address, const io::UdpSocket& socket) {
    return io::SocketAddress::of({*IpAddress::parse(address), socket.port()});
}

/// Sends `text` from these slices as datagrams of `segment_bytes`.
std::size_t send(io::UdpSocket& socket, const io::SocketAddress& to, std::vector<std::string> slices,
                 std::size_t segment_bytes, const IpAddress& from = {}) {
    std::vector<iovec> vectors;
    std::size_t size = 0;
    for (std::string& slice : slices) {
        vectors.push_back({slice.data(), slice.size()});
        size += slice.size();
    }
    const io::Train train{.to = &to,
                          .from = from,
                          .slices = vectors,
                          .segment_bytes = segment_bytes,
                          .size_bytes = size,
                          .segments = (size + segment_bytes - 1) / segment_bytes};
    return socket.send({&train, 1});
}

struct Got {
    std::vector<std::string> datagrams;
    std::string from, to;
};

/// Everything that comes until so many datagrams are there.
Got receive(io::UdpSocket& socket, std::size_t wanted) {
    io::ReceiveRoom room{io::ReceiveRoom::max_buffers};
    Got out;
    while (out.datagrams.size() < wanted) {
        pollfd wait{socket.fd(), POLLIN, 0};
        if (::poll(&wait, 1, 2000) <= 0) break;
        for (const io::Received& each : socket.receive(room)) {
            const std::string bytes{reinterpret_cast<const char*>(each.bytes.data()), each.bytes.size()};
            for (std::size_t n = 0; n < bytes.size(); n += each.segment_bytes)
                out.datagrams.push_back(bytes.substr(n, each.segment_bytes));
            out.from = text(each.from.address());
            out.to = text(each.to);
        }
    }
    return out;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_SUITE("UDP sockets") {

    TEST_CASE("a train arrives as the datagrams that it is made of, whoever cuts it") {
        for (const char* const offload : {"auto", "none", "udp-gso", "udp-gro"}) {
            CAPTURE(offload);
            auto here = open("127.0.0.1", *io::Offloads::parse(offload));
            auto there = open("127.0.0.1");
            const auto to = at("127.0.0.1", there);
            CHECK(send(here, to, {"abcdefg", "hi", "jklmnopqrstuvwxyz"}, 5) == 0);
            CHECK(receive(there, 6).datagrams == Texts{"abcde", "fghij", "klmno", "pqrst", "uvwxy", "z"});
        }
    }

    TEST_CASE("our own address is told, and answers leave from it") {
        for (const bool ipv6 : {false, true}) {
            UdpOptions options{.local_address = UdpOptions::LocalAddress::Tell};
            options.family = ipv6 ? Family::Ipv6 : Family::Ipv4;
            auto socket = io::UdpSocket::open(options);
            if (!socket) continue;   // no IPv6 here
            const char* const ours = ipv6 ? "::1" : "127.0.0.7";
            auto asker = open(ipv6 ? "::1" : "127.0.0.1");
            CHECK(send(asker, at(ours, *socket), {"hello"}, 5) == 0);
            const Got got = receive(*socket, 1);
            CHECK(got.to == ours);

            const auto back = at(ipv6 ? "::1" : "127.0.0.1", asker);
            CHECK(send(*socket, back, {"answer"}, 6, *IpAddress::parse(got.to)) == 0);
            CHECK(receive(asker, 1).from == ours);
        }
    }

    TEST_CASE("from an address that is no longer ours, it goes from one that is") {
        auto socket = io::UdpSocket::open({});
        REQUIRE(socket);
        auto there = open("127.0.0.1");
        const auto to = at("127.0.0.1", there);
        CHECK(send(*socket, to, {"ab"}, 1, *IpAddress::parse("192.0.2.1")) == 0);
        const Got got = receive(there, 2);
        CHECK(got.datagrams == Texts{"a", "b"});
        CHECK(got.from == "127.0.0.1");
    }

    TEST_CASE("segments that the path does not take are lost, and the next train is still a train") {
        auto here = open("127.0.0.1");
        auto there = open("127.0.0.1");
        const auto to = at("127.0.0.1", there);
        const io::SocketAddress nowhere = io::SocketAddress::of(*parse_endpoint("255.255.255.255:9"));
        CHECK(send(here, nowhere, {"abcd"}, 2) == 2);
        CHECK(send(here, to, {"abcd"}, 2) == 0);
        CHECK(receive(there, 2).datagrams == Texts{"ab", "cd"});
    }

    TEST_CASE("of two sockets at one port, one gets what begins with its octet, the other all else") {
        for (const char* local : {"127.0.0.1", "::1"}) {
            auto first = open(local);
            auto other = first.open_for_all_but(std::byte{4});
            REQUIRE(other);
            CHECK(other->port() == first.port());
            auto sender = open(local);
            const std::vector<std::string> ours{"\x04" "data", "\x04"}, others{"\x01" "initiation", "4", "\x03\x04"};
            const io::SocketAddress to = at(local, first);
            for (const std::string& each : ours) CHECK(send(sender, to, {each}, 100) == 0);
            for (const std::string& each : others) CHECK(send(sender, to, {each}, 100) == 0);
            CHECK(receive(*other, 3).datagrams == others);
            CHECK(receive(first, 2).datagrams == ours);
        }
    }
    TEST_CASE("a port that two sockets of ours have is taken for a third") {
        auto first = open("127.0.0.1");
        const auto other = first.open_for_all_but(std::byte{4});
        REQUIRE(other);
        UdpOptions options;
        options.local = *IpAddress::parse("127.0.0.1");
        options.port = first.port();
        const auto third = io::UdpSocket::open(options);
        REQUIRE_FALSE(third);
        CHECK(third.error().code == EADDRINUSE);
    }
    TEST_CASE("a link-local address keeps its interface, any other has none") {
        CHECK(io::SocketAddress::of(*parse_endpoint("[fe80::1]:9"), 7).interface() == 7);
        CHECK(io::SocketAddress::of(*parse_endpoint("[fd00::1]:9"), 7).interface() == 0);
        CHECK(io::SocketAddress::of(*parse_endpoint("10.0.0.1:9"), 7).interface() == 0);
    }

}  // TEST_SUITE
