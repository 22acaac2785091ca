#pragma once
// overlayctl's side of the control socket.

#include "daemon/control/message.hpp"
#include "netlink/fd.hpp"

#include <chrono>
#include <string>

namespace overlay::control {

class Client {
  public:
    /// Errors: NotFound (nobody listens there, nor is about to), NotPermitted, Failed.
    [[nodiscard]] static Result<Client> connect(const std::string& run_directory);

    /// The body of the answer. Errors: what overlayd says; Failed when it does not answer in time or hangs up,
    /// which closes the connection, or its late answer would be taken for that to another request.
    [[nodiscard]] Result<std::string> ask(const Request& request);
    /// It lives in another network namespace than the calling thread: a file system is shared by many, links are not.
    /// False as well where that cannot be seen.
    [[nodiscard]] bool is_elsewhere() const;
    [[nodiscard]] bool is_open() const { return static_cast<bool>(fd_); }
    /// Until overlayd hangs up, as its end does.
    [[nodiscard]] Result<void> wait_for_end();

  private:
    Client(netlink::UniqueFd fd, std::string run_directory)
        : fd_{std::move(fd)}, run_directory_{std::move(run_directory)} {}
    /// Closes the connection.
    [[nodiscard]] Error lost(Error why);

    netlink::UniqueFd fd_;
    std::string run_directory_;
};

/// Starts the overlayd that lies beside this program, or else the one on the PATH, in the network namespace of
/// the calling thread, and waits until it listens. It outlives us and says what it has to say in
/// <run>/overlayd.log. Errors: NotFound (no such program), Failed (its last words).
[[nodiscard]] Result<void> start_overlayd(const std::string& run_directory,
                                          const std::string& state_directory);
/// Asks it to end, and waits until it has.
[[nodiscard]] Result<void> stop_overlayd(const std::string& run_directory);

}  // namespace overlay::control
