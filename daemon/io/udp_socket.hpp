#pragma once
// A UDP socket that sends trains (UDP_SEGMENT: up to 64 datagrams of one size in one call) and receives
// them (UDP_GRO), many at a time. What a kernel or a path cannot do is done without, at run time.

#include "daemon/io/files.hpp"
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

    [[nodiscard]] static SocketAddress of(const Endpoint& endpoint);
    [[nodiscard]] IpAddress address() const;
    [[nodiscard]] std::uint16_t port() const;
};

/// Datagrams of `segment_bytes` each, the last may be shorter, laid out one behind the other in `slices`.
struct Train {
    const SocketAddress* to = nullptr;
    std::span<iovec> slices;
    std::size_t segment_bytes = 0;
    std::size_t size_bytes = 0;
    std::size_t segments = 0;
    std::uint8_t traffic_class = 0;
};

/// What one receive brought: `bytes` are datagrams of `segment_bytes` each, the last may be shorter.
struct Received {
    wire::MutableBytes bytes;
    std::size_t segment_bytes = 0;
    SocketAddress from;
    std::uint8_t traffic_class = 0;
};

struct UdpOptions {
    Family family = Family::Ipv4;
    std::optional<IpAddress> local;   ///< nullopt: any
    std::uint16_t port = 0;
    std::uint8_t ttl = 64;
    enum class Offload : std::uint8_t { Auto, None } offload = Offload::Auto;
};

class UdpSocket {
  public:
    /// Errors: Conflict (the port is taken), NotPermitted, Failed.
    [[nodiscard]] static Result<UdpSocket> open(const UdpOptions& options);

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] std::uint16_t port() const { return port_; }

    /// Sends in order. What the path or a full buffer does not take is lost, as on any wire; the number of
    /// datagrams lost.
    std::size_t send(std::span<const Train> trains);

    /// As many as are there, into memory of its own that stays until the next call.
    [[nodiscard]] std::span<const Received> receive();

  private:
    static constexpr std::size_t receive_buffers = 16;
    static constexpr std::size_t receive_bytes = 65536;
    static constexpr std::size_t control_bytes = 128;

    explicit UdpSocket(UniqueFd fd);
    std::size_t send_one_by_one(const Train& train);
    void prepare(const Train& train, mmsghdr& message, std::span<std::byte> control) const;

    UniqueFd fd_;
    Family family_ = Family::Ipv4;
    std::uint16_t port_ = 0;
    bool can_segment_ = true;
    std::vector<std::byte> memory_;
    std::vector<Received> received_;
    std::vector<mmsghdr> messages_;
    std::vector<std::byte> controls_;
};

}  // namespace overlay::io
