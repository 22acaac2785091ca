#pragma once
// What the rules share: the topology under judgement, where findings go, and a register of things
// that only one owner may have.

#include "topology/derive.hpp"
#include "topology/reader.hpp"
#include "topology/topology.hpp"

#include <fmt/format.h>

#include <map>
#include <string>

namespace overlay {

/// Who has something, and where the file says so.
struct Claim {
    std::string owner;  ///< "spokes.office"
    std::string path;   ///< "spokes.office.link.address"
    Span at;
    bool derived = false;  ///< from names, not stated
};

/// Things that exist once: the second to claim one is told who has it and where that is said.
template <class Key>
class Register {
  public:
    /// `role` completes "X is already ROLE OWNER": "the address of".
    /// `derived_hint` is for two that both follow from names.
    Register(Findings& findings, std::string role, std::string hint = {},
             std::string derived_hint = "both follow from names; state one of the two")
        : findings_{findings},
          role_{std::move(role)},
          hint_{std::move(hint)},
          derived_hint_{std::move(derived_hint)} {}

    /// False: somebody else has it, and that was reported.
    bool claim(const Key& key, std::string_view shown, Claim claim) {
        const auto [found, is_new] = claims_.try_emplace(key, claim);
        if (is_new) return true;
        const bool in_order = found->second.at <= claim.at;  // report the later of the two
        const Claim& first = in_order ? found->second : claim;
        const Claim& second = in_order ? claim : found->second;
        const bool none_stated = first.derived && second.derived;
        findings_.error(second.at, second.path,
                        fmt::format("{}{} is already {} {} ({})", shown,
                                    second.derived ? ", the default here," : "", role_, first.owner,
                                    findings_.place(first.at)),
                        none_stated ? derived_hint_ : hint_);
        return false;
    }

  private:
    Findings& findings_;
    std::string role_;
    std::string hint_;
    std::string derived_hint_;
    std::map<Key, Claim> claims_;
};

/// Calls `visit(spoke, link)` for every link.
template <class Visit>
void for_each_link(const Topology& topology, Visit visit) {
    for (const Node& spoke : topology.spokes) {
        for (const LinkSpec& link : spoke.links) visit(spoke, link);
    }
}

[[nodiscard]] inline bool is_gretap(const LinkSpec& link) {
    return link.type.value != LinkType::Wireguard;
}
[[nodiscard]] inline bool is_gue(const LinkSpec& link) {
    return link.type.value == LinkType::GretapGue;
}
[[nodiscard]] inline bool uses_wireguard(const LinkSpec& link) { return !is_gue(link); }

/// "hub" or "spokes.office"
[[nodiscard]] inline std::string node_path(const Node& node) {
    return node.is_hub ? "hub" : "spokes." + node.name;
}

/// Why no host can have this address, "is a multicast address"; empty: one can.
[[nodiscard]] std::string why_no_host(const IpAddress& address);
/// The same of a network that shall be routed.
[[nodiscard]] std::string why_no_network(const IpPrefix& network);

/// RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291 §2.5.6: not found from the Internet.
[[nodiscard]] bool is_private(const IpAddress& address);

/// A spoke whose LAN is reached by routes, not by the common Ethernet.
[[nodiscard]] bool is_routed(const Node& spoke);
[[nodiscard]] bool forwards(const Node& node, Family family);
/// The hub's addresses inside WireGuard; of derived ones the place is that of the device.
[[nodiscard]] std::vector<Located<IpPrefix>> located_tunnel_networks(const Topology& topology);
/// The place of the link's tunnel address in the file, or of the link when it is derived.
[[nodiscard]] Claim tunnel_claim(const Node& spoke, const LinkSpec& link, std::size_t index);

void validate_names(const Topology& topology, Findings& findings);
void validate_key_files(const Topology& topology, Findings& findings);
void validate_addresses(const Topology& topology, Findings& findings);
void validate_tunnel_addresses(const Topology& topology, Findings& findings);
void validate_links(const Topology& topology, Findings& findings);
void validate_underlay(const Topology& topology, Findings& findings);
void validate_router_advertisement(const Topology& topology, Findings& findings);
void validate_bridges(const Topology& topology, Findings& findings);
void validate_exit(const Topology& topology, Findings& findings);
void validate_routing(const Topology& topology, Findings& findings);
void validate_mtus(const Topology& topology, Findings& findings);

}  // namespace overlay
