#pragma once
// A model of the kernel for faults that a real one cannot be asked to produce at a chosen step. It rejects
// what the real one rejects (a link that exists, an address on a missing link, a peer of a missing
// device, a second tunnel of the same addresses and key, a UDP port in use, an IPv6 address with another
// length) and does along what the real one does (secondary addresses, connected routes), so that a wrong
// order of steps fails here, too.

#include "topology/state.hpp"
#include "topology/step.hpp"

#include <cstddef>
#include <optional>

namespace overlay::test {

class FakeKernel {
  public:
    explicit FakeKernel(KernelState initial) : state{std::move(initial)} {}

    KernelState state;
    std::optional<std::size_t> fail_at;    ///< the n-th execute() is refused …
    enum class Refusal { Clean, TookEffect } refusal = Refusal::Clean;   ///< … before or after its effect
    std::size_t calls = 0;

    Result<void> execute(const Step& step);
    Result<KernelState> snapshot() const { return state; }

  private:
    Result<void> carry_out(const Step& step);
    Result<void> replace_table(const ReplaceTable& step);
    Result<void> add_fou_port(const AddFouPort& step);
    Result<void> create_link(const CreateLink& step);
    Result<void> add_address(const AddAddress& step);
    Result<void> remove_address(const RemoveAddress& step);
    Result<void> add_route(const AddRoute& step);
    Result<void> add_neighbour(const AddNeighbour& step);
    [[nodiscard]] bool reaches(const NextHop& way) const;
    [[nodiscard]] bool port_in_use(std::uint16_t port, const IfName& except) const;
    void mark_secondaries();
    void list_addresses();
    void connect(const IfName& link);
    Result<void> rename(const RenameLink& step);
    Result<void> change(const ChangeLink& step);
    [[nodiscard]] bool tunnel_exists(const IfName& name, const GretapAttributes& tunnel) const;
    void lose_neighbours(const IfName& link, std::optional<Family> family);
    void go_down(const IfName& name);
    void resize(Link& link, Mtu mtu);
    Result<void> remove_link(const IfName& name);
    void write_sysctl(const SetSysctl& step);

    std::set<Route> advertised_;            ///< learnt by router advertisement, on links without IPv6 for now
    std::map<Address, std::size_t> ages_;   ///< of those that were there at first: 0
    std::size_t age_ = 0;
};

}  // namespace overlay::test
