#include "daemon/datapath/engine.hpp"

#include "daemon/io/clock.hpp"
#include "daemon/io/self_test.hpp"
#include "daemon/wireguard/ipsec_mb.hpp"

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

Result<std::unique_ptr<Engine>> Engine::make(const io::Offloads& offloads, const Memory& memory) {
    if (!memory.multi_buffer_crypto) wireguard::ipsec_mb::do_without();
    auto loop = io::EventLoop::make();
    if (!loop) return pass_on(loop);
    return std::unique_ptr<Engine>{new Engine{std::move(*loop), io::self_tested(offloads), memory}};
}

// ---- endpoints ----------------------------------------------------------------------------------

Result<void> Engine::set(const GueEndpointConfig& config) {
    if (wireguard(config.name) != nullptr) remove(config.name);
    const auto there = gue_.find(config.name);
    if (there != gue_.end()) {
        if (there->second->socket_options() == config.socket)
            return there->second->set_links(config.links);
        gue_.erase(there);   // its port and its devices must be free to be opened
    }
    auto endpoint = GueEndpoint::open(config, tools());
    if (!endpoint) return pass_on(endpoint);
    gue_.emplace(config.name, std::move(*endpoint));
    return {};
}

Result<void> Engine::set(const WireguardEndpointConfig& config) {
    if (WireguardEndpoint* const there = wireguard(config.name)) return there->set(config);
    gue_.erase(config.name);
    auto endpoint = WireguardEndpoint::open(config, tools());
    if (!endpoint) return pass_on(endpoint);
    wireguard_.emplace(config.name, std::move(*endpoint));
    return {};
}

void Engine::remove(const std::string& name) {
    gue_.erase(name);
    const auto there = wireguard_.find(name);
    if (there == wireguard_.end()) return;
    there->second->finish();
    wireguard_.erase(there);
}

WireguardEndpoint* Engine::wireguard(const std::string& name) {
    const auto found = wireguard_.find(name);
    return found == wireguard_.end() ? nullptr : found->second.get();
}

std::vector<LinkReport> Engine::reports() const {
    return of_all([](const auto& endpoint) { return endpoint.reports(); });
}

std::vector<IfName> Engine::broken() const {
    return of_all([](const auto& endpoint) { return endpoint.broken(); });
}

// ---- the loop -----------------------------------------------------------------------------------

io::EventLoop::Deadline Engine::next_deadline() const {
    auto first = io::EventLoop::Deadline::max();
    for (const auto& [name, endpoint] : wireguard_)
        first = std::min(first, endpoint->next_deadline());
    return first;
}

Result<void> Engine::run(int stop) {
    Stop end;
    const auto watch = loop_.watch(stop, end);
    if (!watch) return pass_on(watch);
    while (!end.asked()) {
        const auto deadline = next_deadline();
        if (auto waited = loop_.wait(deadline); !waited) return waited;
        if (deadline == io::EventLoop::Deadline::max() || io::now().monotonic < deadline) continue;
        for (const auto& [name, endpoint] : wireguard_) endpoint->on_time();
    }
    for (const auto& [name, endpoint] : wireguard_) endpoint->finish();
    return {};
}

}  // namespace overlay::datapath
