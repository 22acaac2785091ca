// A stranger before the real endpoints: a GUE port, and a WireGuard port with a live peer, on sockets of the loopback
// device. The input is a row of datagrams, each a byte for where it goes and what is made of it, and two for its
// length.
//
// Whatever they hold: GUE answers nothing at all; WireGuard never sends a stranger more bytes than he sent, however
// the kernel batches them; the peer's session lives on. A bug aborts.

#include "daemon/datapath/gretap_gue.hpp"
#include "daemon/datapath/gue_endpoint.hpp"
#include "daemon/datapath/wireguard_endpoint.hpp"
#include "daemon/io/clock.hpp"
#include "daemon/wireguard/messages.hpp"
#include "fuzz.hpp"

#include <algorithm>

#include <sys/socket.h>

using namespace overlay;
using namespace overlay::datapath;
using fuzz::demand;
using wireguard::SeededRandom;

namespace {

const IpAddress loopback = *IpAddress::parse("127.0.0.1");

wireguard::Secret32 key_of(std::uint8_t name) {
    std::array<std::byte, 32> bytes{};
    bytes.fill(std::byte{name});
    return wireguard::Secret32{bytes};
}

/// A socket of somebody else's, who counts.
class Outsider {
  public:
    Outsider() : socket_{io::UdpSocket::open({.local = loopback}, io::Offloads::none()).value()} {}

    void send(wire::Bytes datagram, std::uint16_t port) {
        const auto to = io::SocketAddress::of({loopback, port});
        const auto sent = ::sendto(socket_.fd(), datagram.data(), datagram.size(), 0,
                                   static_cast<const sockaddr*>(static_cast<const void*>(&to.storage)), to.size_bytes);
        if (sent >= 0) sent_bytes += static_cast<std::size_t>(sent);
    }
    /// What came since.
    std::vector<std::vector<std::byte>> take() {
        std::vector<std::vector<std::byte>> out;
        std::array<std::byte, 65536> room{};
        for (;;) {
            const auto came = ::recv(socket_.fd(), room.data(), room.size(), MSG_DONTWAIT);
            if (came < 0) return out;
            out.emplace_back(room.begin(), room.begin() + came);
            came_bytes += static_cast<std::size_t>(came);
        }
    }
    [[nodiscard]] wireguard::Path path_to(std::uint16_t port) const { return {.remote = {loopback, port}}; }

    std::size_t sent_bytes = 0, came_bytes = 0;

  private:
    io::UdpSocket socket_;
};

std::uint16_t free_port() { return io::UdpSocket::open({.local = loopback}, io::Offloads::none())->port(); }

class World {
  public:
    World() {
        spoke_.change({.key = hub_key_, .endpoint = Endpoint{loopback, wireguard_port()},
                       .allowed_ips = {*IpPrefix::parse("10.0.0.1/32")}}, now_, out_);
        demand(carries(), "no session to begin with");
    }

    void take(std::uint8_t kind, wire::Bytes content) {
        std::vector<std::byte> datagram{content.begin(), content.end()};
        switch (kind % 4) {
            case 0: return stranger_to_gue_.send(datagram, gue_port_);
            case 1: return stranger_.send(datagram, wireguard_port());
            case 2: return stranger_.send(with_right_mac1(std::move(datagram), kind), wireguard_port());
            default: return stranger_.send(replayed(content), wireguard_port());
        }
    }

    void judge() {
        run_loop();
        (void)stranger_.take();
        demand(stranger_to_gue_.take().empty(), "GUE answered");
        demand(stranger_.came_bytes <= stranger_.sent_bytes, "the answers are longer than the questions");
        // Under a flood, the hub may want a cookie first; but a session that is there goes on.
        demand(carries(), "the peer is cut off");
    }

  private:
    [[nodiscard]] std::uint16_t wireguard_port() const { return wireguard_->listens().port; }

    static std::unique_ptr<GueEndpoint> open_gue(std::uint16_t port, const EndpointTools& tools) {
        auto out = GueEndpoint::open({.name = "gue", .socket = {.local = loopback, .port = port}, .links = {}}, tools);
        demand(out.has_value(), "no GUE port");
        return std::move(*out);
    }
    static std::unique_ptr<WireguardEndpoint> open_wireguard(const PublicKey& peer, const EndpointTools& tools) {
        WireguardEndpointConfig config;
        config.name = "wg0";
        config.listen = {.port = free_port(), .local = loopback};
        config.private_key = key_of(1);
        config.peers = {{.key = peer, .allowed_ips = {*IpPrefix::parse("10.0.0.2/32")}}};
        auto out = WireguardEndpoint::open(config, tools);
        demand(out.has_value(), "no WireGuard port");
        return std::move(*out);
    }

