#pragma once
// The planner's shared table: what plan.cpp and its parts (links, network, system) work on. Private
// to them.

#include "topology/plan.hpp"

namespace overlay {

// Routes that come and go with addresses and advertisements (Linux rtnetlink.h, RTPROT_*).
inline constexpr std::uint8_t protocol_kernel = 2;
inline constexpr std::uint8_t protocol_ra = 9;

/// What an address without noprefixroute brings along (Linux net/ipv4/fib_frontend.c, fib_add_ifaddr;
/// net/ipv6/addrconf.c, addrconf_prefix_route).
[[nodiscard]] Route connected(const Address& address);

class Planner {
  public:
    Planner(const NodeIntent& intent, const KernelState& found, const Ledger& ledger,
            const std::vector<Ledger>& neighbours);
    Plan run();

  private:
    // plan_renames.cpp
    void renames();
    void rename_in_ledger(const std::map<IfName, IfName>& renamed);
    void leave_strange_masters();
    void goes_down(const Link& link, const IfName& wanted);

    // plan_links.cpp
    void links();
    void free_tunnels();
    void own_link(const Link& desired);
    void refuse_name(const Link& desired, const Link& found);
    void borrowed_link(const Link& desired);
    void change_link(const Link& desired, const Link& found, bool borrowed);
    void create_link(const Link& desired, Action action, std::string why);
    void before_port_joins(const Link& port);
    void remove_gone_links();
    /// Where the parts of a removal go: all at once when a name must be freed, else in their own
    /// phases.
    struct RemovalPhases {
        Phase routes, peers, addresses, links;
    };
    [[nodiscard]] bool is_in_the_way(const Link& link) const;
    void dismantle(const Link& link, const RemovalPhases& phases, Action action);
    [[nodiscard]] bool goes_elsewhere(const IfName& port, const IfName& bridge) const;
    void ports_come_from_nowhere(const IfName& bridge);
    void return_borrowed_links();
    [[nodiscard]] const Link* holder_of_tunnel(const Link& desired) const;
    [[nodiscard]] std::optional<Mtu> mtu_given_back(const Link& found, Former<Link>& former) const;
    void share_borrowed(const Link& desired, const Link& found, Former<Link>& former);

    // plan_network.cpp: addresses, routes, WireGuard
    void addresses();
    void connect(const Address& address);
    void link_locals();
    [[nodiscard]] std::vector<Address> secondaries_first(const std::set<Address>& addresses) const;
    void gone_addresses(const std::set<Address>& replaced);
    void moved_addresses();
    void promote_secondaries();
    [[nodiscard]] const Address* found_address(const Address& desired) const;
    [[nodiscard]] bool is_going(const Address& ours) const;
    [[nodiscard]] bool leaves_early(const Address& ours) const;
    [[nodiscard]] bool leaves_early(const Route& found) const;
    [[nodiscard]] bool needs_one_that_leaves_early(const Route& found) const;
    [[nodiscard]] bool is_off(const std::string& interface) const;
    struct StepTraits {
        Action action{};
        Impact impact{};
        std::string why;
    };
    void remove_address(Phase phase, const Address& address, const StepTraits& traits);
    void replace_address(const Address& found, const Address& desired);
    void routes();
    [[nodiscard]] bool is_refused(const Route& desired);
    [[nodiscard]] bool make_way(const Route& desired);
    [[nodiscard]] bool is_taken_over(const Route& found) const;
    void gone_routes();
    void moved_routes();
    void wireguard();
    void peers(const IfName& name, const WireguardDevice& desired, const WireguardDevice& found);

    // plan_bystanders.cpp
    void adopt_neighbours(const UplinkMove& move);
    void moved_neighbours();
    void follow_moved_neighbours();
    [[nodiscard]] static bool is_copy(const Neighbour& copy, Neighbour moved);
    void bystanders();
    void take_over_bystanders(Bystanders& after) const;
    [[nodiscard]] bool loses_source(const Route& route) const;
    [[nodiscard]] IfName new_name(const IfName& name) const;
    [[nodiscard]] bool stays(const Neighbour& neighbour) const;
    [[nodiscard]] bool stays(const Address& address) const;
    [[nodiscard]] bool stays(const Route& route) const;
    [[nodiscard]] bool is_moving(const IfName& link) const;

