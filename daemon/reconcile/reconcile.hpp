#pragma once
// The way of a change on one node, from the checked topology to the verified kernel:
//
//     keys → compile → snapshot → who carries what → plan → (refused? stop)
//          → ledger → execute → snapshot → plan must be empty
//
// diff stops after the plan. apply and down hold the host's lock throughout, so that there is one writer:
// networks share what belongs to the host.

#include "daemon/reconcile/execute.hpp"
#include "daemon/reconcile/ledger_store.hpp"
#include "daemon/io/files.hpp"
#include "daemon/control/overlayd.hpp"
#include "netlink/kernel.hpp"
#include "topology/plan.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace overlay {

struct Directories {
    std::string state = "/var/lib/overlay";
    std::string run = "/run/overlay";
};

/// What apply and down were asked, besides the topology.
struct ApplyOptions {
    Directories directories;
    enum class Disruption { Allowed, Refused } disruption = Disruption::Allowed;
    /// The JSON of a plan that was reviewed; any other plan found now is stale and refused.
    std::optional<std::string> reviewed_plan;
};

struct Outcome {
    enum class Verdict { Done, Failed, RolledBack, RolledBackInPart, Refused };
    Verdict verdict = Verdict::Done;
    Plan plan;                            ///< what was to be done; with refusals when Refused
    std::optional<Error> error;           ///< what failed first
    Origin error_origin;
    std::vector<std::string> left_over;   ///< RolledBackInPart: what is not as before
    std::uint64_t writes = 0;             ///< state-changing requests sent, rollback included
};

/// Everything known before anything is changed.
struct Prepared {
    netlink::Kernel kernel;
    control::Overlayd overlayd;
    Secrets secrets;
    NodeIntent intent;
    Ledger ledger;
    std::vector<Ledger> neighbours;       ///< of the other networks on this node
    KernelState found;
    Plan plan;
};

/// Reads and plans; writes nothing, loads nothing, takes no lock.
[[nodiscard]] Result<Prepared> prepare(NodeIntent intent, Secrets secrets, const Directories& directories);

/// The same against a state that was read elsewhere; the ledger is taken from `directories` if readable.
[[nodiscard]] Plan plan_against(NodeIntent intent, const KernelState& found,
                                const Directories& directories);

/// Makes it so, or leaves it as it was. `intent` of an empty desired state takes everything down.
[[nodiscard]] Outcome apply(NodeIntent intent, Secrets secrets, const ApplyOptions& options);

}  // namespace overlay
