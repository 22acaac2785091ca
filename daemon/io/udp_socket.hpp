#pragma once
// A UDP socket that sends trains (UDP_SEGMENT: up to 64 datagrams of one size in one call) and receives
// them (UDP_GRO), many at a time. What a kernel or a path cannot do is done without, at run time.

#include "daemon/io/files.hpp"
#include "daemon/io/offloads.hpp"
#include "daemon/wire/bytes.hpp"
#include "topology/values.hpp"

#include <array>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>

namespace overlay::io {

/// What the kernel takes in one send at most (Linux include/linux/udp.h, UDP_MAX_SEGMENTS; RFC 768's length
/// less the IPv4 and UDP headers).
inline constexpr std::size_t max_train_segments = 64;
inline constexpr std::size_t max_train_bytes = 65507;

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size_bytes = 0;

    /// `interface`: index; a link-local address needs it, to any other it means nothing.
    [[nodiscard]] static SocketAddress of(const Endpoint& endpoint, std::uint32_t interface = 0);
    [[nodiscard]] Family family() const {
        return storage.ss_family == AF_INET ? Family::Ipv4 : Family::Ipv6;
    }
    [[nodiscard]] IpAddress address() const;
    [[nodiscard]] std::uint16_t port() const;
    [[nodiscard]] std::uint32_t interface() const;   ///< of a link-local address; 0: none
};

/// Datagrams of `segment_bytes` each, the last may be shorter, laid out one behind the other in `slices`.
struct Train {
    const SocketAddress* to = nullptr;
    IpAddress from;   ///< unspecified: the kernel chooses, as it does where this is no longer ours
    std::span<iovec> slices;
    std::size_t segment_bytes = 0;
    std::size_t size_bytes = 0;
    std::size_t segments = 0;
    std::uint8_t traffic_class = 0;
    std::uint8_t ttl = 0;   ///< 0: the socket's
};

/// What one receive brought: `bytes` are datagrams of `segment_bytes` each, the last may be shorter.
struct Received {
    wire::MutableBytes bytes;
    std::size_t segment_bytes = 0;
    SocketAddress from;
    IpAddress to;   ///< of ours; unspecified unless the socket was opened with LocalAddress::Tell
    std::uint8_t traffic_class = 0;
};

/// Room for what one receive brings. One is enough for all sockets of a thread: what was received is
/// done with before the next is asked.
class ReceiveRoom {
  public:
    /// For so many trains, or single datagrams, in one call; at most max_buffers.
    explicit ReceiveRoom(std::size_t buffers);
    static constexpr std::size_t max_buffers = 16;

  private:
    friend class UdpSocket;
    static constexpr std::size_t buffer_bytes = 65536;
    static constexpr std::size_t control_bytes = 128;
    std::vector<std::byte> memory_;
    std::vector<Received> received_;
    std::vector<mmsghdr> messages_;
    std::vector<std::byte> controls_;
};

struct UdpOptions {
    Family family = Family::Ipv4;
    std::optional<IpAddress> local;   ///< nullopt: any
    std::uint16_t port = 0;
    std::uint8_t ttl = 64;
    std::uint32_t mark = 0;           ///< SO_MARK, which policy routing and firewalls see; 0: none
    /// Asked for in each direction; the kernel allows twice as much (socket(7)). All that is in it waits, and what it
    /// has no room for is lost (docs/benchmarks.md tells what more or less of it did).
    int kernel_buffer_bytes = 1024 * 1024;
    /// Whether the outer packet may be cut on its way, here or by an IPv4 router.
    enum class Fragments : std::uint8_t { Never, Allowed } fragments = Fragments::Never;
    /// Whether Received says which of our addresses a datagram came to.
    enum class LocalAddress : std::uint8_t { Unknown, Tell } local_address = LocalAddress::Unknown;

    friend bool operator==(const UdpOptions&, const UdpOptions&) = default;
};

class UdpSocket {
  public:
    /// Errors: Conflict (the port is taken), NotPermitted, Failed.
    [[nodiscard]] static Result<UdpSocket> open(const UdpOptions& options, const Offloads& offloads = {});

    /// A second socket at this one's port, for datagrams that do not begin with `octet`: they wait in a buffer of
    /// their own and take no room from those that do. Of a train the first decides, and what is empty comes here.
    /// nullopt: not on this kernel (before Linux 4.5), or no descriptor is left; all come here as before.
    [[nodiscard]] std::optional<UdpSocket> open_for_all_but(std::byte octet);

    /// Another socket at this one's port, for another thread: each other end's datagrams go to one of them.
    /// Errors: Failed.
    [[nodiscard]] Result<UdpSocket> open_beside();

    /// SO_MARK of what is sent from now on. 0, or the error number.
    [[nodiscard]] int set_mark(std::uint32_t mark);

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] std::uint16_t port() const { return options_.port; }
    [[nodiscard]] const Offload& gso() const { return gso_; }
    [[nodiscard]] const Offload& gro() const { return gro_; }

    /// Sends in order. What the path or a full buffer does not take is lost, as on any wire; the number of
    /// datagrams lost.
    std::size_t send(std::span<const Train> trains);

    /// As many as are there and as `room` holds, where they stay until it is used again.
    [[nodiscard]] std::span<const Received> receive(ReceiveRoom& room);

  private:
    UdpSocket(UniqueFd fd, const UdpOptions& options) : fd_{std::move(fd)}, options_{options} {}
    [[nodiscard]] static Result<UdpSocket> open_at(const UdpOptions& options, const Offloads& offloads,
                                                   bool beside_another);
    [[nodiscard]] bool can_send_whole(const Train& train) const {
        return gso_.is_on() || train.segments == 1;
    }
    std::size_t send_otherwise(const Train& train, int reason);
    std::size_t send_one_by_one(const Train& train);
    void prepare(const Train& train, mmsghdr& message, std::span<std::byte> control) const;

    UniqueFd fd_;
    UdpOptions options_;   ///< with the port that was chosen
    Offload gso_, gro_;
};

}  // namespace overlay::io
