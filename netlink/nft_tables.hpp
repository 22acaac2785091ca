#pragma once
// What must be known of nftables without libnftables: whether asking would load a module, which
// tables there are, and which of the chains that packets meet drop what no rule accepts.
// (libnftables 1.0.6 reads beyond an array when it lists a table that has flags as JSON, a
// stranger's table included, and then prints rubbish or nothing at all.)

#include "netlink/fd.hpp"
#include "topology/state.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace overlay::netlink {

enum class NfTables { Present, Absent };
/// Absent also when the kernel could load it: we ask only after somebody has. Touches netlink only
/// on kernels without loadable modules.
[[nodiscard]] Result<NfTables> nf_tables_presence();

struct TableHeader {
    FoundTable table;
    std::uint32_t flags = 0;   ///< NFT_TABLE_F_DORMANT, …
};

/// "flags dormant", "flags owner persist", "flags 0x8".
[[nodiscard]] std::string flags_text(std::uint32_t flags);

/// Every table of every family, in the namespace that `fd` was opened in.
[[nodiscard]] Result<std::vector<TableHeader>> dump_tables(const UniqueFd& fd);
/// A chain at a hook (NFTA_CHAIN_HOOK), of any table.
struct BaseChain {
    FoundTable table;
    std::string name;
    bool forward = false;   ///< it meets what is routed (ip, ip6, inet) or bridged (bridge) onwards
    bool drops = false;     ///< policy drop
};
[[nodiscard]] Result<std::vector<BaseChain>> dump_base_chains(const UniqueFd& fd);

[[nodiscard]] Result<UniqueFd> open_netfilter_socket();

}  // namespace overlay::netlink
