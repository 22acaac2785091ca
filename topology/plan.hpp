#pragma once
// The comparison: what should be, what is, what is ours → the steps between, in an order that is
// never more open than both ends, each with its inverse, its impact and the line of the file that
// caused it. The executor decides nothing; everything it will do is in the plan.

#include "topology/intent.hpp"
#include "topology/ledger.hpp"
#include "topology/step.hpp"

#include <string>
#include <vector>

namespace overlay {

/// What a step does to traffic that flows through the object.
enum class Impact { Live, Flap, Recreate, SessionLoss };
[[nodiscard]] std::string_view text(Impact impact);  ///< "live", "flap", "recreate", "session-loss"

enum class Action { Add, Change, Recreate, Remove };

/// In order of execution. Additions run outside in; removals in reverse after them, except that a
/// name or port needed again is freed first.
enum class Phase {
    FreeNames,
    FreeAddresses,   ///< after the routes by them
    Modules,
    StartOverlayd,
    Guards,
    AcceptRa,
    Sysctls,
    EncapPorts,
    Links,
    Attributes,
    Masters,
    Addresses,
    Peers,
    Up,
    Routes,
    RemoveRoutes,
    RemovePeers,
    RemoveAddresses,
    RemoveLinks,
    RemoveEncapPorts,
    RestoreSysctls,
    RestoreAcceptRa,
    RemoveGuards,
    StopOverlayd,
};

struct PlannedStep {
    Phase phase{};
    Step step;
    Action action{};
    Impact impact{};
    Origin origin;       ///< line 0: nothing in the file (a removal)
    std::string object;  ///< what it is grouped under: "link gretap_office"
    std::string why;     ///< "", or "renamed", "kind differs: found vxlan"
};

/// Something that forbids the whole plan: a foreign object in the way, a missing borrowed one.
struct Refusal {
    std::string object;
    std::string reason;
    std::string hint;
    Origin origin;
    friend bool operator==(const Refusal& a, const Refusal& b) {
        return a.object == b.object && a.reason == b.reason;
    }
};

struct Plan {
    std::vector<PlannedStep> steps;  ///< in order of execution
    std::vector<Refusal> refusals;
    std::vector<std::string> notes;
    std::size_t foreign_objects = 0;
    Ledger ledger_after;   ///< when every step is done
    Ledger ledger_during;  ///< covers both before and after
    // Found on links that the steps touch: must be there when all steps are undone, or done (names may be new ones).
    Bystanders bystanders_before, bystanders_after;

    [[nodiscard]] bool is_empty() const { return steps.empty(); }
};

/// Pure. Never plans a change of an object that is neither ours (by alias, mark or ledger) nor
/// borrowed. `neighbours`: the ledgers of the other networks on this node. What one of them holds, too
/// (forwarding, a FOU port, a borrowed bridge's MTU), is shared: the last one to go puts it back.
[[nodiscard]] Plan plan(const NodeIntent& intent, const KernelState& found, const Ledger& ledger,
                        const std::vector<Ledger>& neighbours = {});

/// Whether a link carries the mark of this network.
[[nodiscard]] bool is_marked(const Link& link, std::string_view network);
[[nodiscard]] bool is_marked_by_any(const Link& link);

}  // namespace overlay
