#pragma once
// The pieces of the parser, one per noun of the file. Each reads what it is given, reports
// everything that is wrong with it, and fills the value, with stand-ins for what was refused.

#include "topology/reader.hpp"
#include "topology/topology.hpp"

namespace overlay {

/// Smallest MTUs that we accept. RFC 791: every IPv4 host takes 576 bytes; no stack of ours fits in
/// less.
inline constexpr Range mtu_range{576, 65535};
inline constexpr Range port_range{1, 65535};

/// [A-Za-z0-9][A-Za-z0-9_-]{0,62}: a label of a host name (RFC 1123 §2.1), and '_'.
[[nodiscard]] bool is_node_name(std::string_view name);
/// [a-z][a-z0-9_-]{0,31}: goes into marks, and into the name of an nft table.

void parse_underlay(Findings& findings, const Item& item, Node& node);
void parse_bridge(Findings& findings, const Item& item, const std::string& network, Node& node);
void parse_router_advertisement(Findings& findings, const Item& item, Node& node);
void parse_masquerade(Findings& findings, const Item& item, Node& node);
void parse_guards(Findings& findings, const Item& item, Node& node);
void parse_hub_wireguard(Findings& findings, const Item& item, const std::string& network,
                         Node& node);
void parse_offload(Findings& findings, const Item& item, Offload& offload);
/// A path, and not the secret itself.
void read_key_file(const ObjectReader& object, std::string_view key,
                   std::optional<Located<std::string>>& field);

void parse_hub(Findings& findings, const Item& item, Topology& topology);
void parse_spoke(Findings& findings, const JsonMember& member, Topology& topology);
/// Appends a link to the spoke. `id` is "" for `link`, else the key in `links`.
void parse_link(Findings& findings, const Item& item, std::string id, Node& spoke);

}  // namespace overlay
