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

/// Takes everything but one step, and counts.
struct CountingKernel {
    std::size_t refused = 0, executed = 0, readings = 0;

    Result<void> execute(const Step&) {
        if (executed++ == refused) return fail(Error::Kind::Failed, "set a peer", "No buffer space available");
        return {};
    }
    Result<KernelState> snapshot() {
        ++readings;
        return KernelState{};
    }
};

TEST_CASE("the way back reads the state for the step that was refused, and for no other") {
    Plan plan;
    constexpr std::size_t steps = 300;
    for (std::size_t i = 0; i < steps; ++i)
        plan.steps.push_back({.step = SetPeer{device, hub, std::nullopt, called_from("192.0.2.1")}});
    CountingKernel kernel{.refused = steps - 1};
    const Report report = execute(plan, kernel);
    CHECK(report.done == steps - 1);
    CHECK(report.undo_failures.empty());
    CHECK(kernel.executed == 2 * steps - 1);   // the refused one has had no effect: there is no device
    CHECK(kernel.readings == 1);
}

TEST_CASE("whoever is told to stop takes no further step and goes back all of the way, reading nothing") {
    Plan plan;
    for (int i = 0; i < 5; ++i)
        plan.steps.push_back({.step = SetPeer{device, hub, std::nullopt, called_from("192.0.2.1")}});
    CountingKernel kernel{.refused = 100};
    const Error why{Error::Kind::Failed, "interrupted", "SIGINT", 0, {}};
    int asked = 0;

    const Report report = execute(plan, kernel, [&] { return ++asked == 4 ? std::optional{why} : std::nullopt; });

    CHECK(report.failure == why);
    CHECK(report.done == 3);
    CHECK(kernel.executed == 3 + 3);
    CHECK(kernel.readings == 0);
}

}