    // plan_system.cpp: modules, firewall, sysctls, FOU ports
    void modules();
    void overlayd();
    void tables();
    void sysctls();
    void set_sysctl(const std::string& key, const std::string& value);
    void share_sysctl(const std::string& key, const std::string& value);
    void restore_sysctls();
    std::vector<SysctlValue> cascade_of(const std::string& key, const std::string& to) const;
    std::string inherited(const std::string& key) const;
    void fou_ports();
    [[nodiscard]] bool is_left_of_a_lost_ledger(const FouPort& port) const;
    [[nodiscard]] bool is_shared(const FouPort& port) const;
    [[nodiscard]] bool port_is_wanted(const FouPort& port) const;
    [[nodiscard]] bool port_is_wanted(std::uint16_t port, const IfName& device) const;
    [[nodiscard]] bool wireguard_wants(std::uint16_t port, const IfName& except) const;
    [[nodiscard]] static bool holds_its_port(const Link& device);
    bool udp_port_taken(Family family, std::uint16_t port, const Step& for_step);

    // plan_offloads.cpp
    void offloads();
    void lro_goes(const IfName& link, const std::string& cause);
    void lro_goes_with_forwarding(const std::string& key, const std::string& interface);
    void lro_goes_with_bridge(const IfName& port);
    [[nodiscard]] bool is_read(const IfName& link) const;
    [[nodiscard]] bool still_causes(const std::string& cause, const IfName& link) const;

    // plan.cpp
    [[nodiscard]] std::optional<NextHop> default_way(Family family, const IfName& device) const;
    void resolve_pins();
    void resolve_uplink_move();
    [[nodiscard]] bool is_another_in_the_bridge();
    void refuse_route_of_no_address(const Route& route);
    void adopt_uplink_move();
    void doubt_underlay();
    [[nodiscard]] bool is_somebody_elses(const Address& address) const;
    void doubt_networks();
    void count_foreign();
    void add(Phase phase, Step step, Action action, Impact impact, std::string why = {});
    void refuse(const Step& step, std::string reason, std::string hint);
    [[nodiscard]] Origin origin_of(const std::string& object) const;
    [[nodiscard]] const Link* found_link(const IfName& name) const;
    [[nodiscard]] bool is_ours(const Link& link) const;
    [[nodiscard]] bool is_remembered(const Link& link, const Link& made) const;
    /// The first network on this node, besides ours, whose ledger says so; nullptr: none.
    template <class Says>
    [[nodiscard]] const Ledger* neighbour(Says says) const {
        for (const Ledger& each : neighbours_) {
            if (says(each)) return &each;
        }
        return nullptr;
    }
    /// The link exists and will go on existing: what hangs on it is kept.
    [[nodiscard]] bool survives(const IfName& name) const;
    [[nodiscard]] bool survives(const Route& route) const;   ///< each of its devices
    [[nodiscard]] bool is_lost(const Route& route) const;    ///< with one of its devices

    const NodeIntent& intent_;
    const KernelState& original_;
    KernelState found_;   ///< with the names that links will have after renames()
    const Ledger& ledger_;
    const std::vector<Ledger>& neighbours_;
    KernelState desired_;       ///< the intent's, with what depends on the found state filled in
    Ledger made_;               ///< the ledger; its addresses, offloads and sysctls with the names that links will have
    std::map<IfName, IfName> new_names_;   ///< of links that this plan renames
    std::set<IfName> created_;  ///< links that this plan makes (anew)
    std::set<IfName> deleted_;  ///< links that this plan removes or makes anew
    std::set<IfName> promoting_;   ///< links that keep their other addresses when the first one goes
    Plan plan_;
};

}  // namespace overlay
