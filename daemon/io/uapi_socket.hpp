#pragma once
// Where `wg` finds a device that is no kernel's: a listening socket named after it, and its
// clients.
//
//   client ──bytes──▶ until an empty line ──▶ answer() ──▶ bytes ──▶ client
//
// Driven by somebody else's loop, which watches one descriptor. Nothing here waits: a client has at
// most one request and one answer in memory, gets the next only when it has taken the last, and is
// dropped when it does neither. What a request means is wireguard/uapi.hpp's.

#include "daemon/io/files.hpp"
#include "daemon/wireguard/moment.hpp"
#include "daemon/wireguard/secret.hpp"
#include "topology/values.hpp"

#include <functional>
#include <map>
#include <string_view>

namespace overlay::io {

struct UapiSocketOptions {
    std::string folder = "/var/run/wireguard";        ///< where `wg` looks
    std::size_t max_clients = 16;                     ///< one more, and the idlest has to go
    std::size_t max_request_bytes = 4 * 1024 * 1024;  ///< some 14000 peers
    std::chrono::seconds max_idle{60};
};

class UapiSocket {
  public:
    using Clock = wireguard::Clock;
    using SecretText = wireguard::SecretText;
    /// To a request with its empty line. Empty: hang up.
    using Answer = std::function<SecretText(std::string_view request)>;

    /// Makes the folder (0700) and the socket in it (0600). That of a process that died is
    /// replaced. Errors: Conflict, naming the process that serves the device; NotPermitted;
    /// Invalid; Failed.
    [[nodiscard]] static Result<UapiSocket> open(const IfName& device,
                                                 const UapiSocketOptions& options, Answer answer);
    UapiSocket(UapiSocket&&) noexcept = default;
    UapiSocket& operator=(UapiSocket&&) = delete;
    ~UapiSocket();  ///< removes the socket, if it is still ours

    /// Readable when there is something to do, and then on_readable() does it, a bounded piece.
    [[nodiscard]] int fd() const { return poll_.get(); }
    void on_readable(Clock::time_point now);

    [[nodiscard]] Clock::time_point next_deadline() const;
    void on_time(Clock::time_point now);

    [[nodiscard]] std::size_t clients() const { return clients_.size(); }

  private:
    struct Client {
        UniqueFd fd;
        Clock::time_point last_active;
        SecretText in{};                 ///< of the request that is arriving, and what came with it
        std::size_t searched_bytes = 0;  ///< of `in`: no request ends there
        bool is_too_long = false;        ///< what came of the request is forgotten
        SecretText out{};
        std::size_t sent_bytes = 0;
        std::uint32_t watched = 0;  ///< EPOLLIN or EPOLLOUT
    };
    /// What tells our socket's name from one that somebody else gave to his since.
    struct FileId {
        std::uint64_t device = 0, inode = 0;
        friend bool operator==(const FileId&, const FileId&) = default;
    };

    UapiSocket(const UapiSocketOptions& options, Answer answer);
    Result<void> listen(const std::string& path);
    void watch(int fd, std::uint32_t events, int operation) const;

    void accept_clients(Clock::time_point now);
    void drop_idlest();
    [[nodiscard]] bool serve(Client& client, Clock::time_point now);
    [[nodiscard]] bool read_from(Client& client, Clock::time_point now);
    [[nodiscard]] bool write_to(Client& client, Clock::time_point now);
    [[nodiscard]] bool answer_next(Client& client);
    [[nodiscard]] std::size_t request_end(Client& client) const;

    UapiSocketOptions options_;
    Answer answer_;
    std::string path_;
    FileId file_;
    UniqueFd poll_, listener_;
    std::map<int, Client> clients_;
    Clock::time_point accept_again_ = wireguard::never;  ///< descriptors ran out until then
};

}  // namespace overlay::io
