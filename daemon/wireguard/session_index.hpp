#pragma once
// The 32-bit numbers by which a peer names our sessions and handshakes: random, so that nobody who
// sees one learns how many there are, and each owned by exactly one handshake or key pair, which
// returns it when it dies.

#include "daemon/wireguard/random.hpp"
#include "topology/result.hpp"

#include <optional>
#include <unordered_map>
#include <utility>

namespace overlay::wireguard {

class IndexTable;

/// Owns one index of the table, which must outlive it.
class SessionIndex {
  public:
    SessionIndex(IndexTable& table, std::uint32_t value) : table_{&table}, value_{value} {}
    SessionIndex(SessionIndex&& other) noexcept
        : table_{std::exchange(other.table_, nullptr)}, value_{other.value_} {}
    SessionIndex& operator=(SessionIndex&& other) noexcept {
        std::swap(table_, other.table_);
        std::swap(value_, other.value_);
        return *this;
    }
    SessionIndex(const SessionIndex&) = delete;
    SessionIndex& operator=(const SessionIndex&) = delete;
    ~SessionIndex();
    [[nodiscard]] std::uint32_t value() const { return value_; }

  private:
    IndexTable* table_;
    std::uint32_t value_;
};

class IndexTable {
  public:
    /// `owner`: the peer's slot.
    [[nodiscard]] SessionIndex take(std::uint32_t owner, Random& random) {
        // 2^32 numbers for at most four per peer: a second try is already rare.
        for (int tries = 0; tries < 1000; ++tries) {
            const std::uint32_t value = random.number();
            if (owners_.try_emplace(value, owner).second) return SessionIndex{*this, value};
        }
        OVERLAY_UNREACHABLE("the source of randomness repeats itself");
    }
    [[nodiscard]] std::optional<std::uint32_t> owner_of(std::uint32_t value) const {
        const auto found = owners_.find(value);
        return found == owners_.end() ? std::nullopt : std::optional{found->second};
    }
    [[nodiscard]] std::size_t size() const { return owners_.size(); }
    void release(std::uint32_t value) { owners_.erase(value); }

  private:
    // Strangers can ask for any number but never choose one of ours: no attack on the hash.
    std::unordered_map<std::uint32_t, std::uint32_t> owners_;
};

inline SessionIndex::~SessionIndex() {
    if (table_ != nullptr) table_->release(value_);
}

}  // namespace overlay::wireguard
