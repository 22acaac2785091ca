#pragma once
// Datagrams on their way out: what goes to one place with one size in a row becomes a train, which the
// kernel takes in one send.

#include "daemon/io/udp_socket.hpp"

#include <vector>

namespace overlay::datapath {

/// Where the datagrams that follow go to; the address must stay until Trains::clear().
struct Destination {
    const io::SocketAddress* to = nullptr;
    std::uint8_t traffic_class = 0;
    IpAddress from{};   ///< unspecified: the kernel chooses
    std::uint8_t ttl = 0;   ///< 0: the socket's
    friend bool operator==(const Destination&, const Destination&) = default;
};

class Trains {
  public:
    /// `max_slices` and `max_header_bytes` bound what add() can hold; allocates here and never again.
    Trains(std::size_t max_slices, std::size_t max_header_bytes);

    /// Room for the headers of one datagram, which stays until clear(). Empty: no room is left.
    [[nodiscard]] wire::MutableBytes headers(std::size_t size_bytes);
    /// A datagram of headers and payload; false: no room is left.
    [[nodiscard]] bool add(const Destination& destination, wire::MutableBytes headers,
                           wire::Bytes payload);
    /// A datagram that is whole; those that lie one behind the other stay one slice.
    [[nodiscard]] bool add(const Destination& destination, wire::Bytes datagram);

    [[nodiscard]] bool empty() const { return runs_.empty(); }
    [[nodiscard]] std::span<const io::Train> trains();
    void clear();

  private:
    struct Run {
        Destination destination;
        std::size_t first_slice = 0, slices = 0;
        std::size_t segment_bytes = 0, size_bytes = 0, segments = 0;
        bool ended = false;   ///< a shorter datagram came last
    };
    Run& run_for(const Destination& destination, std::size_t size_bytes);
    [[nodiscard]] bool joins(const Run& run, const Destination& destination,
                             std::size_t size_bytes) const;

    std::vector<std::byte> header_memory_;
    std::size_t header_used_ = 0;
    std::vector<iovec> slices_;
    std::size_t max_slices_;
    std::vector<Run> runs_;
    std::vector<io::Train> trains_;
};

}  // namespace overlay::datapath
