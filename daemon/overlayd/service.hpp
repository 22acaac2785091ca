#pragma once
// What is asked of overlayd, verb by verb, and what it must not forget: everything carried is kept in
// <run>/overlayd.json, readable for nobody else, so that an overlayd that is started again carries on. That file
// holds WireGuard's keys, as the kernel's memory would; the directory is on a tmpfs.

#include "daemon/control/message.hpp"
#include "daemon/io/uapi_socket.hpp"
#include "daemon/overlayd/carried.hpp"

#include <functional>
#include <map>
#include <set>

namespace overlay::overlayd {

struct ServiceOptions {
    std::string run_directory;
    std::string state_directory;
    std::string uapi_directory = "/var/run/wireguard";   ///< where `wg` looks for devices
};

class Service {
  public:
    /// `stop` ends the loop; `soon` has on_time() called in a moment.
    Service(datapath::Engine& engine, ServiceOptions options, std::function<void()> stop,
            std::function<void()> soon);
    ~Service();

    /// What the last overlayd carried. What cannot be carried now is said on stderr, and tried again until it can:
    /// a device may come back, a port be free again. Errors: those of reading the file that it is kept in.
    [[nodiscard]] Result<void> resume();
    [[nodiscard]] Result<std::string> serve(const control::Request& request);
    /// Takes what has come back, keeps where peers have roamed to since the last look, says what links do without,
    /// and the rest that is not urgent.
    void on_time();

  private:
    Result<std::string> change(const control::Request& request);
    Result<void> set(const control::Request& request);
    [[nodiscard]] Result<std::string> uapi(const std::string& name, std::string_view request);
    [[nodiscard]] std::string counters() const;
    void tell_of_offloads();
    Result<void> add_device(const IfName& name);
    void serve_wg(const IfName& device);
    Result<void> remove(const IfName& name);
    void keep();
    Result<void> resume_device(const IfName& name, const wireguard::SecretText& settings);
    void let_go_of_broken();
    std::vector<Error> take_awaited();

    datapath::Engine& engine_;
    ServiceOptions options_;
    std::function<void()> stop_, soon_;
    Carried carried_;
    /// What is to be carried and cannot be now.
    struct Awaited {
        std::map<IfName, wireguard::SecretText> devices;   ///< with their settings
        std::set<FouPort> ports;
        Carried::Links links;
    } awaited_;
    bool is_unkept_ = false;   ///< the file could not be written
    class WgSocket;
    std::map<IfName, std::unique_ptr<WgSocket>> wg_sockets_;
    std::set<IfName> without_wg_;   ///< `wg` does not reach them; tried again, and said already
    std::map<IfName, io::Offloads> told_;   ///< what has been said of each link's
};

}  // namespace overlay::overlayd
