#pragma once
// Asks the kernels whether the pairs that should answer do: many requests on their way at a time,
// each from inside its host's namespace, sent again until they are answered or the deadline is over
// (a bridge port learns, a translation opens, WireGuard shakes hands).

#include "daemon/lab/lab_reach.hpp"
#include "topology/result.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace overlay::lab {

struct Answer {
    bool asked = false;
    bool ok = false;
    std::string reason;  ///< what was heard last, when not ok
};

struct PairResult {
    LabPair pair;
    std::string address;  ///< that was asked; "" when none was found
    Answer small;         ///< 56 bytes
    Answer full;          ///< exactly pair.mtu bytes of IP, not to be fragmented
};

struct PingOptions {
    std::chrono::milliseconds deadline{30'000};  ///< for all of it
    std::size_t at_once = 128;                   ///< requests on their way
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

}  // namespace overlay::lab
