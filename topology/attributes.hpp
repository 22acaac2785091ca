#pragma once
// Every attribute of an object that we manage, by name: one list for comparing, showing and documenting.

#include "topology/step.hpp"

#include <string>
#include <vector>

namespace overlay {

struct AttributeChange {
    std::string name;
    std::string before;   ///< "" : was not there
    std::string after;    ///< "" : will not be there
    friend bool operator==(const AttributeChange&, const AttributeChange&) = default;
};

/// What the step changes, attribute by attribute, without secrets.
[[nodiscard]] std::vector<AttributeChange> attribute_changes(const Step& step);

/// The rule in nft's grammar, without its comment; for a rule of somebody else's, its JSON behind "not ours: ".
[[nodiscard]] std::string rule_text(const FirewallRule& rule);

/// The attributes of a link for which `desired` says something else than `found`: two links that hold
/// just these. A gretap's parameters come as a whole.
struct LinkDifference {
    Link from, to;
    [[nodiscard]] bool is_empty() const { return from == to; }
};
[[nodiscard]] LinkDifference difference(const Link& desired, const Link& found);

}  // namespace overlay
