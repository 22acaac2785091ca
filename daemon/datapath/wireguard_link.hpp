#pragma once
// A device of a WireGuard endpoint: what its frames are wrapped in, and how its packets are recognised.
// Private to wireguard_*.cpp.

#include "daemon/datapath/wireguard_endpoint.hpp"

#include <cstring>

namespace overlay::datapath {

struct WireguardEndpoint::Link final : io::Reader {
    /// `config`: nullptr for the layer-3 device.
    Link(WireguardEndpoint& owner, DevicePort device, const GretapLinkConfig* what)
        : endpoint{owner}, port{std::move(device)} {
        if (what != nullptr) set(*what);
    }
    void set(const GretapLinkConfig& what) {
        config = what;
        header.emplace(what.address, what.ttl);
        const IpAddress &remote = what.address.remote, &local = what.address.local;
        addresses_bytes = 2 * remote.size_bytes();
        std::memcpy(addresses.data(), remote.data(), remote.size_bytes());
        std::memcpy(addresses.data() + remote.size_bytes(), local.data(), remote.size_bytes());
    }
    void on_readable() override { endpoint.on_device(*this); }

    [[nodiscard]] wire::Inner inner() const {
        return header ? wire::Inner::Ethernet : wire::Inner::Ip;
    }
    [[nodiscard]] std::size_t prefix_bytes() const { return header ? header->size_bytes() : 0; }
    /// Whether a packet that came has this link's addresses: the other way round, of course.
    [[nodiscard]] bool has_addresses(wire::Bytes received) const {
        return received.size() == addresses_bytes &&
               std::memcmp(received.data(), addresses.data(), addresses_bytes) == 0;
    }

    WireguardEndpoint& endpoint;
    DevicePort port;
    GretapLinkConfig config;
    std::optional<GretapIpHeader> header;   ///< nullopt: layer 3, nothing goes before a packet
    std::array<std::byte, 32> addresses{};
    std::size_t addresses_bytes = 0;
};

struct WireguardEndpoint::Socket final : io::Reader {
    Socket(WireguardEndpoint& owner, io::UdpSocket opened)
        : endpoint{owner}, socket{std::move(opened)} {}
    void on_readable() override { endpoint.on_datagrams(socket); }

    WireguardEndpoint& endpoint;
    io::UdpSocket socket;
    io::Watch watch;
    std::unique_ptr<Socket> handshakes;   ///< of the same port; nullptr: they come here, too
};

}  // namespace overlay::datapath
