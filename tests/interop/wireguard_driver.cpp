// One stock WireGuard peer on the other side, the protocol core on this: a UDP socket, a clock and
// a machine that answers pings, and nothing else. tests/interop/wireguard_go.py drives it.
//
//   wireguard_driver PRIVATE_KEY PEER_PUBLIC_KEY PSK|- PORT PEER_PORT answer|call|load SECONDS
//
// We are 10.9.0.2 and fd09::2, the peer 10.9.0.1 and fd09::1, the outer network is the loopback
// device. "answer" waits for pings, "call" sends one every 100 ms until 25 were answered, "load"
// answers, asking for cookies. It ends with its standard input, at the latest after SECONDS, and
// one line of JSON tells what happened.

#include "daemon/wire/checksum.hpp"
#include "daemon/wireguard/device.hpp"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

using namespace overlay;
using namespace overlay::wireguard;

namespace {

Moment now() { return {Clock::now(), WallClock::now()}; }

Secret32 secret(const char* base64) {
    const std::optional<std::string> bytes = base64_decode(base64);
    OVERLAY_ASSERT(bytes && bytes->size() == 32);
    return Secret32{std::as_bytes(std::span{*bytes})};
}

std::vector<std::byte> ping(std::uint16_t sequence) {
    std::vector<std::byte> packet(84);
    const MutableBytes bytes{packet};
    wire::store16(bytes, 0, 0x4500);
    wire::store16(bytes, 2, 84);
    wire::store16(bytes, 8, 0x4001);
    wire::store32(bytes, 12, 0x0a090002);
    wire::store32(bytes, 16, 0x0a090001);
    wire::store16(bytes, 10, wire::checksum_of(wire::sum_of(bytes.first(20))));
    wire::store16(bytes, 20, 0x0800);
    wire::store16(bytes, 26, sequence);
    wire::store16(bytes, 22, wire::checksum_of(wire::sum_of(bytes.subspan(20))));
    return packet;
}

/// Source and destination change places, and a request becomes a reply.
bool turn_around(MutableBytes packet) {
    const bool is_ipv4 = wire::load8(packet, 0) >> 4 == 4;
    const std::size_t addresses = is_ipv4 ? 12 : 8, size = is_ipv4 ? 4 : 16,
                      icmp = is_ipv4 ? 20 : 40;
    const std::uint8_t request = is_ipv4 ? 8 : 128, reply = is_ipv4 ? 0 : 129;
    if (packet.size() < icmp + 8 || wire::load8(packet, icmp) != request) return false;
    std::swap_ranges(packet.begin() + static_cast<std::ptrdiff_t>(addresses),
                     packet.begin() + static_cast<std::ptrdiff_t>(addresses + size),
                     packet.begin() + static_cast<std::ptrdiff_t>(addresses + size));
    wire::store8(packet, icmp, reply);
    wire::store16(packet, icmp + 2,
                  wire::adjusted_checksum(wire::load16(packet, icmp + 2),
                                          static_cast<std::uint16_t>(request << 8),
                                          static_cast<std::uint16_t>(reply << 8)));
    return true;
}

struct Driver {
    Device& device;
    int socket;
    Outbox out{};
    int answered = 0, replies = 0, sessions = 0, handled = 0;

    void flush() {
        for (const Outbox::Datagram& each : out.datagrams()) {
            sockaddr_in to{};
            to.sin_family = AF_INET;
            to.sin_port = htons(each.to.remote.port);
            std::memcpy(&to.sin_addr, each.to.remote.address.data(), 4);
            const Bytes bytes = out.bytes_of(each);
            (void)::sendto(socket, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&to),
                           sizeof to);
        }
        for (const Event& event : out.events()) sessions += event.kind == Event::Kind::SessionBegun;
        out.clear();
    }

