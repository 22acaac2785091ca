#pragma once
// One WireGuard interface in user space: a key, a UDP port, many peers, and the devices whose packets its
// sessions carry. At once, and through the same peers:
//
//     TUN   packets that the peers' allowed IPs have room for, as they are
//     TAP   Ethernet in GRE between one of our tunnel addresses and one of a peer's: a gretap link
//
//     TAP read ─▶ segments ─▶ IP + GRE ─┐
//     TUN read ─▶ segments ─────────────┴▶ laid out, sealed in place ─▶ trains ─▶ one sendmmsg
//     TUN write ◀─ coalesced ◀─────────────┬─ opened in place ◀─ one recvmmsg
//     TAP write ◀─ coalesced ◀─ GRE ◀─ IP ─┘
//
//   wireguard_endpoint.cpp  configuration, the sockets, timers, and what the protocol core asks for
//   wireguard_send.cpp      from the devices to the network
//   wireguard_receive.cpp   from the network to the devices
//
// The protocol is daemon/wireguard/'s. To a kernel this would be a wireguard device and gretap devices.

#include "daemon/datapath/workspace.hpp"
#include "daemon/datapath/gretap_ip.hpp"
#include "daemon/datapath/reassembly.hpp"
#include "daemon/datapath/segment.hpp"
#include "daemon/datapath/stamp_store.hpp"
#include "daemon/wireguard/uapi.hpp"

#include <functional>
#include <memory>
#include <unordered_map>

namespace overlay::datapath {

/// A gretap device whose packets go through the tunnel. Its peer is the one whose allowed IPs have `remote`.
struct GretapLinkConfig {
    IfName device;
    LinkAddress address;
    std::uint8_t ttl = 64;            ///< of the inner IP header
    std::uint8_t traffic_class = 0;   ///< DSCP of the inner IP header; ECN is the frame's
    friend bool operator==(const GretapLinkConfig&, const GretapLinkConfig&) = default;
};

struct WireguardEndpointConfig {
    std::string name;   ///< how it is called, to be changed or removed
    struct Listen {
        std::uint16_t port = 0;           ///< 0: any
        std::optional<IpAddress> local;   ///< nullopt: any, of both families
        std::uint32_t mark = 0;           ///< fwmark of what is sent; 0: none
        friend bool operator==(const Listen&, const Listen&) = default;
    } listen;
    wireguard::Secret32 private_key;
    std::size_t mtu_bytes = 1420;      ///< of the tunnel's packets: where padding ends
    std::vector<wireguard::PeerChange> peers;
    std::optional<IfName> tun;         ///< nullopt: nothing but the links
    std::vector<GretapLinkConfig> links;
    std::string stamp_file;            ///< stamp_store.hpp; empty: none
};

class WireguardEndpoint {
  public:
    /// Errors: those of UdpSocket::open, DevicePort::open, StampStore::load.
    [[nodiscard]] static Result<std::unique_ptr<WireguardEndpoint>> open(
        const WireguardEndpointConfig& config, const EndpointTools& tools);
    WireguardEndpoint(const WireguardEndpoint&) = delete;
    WireguardEndpoint& operator=(const WireguardEndpoint&) = delete;
    ~WireguardEndpoint();

    // ---- changes at run time: sessions that a change does not touch go on -----------------------

    /// All of a configuration but its name and stamp file. Peers that it does not have go; an endpoint that
    /// it does not change stays where its peer has roamed to. Errors: those of listen and set_devices.
    [[nodiscard]] Result<void> set(const WireguardEndpointConfig& config);
    /// From now on these devices; one that was read before stays open. Errors: those of DevicePort::open,
    /// and then nothing has changed.
    [[nodiscard]] Result<void> set_devices(const std::optional<IfName>& tun,
                                           const std::vector<GretapLinkConfig>& links);
    using Listen = WireguardEndpointConfig::Listen;
    /// Errors: those of UdpSocket::open, and then it is as before; where its own port could not be had again, it
    /// listens nowhere, and says so: port 0.
    [[nodiscard]] Result<void> listen(const Listen& where);
    [[nodiscard]] const Listen& listens() const { return listens_; }   ///< with the port that was chosen
    void set_private_key(const wireguard::Secret32& key);
    void set_mtu(std::size_t bytes) { device_.set_mtu(bytes); }
    void change(const wireguard::PeerChange& change);

