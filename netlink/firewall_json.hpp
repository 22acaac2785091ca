#pragma once
// Typed firewall tables as libnftables' JSON (libnftables-json(5)) and back. Pure: text in, values
// out.
//
// Reading works by writing: a listed rule is ours when writing what it seems to say gives the same
// JSON again. Whatever a hand has added to a rule, known to us or not, therefore makes it
// rule::Unknown. One rule of ours may be several of nft's: a masquerade with n sources is n rules,
// since nft would merge neighbouring prefixes in one set, and the merged set would not read back.

#include "netlink/firewall.hpp"

#include <string>
#include <string_view>

namespace overlay::netlink {

/// One transaction that removes `from` (if any, whether it is still there or not) and adds `to` (if
/// any). Without a `from` of its name, `to` must not exist: it would be somebody else's.
[[nodiscard]] std::string replace_as_nft_json(const std::optional<FirewallTable>& from,
                                              const std::optional<FirewallTable>& to);

/// Commands that list, as JSON.
[[nodiscard]] std::string list_table_as_nft_json(const FoundTable& table);
[[nodiscard]] std::string list_chains_as_nft_json(std::string_view family);
[[nodiscard]] std::string list_chain_as_nft_json(const FoundTable& table, std::string_view chain);

/// The answer to list_chains_as_nft_json(): the names of the table's chains.
[[nodiscard]] Result<std::vector<std::string>> chain_names_from_nft_json(const FoundTable& table,
                                                                         std::string_view listing);
/// The answer to list_table_as_nft_json(), or those to list_chain_as_nft_json() for each of its
/// chains.
[[nodiscard]] Result<FirewallTable> table_from_nft_json(const FoundTable& table,
                                                        const std::vector<std::string>& listings);

}  // namespace overlay::netlink
