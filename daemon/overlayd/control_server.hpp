#pragma once
// overlayd's side of the control socket (control/message.hpp), in the loop that carries packets: nothing here waits
// for a client. One that sends what is no request, or does not take its answer, is hung up on.

#include "daemon/control/message.hpp"
#include "daemon/io/event_loop.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace overlay::overlayd {

class ControlServer final : private io::Reader {
  public:
    using Serve = std::function<Result<std::string>(const control::Request&)>;

    /// Listens at control::socket_path(); root and our own user may talk. A socket that nobody serves is replaced.
    /// Errors: Conflict (another overlayd serves it), NotPermitted, Failed.
    [[nodiscard]] static Result<std::unique_ptr<ControlServer>> listen(
        const std::string& run_directory, io::EventLoop& loop, Serve serve);
    ~ControlServer() override;
    /// Now and then: listens again after descriptors had run out.
    void on_time();

  private:
    class Client;
    ControlServer(io::EventLoop& loop, Serve serve, std::string path);
    [[nodiscard]] Result<void> watch();
    void on_readable() override;   // somebody new
    void drop(int fd);
    void save_descriptors();

    io::EventLoop& loop_;
    Serve serve_;
    std::string path_;
    io::UniqueFd fd_;
    std::optional<io::Watch> watch_;
    std::vector<io::UniqueFd> saved_;   ///< for who comes when there are no others: it may be the one who can help
    std::uint64_t turns_ = 0;
    std::map<int, std::unique_ptr<Client>> clients_;
};

}  // namespace overlay::overlayd
