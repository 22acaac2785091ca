#pragma once
// What one thread carries: the frames of any number of endpoints, each of them of its own kind:
//
//     gue_endpoint.hpp         Ethernet over GUE, for kernels that have no GRE or FOU
//     wireguard_endpoint.hpp   Ethernet in GRE, and packets, over WireGuard
//
// A GUE port has an endpoint in every lane, a WireGuard device in one. They come, change and go while it runs; whoever
// changes them is called by the same loop between two turns, or belongs to another thread and holds the lane meanwhile.

#include "daemon/datapath/gue_endpoint.hpp"
#include "daemon/datapath/turn_lock.hpp"
#include "daemon/datapath/wireguard_endpoint.hpp"

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <map>

namespace overlay::datapath {

class Lane {
  public:
    /// Errors: Failed. `offloads` must outlive it.
    [[nodiscard]] static Result<std::unique_ptr<Lane>> make(const io::Offloads& offloads, const Memory& memory,
                                                            Share share);

    /// What an endpoint of this lane is opened with.
    [[nodiscard]] EndpointTools tools() { return {loop_, workspace_, offloads_, share_}; }
    void add(const std::string& name, std::unique_ptr<GueEndpoint> endpoint) {
        gue_.emplace(name, std::move(endpoint));
    }
    void add(const std::string& name, std::unique_ptr<WireguardEndpoint> endpoint) {
        wireguard_.emplace(name, std::move(endpoint));
    }
    void remove(const std::string& name);
    [[nodiscard]] std::size_t wireguard_devices() const { return wireguard_.size(); }
    /// nullptr: there is none. Stays until it is removed.
    [[nodiscard]] WireguardEndpoint* wireguard(const std::string& name) const;
    [[nodiscard]] GueEndpoint* gue(const std::string& name) const;

    /// For descriptors of others.
    [[nodiscard]] io::EventLoop& loop() { return loop_; }
    /// Carries until one of `stops` is readable, the lock held but while it sleeps. Errors: Failed, when the loop
    /// itself breaks.
    [[nodiscard]] Result<void> run(std::initializer_list<int> stops);

    [[nodiscard]] TurnLock& lock() { return lock_; }
    /// Of who held the lane, before letting go: endpoints may want to be called sooner than before.
    [[nodiscard]] Result<void> set_alarm() { return loop_.set_alarm(next_deadline()); }

    [[nodiscard]] std::vector<LinkReport> reports() const;
    void add_strays_to(Strays& out) const;
    /// Devices of all endpoints that cannot be read any more.
    [[nodiscard]] std::vector<IfName> broken() const;

  private:
    Lane(io::EventLoop loop, const io::Offloads& offloads, const Memory& memory, Share share)
        : loop_{std::move(loop)}, offloads_{offloads}, workspace_{memory}, share_{share} {}
    [[nodiscard]] io::EventLoop::Deadline next_deadline() const;
    /// What `ask` says of each endpoint, in one list.
    template <class Ask>
    [[nodiscard]] auto of_all(const Ask& ask) const {
        decltype(ask(*gue_.begin()->second)) out;
        for (const auto& [name, endpoint] : gue_) std::ranges::move(ask(*endpoint), std::back_inserter(out));
        for (const auto& [name, endpoint] : wireguard_) std::ranges::move(ask(*endpoint), std::back_inserter(out));
        return out;
    }

    TurnLock lock_;
    io::EventLoop loop_;
    const io::Offloads& offloads_;
    Workspace workspace_;
    Share share_;
    std::map<std::string, std::unique_ptr<GueEndpoint>> gue_;
    std::map<std::string, std::unique_ptr<WireguardEndpoint>> wireguard_;
};

}  // namespace overlay::datapath
