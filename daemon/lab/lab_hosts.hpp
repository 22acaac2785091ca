#pragma once
// Makes the lab's plan true: namespaces, cables, addresses, routes, translations. Decides nothing.
// Everything happens inside namespaces that are made here; the machine's own is never touched.

#include "daemon/lab/lab_plan.hpp"
#include "topology/result.hpp"

namespace overlay::lab {

/// Errors: Conflict when a namespace of that name exists; the caller removes what was made.
[[nodiscard]] Result<void> make_hosts(const LabPlan& plan);

/// Takes away the namespaces, with all that is in them.
[[nodiscard]] Result<void> remove_hosts(const std::vector<std::string>& namespaces);

}   // namespace overlay::lab
