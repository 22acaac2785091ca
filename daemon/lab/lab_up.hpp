#pragma once
// From nothing to a running lab and back: hosts, then the overlay on each node (the hub first, by
// the code that `overlayctl apply` runs, each node with a state directory of its own), then the
// daemons that stand in for the provider's router and our Router Advertisements. Whatever fails,
// everything that was made goes away again.

#include "daemon/lab/lab_plan.hpp"
#include "daemon/lab/lab_state.hpp"
#include "topology/result.hpp"
#include "topology/topology.hpp"

#include <functional>
#include <optional>
#include <string>

namespace overlay::lab {

enum class Overlay { Apply, LeaveOut };

struct UpRequest {
    const Topology& topology;  ///< with the lab's keys
    const LabPlan& plan;
    const LabState& state;
    std::string source;  ///< the file's bytes
    Overlay overlay = Overlay::Apply;
    std::optional<LabHolder> holder;                   ///< that we have joined
    std::function<void(const std::string&)> progress;  ///< one line per thing done
};

[[nodiscard]] Result<void> bring_up(const UpRequest& request);

/// Ends our processes, removes the namespaces and the record. What is gone already is no error. Of
/// a lab with a holder that is alive: to be called after join().
[[nodiscard]] Result<void> take_down(const LabState& state, const LabRecord& record);

}  // namespace overlay::lab
