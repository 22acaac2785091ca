#pragma once
// A plan as a reviewer reads it, and as a program reads it.

#include "topology/plan.hpp"

#include <string>

namespace overlay {

enum class Colour { Off, On };

/// Grouped by object in order of execution:
///     + link gretap_office                                    home.json:25:17  [live]
///         type gretap, mtu 1398, …
///     ~ sysctl net.ipv4.conf.all.forwarding                   home.json:14:21  [live]
///         value 0 -> 1
/// then notes and the footer "3 to add, 1 to change, 0 to recreate, 0 to remove; 14 foreign objects left
/// alone". Refusals come first, each with a hint.
[[nodiscard]] std::string plan_text(const Plan& plan, std::string_view file_name, Colour colour);

/// {"version": 1, "changes": [{object, action, impact, why, attributes: [{name, old, new}], source}], …}
[[nodiscard]] std::string plan_json(const Plan& plan, std::string_view file_name);

struct PlanCounts {
    std::size_t add = 0, change = 0, recreate = 0, remove = 0;   ///< objects, not steps
};
[[nodiscard]] PlanCounts count(const Plan& plan);

/// The worst impact of any step.
[[nodiscard]] Impact worst_impact(const Plan& plan);

[[nodiscard]] std::string_view text(Action action);   ///< "add", "change", "recreate", "remove"

}  // namespace overlay
