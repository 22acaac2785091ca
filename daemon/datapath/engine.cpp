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
        auto lane = Lane::make(out->offloads_, memory);
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

Lane& Engine::lane_of(const std::string& name) {
    const auto there = std::ranges::find_if(lanes_, [&](const auto& lane) { return lane->has(name); });
    if (there != lanes_.end()) return **there;
    return **std::ranges::min_element(lanes_, {}, [](const auto& lane) { return lane->endpoints(); });
}

Result<void> Engine::set(const GueEndpointConfig& config) {
    const Hold held{*this};
    return lane_of(config.name).set(config);
}

Result<void> Engine::set(const WireguardEndpointConfig& config) {
    const Hold held{*this};
    return lane_of(config.name).set(config);
}

void Engine::remove(const std::string& name) {
    const Hold held{*this};
    lane_of(name).remove(name);
}

Engine::Wireguard Engine::wireguard(const std::string& name) {
    Hold held{*this};
    WireguardEndpoint* const endpoint = lane_of(name).wireguard(name);
    return {std::move(held), endpoint};
}

std::vector<LinkReport> Engine::reports() {
    const Hold held{*this};
    std::vector<LinkReport> out;
    for (const auto& lane : lanes_) std::ranges::move(lane->reports(), std::back_inserter(out));
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
