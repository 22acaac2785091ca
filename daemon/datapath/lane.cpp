#include "daemon/datapath/lane.hpp"

#include "daemon/io/clock.hpp"

#include <algorithm>

namespace overlay::datapath {

namespace {

/// Ends the loop.
class Stop final : public io::Reader {
  public:
    void on_readable() override { asked_ = true; }
    [[nodiscard]] bool asked() const { return asked_; }

  private:
    bool asked_ = false;
};

}  // namespace

Result<std::unique_ptr<Lane>> Lane::make(const io::Offloads& offloads, const Memory& memory, Share share) {
    auto loop = io::EventLoop::make();
    if (!loop) return pass_on(loop);
    return std::unique_ptr<Lane>{new Lane{std::move(*loop), offloads, memory, share}};
}

// ---- endpoints ----------------------------------------------------------------------------------

void Lane::remove(const std::string& name) {
    gue_.erase(name);
    const auto there = wireguard_.find(name);
    if (there == wireguard_.end()) return;
    there->second->finish();
    wireguard_.erase(there);
}

WireguardEndpoint* Lane::wireguard(const std::string& name) const {
    const auto found = wireguard_.find(name);
    return found == wireguard_.end() ? nullptr : found->second.get();
}

GueEndpoint* Lane::gue(const std::string& name) const {
    const auto found = gue_.find(name);
    return found == gue_.end() ? nullptr : found->second.get();
}

std::vector<LinkReport> Lane::reports() const {
    return of_all([](const auto& endpoint) { return endpoint.reports(); });
}

void Lane::add_strays_to(Strays& out) const {
    for (const auto& [name, endpoint] : gue_) endpoint->add_strays_to(out[name]);
    for (const auto& [name, endpoint] : wireguard_) endpoint->add_strays_to(out[name]);
}

std::vector<IfName> Lane::broken() const {
    return of_all([](const auto& endpoint) { return endpoint.broken(); });
}

// ---- the loop -----------------------------------------------------------------------------------

io::EventLoop::Deadline Lane::next_deadline() const {
    auto first = io::EventLoop::Deadline::max();
    for (const auto& [name, endpoint] : wireguard_)
        first = std::min(first, endpoint->next_deadline());
    return first;
}

Result<void> Lane::run(std::initializer_list<int> stops) {
    std::unique_lock held{lock_};
    Stop end;
    std::vector<io::Watch> watches;
    for (const int stop : stops) {
        auto watch = loop_.watch(stop, end);
        if (!watch) return pass_on(watch);
        watches.push_back(std::move(*watch));
    }
    while (!end.asked()) {
        const auto deadline = next_deadline();
        if (auto set = loop_.set_alarm(deadline); !set) return set;
        held.unlock();
        const auto slept = loop_.sleep();
        held.lock();
        if (!slept) return slept;
        loop_.tell();
        if (deadline == io::EventLoop::Deadline::max() || io::now().monotonic < deadline) continue;
        for (const auto& [name, endpoint] : wireguard_) endpoint->on_time();
    }
    for (const auto& [name, endpoint] : wireguard_) endpoint->finish();
    return {};
}

}  // namespace overlay::datapath
