#include "daemon/datapath/wireguard_endpoint.hpp"

#include "daemon/datapath/wireguard_link.hpp"
#include "daemon/io/clock.hpp"

#include <algorithm>
#include <cerrno>

#include <net/if.h>

namespace overlay::datapath {

using wireguard::Outbox;

namespace {

/// What Linux gives its handshakes (drivers/net/wireguard/messages.h, HANDSHAKE_DSCP): AF41. Cookies and
/// keepalives go without.
constexpr std::uint8_t handshake_traffic_class = 0x88;

std::uint8_t traffic_class_of(wire::Bytes message) {
    const auto type = wireguard::parse_type(message);
    const bool is_handshake = type && (*type == wireguard::MessageType::Initiation ||
                                       *type == wireguard::MessageType::Response);
    return is_handshake ? handshake_traffic_class : std::uint8_t{0};
}

}  // namespace

WireguardEndpoint::WireguardEndpoint(const WireguardEndpointConfig& config,
                                     const EndpointTools& tools, StampStore stamps,
                                     const wireguard::Tai64n& reserved)
    : tools_{tools},
      device_{config.private_key,
              {.mtu_bytes = config.mtu_bytes, .reserved_stamps = reserved},
              random_},
      now_{io::now()},
      stamps_{std::move(stamps)} {
    destinations_.reserve(turn_frames);
}

WireguardEndpoint::~WireguardEndpoint() = default;

Result<std::unique_ptr<WireguardEndpoint>> WireguardEndpoint::open(
    const WireguardEndpointConfig& config, const EndpointTools& tools) {
    if (auto available = wireguard::crypto_available(); !available) return pass_on(available);
    StampStore stamps{config.stamp_file};
    const auto reserved = stamps.load();
    if (!reserved) return pass_on(reserved);
    std::unique_ptr<WireguardEndpoint> out{
        new WireguardEndpoint{config, tools, std::move(stamps), *reserved}};
    if (auto set = out->set(config); !set) return pass_on(set);
    return out;
}

Result<void> WireguardEndpoint::set(const WireguardEndpointConfig& config) {
    if (auto set = set_devices(config.tun, config.links); !set) return set;
    if (auto opened = listen(config.listen); !opened) return opened;
    set_private_key(config.private_key);
    set_mtu(config.mtu_bytes);
    set_peers(config.peers);
    return {};
}

// ---- sockets ------------------------------------------------------------------------------------

Result<void> WireguardEndpoint::listen(const Listen& where) {
    const bool is_open = sockets_[0] || sockets_[1];
    const bool same_port = where.port == 0 || where.port == listens_.port;
    if (is_open && same_port && where.local == listens_.local) return set_mark(where.mark);
    if (where.port == listens_.port) sockets_ = {};   // the same port cannot be had twice
    auto sockets = open_sockets(where);
    if (!sockets) {
        if (is_open && !sockets_[0] && !sockets_[1]) {
            auto former = open_sockets(listens_);
            if (former) sockets_ = std::move(*former);
            else listens_.port = 0;
        }
        return pass_on(sockets);
    }
    sockets_ = std::move(*sockets);
    listens_ = where;
    listens_.port = sockets_[0] ? sockets_[0]->socket.port() : sockets_[1]->socket.port();
    return {};
}

/// In place, so that nothing that is under way is lost. What handshakes wait in never sends.
Result<void> WireguardEndpoint::set_mark(std::uint32_t mark) {
    if (mark == listens_.mark) return {};
    for (const auto& each : sockets_) {
        const int reason = each ? each->socket.set_mark(mark) : 0;
        if (reason != 0) return fail(io::system_error("set the mark of what is sent", reason));
    }
    listens_.mark = mark;
    return {};
}

/// One port for both families, as a kernel's; a machine without IPv6 has one less.
Result<WireguardEndpoint::Sockets> WireguardEndpoint::open_sockets(const Listen& where) {
    Sockets out;
    const bool wants_ipv4 = !where.local || where.local->family() == Family::Ipv4;
    const bool wants_ipv6 = !where.local || where.local->family() == Family::Ipv6;
    constexpr int tries = 100;   // while a port that was free for one family is taken for the other
    for (int n = 0;; ++n) {
        Listen chosen = where;
        if (wants_ipv4) {
            out[0].reset();
            auto ipv4 = open_socket(Family::Ipv4, where);
            if (!ipv4) return pass_on(ipv4);
            out[0] = std::move(*ipv4);
            chosen.port = out[0]->socket.port();
        }
        if (!wants_ipv6) return out;
        auto ipv6 = open_socket(Family::Ipv6, chosen);
        const bool has_no_ipv6 = !ipv6 && out[0] && ipv6.error().code == EAFNOSUPPORT;
        if (has_no_ipv6) return out;
        if (!ipv6 && where.port == 0 && ipv6.error().code == EADDRINUSE && n < tries) continue;
        if (!ipv6) return pass_on(ipv6);
        out[1] = std::move(*ipv6);
        return out;
    }
}

/// Data waits apart from the rest, so that who floods us with handshakes fills but their own buffer.
Result<std::unique_ptr<WireguardEndpoint::Socket>> WireguardEndpoint::open_socket(
    Family family, const Listen& where) {
    auto socket = io::UdpSocket::open({.family = family,
                                       .local = where.local,
                                       .port = where.port,
                                       .mark = where.mark,
                                       .fragments = io::UdpOptions::Fragments::Allowed,
                                       .local_address = io::UdpOptions::LocalAddress::Tell},
                                      tools_.offloads);
    if (!socket) return pass_on(socket);
    auto handshakes = socket->open_for_all_but(wireguard::data::first_octet);
    auto out = watched(std::move(*socket));
    if (out && handshakes) {
        auto beside = watched(std::move(*handshakes));
        if (!beside) return beside;
        (*out)->handshakes = std::move(*beside);
    }
    return out;
}

Result<std::unique_ptr<WireguardEndpoint::Socket>> WireguardEndpoint::watched(
    io::UdpSocket socket) {
    auto out = std::make_unique<Socket>(*this, std::move(socket));
    auto watch = tools_.loop.watch(out->socket.fd(), *out);
    if (!watch) return pass_on(watch);
    out->watch = std::move(*watch);
    return out;
}

// ---- devices ------------------------------------------------------------------------------------

WireguardEndpoint::Link* WireguardEndpoint::find_link(const IfName& device) const {
    const auto found = std::ranges::find_if(
        links_, [&](const auto& link) { return link->port.name() == device; });
    return found == links_.end() ? nullptr : found->get();
}

Result<std::unique_ptr<WireguardEndpoint::Link>> WireguardEndpoint::open_link(
    const IfName& device, const GretapLinkConfig* config) {
    const auto kind = config == nullptr ? io::Tap::Kind::Tun : io::Tap::Kind::Tap;
    auto port = DevicePort::open(device, kind, tools_.offloads, tools_.workspace.memory.super_frames);
    if (!port) return pass_on(port);
    auto link = std::make_unique<Link>(*this, std::move(*port), config);
    if (auto watched = link->port.watch(tools_.loop, *link); !watched) return pass_on(watched);
    return link;
}

Result<void> WireguardEndpoint::set_devices(const std::optional<IfName>& tun,
                                            const std::vector<GretapLinkConfig>& links) {
    const bool keeps_tun = tun_ && tun == tun_->port.name() && !tun_->port.fault();
    std::unique_ptr<Link> opened_tun;
    if (tun && !keeps_tun) {
        auto link = open_link(*tun, nullptr);
        if (!link) return pass_on(link);
        opened_tun = std::move(*link);
    }
    std::vector<std::unique_ptr<Link>> opened;
    for (const GretapLinkConfig& config : links) {
        const Link* const there = find_link(config.device);
        if (there != nullptr && !there->port.fault()) continue;
        auto link = open_link(config.device, &config);
        if (!link) return pass_on(link);
        opened.push_back(std::move(*link));
    }
    if (!keeps_tun) tun_ = std::move(opened_tun);
    std::erase_if(links_, [&](const auto& link) {
        const auto wanted = std::ranges::find(links, link->port.name(), &GretapLinkConfig::device);
        if (wanted == links.end() || link->port.fault()) return true;
        if (link->config != *wanted) link->set(*wanted);
        return false;
    });
    std::ranges::move(opened, std::back_inserter(links_));
    last_ = nullptr;
    by_address_.clear();
    for (const auto& link : links_) by_address_.emplace(link->config.address, link.get());
    return {};
}

std::vector<LinkReport> WireguardEndpoint::reports() const {
    io::Offloads both = tools_.offloads;   // of the two sockets: off where one is
    for (const auto& socket : sockets_) {
        if (!socket) continue;
        if (both.udp_gso.is_on()) both.udp_gso = socket->socket.gso();
        if (both.udp_gro.is_on()) both.udp_gro = socket->socket.gro();
    }
    std::vector<LinkReport> out;
    const auto add = [&](const Link& link) {
        const DevicePort& port = link.port;
        out.push_back({port.name(), port.counters, {port.tso(), port.gro(), both.udp_gso, both.udp_gro}});
    };
    for (const auto& link : links_) add(*link);
    if (tun_) add(*tun_);
    return out;
}

void WireguardEndpoint::add_strays_to(Strays::mapped_type& out) const {
    strays_.add_drops_to(out);
    for (std::size_t i = 0; i < wireguard::drop_reason_count; ++i) {
        const auto reason = static_cast<wireguard::DropReason>(i);
        if (const auto dropped = device_.dropped(reason); dropped != 0) out[std::string{text(reason)}] += dropped;
    }
}

std::vector<IfName> WireguardEndpoint::broken() const {
    std::vector<IfName> out;
    for (const auto& link : links_) {
        if (link->port.fault()) out.push_back(link->port.name());
    }
    if (tun_ && tun_->port.fault()) out.push_back(tun_->port.name());
    return out;
}

// ---- keys and peers -----------------------------------------------------------------------------

void WireguardEndpoint::set_private_key(const wireguard::Secret32& key) {
    now_ = io::now();
    device_.set_private_key(key, now_, out_);
    post();
}

/// The difference to what was configured before, so that nothing is said twice: an endpoint said again would
/// call a peer back that has roamed.
void WireguardEndpoint::set_peers(const std::vector<wireguard::PeerChange>& peers) {
    using wireguard::PeerChange;
    for (const wireguard::PeerId id : device_.peers()) {
        const PublicKey key = device_.status(id)->key;
        if (std::ranges::find(peers, key, &PeerChange::key) == peers.end())
            change({.key = key, .action = PeerChange::Action::Remove});
    }
    for (const PeerChange& wanted : peers) {
        PeerChange difference = wanted;
        const auto before = std::ranges::find(configured_, wanted.key, &PeerChange::key);
        if (before != configured_.end() && before->endpoint == wanted.endpoint)
            difference.endpoint.reset();
        if (!wanted.preshared_key) difference.preshared_key.emplace();
        if (!wanted.persistent_keepalive) difference.persistent_keepalive.emplace(0);
        difference.allowed_ips_mode = PeerChange::AllowedIpsMode::Replace;
        change(difference);
    }
    configured_ = peers;
}

void WireguardEndpoint::change(const wireguard::PeerChange& change) {
    now_ = io::now();
    device_.change(change, now_, out_);
    post();
}

// ---- wg's words ---------------------------------------------------------------------------------

class WireguardEndpoint::Host final : public wireguard::UapiHost {
  public:
    explicit Host(WireguardEndpoint& endpoint) : endpoint_{endpoint} {}

