#pragma once
// Asks the kernel whether the pairs that should answer do: many `ping` children at a time, each
// inside its host's namespace, asked again until they answer or the deadline is over (a bridge port
// learns, a translation opens, WireGuard shakes hands). `ping` is Debian's, so that the judge is
// not our own code.

#include "daemon/lab/lab_reach.hpp"
#include "topology/result.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace overlay::lab {

struct Answer {
    bool asked = false;
    bool ok = false;
    std::string reason;   ///< what ping said last, when not ok
};

struct PairResult {
    LabPair pair;
    std::string address;   ///< that was asked; "" when none was found
    Answer small;          ///< 56 bytes
    Answer full;           ///< exactly pair.mtu bytes of IP, not to be fragmented
};

struct PingOptions {
    std::chrono::milliseconds deadline{30'000};   ///< for all of it
    std::size_t at_once = 24;                     ///< children
};

[[nodiscard]] Result<std::vector<PairResult>> ping_pairs(const LabPlan& plan,
                                                         std::vector<LabPair> pairs,
                                                         const PingOptions& options);

[[nodiscard]] bool all_answer(const std::vector<PairResult>& results);

enum class Marks { Plain, Colour };
/// The table, rows from and columns to, the legend, each failure with its reason, and the sum.
[[nodiscard]] std::string text(const LabPlan& plan, const std::vector<PairResult>& results,
                               Marks marks);
[[nodiscard]] std::string to_json(const LabPlan& plan, const std::vector<PairResult>& results);

}   // namespace overlay::lab
