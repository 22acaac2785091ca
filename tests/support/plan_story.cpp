// Every demand here is doctest's, so that a story that cannot be told fails where it is told.

#include "tests/support/plan_story.hpp"

#include "daemon/reconcile/execute.hpp"
#include "topology/render_plan.hpp"
#include "topology/state_json.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace overlay::test {

std::string told(const Plan& plan) { return plan_text(plan, "", Colour::Off); }

namespace {

/// undo() takes nothing away that a peer has told since.
void forget_roaming(KernelState& now, const KernelState& before) {
    for (auto& [name, device] : now.wireguard) {
        const auto old = before.wireguard.find(name);
        if (old == before.wireguard.end()) continue;
        for (auto& [key, peer] : device.peers) {
            const auto known = old->second.peers.find(key);
            if (known != old->second.peers.end()) peer.endpoint = known->second.endpoint;
        }
    }
}

}  // namespace

std::string what_differs(const KernelState& left, const KernelState& right) {
    if (left == right) return "";
    return nlohmann::json::diff(nlohmann::json::parse(to_json(left)), nlohmann::json::parse(to_json(right))).dump();
}

void check_every_failure(const Plan& plan, const FakeKernel& before) {
    CAPTURE(told(plan));
    for (std::size_t fail_at = 0; fail_at < plan.steps.size(); ++fail_at) {
        for (const auto refusal : {FakeKernel::Refusal::Clean, FakeKernel::Refusal::TookEffect}) {
            CAPTURE(describe(plan.steps[fail_at].step));
            FakeKernel kernel = before;
            kernel.calls = 0;
            kernel.fail_at = fail_at;
            kernel.refusal = refusal;
            const Report report = execute(plan, kernel);
            for (const Error& undo : report.undo_failures) FAIL_CHECK(text(undo));
            kernel.state.modules = before.state.modules;
            forget_roaming(kernel.state, before.state);
            CHECK(what_differs(kernel.state, before.state) == "");
        }
    }
}

void add_link(KernelState& state, const char* name, LinkKind kind) {
    Link link{.name = IfName::from_kernel(name), .kind = kind};
    link.alias = "";
    link.mac = MacAddress::parse("52:54:00:00:00:01");
    link.mtu = Mtu{1500};
    link.up = true;
    link.master = IfName{};
    if (kind == LinkKind::Bridge) link.bridge = BridgeAttributes{false, true, false};
    state.links[link.name] = link;
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        state.sysctls[conf_sysctl(family, name, "forwarding")] = "0";
    }
    state.sysctls[conf_sysctl(Family::Ipv4, name, "promote_secondaries")] = "0";
    state.sysctls[conf_sysctl(Family::Ipv6, name, "accept_ra")] = "1";
    state.sysctls[conf_sysctl(Family::Ipv6, name, "disable_ipv6")] = "0";
}

KernelState fresh_host() {
    KernelState state;
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        for (const char* scope : {"all", "default"})
            state.sysctls[conf_sysctl(family, scope, "forwarding")] = "0";
    }
    for (const char* scope : {"all", "default"})
        state.sysctls[conf_sysctl(Family::Ipv4, scope, "promote_secondaries")] = "0";
    state.sysctls["net.ipv6.conf.default.accept_ra"] = "1";
    state.sysctls["net.ipv6.conf.default.disable_ipv6"] = "0";
    state.sysctls["net.ipv4.conf.all.accept_redirects"] = "1";
    state.sysctls["net.ipv4.conf.all.send_redirects"] = "1";
    add_link(state, "eth0", LinkKind::Other);
    add_link(state, "br-lan", LinkKind::Bridge);
    add_link(state, "docker0", LinkKind::Bridge);
    state.addresses.insert(
        {IfName::from_kernel("eth0"), *IpPrefix::parse("1.2.3.4/24"), true, false});
    state.routes.insert({.destination = *IpPrefix::parse("1.2.3.0/24"),
                         .device = IfName::from_kernel("eth0"),
                         .protocol = 2});
    state.routes.insert({.destination = *IpPrefix::parse("0.0.0.0/0"),
                         .gateway = IpAddress::parse("1.2.3.1"),
                         .device = IfName::from_kernel("eth0"),
                         .protocol = 3});
    state.all_tables.insert({"ip", "docker"});
    return state;
}

namespace {

Ledger carried_out(const Plan& p, FakeKernel& kernel) {
    CAPTURE(plan_text(p, "", Colour::Off));
    REQUIRE(p.refusals.empty());
    const Report report = execute(p, kernel);
    CAPTURE(report.failure ? text(*report.failure) : "");
    REQUIRE_FALSE(report.failure);
    return p.ledger_after;
}

}  // namespace

void Story::apply() { ledger = carried_out(plan_now(), kernel); }

void Story::down() {
    intent = NodeIntent{.network = intent.network};
    apply();
}

Plan Host::plan_for(const NodeIntent& intent) const {
    Ledger own{.network = intent.network};
    std::vector<Ledger> neighbours;
    for (const auto& [network, ledger] : ledgers) {
        if (network == intent.network) own = ledger;
        else if (!ledger.is_empty()) neighbours.push_back(ledger);
    }
    return plan(intent, kernel.state, own, neighbours);
}

void Host::apply(const NodeIntent& intent) {
    ledgers[intent.network] = carried_out(plan_for(intent), kernel);
}

}  // namespace overlay::test
