#pragma once
// overlayctl's side of the control socket.

#include "daemon/control/message.hpp"
#include "netlink/fd.hpp"

#include <chrono>

namespace overlay::control {

class Client {
  public:
    /// Errors: NotFound (nobody listens there), NotPermitted, Failed.
    [[nodiscard]] static Result<Client> connect(const std::string& run_directory);

    /// The body of the answer. Errors: what overlayd says; Failed when it does not answer in time.
    [[nodiscard]] Result<std::string> ask(const Request& request);
    /// Until overlayd hangs up, as its end does.
    [[nodiscard]] Result<void> wait_for_end();

  private:
    explicit Client(netlink::UniqueFd fd) : fd_{std::move(fd)} {}
    netlink::UniqueFd fd_;
};

/// Starts the overlayd that lies beside this program, or else the one on the PATH, in the network namespace of
/// the calling thread, and waits until it listens. It outlives us and says what it has to say in
/// <run>/overlayd.log. Errors: NotFound (no such program), Failed (its last words).
[[nodiscard]] Result<void> start_overlayd(const std::string& run_directory,
                                          const std::string& state_directory);
/// Asks it to end, and waits until it has.
[[nodiscard]] Result<void> stop_overlayd(const std::string& run_directory);

}  // namespace overlay::control
