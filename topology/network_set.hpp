#pragma once
// Networks that can be asked which of them contains an address, in a time that grows with the
// number of different prefix lengths among them, hardly with that of the networks.

#include "topology/topology.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace overlay {

class NetworkSet {
  public:
    /// `owner`: the node whose network it is, if somebody may ask for those of all others.
    void add(const Located<IpPrefix>& network, const Node* owner = nullptr) {
        const IpPrefix key = network.value.network();
        std::vector<Entry>& same = networks_[key];
        const bool known = std::any_of(same.begin(), same.end(),
                                       [&](const Entry& each) { return each.owner == owner; });
        if (known || same.size() >= 2) return;  // whoever is left out, one of the two is another's
        same.push_back(Entry{network, owner});
        lengths_.emplace(key.family(), key.length());
    }

    /// The narrowest network around the address that is not `left_out`'s; nullptr: none.
    [[nodiscard]] const Located<IpPrefix>* find(const IpAddress& address,
                                                const Node* left_out = nullptr) const {
        for (const auto& [family, length] : lengths_) {
            if (family != address.family()) continue;
            const auto found = networks_.find(IpPrefix::of(address, length).network());
            if (found == networks_.end()) continue;
            for (const Entry& entry : found->second) {
                if (left_out == nullptr || entry.owner != left_out) return &entry.network;
            }
        }
        return nullptr;
    }

  private:
    struct Entry {
        Located<IpPrefix> network;
        const Node* owner;
    };
    std::map<IpPrefix, std::vector<Entry>> networks_;
    std::set<std::pair<Family, std::uint8_t>, std::greater<>> lengths_;  ///< longest first
};

}  // namespace overlay
