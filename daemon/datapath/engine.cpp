#include "daemon/datapath/engine.hpp"

#include "daemon/io/self_test.hpp"
#include "daemon/wireguard/ipsec_mb.hpp"

#include <cerrno>
#include <ranges>
#include <system_error>
#include <thread>

#include <sys/eventfd.h>
#include <unistd.h>

namespace overlay::datapath {

Result<std::unique_ptr<Engine>> Engine::make(const io::Offloads& offloads, const Memory& memory, unsigned threads) {
    OVERLAY_ASSERT(threads >= 1 && threads <= max_threads);
    if (!memory.multi_buffer_crypto) wireguard::ipsec_mb::do_without();
    std::unique_ptr<Engine> out{new Engine{io::self_tested(offloads)}};
    for (unsigned n = 0; n < threads; ++n) {
        auto lane = Lane::make(out->offloads_, memory, {.index = n, .count = threads});
        if (!lane) return pass_on(lane);
        out->lanes_.push_back(std::move(*lane));
    }
    return out;
}

// ---- the other lanes ----------------------------------------------------------------------------

void Engine::hold() {
    if (holds_++ > 0) return;
    for (const auto& lane : lanes_ | std::views::drop(1)) lane->lock().lock();
}

/// An alarm that cannot be set: the lane's own thread meets the same, and says so.
void Engine::let_go() {
    if (--holds_ > 0) return;
    for (const auto& lane : lanes_ | std::views::drop(1)) {
        (void)lane->set_alarm();
        lane->lock().unlock();
    }
}

// ---- endpoints ----------------------------------------------------------------------------------

Result<void> Engine::set(const GueEndpointConfig& config) {
    const Hold held{*this};
    GueEndpoint* const first = lanes_.front()->gue(config.name);
    if (first == nullptr || first->socket_options() != config.socket) return open(config);
    const auto former = first->links();
    if (auto set = first->set_links(config.links, broken()); !set) return set;
    auto followed = all_follow(config.name);
    if (!followed) {
        (void)first->set_links(former, {});
        (void)all_follow(config.name);
    }
    return followed;
}

Result<void> Engine::open(const GueEndpointConfig& config) {
    remove(config.name);   // its port and its devices must be free to be opened
    for (const auto& lane : lanes_) {
        GueEndpoint* const first = lanes_.front()->gue(config.name);
        auto endpoint = first == nullptr ? GueEndpoint::open(config, lane->tools())
                                         : GueEndpoint::open_beside(*first, lane->tools());
        if (!endpoint) {
            remove(config.name);
            return pass_on(endpoint);
        }
        lane->add(config.name, std::move(*endpoint));
    }
    return {};
}

Result<void> Engine::all_follow(const std::string& name) {
    const GueEndpoint& first = *lanes_.front()->gue(name);
    for (const auto& lane : lanes_ | std::views::drop(1)) {
        if (auto followed = lane->gue(name)->follow(first); !followed) return followed;
    }
    return {};
}

Result<void> Engine::set(const WireguardEndpointConfig& config) {
    const Hold held{*this};
    if (const auto there = wireguard(config.name)) return there->set(config);
    remove(config.name);
    // The first has most to do besides.
    Lane& lane = **std::ranges::min_element(lanes_ | std::views::reverse, {},
                                            [](const auto& each) { return each->wireguard_devices(); });
    auto endpoint = WireguardEndpoint::open(config, lane.tools());
    if (!endpoint) return pass_on(endpoint);
    lane.add(config.name, std::move(*endpoint));
    return {};
}

void Engine::remove(const std::string& name) {
    const Hold held{*this};
    for (const auto& lane : lanes_) lane->remove(name);
}

Engine::Wireguard Engine::wireguard(const std::string& name) {
    Hold held{*this};
    const auto there = std::ranges::find_if(lanes_, [&](const auto& lane) { return lane->wireguard(name) != nullptr; });
    return {std::move(held), there == lanes_.end() ? nullptr : (*there)->wireguard(name)};
}

std::vector<LinkReport> Engine::reports() {
    const Hold held{*this};
    std::map<IfName, LinkReport> out;
    for (const auto& lane : lanes_) {
        for (LinkReport& report : lane->reports()) {
            const auto [there, is_new] = out.try_emplace(report.name, report);
            if (!is_new) there->second.add(report);
        }
    }
    const auto values = std::views::values(out);
    return {values.begin(), values.end()};
}

Strays Engine::strays() {
    const Hold held{*this};
    Strays out;
    for (const auto& lane : lanes_) lane->add_strays_to(out);
    return out;
}

std::vector<IfName> Engine::broken() {
    const Hold held{*this};
    std::vector<IfName> out;
    for (const auto& lane : lanes_) std::ranges::move(lane->broken(), std::back_inserter(out));
    return out;
}

// ---- threads ------------------------------------------------------------------------------------

namespace {

/// A descriptor that stays readable from ring() on.
class Bell {
  public:
    [[nodiscard]] int fd() const { return fd_.get(); }
    void ring() const {
        const std::uint64_t one = 1;
        (void)!::write(fd_.get(), &one, sizeof one);
    }

  private:
    io::UniqueFd fd_{::eventfd(0, EFD_CLOEXEC)};
};

/// A lane's own thread; `broke` rings when its loop does.
class Thread {
  public:
    Thread(Lane& lane, const Bell& broke) : lane_{lane}, broke_{broke} {}
    Thread(const Thread&) = delete;
    Thread& operator=(const Thread&) = delete;
    ~Thread() { (void)end(); }

    Result<void> start() {
        if (stop_.fd() < 0) return fail(io::system_error("start a thread", errno));
        try {
            thread_ = std::thread{[this] {
                ran_ = lane_.run({stop_.fd()});
                if (!ran_) broke_.ring();
            }};
        } catch (const std::system_error& error) {
            return fail(io::system_error("start a thread", error.code().value()));
        }
        return {};
    }
    /// What became of it.
    Result<void> end() {
        if (thread_.joinable()) {
            stop_.ring();
            thread_.join();
        }
        return ran_;
    }

  private:
    Lane& lane_;
    const Bell& broke_;
    Bell stop_;
    Result<void> ran_;
    std::thread thread_;
};

}  // namespace

Result<void> Engine::run(int stop) {
    if (lanes_.size() == 1) return lanes_.front()->run({stop});
    const Bell broke;
    std::vector<std::unique_ptr<Thread>> threads;
    for (const auto& lane : lanes_ | std::views::drop(1)) {
        threads.push_back(std::make_unique<Thread>(*lane, broke));
        if (auto started = threads.back()->start(); !started) return started;
    }
    auto ran = lanes_.front()->run({stop, broke.fd()});
    for (const auto& thread : threads) {
        if (auto ended = thread->end(); ran && !ended) ran = ended;
    }
    return ran;
}

}  // namespace overlay::datapath