    [[nodiscard]] const wireguard::Device& device() const { return device_; }
    /// To a request of `wg` and its kin (wireguard/uapi.hpp). Empty: that was none.
    [[nodiscard]] wireguard::SecretText answer(std::string_view request);
    /// Calls every peer whose place is known: after a start, nobody else knows that sessions are gone.
    void call_peers();
    /// What has happened since the last call, such as a handshake that nobody answers. At most so many, the
    /// oldest go first.
    static constexpr std::size_t max_events = 256;
    [[nodiscard]] std::vector<wireguard::Event> take_events() { return std::exchange(events_, {}); }
    /// Called when something has happened; it must not call back.
    void tell_of_events(std::function<void()> tell) { tell_ = std::move(tell); }
    /// Why nothing that begins a session leaves; nullopt: all is well.
    [[nodiscard]] const std::optional<Error>& fault() const { return fault_; }

    /// May be early, never late.
    [[nodiscard]] io::EventLoop::Deadline next_deadline() const { return device_.next_deadline(); }
    void on_time();
    /// Before an end in good order: what must be remembered, exactly.
    void finish();
    [[nodiscard]] std::vector<LinkReport> reports() const;
    /// With what the WireGuard device itself dropped.
    void add_strays_to(Strays::mapped_type& out) const;
    /// Devices that cannot be read any more: somebody has deleted them.
    [[nodiscard]] std::vector<IfName> broken() const;

  private:
    struct Link;
    struct Socket;
    class Host;   // what uapi asks of the owner of sockets
    WireguardEndpoint(const WireguardEndpointConfig& config, const EndpointTools& tools,
                      StampStore stamps, const wireguard::Tai64n& reserved);

    // wireguard_endpoint.cpp
    using Sockets = std::array<std::unique_ptr<Socket>, 2>;   ///< IPv4, IPv6; one may be missing
    [[nodiscard]] Result<void> set_mark(std::uint32_t mark);
    [[nodiscard]] Result<Sockets> open_sockets(const Listen& where);
    [[nodiscard]] Result<std::unique_ptr<Socket>> open_socket(Family family, const Listen& where);
    [[nodiscard]] Result<std::unique_ptr<Socket>> watched(io::UdpSocket socket);
    void set_peers(const std::vector<wireguard::PeerChange>& peers);
    [[nodiscard]] Result<std::unique_ptr<Link>> open_link(const IfName& device,
                                                          const GretapLinkConfig* config);
    [[nodiscard]] Link* find_link(const IfName& device) const;
    [[nodiscard]] bool keep_reservation();
    void post();

    // wireguard_send.cpp
    void on_device(Link& link);
    void send_frame(Link& link, DevicePort::Frame frame);
    void send_packets(Link& link, const SegmentPlan& plan, wireguard::PeerId peer);
    void seal_batch(Link& link, wireguard::PeerId peer, std::uint8_t carrier);
    [[nodiscard]] Destination destination_of(const wireguard::Path& path);
    std::size_t flush();
    std::size_t send_trains();

    // wireguard_receive.cpp
    void on_datagrams(io::UdpSocket& socket);
    void open_all(const io::Received& received);
    void deliver(wire::MutableBytes packet, wire::Ecn outer);
    [[nodiscard]] bool deliver_gre(wire::MutableBytes packet, const wire::IpHeader& header);
    [[nodiscard]] bool is_between_ends(wire::Bytes addresses) const;
    [[nodiscard]] Link* link_of(wire::Bytes addresses, const std::optional<std::uint32_t>& key);
    void deliver_piece(wire::Bytes packet, const wire::IpHeader& header);
    void deliver_frame(Link& link, wire::MutableBytes frame, wire::Ecn outer);
    void write_out();

    EndpointTools tools_;
    Listen listens_;
    wireguard::SystemRandom random_;
    wireguard::Device device_;
    wireguard::Outbox out_;
    wireguard::Moment now_;   ///< of this turn
    StampStore stamps_;
    std::optional<wireguard::Tai64n> unkept_;   ///< a reservation that is not on disk
    std::optional<Error> fault_;
    std::vector<wireguard::Event> events_;
    std::function<void()> tell_;
    std::vector<wireguard::PeerChange> configured_;   ///< peers, as set() had them last

    Sockets sockets_;
    std::unique_ptr<Link> tun_;
    std::vector<std::unique_ptr<Link>> links_;
    std::unordered_map<LinkAddress, Link*, LinkAddressHash> by_address_;
    Link* last_ = nullptr;   ///< that something came for
    Reassembly reassembly_;
    LinkCounters strays_;    ///< what is of no link

    /// Where the datagrams of this turn go: as the core says it, and as the socket wants it.
    struct Known {
        wireguard::Path path;
        io::SocketAddress address;
    };
    std::vector<Known> destinations_;
};

}  // namespace overlay::datapath
