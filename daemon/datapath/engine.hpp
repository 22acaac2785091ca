#pragma once
// Endpoints on one thread or several. Each thread carries a lane (lane.hpp):
//
//     the caller's thread    lane 0: its share of every GUE port, some WireGuard devices, and whatever else watches
//                            loop(), such as a control socket
//     thread k               lane k: its share of every GUE port, some WireGuard devices
//
// Whoever changes endpoints or asks them does so on the caller's thread, and holds the other lanes meanwhile: between
// two of their turns. Everything here does that by itself.

#include "daemon/datapath/lane.hpp"

namespace overlay::datapath {

class Engine {
  public:
    static constexpr unsigned max_threads = 64;

    /// Of `offloads` it does without those that fail their test. What `memory` says of the cryptography holds for the
    /// whole process, of the rest each thread has as much. Errors: Failed.
    [[nodiscard]] static Result<std::unique_ptr<Engine>> make(const io::Offloads& offloads,
                                                              const Memory& memory = default_memory,
                                                              unsigned threads = 1);

    /// While it lives, all lanes stand still. On the caller's thread; one inside another is fine.
    class Hold {
      public:
        explicit Hold(Engine& engine) : engine_{&engine} { engine.hold(); }
        Hold(Hold&& other) noexcept : engine_{std::exchange(other.engine_, nullptr)} {}
        Hold(const Hold&) = delete;
        Hold& operator=(const Hold&) = delete;
        ~Hold() {
            if (engine_ != nullptr) engine_->let_go();
        }

      private:
        Engine* engine_;
    };

    /// One that nobody else touches meanwhile; nothing, where there is none.
    class Wireguard {
      public:
        Wireguard(Hold hold, WireguardEndpoint* endpoint) : hold_{std::move(hold)}, endpoint_{endpoint} {}
        explicit operator bool() const { return endpoint_ != nullptr; }
        WireguardEndpoint* operator->() const { return endpoint_; }

      private:
        Hold hold_;
        WireguardEndpoint* endpoint_;
    };

    /// Adds the endpoint, or makes the one of this name so: what need not be opened anew stays open. A new WireGuard
    /// device goes to the lane that has fewest.
    /// Errors: those of opening it; a device or port that failed leaves what was there before.
    [[nodiscard]] Result<void> set(const GueEndpointConfig& config);
    [[nodiscard]] Result<void> set(const WireguardEndpointConfig& config);
    void remove(const std::string& name);
    /// For `wg` and the like.
    [[nodiscard]] Wireguard wireguard(const std::string& name);

    /// For descriptors of others.
    [[nodiscard]] io::EventLoop& loop() { return lanes_.front()->loop(); }
    /// Carries until `stop` is readable. Errors: Failed, when a loop itself breaks or a thread does not start.
    [[nodiscard]] Result<void> run(int stop);

    /// What a new link begins with.
    [[nodiscard]] const io::Offloads& offloads() const { return offloads_; }
    /// One per link, of all its threads.
    [[nodiscard]] std::vector<LinkReport> reports();
    [[nodiscard]] Strays strays();
    /// Devices of all endpoints that cannot be read any more.
    [[nodiscard]] std::vector<IfName> broken();

  private:
    explicit Engine(const io::Offloads& offloads) : offloads_{offloads} {}
    void hold();
    void let_go();
    [[nodiscard]] Result<void> open(const GueEndpointConfig& config);
    [[nodiscard]] Result<void> all_follow(const std::string& name);

    io::Offloads offloads_;
    std::vector<std::unique_ptr<Lane>> lanes_;
    unsigned holds_ = 0;   ///< one inside another
};

}  // namespace overlay::datapath
