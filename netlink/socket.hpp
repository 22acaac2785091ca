#pragma once
// One netlink socket, used for one request at a time: change (and wait for the kernel's word), ask for
// one object, or dump a whole table. Nothing here knows what the messages mean.
//
// The kernel answers from port 0 with our sequence and port number; anything else is dropped. A dump
// that the kernel marks as interrupted (NLM_F_DUMP_INTR: the table changed meanwhile) is repeated.
// Every wait has a deadline. Errors end with the kernel's extended-ACK text (Linux ≥ 4.12).

#include "netlink/fd.hpp"
#include "netlink/message.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace overlay::netlink {

/// The messages that answered one request. Wiped on release: some hold WireGuard keys.
class Replies {
  public:
    Replies() = default;
    Replies(Replies&&) noexcept = default;
    Replies& operator=(Replies&&) = delete;
    Replies(const Replies&) = delete;
    Replies& operator=(const Replies&) = delete;
    ~Replies() { clear(); }

    void add(const nlmsghdr& message);
    void clear();
    [[nodiscard]] bool empty() const { return messages_.empty(); }

    template <class Visit>
    void for_each(Visit&& visit) const {
        for (const auto& bytes : messages_) {
            visit(*static_cast<const nlmsghdr*>(static_cast<const void*>(bytes.data())));
        }
    }

  private:
    std::vector<std::vector<char>> messages_;
};

class Socket {
  public:
    /// `protocol`: NETLINK_ROUTE or NETLINK_GENERIC, in the namespace of the calling thread.
    [[nodiscard]] static Result<Socket> open(int protocol);

    /// Sends a request that changes state and waits for its ACK. Counted in changes().
    [[nodiscard]] Result<void> change(Message& request, std::string_view doing);
    /// Sends a request for one object; its answer, which may be several messages.
    [[nodiscard]] Result<Replies> ask(Message& request, std::string_view doing);
    /// Sends a dump request; the whole of an uninterrupted dump.
    [[nodiscard]] Result<Replies> dump(Message& request, std::string_view doing);

    [[nodiscard]] std::uint64_t changes() const { return changes_; }

  private:
    enum class Ended { Complete, Interrupted };
    Socket(UniqueFd fd, std::uint32_t port);
    [[nodiscard]] Result<void> send(Message& request, std::string_view doing);
    [[nodiscard]] Result<Ended> collect(Replies& replies, std::string_view doing);
    [[nodiscard]] Result<std::size_t> receive(std::string_view doing, std::int64_t deadline_ms);

    UniqueFd fd_;
    std::uint32_t port_ = 0;
    std::uint32_t sequence_ = 0;
    std::uint64_t changes_ = 0;
    std::vector<char> buffer_;
};

/// What an errno of the kernel means to our caller.
[[nodiscard]] Error::Kind kind_of_errno(int code);
/// "doing: strerror", with the kind that belongs to the code.
[[nodiscard]] Error error_of_errno(std::string_view doing, int code);

/// The failure in an NLMSG_ERROR or NLMSG_DONE message; nullopt when it says success.
[[nodiscard]] std::optional<Error> error_in(const nlmsghdr& message, std::string_view doing);

}  // namespace overlay::netlink
