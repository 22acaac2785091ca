#pragma once
// nftables by libnftables' JSON: typed tables in, typed tables out. Values are JSON strings, never pasted
// into nft's grammar. A rule that does not read back exactly as one of ours is rule::Unknown.

#include "topology/state.hpp"

#include <memory>
#include <set>
#include <vector>

namespace overlay::netlink {

struct FoundFirewall {
    std::vector<FirewallTable> tables;   ///< named overlay_*, family inet or bridge, in order (family, name)
    std::set<FoundTable> all;            ///< every table of every family
};

class Firewall {
  public:
    Firewall();
    Firewall(Firewall&&) noexcept;
    Firewall& operator=(Firewall&&) noexcept;
    ~Firewall();

    /// Empty, and without touching netlink, while the kernel has not loaded nf_tables.
    [[nodiscard]] Result<FoundFirewall> snapshot();

    /// One transaction: removes `from` (if any) and adds `to` (if any).
    [[nodiscard]] Result<void> replace(const std::optional<FirewallTable>& from,
                                       const std::optional<FirewallTable>& to);

  private:
    struct Context;
    std::unique_ptr<Context> context_;
};

/// libnftables JSON that adds the table with all its chains and rules ({"nftables": […]}), as text.
[[nodiscard]] std::string to_nft_json(const FirewallTable& table);

}  // namespace overlay::netlink
