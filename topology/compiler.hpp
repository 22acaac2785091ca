#pragma once
// The compiler's shared table: what compile.cpp and its parts (WireGuard, routes, the kernel as a
// whole) work on. Private to them.

#include "topology/derive.hpp"
#include "topology/intent.hpp"
#include "topology/mtu.hpp"
#include "topology/step.hpp"

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace overlay {

class Compiler {
  public:
    Compiler(const Topology& topology, const Node& node, const PresharedKeys& keys);
    NodeIntent run();

  private:
    /// One link as seen from this node.
    struct End {
        const Node& spoke;
        const LinkSpec& link;
    };

    template <class StepType>
    void origin(const StepType& step, Span at, std::string path) {
        out_.origins.emplace(object_of(Step{step}), Origin{at, std::move(path)});
    }
    [[nodiscard]] std::string here(std::string_view key) const;
    [[nodiscard]] std::string mark(std::string_view id) const;
    Link& own_link(Link link, Span at, std::string path);
    void address(const IfName& link, const Located<IpPrefix>& prefix, std::string path);
    void route(Route value, Span at, std::string path);

    // compile.cpp: underlay, bridge and tunnels
    void underlay();
    void bridge();
    void borrow_port(const IfName& name, Span at, std::string path);
    void tunnel(const End& end);
    GretapAttributes gretap(const End& end);
    void gue(const End& end, GretapAttributes& out);
    void carried_by_port(const IfName& gretap, const FouPort& port, const End& end);
    EndpointIntent& carried_by_wireguard(const IfName& device, const LinkSpec* link);

    // compile_wireguard.cpp
    void hub_wireguard();
    void spoke_wireguard();
    void spoke_tunnel(const End& end, const IfName& device);
    void wireguard_device(const IfName& name, WireguardDevice device,
                          const Located<std::string>& key);
    WireguardPeer peer_at_hub(const End& end);
    WireguardPeer hub_at_spoke(const End& end);
    [[nodiscard]] bool calls_routed_spokes(const Node& spoke, Family family) const;
    void preshared_file(const IfName& device, const PublicKey& peer, const LinkSpec& link);
    Fingerprint preshared(const LinkSpec& link);

    // compile_routes.cpp
    [[nodiscard]] std::vector<Located<IpPrefix>> behind_hub(const LinkSpec& link) const;
    [[nodiscard]] std::vector<Located<IpPrefix>> cut_off_inside(const LinkSpec& link) const;
    void routed_networks();
    [[nodiscard]] bool is_connected(const IpPrefix& network) const;
    void routes_to_routed_spokes();
    [[nodiscard]] std::optional<std::pair<IpAddress, IfName>> hub_on_our_ethernet(
        Family family) const;
    void exit_through_hub();
    [[nodiscard]] IpAddress source_towards(const std::pair<IpAddress, IfName>& via) const;
    void keep_way_to_bridged_hub();
    void pin_hub(const LinkSpec& link, Span at, std::string path);
    [[nodiscard]] std::optional<std::pair<IpAddress, IfName>> exit_by_wireguard(
        const LinkSpec& link, Family family) const;

    // compile_system.cpp
    void sysctl(std::string key, std::string value, Span at, std::string path);
    [[nodiscard]] std::set<IfName> routing_interfaces() const;
    [[nodiscard]] bool has_sysctls(const IfName& device, Family family) const;
    void sysctls();
    void accept_ra(Span at);
    void modules();

    const Topology& topology_;
    const Node& node_;
    const PresharedKeys& keys_;
    MtuEngine mtus_;
    std::vector<End> ends_;
    NodeIntent out_;
};

}  // namespace overlay
