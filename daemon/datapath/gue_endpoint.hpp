#pragma once
// One UDP port and the gretap links behind it, which carry Ethernet over GUE for kernels that have no GRE
// or FOU:
//
//     TAP read ─▶ super-frame ─▶ segments (headers only) ─▶ GUE + GRE ─▶ trains ─▶ one sendmmsg
//     TAP write ◀─ super-frames ◀─ coalesced flows ◀─ decapsulated, judged ◀─ one recvmmsg
//
// Bytes are known to gretap_gue.hpp, segment.hpp and coalesce.hpp; this file knows the order.
//
// Several threads carry one port with an endpoint each. The first has opened port and devices, the others share them:
// every one has a socket at the port and receives what the kernel gives it, for any link; each device is read by one.

#include "daemon/datapath/workspace.hpp"
#include "daemon/datapath/gretap_gue.hpp"
#include "daemon/datapath/gretap_ip.hpp"

#include <memory>
#include <unordered_map>

namespace overlay::datapath {

struct GueLinkConfig {
    IfName device;
    IpAddress local;   ///< where the other end sends to; 0.0.0.0: any of ours
    IpAddress remote;
    std::uint16_t remote_port = 0;
    std::optional<std::uint32_t> key;
    std::uint8_t ttl = 64;
    std::uint8_t traffic_class = 0;   ///< DSCP of what is sent; ECN is the inner packet's
    friend bool operator==(const GueLinkConfig&, const GueLinkConfig&) = default;
};

struct GueEndpointConfig {
    std::string name;   ///< how it is called, to be changed or removed
    io::UdpOptions socket;   ///< its buffers are what Memory says
    std::vector<GueLinkConfig> links;
};

class GueEndpoint final : private io::Reader {
  public:
    /// The first. Errors: those of UdpSocket::open and of set_links.
    [[nodiscard]] static Result<std::unique_ptr<GueEndpoint>> open(const GueEndpointConfig& config,
                                                                   const EndpointTools& tools);
    /// Another one for `first`'s port and links. Errors: those of UdpSocket::open_beside and of follow.
    [[nodiscard]] static Result<std::unique_ptr<GueEndpoint>> open_beside(GueEndpoint& first,
                                                                          const EndpointTools& tools);

    ~GueEndpoint() override;

    [[nodiscard]] const io::UdpOptions& socket_options() const { return options_; }
    /// From now on these; a device that was read before stays open, unless it is one of `broken`. Errors: those of
    /// DevicePort::open, and then nothing has changed.
    [[nodiscard]] Result<void> set_links(const std::vector<GueLinkConfig>& links, const std::vector<IfName>& broken);
    /// From now on the links of `first`. Errors: those of DevicePort::beside, and then nothing has changed.
    [[nodiscard]] Result<void> follow(const GueEndpoint& first);
    [[nodiscard]] std::vector<GueLinkConfig> links() const;

    [[nodiscard]] std::vector<LinkReport> reports() const;
    /// Devices that cannot be read any more: somebody has deleted them.
    [[nodiscard]] std::vector<IfName> broken() const;
    void add_strays_to(Strays::mapped_type& out) const { strays_.add_drops_to(out); }

  private:
    struct Link;
    GueEndpoint(io::UdpSocket socket, const io::UdpOptions& options, const EndpointTools& tools);

    [[nodiscard]] static Result<std::unique_ptr<GueEndpoint>> of(io::UdpSocket socket, const io::UdpOptions& options,
                                                                 const EndpointTools& tools);
    Result<std::unique_ptr<Link>> link_to(DevicePort port, const GueLinkConfig& config, unsigned number);
    void index_links();

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
        bool is_super_frame;   ///< that nobody has cut into such segments
    };
    void deliver_one(const Source& from, wire::MutableBytes datagram);
    [[nodiscard]] static bool is_between_ends(const Link& link, const Source& from);
    void deliver_frame(Link& link, const Source& from, wire::MutableBytes frame);
    [[nodiscard]] Link* link_of(const Source& from, const std::optional<std::uint32_t>& key);
    [[nodiscard]] Destination destination_of(const Link& link, wire::Bytes frame) const;

    EndpointTools tools_;
    io::UdpOptions options_;
    io::UdpSocket socket_;
    io::Watch watch_;
    std::vector<std::unique_ptr<Link>> links_;
    unsigned next_number_ = 0;   ///< of the first's links
    std::unordered_map<LinkAddress, Link*, LinkAddressHash> by_address_;
    Link* last_ = nullptr;   ///< that something came for
    LinkCounters strays_;   ///< what is of no link
};

}  // namespace overlay::datapath
