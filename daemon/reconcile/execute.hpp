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
    Bystanders lost;                      ///< what could not be put back, and …
    std::vector<Error> lost_because;      ///< … what the kernel said of it
};

/// True when `found` already shows the world as it was before the step.
[[nodiscard]] bool is_undone(const Step& step, const KernelState& found);

/// What is missing as steps that put it back, each after what it needs. `lost`: what cannot be had now, such as an
/// IPv6 address on a link whose MTU is too small for it.
struct Missing {
    std::vector<Step> steps;
    Bystanders lost;
};
[[nodiscard]] Missing missing_of(const Bystanders& wanted, const KernelState& found);
/// Into the set that it belongs to.
void add_lost(const Step& step, Bystanders& lost);

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

/// Somebody else's, which the kernel has thrown away. What is refused is tried once more: nobody else would, should it
/// have been for want of memory.
template <class Kernel>
void put_back(const Bystanders& wanted, Kernel& kernel, Report& report) {
    if (wanted.is_empty()) return;
    Result<KernelState> found = kernel.snapshot();
    if (!found) found = kernel.snapshot();
    if (!found) {
        report.lost = wanted;
        return report.lost_because.push_back(found.error());
    }
    Missing missing = missing_of(wanted, *found);
    report.lost = std::move(missing.lost);
    for (const Step& step : missing.steps) {
        Result<void> done = kernel.execute(step);
        if (!done) done = kernel.execute(step);
        if (done) continue;
        add_lost(step, report.lost);
        report.lost_because.push_back(done.error());
    }
}

template <class Kernel>
void undo_all(const Plan& plan, std::size_t count, Kernel& kernel, Report& report) {
    undo(plan, count, kernel, report);
    put_back(plan.bystanders_before, kernel, report);
}

struct NeverStopped {
    std::optional<Error> operator()() const { return std::nullopt; }
};

/// Runs every step, then puts back what it has cost others; at the first failure undoes it and all before. `Kernel` has
/// execute(const Step&) → Result<void> and snapshot() → Result<KernelState>; the real one is LiveKernel
/// (live_kernel.hpp), tests have a fake that rejects what the kernel rejects. `stop` is asked before each step
/// and may say why there shall be none: then those before it are undone.
template <class Kernel, class Stop = NeverStopped>
Report execute(const Plan& plan, Kernel& kernel, Stop stop = {}) {
    Report report;
    for (const PlannedStep& planned : plan.steps) {
        report.failure = stop();
        if (report.failure) {
            undo_all(plan, report.done, kernel, report);
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
    if (!report.failure) {
        put_back(plan.bystanders_after, kernel, report);
        return report;
    }
    undo_refused(plan.steps[report.done].step, kernel, report);
    undo_all(plan, report.done, kernel, report);
    return report;
}

}  // namespace overlay