    void take(MutableBytes packet) {
        const std::size_t length = wire::load8(packet, 0) >> 4 == 4 ? wire::load16(packet, 2)
                                                                    : 40U + wire::load16(packet, 4);
        if (length > packet.size()) return;
        packet = packet.first(length);
        if (turn_around(packet)) {
            ++answered;
            (void)device.send(packet, now(), out);
        } else {
            ++replies;
        }
    }

    void read_all() {
        std::array<std::byte, 65536> buffer{};
        sockaddr_in from{};
        socklen_t size = sizeof from;
        const ssize_t got = ::recvfrom(socket, buffer.data(), buffer.size(), MSG_DONTWAIT,
                                       reinterpret_cast<sockaddr*>(&from), &size);
        if (got < 0) return;
        const Path path{
            .remote = {IpAddress::from_bytes(Family::Ipv4, &from.sin_addr), ntohs(from.sin_port)}};
        const Received received = device.receive(
            MutableBytes{buffer}.first(static_cast<std::size_t>(got)), path, now(), out);
        if (received.kind == Received::Kind::Handled) ++handled;
        if (received.kind == Received::Kind::Deliver) take(received.packet);
        flush();
    }
};

int bound_socket(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_port = htons(port);
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    OVERLAY_ASSERT(::bind(fd, reinterpret_cast<sockaddr*>(&here), sizeof here) == 0);
    return fd;
}

void report(const Driver& driver) {
    std::printf(R"({"answered":%d,"replies":%d,"sessions":%d,"handled":%d,"dropped":{)",
                driver.answered, driver.replies, driver.sessions, driver.handled);
    const char* comma = "";
    for (std::size_t i = 0; i < drop_reason_count; ++i) {
        const auto reason = static_cast<DropReason>(i);
        if (driver.device.dropped(reason) == 0) continue;
        std::printf(R"(%s"%s":%llu)", comma, std::string{text(reason)}.c_str(),
                    static_cast<unsigned long long>(driver.device.dropped(reason)));
        comma = ",";
    }
    std::printf("}}\n");
}

}  // namespace

int main(int argc, char** argv) {
    OVERLAY_ASSERT(argc == 8 && crypto_available());
    const std::string mode = argv[6];
    SystemRandom random;
    DeviceOptions options;
    if (mode == "load") options.load.waiting = 0;
    Device device{secret(argv[1]), options, random};
    Driver driver{device, bound_socket(static_cast<std::uint16_t>(std::stoi(argv[4])))};

    std::puts("ready");
    (void)std::fflush(stdout);
    PeerChange peer{.key = *PublicKey::parse(argv[2])};
    if (std::string_view{argv[3]} != "-") peer.preshared_key = secret(argv[3]);
    if (mode == "call") peer.endpoint = parse_endpoint(std::string{"127.0.0.1:"} + argv[5]);
    peer.allowed_ips = {*IpPrefix::parse("10.9.0.1/32"), *IpPrefix::parse("fd09::1/128")};
    device.change(peer, now(), driver.out);

    const Clock::time_point end = Clock::now() + std::chrono::seconds{std::stoi(argv[7])};
    Clock::time_point next_ping = Clock::now();
    for (std::uint16_t sequence = 0; Clock::now() < end;) {
        if (mode == "call" && Clock::now() >= next_ping) {
            (void)device.send(ping(sequence++), now(), driver.out);
            next_ping += std::chrono::milliseconds{100};
        }
        if (Clock::now() >= device.next_deadline()) device.on_time(now(), driver.out);
        driver.flush();
        if (mode == "call" && driver.replies >= 25) break;
        std::array<pollfd, 2> ready{pollfd{driver.socket, POLLIN, 0},
                                    pollfd{STDIN_FILENO, POLLIN, 0}};
        if (::poll(ready.data(), ready.size(), 20) <= 0) continue;
        if (ready[0].revents != 0) driver.read_all();
        if (ready[1].revents != 0) break;
    }
    report(driver);
    ::close(driver.socket);
}
