#pragma once
// What we must remember because the kernel has no place for a mark: FOU ports, sysctls and offloads with
// their former values, addresses and routes that we added, what we changed on borrowed links. Written to
// disk before the first change of an apply (as the union of what was and what will be) and after the last.

#include "topology/state.hpp"

#include <map>
#include <set>
#include <string>

namespace overlay {

/// A value that was not ours before. It is put back only while it still is what we made it.
template <class T>
struct Former {
    T before{};
    T ours{};
    /// Not empty: changed as a side effect of this sysctl (or, "master", of becoming a port of ours),
    /// and put back together with it.
    std::string cause;
    friend bool operator==(const Former&, const Former&) = default;
};

/// Somebody else's, which a change of ours may cost him.
struct Bystanders {
    std::set<Neighbour> neighbours;
    std::set<Address> addresses;
    std::set<Route> routes;

    [[nodiscard]] bool is_empty() const { return neighbours.empty() && addresses.empty() && routes.empty(); }
    /// But for routes that are here with the MTU that they are to have.
    void add(const Bystanders& other) {
        neighbours.insert(other.neighbours.begin(), other.neighbours.end());
        addresses.insert(other.addresses.begin(), other.addresses.end());
        for (const Route& route : other.routes) {
            if (with_other_mtu(route, routes) == nullptr) routes.insert(route);
        }
    }
    friend bool operator==(const Bystanders&, const Bystanders&) = default;
};

struct Ledger {
    std::string network;
    std::string node;
    /// That we made, with what tells them from others should the alias be lost: kind, and MAC if stated.
    std::map<IfName, Link> links;
    std::map<IfName, PublicKey> wireguard_keys;         ///< of those links: WireGuard has no MAC
    std::set<FouPort> fou_ports;
    std::set<FoundTable> tables;
    std::set<Address> addresses;                        ///< that we added
    std::set<Route> routes;                             ///< that we added
    std::map<std::string, Former<std::string>> sysctls;
    std::map<OffloadKey, Former<bool>> offloads;
    std::map<IfName, Former<Link>> borrowed;            ///< just the attributes that we want, changed or not
    std::set<Address> moved_addresses;                  ///< of the uplink, as they were there
    std::set<Route> moved_routes;
    std::set<Neighbour> moved_neighbours;
    Bystanders bystanders;                              ///< that must still be put back
    bool overlayd = false;                              ///< that we started

    [[nodiscard]] bool is_empty() const;
    friend bool operator==(const Ledger&, const Ledger&) = default;
};

/// Whether a found link can be the one that the ledger says we made, whatever its name and alias are now.
[[nodiscard]] bool is_the_one_made(const Link& found, const Link& made);

}  // namespace overlay