    /// As a stranger writes who knows the hub's public key, which is public.
    std::vector<std::byte> with_right_mac1(std::vector<std::byte> datagram, std::uint8_t kind) const {
        using namespace wireguard;
        const bool is_initiation = (kind & 0x10) != 0;
        datagram.resize(is_initiation ? initiation::size_bytes : response::size_bytes);
        store_type(datagram, is_initiation ? MessageType::Initiation : MessageType::Response);
        MacWriter{hub_key_}.write(datagram, now_.monotonic);
        return datagram;
    }

    /// What the peer has sent, with a byte of it changed: `content` says which message, where, and how.
    [[nodiscard]] std::vector<std::byte> replayed(wire::Bytes content) const {
        if (said_.empty() || content.size() < 3) return {};
        std::vector<std::byte> out = said_[wire::load8(content, 0) % said_.size()];
        out[wire::load8(content, 1) % out.size()] ^= content[2];
        return out;
    }

    void run_loop() {
        for (int turns = 0; turns < 4; ++turns) {
            demand(loop_.wait(io::now().monotonic).has_value(), "the loop broke");
            wireguard_->on_time();
        }
    }

    /// Whether a packet of the peer comes through; with a handshake, if need be.
    bool carries() {
        now_ = io::now();
        const auto received = [&] {
            const auto status = wireguard_->device().status(wireguard_->device().peers().front());
            return status->statistics.received_bytes;
        };
        const auto before = received();
        const auto packet = wireguard::packet("10.0.0.2", "10.0.0.1", 1);
        (void)spoke_.send(packet, now_, out_);
        for (int legs = 0; legs < 4; ++legs) {
            for (const wireguard::Outbox::Datagram& each : out_.datagrams()) {
                const wire::Bytes bytes = out_.bytes_of(each);
                if (said_.size() < 16) said_.emplace_back(bytes.begin(), bytes.end());
                peer_.send(bytes, wireguard_port());
            }
            out_.clear();
            run_loop();
            for (std::vector<std::byte>& datagram : peer_.take())
                (void)spoke_.receive(datagram, peer_.path_to(wireguard_port()), now_, out_);
        }
        return received() >= before + packet.size();
    }

    SeededRandom random_{1};
    wireguard::Moment now_ = io::now();
    wireguard::Outbox out_;
    wireguard::Device spoke_{key_of(2), {}, random_};

    io::EventLoop loop_ = io::EventLoop::make().value();
    io::Offloads offloads_;
    Workspace workspace_{small_memory};
    EndpointTools tools_{loop_, workspace_, offloads_};
    std::uint16_t gue_port_ = free_port();
    std::unique_ptr<GueEndpoint> gue_ = open_gue(gue_port_, tools_);
    std::unique_ptr<WireguardEndpoint> wireguard_ = open_wireguard(spoke_.public_key(), tools_);
    PublicKey hub_key_ = wireguard_->device().public_key();

    Outsider stranger_, stranger_to_gue_, peer_;
    std::vector<std::vector<std::byte>> said_;
};

}  // namespace

/// One world for many inputs, since a handshake costs more than all else; a new one before its session is too old.
void fuzz::run(wire::Bytes input) {
    static std::unique_ptr<World> world;
    static wireguard::Clock::time_point made;
    if (!world || io::now().monotonic - made > std::chrono::seconds{60}) {
        world = std::make_unique<World>();
        made = io::now().monotonic;
    }
    for (int n = 0; input.size() >= 3 && n < 64; ++n) {
        const std::size_t length = std::min<std::size_t>(wire::load16(input, 1), input.size() - 3);
        world->take(wire::load8(input, 0), input.subspan(3, length));
        input = input.subspan(3 + length);
    }
    world->judge();
}

std::vector<std::byte> fuzz::make_up(SeededRandom& random) {
    std::vector<std::byte> out;
    for (std::uint64_t n = random.next() % 16; n-- > 0;) {
        std::vector<std::byte> datagram(random.next() % 200);
        random.fill(datagram);
        if (datagram.size() > 4 && random.chance(0.7)) {
            std::ranges::fill(std::span{datagram}.first(4), std::byte{0});
            datagram.front() = std::byte{static_cast<unsigned char>(random.next() % 5)};
        }
        const auto kind = static_cast<std::uint8_t>(random.next());
        const GretapGueHeader header{random.chance(0.5) ? std::optional{kind + 0U} : std::nullopt};
        if (kind % 4 == 0 && datagram.size() > header.bytes().size() && random.chance(0.7))
            std::ranges::copy(header.bytes(), datagram.begin());
        std::array<std::byte, 3> head{};
        wire::store8(head, 0, kind);
        wire::store16(head, 1, static_cast<std::uint16_t>(datagram.size()));
        out.insert(out.end(), head.begin(), head.end());
        out.insert(out.end(), datagram.begin(), datagram.end());
    }
    return out;
}
