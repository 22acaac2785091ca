#pragma once
// What firewall_write.cpp and firewall_read.cpp share: the one form in JSON that each rule kind
// has.

#include "netlink/firewall_json.hpp"

#include <nlohmann/json.hpp>

#include <vector>

namespace overlay::netlink {

using Json = nlohmann::json;

/// The "expr" of each nft rule that a rule of ours is made of; comments are not part of it.
[[nodiscard]] std::vector<Json> expressions(const FirewallRule& rule);

}  // namespace overlay::netlink
