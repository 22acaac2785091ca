#pragma once
// Carries a plan out, or undoes what was done. Decides nothing: the plan holds every step and its inverse.
//
// A refused change may have taken effect in part (gretap applies its encapsulation before it checks the
// rest) or in full with its answer lost. So the failed step is undone, too: the state is read again, and
// whatever differs from before is undone from what is.

#include "topology/plan.hpp"

#include <optional>
#include <string>
#include <vector>

namespace overlay {

struct Report {
    std::size_t done = 0;                 ///< steps carried out
    std::optional<Error> failure;         ///< of the step that failed, with the object's name
    Origin failure_origin;
    std::vector<Error> undo_failures;     ///< what could not be undone
};

/// True when `found` already shows the world as it was before the step.
[[nodiscard]] bool is_undone(const Step& step, const KernelState& found);

/// As desired, but for peers that have meanwhile called from elsewhere: WireGuard moves an endpoint to where
/// the peer's last packet came from, right after we have set it, too.
[[nodiscard]] KernelState with_roamed_endpoints(KernelState desired, const KernelState& found);

/// One whose inverse is refused is undone all the same when the state says so: the kernel takes much along by
/// itself.
template <class Kernel>
void run_inverse(const Step& step, Kernel& kernel, Report& report) {
    const Result<void> result = kernel.execute(inverse(step));
    if (result) return;
    const Result<KernelState> found = kernel.snapshot();
    if (!found || !is_undone(step, *found)) report.undo_failures.push_back(result.error());
}

/// Undoes the first `count` steps, last first. Looks at the state only where the kernel refuses: the way back
/// of a large plan must not read everything for each step.
template <class Kernel>
void undo(const Plan& plan, std::size_t count, Kernel& kernel, Report& report) {
    for (std::size_t i = count; i-- > 0;) run_inverse(plan.steps[i].step, kernel, report);
}

/// Undoes the step that was refused, as far as it has had an effect.
template <class Kernel>
void undo_refused(const Step& step, Kernel& kernel, Report& report) {
    const Result<KernelState> found = kernel.snapshot();
    if (found && is_undone(step, *found)) return;
    run_inverse(step, kernel, report);
}

struct NeverStopped {
    std::optional<Error> operator()() const { return std::nullopt; }
};

/// Runs every step; at the first failure undoes it and all before it. `Kernel` has
/// execute(const Step&) → Result<void> and snapshot() → Result<KernelState>; the real one is LiveKernel
/// (live_kernel.hpp), tests have a fake that rejects what the kernel rejects. `stop` is asked before each step
/// and may say why there shall be none: then those before it are undone.
template <class Kernel, class Stop = NeverStopped>
Report execute(const Plan& plan, Kernel& kernel, Stop stop = {}) {
    Report report;
    for (const PlannedStep& planned : plan.steps) {
        report.failure = stop();
        if (report.failure) {
            undo(plan, report.done, kernel, report);
            return report;
        }
        const Result<void> result = kernel.execute(planned.step);
        if (!result) {
            report.failure = result.error();
            report.failure_origin = planned.origin;
            break;
        }
        ++report.done;
    }
    if (!report.failure) return report;
    undo_refused(plan.steps[report.done].step, kernel, report);
    undo(plan, report.done, kernel, report);
    return report;
}

}  // namespace overlay
