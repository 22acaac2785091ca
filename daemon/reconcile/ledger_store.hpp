#pragma once
// The ledger on disk: <state>/<network>/ledger.json, replaced atomically, valid for one boot (what it
// describes is kernel state, and that is gone after a reboot).

#include "topology/ledger.hpp"
#include "topology/result.hpp"

#include <string>
#include <vector>

namespace overlay {

class LedgerStore {
  public:
    /// `directory`: usually /var/lib/overlay.
    explicit LedgerStore(std::string directory) : directory_{std::move(directory)} {}

    /// An empty ledger when there is none, or when it is from before a reboot. Errors: unreadable, damaged.
    [[nodiscard]] Result<Ledger> load(const std::string& network) const;
    /// An empty ledger removes the file and its directory.
    [[nodiscard]] Result<void> save(const Ledger& ledger) const;
    /// Of every other network that has one.
    [[nodiscard]] Result<std::vector<Ledger>> load_neighbours(const std::string& network) const;
    /// Networks that have a ledger here.
    [[nodiscard]] Result<std::vector<std::string>> networks() const;

  private:
    [[nodiscard]] std::string path(const std::string& network) const;
    std::string directory_;
};

/// Pure halves, for tests. The format is versioned; an unknown version or a damaged text is Invalid.
[[nodiscard]] std::string ledger_to_json(const Ledger& ledger, const std::string& boot_id);
struct StoredLedger { Ledger ledger; std::string boot_id; };
[[nodiscard]] Result<StoredLedger> ledger_from_json(const std::string& json);

}  // namespace overlay
