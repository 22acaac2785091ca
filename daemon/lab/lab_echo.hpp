#pragma once
// ICMP echo from inside one host of the lab (RFC 792, RFC 4443): requests of an exact size that may
// not be fragmented, the answers to them, and what routers or the kernel itself said instead. Raw
// sockets, since a child process per request costs a lab of fifty hosts minutes.

#include "netlink/fd.hpp"
#include "netlink/namespaces.hpp"
#include "topology/result.hpp"
#include "topology/values.hpp"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

namespace overlay::lab {

/// What came back for one request.
struct Heard {
    std::uint16_t sequence = 0;
    std::string complaint;  ///< "From 2.3.4.5: No route to host"; "": the answer itself
};

class EchoSocket {
  public:
    /// Errors: NotPermitted; Failed when no more descriptors are to be had.
    [[nodiscard]] static Result<EchoSocket> open(const netlink::Namespace& there, Family family);

    /// One request whose IP packet is `size` long. What the kernel refuses at once is heard later.
    void ask(const IpAddress& to, std::uint16_t sequence, Mtu size);
    /// nullopt: nothing more for now.
    [[nodiscard]] std::optional<Heard> hear();
    /// Beside what poll(2) tells of fd().
    [[nodiscard]] bool has_complaints() const { return !complaints_.empty(); }
    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    EchoSocket(netlink::UniqueFd fd, Family family) : fd_{std::move(fd)}, family_{family} {}
    [[nodiscard]] bool send(const IpAddress& to, const std::string& message);
    [[nodiscard]] std::optional<Heard> read_answer();
    /// Empties the socket's queue of errors, which else fail a later request (raw(7), SO_ERROR).
    void read_complaints();

    netlink::UniqueFd fd_;
    Family family_;
    std::deque<Heard> complaints_;
    std::uint32_t told_mtu_ = 0;  ///< by the last "message too long" of this host itself
};

}  // namespace overlay::lab
