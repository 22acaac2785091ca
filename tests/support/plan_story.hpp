#pragma once
// One node's life on a model kernel: apply, change the file, go; alone or beside other networks.

#include "tests/support/examples.hpp"
#include "tests/support/fake_kernel.hpp"
#include "topology/plan.hpp"

#include <string>

namespace overlay::test {

/// The plan as a review sees it.
[[nodiscard]] std::string told(const Plan& plan);

/// As a JSON patch (RFC 6902); "": nothing.
[[nodiscard]] std::string what_differs(const KernelState& left, const KernelState& right);

/// Every step refused once, before and after its effect: all is as it was, but for modules and for where peers
/// have last called from.
void check_every_failure(const Plan& plan, const FakeKernel& before);

void add_link(KernelState& state, const char* name, LinkKind kind);

/// A host as a distribution leaves it: an uplink with a default route, a borrowed bridge, a
/// foreigner's things.
[[nodiscard]] KernelState fresh_host();

struct Story {
    NodeIntent intent;
    Ledger ledger;
    FakeKernel kernel{fresh_host()};

    Story(const Topology& topology, const std::string& node)
        : intent{compile(topology, *topology.find(node), {})} {}

    [[nodiscard]] Plan plan_now() const { return plan(intent, kernel.state, ledger); }
    void apply();
    void down();
};

/// Several networks on one node.
struct Host {
    FakeKernel kernel{fresh_host()};
    std::map<std::string, Ledger> ledgers;

    [[nodiscard]] Plan plan_for(const NodeIntent& intent) const;
    void apply(const NodeIntent& intent);
    void down(const NodeIntent& intent) { apply(NodeIntent{.network = intent.network}); }
};

}  // namespace overlay::test
