// What moves by itself while we change the kernel, and is neither a failed apply nor a failed rollback. That
// a failing step is undone at every place of a plan is told by plan_test.cpp.

#include "daemon/reconcile/execute.hpp"

#include <doctest/doctest.h>

using namespace overlay;

namespace {

const IfName device = IfName::from_kernel("wg0");
const PublicKey hub = *PublicKey::parse("9dW2pOXk5qcrQFkWNipURWkgDxG5grXi7RkQMcTEMik=");

Endpoint at(const char* address) { return Endpoint{*IpAddress::parse(address), 51820}; }

KernelState with_peer(WireguardPeer peer) {
    KernelState out;
    out.wireguard[device].peers[hub] = std::move(peer);
    return out;
}

WireguardPeer called_from(const char* address, std::uint16_t keepalive_seconds = 25) {
    return WireguardPeer{.endpoint = at(address), .keepalive_seconds = keepalive_seconds};
}

}  // namespace

TEST_SUITE("execute") {

TEST_CASE("a peer that has roamed is as desired; one that was never told where the hub is, is not") {
    const KernelState desired = with_peer(called_from("192.0.2.1"));
    const KernelState roamed = with_peer(called_from("2001:db8::1"));
    CHECK(with_roamed_endpoints(desired, roamed).wireguard == roamed.wireguard);
    const KernelState nowhere = with_peer({.keepalive_seconds = 25});
    CHECK(with_roamed_endpoints(desired, nowhere).wireguard == desired.wireguard);
    CHECK(with_roamed_endpoints(desired, KernelState{}).wireguard == desired.wireguard);
}

TEST_CASE("a peer that roams while its change is undone is no remainder of the change") {
    const SetPeer change{device, hub, called_from("192.0.2.1"), called_from("192.0.2.1", 10)};
    CHECK(is_undone(Step{change}, with_peer(called_from("198.51.100.7"))));
    CHECK_FALSE(is_undone(Step{change}, with_peer(called_from("192.0.2.1", 10))));
    const SetPeer addition{device, hub, std::nullopt, called_from("192.0.2.1")};
    CHECK_FALSE(is_undone(Step{addition}, with_peer(called_from("192.0.2.1"))));
    const SetPeer removal{device, hub, called_from("192.0.2.1"), std::nullopt};
    CHECK(is_undone(Step{removal}, with_peer(called_from("198.51.100.7"))));
}

}
