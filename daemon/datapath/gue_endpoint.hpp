#pragma once
// One UDP port and the gretap links behind it, which carry Ethernet over GUE for kernels that have no GRE
// or FOU:
//
//     TAP read ─▶ super-frame ─▶ segments (headers only) ─▶ GUE + GRE ─▶ trains ─▶ one sendmmsg
//     TAP write ◀─ super-frames ◀─ coalesced flows ◀─ decapsulated, judged ◀─ one recvmmsg
//
// Bytes are known to gretap_gue.hpp, segment.hpp and coalesce.hpp; this file knows the order.

#include "daemon/datapath/workspace.hpp"
#include "daemon/datapath/gretap_gue.hpp"
#include "daemon/datapath/gretap_ip.hpp"

#include <memory>
#include <unordered_map>

namespace overlay::datapath {

struct GueLinkConfig {
    IfName device;
    IpAddress local;   ///< where the other end sends to; unspecified: any of ours
    IpAddress remote;
    std::uint16_t remote_port = 0;
    std::optional<std::uint32_t> key;
    std::uint8_t ttl = 64;
    std::uint8_t traffic_class = 0;   ///< DSCP of what is sent; ECN is the inner packet's
    friend bool operator==(const GueLinkConfig&, const GueLinkConfig&) = default;
};

struct GueEndpointConfig {
    std::string name;   ///< how it is called, to be changed or removed
    io::UdpOptions socket;
    std::vector<GueLinkConfig> links;
};

class GueEndpoint final : private io::Reader {
  public:
    /// Errors: those of UdpSocket::open and of set_links.
    [[nodiscard]] static Result<std::unique_ptr<GueEndpoint>> open(const GueEndpointConfig& config,
                                                                   const EndpointTools& tools);

    ~GueEndpoint() override;

    [[nodiscard]] const io::UdpOptions& socket_options() const { return options_; }
    /// From now on these; a device that was read before stays open. Errors: those of DevicePort::open,
    /// and then nothing has changed.
    [[nodiscard]] Result<void> set_links(const std::vector<GueLinkConfig>& links);

    [[nodiscard]] std::vector<LinkReport> reports() const;
    /// Devices that cannot be read any more: somebody has deleted them.
    [[nodiscard]] std::vector<IfName> broken() const;

  private:
    struct Link;
    GueEndpoint(io::UdpSocket socket, const io::UdpOptions& options, const EndpointTools& tools);

    Result<std::unique_ptr<Link>> open_link(const GueLinkConfig& config);
    [[nodiscard]] Link* find_link(const IfName& device) const;

    void on_device(Link& link);
    void send_frame(Link& link, DevicePort::Frame frame);
    void send_super_frame(Link& link, const DevicePort::Frame& frame);
    void flush(Link& link);

    void on_readable() override;   // the socket
    void deliver(const io::Received& received);
    struct Source {
        IpAddress local;
        IpAddress remote;
        std::uint8_t traffic_class;
        std::size_t segment_bytes;
    };
    void deliver_one(const Source& from, wire::MutableBytes datagram);
    [[nodiscard]] Link* link_of(const Source& from, const std::optional<std::uint32_t>& key);
    [[nodiscard]] Destination destination_of(const Link& link, wire::Bytes frame) const;

    EndpointTools tools_;
    io::UdpOptions options_;
    io::UdpSocket socket_;
    io::Watch watch_;
    std::vector<std::unique_ptr<Link>> links_;
    std::unordered_map<LinkAddress, Link*, LinkAddressHash> by_address_;
    Link* last_ = nullptr;   ///< that something came for
    LinkCounters strays_;   ///< what is of no link
};

}  // namespace overlay::datapath
