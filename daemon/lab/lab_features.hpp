#pragma once
// Whether this kernel has what the nodes of a topology need: each kind of object is made once in a
// namespace that ends with the child process that tried. Trying is the only honest question: a
// module can be there without the switch that matters (CONFIG_NET_FOU_IP_TUNNELS), a namespace
// without power.

#include "daemon/lab/lab_reach.hpp"
#include "topology/result.hpp"

#include <string>
#include <vector>

namespace overlay::lab {

/// What is missing, one sentence each; empty: all is there. Errors: the trial itself was refused.
[[nodiscard]] Result<std::vector<std::string>> missing_features(const LabPlan& plan,
                                                                const Intents& intents);

}   // namespace overlay::lab