    [[nodiscard]] wireguard::SocketSettings socket_settings() const override {
        return {.listen_port = endpoint_.listens_.port, .fwmark = endpoint_.listens_.mark};
    }
    [[nodiscard]] int change_socket(const wireguard::SocketSettings& wanted) override {
        Listen where = endpoint_.listens_;
        where.port = wanted.listen_port;
        where.mark = wanted.fwmark;
        const auto opened = endpoint_.listen(where);
        if (opened) return 0;
        return opened.error().code != 0 ? opened.error().code : EIO;
    }
    [[nodiscard]] std::uint32_t interface_index(const std::string& name) const override {
        return ::if_nametoindex(name.c_str());
    }

  private:
    WireguardEndpoint& endpoint_;
};

wireguard::SecretText WireguardEndpoint::answer(std::string_view request) {
    now_ = io::now();
    Host host{*this};
    wireguard::Uapi uapi{device_, host};
    wireguard::SecretText out = uapi.answer(request, now_, out_);
    post();
    return out;
}

void WireguardEndpoint::call_peers() {
    now_ = io::now();
    for (const wireguard::PeerId id : device_.peers()) {
        if (device_.status(id)->path) device_.initiate(id, now_, out_);
    }
    post();
}

// ---- what the protocol core asks for ------------------------------------------------------------

void WireguardEndpoint::on_time() {
    now_ = io::now();
    device_.on_time(now_, out_);
    post();
}

void WireguardEndpoint::finish() { (void)stamps_.keep(device_.exact_stamp_bound()); }

/// Whether all that was reserved is on disk. What is not is tried again whenever something wants to leave.
bool WireguardEndpoint::keep_reservation() {
    if (out_.reservation()) unkept_ = out_.reservation();
    if (!unkept_) return true;
    auto kept = stamps_.keep(*unkept_);
    if (!kept) {
        fault_ = kept.error();
        return false;
    }
    unkept_.reset();
    fault_.reset();
    return true;
}

/// Sends what is in the outbox, behind everything that was sealed before it.
void WireguardEndpoint::post() {
    if (keep_reservation()) {
        for (const Outbox::Datagram& datagram : out_.datagrams()) {
            const wire::Bytes bytes = out_.bytes_of(datagram);
            Destination to = destination_of(datagram.to);
            to.traffic_class = traffic_class_of(bytes);
            if (!tools_.workspace.trains.add(to, bytes)) ++strays_.lost_datagrams;
        }
        strays_.lost_datagrams += flush();
    } else {
        strays_.lost_datagrams += out_.datagrams().size();
    }
    events_.insert(events_.end(), out_.events().begin(), out_.events().end());
    if (tell_ && !out_.events().empty()) tell_();
    if (events_.size() > max_events) events_.erase(events_.begin(), events_.end() - max_events);
    out_.clear();
}

}  // namespace overlay::datapath
