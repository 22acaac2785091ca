#pragma once
// One thread that carries the frames of any number of endpoints, each of them of its own kind:
//
//     gue_endpoint.hpp         Ethernet over GUE, for kernels that have no GRE or FOU
//     wireguard_endpoint.hpp   Ethernet in GRE, and packets, over WireGuard
//
// Endpoints come, change and go while it runs; whoever changes them (a control socket) watches the same
// loop and is called between two turns.

#include "daemon/datapath/gue_endpoint.hpp"
#include "daemon/datapath/wireguard_endpoint.hpp"

#include <algorithm>
#include <iterator>
#include <map>

namespace overlay::datapath {

class Engine {
  public:
    /// Of `offloads` it does without those that fail their test. What `memory` says of the cryptography holds for the
    /// whole process. Errors: Failed.
    [[nodiscard]] static Result<std::unique_ptr<Engine>> make(const io::Offloads& offloads,
                                                              const Memory& memory = default_memory);

    /// Adds the endpoint, or makes the one of this name so: what need not be opened anew stays open.
    /// Errors: those of opening it; a device or port that failed leaves what was there before.
    [[nodiscard]] Result<void> set(const GueEndpointConfig& config);
    [[nodiscard]] Result<void> set(const WireguardEndpointConfig& config);
    void remove(const std::string& name);
    /// For `wg` and the like; nullptr: there is none. Stays until it is removed.
    [[nodiscard]] WireguardEndpoint* wireguard(const std::string& name);

    /// For descriptors of others.
    [[nodiscard]] io::EventLoop& loop() { return loop_; }
    /// Carries until `stop` is readable. Errors: Failed, when the loop itself breaks.
    [[nodiscard]] Result<void> run(int stop);

    /// What a new link begins with.
    [[nodiscard]] const io::Offloads& offloads() const { return offloads_; }
    [[nodiscard]] std::vector<LinkReport> reports() const;
    /// Devices of all endpoints that cannot be read any more.
    [[nodiscard]] std::vector<IfName> broken() const;

  private:
    Engine(io::EventLoop loop, const io::Offloads& offloads, const Memory& memory)
        : loop_{std::move(loop)}, offloads_{offloads}, workspace_{memory} {}
    [[nodiscard]] EndpointTools tools() { return {loop_, workspace_, offloads_}; }
    [[nodiscard]] io::EventLoop::Deadline next_deadline() const;
    /// What `ask` says of each endpoint, in one list.
    template <class Ask>
    [[nodiscard]] auto of_all(const Ask& ask) const {
        decltype(ask(*gue_.begin()->second)) out;
        for (const auto& [name, endpoint] : gue_) std::ranges::move(ask(*endpoint), std::back_inserter(out));
        for (const auto& [name, endpoint] : wireguard_) std::ranges::move(ask(*endpoint), std::back_inserter(out));
        return out;
    }

    io::EventLoop loop_;
    io::Offloads offloads_;
    Workspace workspace_;
    std::map<std::string, std::unique_ptr<GueEndpoint>> gue_;
    std::map<std::string, std::unique_ptr<WireguardEndpoint>> wireguard_;
};

}  // namespace overlay::datapath
