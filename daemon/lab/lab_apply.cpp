#include "daemon/lab/lab_apply.hpp"

#include "daemon/reconcile/key_files.hpp"
#include "daemon/reconcile/reconcile.hpp"
#include "topology/intent.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace overlay::lab {
namespace {

int exit_code(Outcome::Verdict verdict) {
    switch (verdict) {
        case Outcome::Verdict::Done: return 0;
        case Outcome::Verdict::Failed: return 1;
        case Outcome::Verdict::RolledBack: return 4;
        case Outcome::Verdict::RolledBackInPart: return 5;
        case Outcome::Verdict::Refused: return 6;
    }
    return 1;
}

void explain(const Outcome& outcome) {
    if (outcome.error) {
        fmt::print(stderr, "{}: {}\n", outcome.error_origin.path, text(*outcome.error));
    }
    for (const Refusal& refusal : outcome.plan.refusals)
        fmt::print(stderr, "{}: {}\n", refusal.object, refusal.reason);
    for (const std::string& line : outcome.left_over) fmt::print(stderr, "left over: {}\n", line);
}

}   // namespace

int apply_here(const NodeToApply& what) {
    const Node* node = what.topology.find(what.node);
    OVERLAY_ASSERT(node != nullptr);
    // The lab's key files are absolute paths, whatever the file says (lab_keys.cpp).
    LoadedKeys keys = load_keys(what.topology, *node, "/", WhichKeys::All);
    if (has_errors(keys.diagnostics)) {
        for (const Diagnostic& each : keys.diagnostics) {
            fmt::print(stderr, "{}: {}\n", each.path, each.message);
        }
        return 3;
    }
    ApplyOptions options;
    options.directories = {(what.directory / "state").string(), (what.directory / "run").string()};
    const Outcome outcome =
        apply(compile(what.topology, *node, keys.preshared), std::move(keys.secrets), options);
    if (outcome.verdict == Outcome::Verdict::Done) {
        std::puts(fmt::format("{} changes applied, {} writes", outcome.plan.steps.size(),
                              outcome.writes)
                      .c_str());
    } else {
        explain(outcome);
    }
    return exit_code(outcome.verdict);
}

}   // namespace overlay::lab
