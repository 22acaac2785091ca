#pragma once
// Addresses for what the file does not mention: the public side of NAT routers, private subnets,
// LAN hosts. Deterministic, and never inside a network that the file speaks of.

#include "topology/topology.hpp"

#include <vector>

namespace overlay::lab {

/// RFC 1918, RFC 6598, RFC 4193 or link-local: not reachable from the Internet side.
[[nodiscard]] bool is_private(const IpAddress& address);

/// address + count, as one big-endian number of the family's size; wraps.
[[nodiscard]] IpAddress plus(const IpAddress& address, std::uint64_t count);

/// Every network and address that the file states or that follows from its names.
[[nodiscard]] std::vector<IpPrefix> networks_of(const Topology& topology);

class AddressPool {
  public:
    explicit AddressPool(std::vector<IpPrefix> taken) : taken_{std::move(taken)} {}

    /// A host of the documentation networks (RFC 5737), then of 198.19.0.0/16.
    [[nodiscard]] IpAddress public_ipv4();
    /// A host of 2001:2:0:1::/64 (RFC 5180).
    [[nodiscard]] IpAddress public_ipv6();
    /// A /24 of 10.0.0.0/8, else of 172.16.0.0/12, else of 192.168.0.0/16.
    [[nodiscard]] IpPrefix private_subnet();
    /// A free address of `network`, the 100th and up, with its prefix length; nullopt when it is
    /// full.
    [[nodiscard]] std::optional<IpPrefix> host_of(const IpPrefix& network);
    /// The first free host of `network`, as routers have it, else the last and down from there.
    [[nodiscard]] IpAddress gateway_of(const IpPrefix& network);
    /// fe80::1 and up.
    [[nodiscard]] IpAddress link_local();

  private:
    [[nodiscard]] IpAddress give(const IpAddress& address);
    [[nodiscard]] bool overlaps_taken(const IpPrefix& candidate) const;
    [[nodiscard]] bool is_used(const IpAddress& address) const;

    std::vector<IpPrefix> taken_;
    std::vector<IpPrefix> given_;
};

}   // namespace overlay::lab
