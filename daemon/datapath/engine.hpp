#pragma once
// The loop that carries Ethernet over GUE in user space, for kernels that have no GRE or FOU:
//
//     TAP read ─▶ super-frame ─▶ segments (headers only) ─▶ GUE + GRE ─▶ trains ─▶ one sendmmsg
//     TAP write ◀─ super-frames ◀─ coalesced flows ◀─ decapsulated, judged ◀─ one recvmmsg
//
// One thread; work is bounded per turn, so that a busy direction does not starve the other. Protocol and
// bytes are known to the pure parts beside this file, descriptors to io/; this file knows the order.

#include "daemon/datapath/coalesce.hpp"
#include "daemon/datapath/gretap_gue.hpp"
#include "daemon/datapath/trains.hpp"
#include "daemon/io/tap.hpp"
#include "daemon/io/udp_socket.hpp"

#include <map>
#include <memory>

namespace overlay::datapath {

struct GretapLinkConfig {
    IfName device;
    IpAddress remote;
    std::uint16_t remote_port = 0;
    std::optional<std::uint32_t> key;
    std::uint8_t traffic_class = 0;   ///< DSCP of what is sent; ECN is the inner packet's
};

/// One UDP port and the gretap links behind it.
struct GueEndpointConfig {
    io::UdpOptions socket;
    std::vector<GretapLinkConfig> links;
};

struct EngineOptions {
    io::TapOptions::Offload device_offload = io::TapOptions::Offload::Auto;
    Coalescer::Merging merging = Coalescer::Merging::On;
};

/// Of a link; both directions. Frames are those of the inner network, after cutting and before merging.
struct LinkCounters {
    std::uint64_t sent_frames = 0, sent_bytes = 0;
    std::uint64_t received_frames = 0, received_bytes = 0;
    std::uint64_t lost_datagrams = 0;   ///< that the socket did not take
    std::array<std::uint64_t, wire::drop_reason_count> drops{};
};

class Engine {
  public:
    /// Opens every device and port. Errors: those of Tap::open and UdpSocket::open.
    [[nodiscard]] static Result<Engine> open(const std::vector<GueEndpointConfig>& endpoints,
                                             const EngineOptions& options);
    Engine(Engine&&) noexcept;
    ~Engine();

    /// Carries frames until `stop` is readable. Errors: Failed, when a device or the loop itself breaks.
    [[nodiscard]] Result<void> run(int stop);

    [[nodiscard]] std::vector<std::pair<IfName, LinkCounters>> counters() const;

  private:
    struct Link;
    struct Endpoint;
    Engine();

    Result<void> add(const GueEndpointConfig& config, const EngineOptions& options);
    Result<void> from_device(Link& link);
    void send_frame(Link& link, wire::MutableBytes frame, const wire::VnetHeader& header);
    void send_super_frame(Link& link, wire::Bytes frame, const wire::VnetHeader& header);
    void flush(Link& link);
    void from_network(Endpoint& endpoint);
    void deliver(Endpoint& endpoint, const io::Received& received);
    void deliver_one(Endpoint& endpoint, const io::Received& received, wire::MutableBytes datagram);
    Link* link_of(Endpoint& endpoint, const io::SocketAddress& from,
                  const std::optional<std::uint32_t>& key);
    void write_out(Link& link);

    std::vector<std::unique_ptr<Endpoint>> endpoints_;
    std::vector<std::byte> arena_;   ///< frames of one turn, as they were read
    Trains trains_;
};

}  // namespace overlay::datapath
