// UDP packets for measurements: as many as go, or so many a second; counted, echoed, timed. One line of JSON at its
// end.
//
//     packets receive PORT SECONDS                                {"packets": …, "bytes": …}
//     packets send ADDRESS PORT SIZE SECONDS [PER_SECOND]         {"packets": …}
//     packets echo PORT SECONDS
//     packets ping ADDRESS PORT SIZE PER_SECOND SECONDS           {"sent": …, "received": …, "p50_us": …, …}
//     packets initiations ADDRESS PORT SECONDS PER_SECOND [KEY]   {"packets": …, "answers": …, "answer_bytes": …}
//
// SIZE: bytes of UDP payload. `initiations` are WireGuard's first messages, each another one of random bytes; with the
// KEY of whom they go to their MAC1 is right, without it is wrong.

#include "daemon/io/udp_socket.hpp"
#include "daemon/wireguard/cookie.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include <arpa/inet.h>
#include <poll.h>

namespace overlay {

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr std::size_t batch = 64;
constexpr std::size_t largest = 1500;

int socket_at(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    constexpr int buffer_bytes = 8 << 20;
    if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof buffer_bytes) != 0)
        (void)::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    auto* const generic = static_cast<sockaddr*>(static_cast<void*>(&address));
    if (port != 0 && ::bind(fd, generic, sizeof address) != 0) throw std::runtime_error{"bind"};
    return fd;
}

int socket_to(const char* address, std::uint16_t port) {
    const int fd = socket_at(0);
    io::SocketAddress to = io::SocketAddress::of({IpAddress::parse(address).value(), port});
    if (::connect(fd, static_cast<sockaddr*>(static_cast<void*>(&to.storage)), to.size_bytes) != 0)
        throw std::runtime_error{"connect"};
    return fd;
}

/// Many datagrams for one call, each with memory of its own.
struct Batch {
    std::vector<std::byte> memory = std::vector<std::byte>(batch * largest);
    std::array<iovec, batch> slices{};
    std::array<mmsghdr, batch> messages{};

    explicit Batch(std::size_t size) {
        for (std::size_t i = 0; i < batch; ++i) {
            slices[i] = {memory.data() + i * largest, size};
            messages[i].msg_hdr.msg_iov = &slices[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
    }
};

bool readable(int fd, Clock::time_point until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    pollfd wait{fd, POLLIN, 0};
    return ::poll(&wait, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0))) > 0;
}

void receive(std::uint16_t port, double seconds) {
    const int fd = socket_at(port);
    Batch many{largest};
    std::uint64_t packets = 0, bytes = 0;
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds{seconds});
    while (Clock::now() < end && readable(fd, end)) {
        const int count = ::recvmmsg(fd, many.messages.data(), batch, MSG_DONTWAIT, nullptr);
        for (int i = 0; i < count; ++i) bytes += many.messages[static_cast<std::size_t>(i)].msg_len;
        packets += static_cast<std::uint64_t>(std::max(count, 0));
    }
    fmt::print("{}\n", nlohmann::json{{"packets", packets}, {"bytes", bytes}}.dump());
}

/// Calls `fill` for each packet before it goes. The number sent.
template <class Fill>
std::uint64_t send(int fd, std::size_t size, double seconds, double per_second, const Fill& fill) {
    Batch many{size};
    std::uint64_t packets = 0;
    const auto start = Clock::now();
    for (;;) {
        const double passed = Seconds{Clock::now() - start}.count();
        if (passed >= seconds) return packets;
        std::size_t now = batch;
        if (per_second > 0) {
            const auto due = static_cast<std::uint64_t>(passed * per_second);
            now = static_cast<std::size_t>(std::min<std::uint64_t>(due - std::min(due, packets), batch));
            if (now == 0) {
                std::this_thread::sleep_for(std::chrono::microseconds{200});
                continue;
            }
        }
        for (std::size_t i = 0; i < now; ++i) fill(std::span{many.memory}.subspan(i * largest, size));
        const int sent = ::sendmmsg(fd, many.messages.data(), static_cast<unsigned>(now), 0);
        if (sent > 0) packets += static_cast<std::uint64_t>(sent);
    }
}

void send(const char* address, std::uint16_t port, std::size_t size, double seconds, double per_second) {
    const auto packets =
        send(socket_to(address, port), size, seconds, per_second, [](std::span<std::byte>) {});
    fmt::print("{}\n", nlohmann::json{{"packets", packets}}.dump());
}

void echo(std::uint16_t port, double seconds) {
    const int fd = socket_at(port);
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds{seconds});
    std::array<std::byte, largest> packet{};
    while (readable(fd, end)) {
        sockaddr_storage from{};
        socklen_t from_bytes = sizeof from;
        auto* const generic = static_cast<sockaddr*>(static_cast<void*>(&from));
        const ssize_t got = ::recvfrom(fd, packet.data(), packet.size(), 0, generic, &from_bytes);
        if (got > 0)
            (void)::sendto(fd, packet.data(), static_cast<std::size_t>(got), 0, generic, from_bytes);
    }
}

/// Round trips, each from the moment that its packet was due: a sender that is late counts, too.
void ping(const char* address, std::uint16_t port, std::size_t size, double per_second, double seconds) {
    const int fd = socket_to(address, port);
    std::vector<std::byte> packet(std::max(size, sizeof(std::uint64_t)));
    const auto total = static_cast<std::uint64_t>(per_second * seconds);
    std::vector<double> trips;
    const auto start = Clock::now();
    const auto due_at = [&](std::uint64_t number) {
        return start + std::chrono::duration_cast<Clock::duration>(Seconds{static_cast<double>(number) / per_second});
    };
    const auto collect = [&](Clock::time_point until) {
        while (readable(fd, until)) {
            std::uint64_t number = 0;
            const ssize_t got = ::recv(fd, packet.data(), packet.size(), 0);
            if (got < static_cast<ssize_t>(sizeof number)) continue;   // an ICMP error, perhaps
            std::memcpy(&number, packet.data(), sizeof number);
            trips.push_back(Seconds{Clock::now() - due_at(number)}.count() * 1e6);
        }
    };
    for (std::uint64_t number = 0; number < total; ++number) {
        collect(due_at(number) - std::chrono::microseconds{999});
        std::this_thread::sleep_until(due_at(number));
        std::memcpy(packet.data(), &number, sizeof number);
        (void)::send(fd, packet.data(), packet.size(), 0);
    }
    collect(Clock::now() + std::chrono::milliseconds{500});
    std::sort(trips.begin(), trips.end());
    const auto percentile = [&](double share) {
        return trips.empty() ? 0.0 : trips[static_cast<std::size_t>(share * static_cast<double>(trips.size() - 1))];
    };
    fmt::print("{}\n", nlohmann::json{{"sent", total}, {"received", trips.size()}, {"p50_us", percentile(0.5)},
                                      {"p99_us", percentile(0.99)}, {"max_us", percentile(1)}}.dump());
}

void initiations(const char* address, std::uint16_t port, double seconds, double per_second,
                 const std::optional<PublicKey>& to) {
    constexpr std::size_t size = 148;   // WireGuard paper §5.4.2
    std::optional<wireguard::MacWriter> macs;
    if (to) macs.emplace(*to);
    const int fd = socket_to(address, port);
    std::mt19937_64 random{std::random_device{}()};
    const auto packets = send(fd, size, seconds, per_second, [&](std::span<std::byte> message) {
        for (std::size_t at = 0; at + 8 <= message.size(); at += 8) {
            const std::uint64_t word = random();
            std::memcpy(message.data() + at, &word, sizeof word);
        }
        message[0] = std::byte{1};
        for (const std::size_t reserved : {1U, 2U, 3U}) message[reserved] = std::byte{0};
        if (macs) macs->write(message, Clock::now());
    });
    std::uint64_t answers = 0, answer_bytes = 0;
    std::array<std::byte, largest> answer{};
    for (ssize_t got = 0; (got = ::recv(fd, answer.data(), answer.size(), MSG_DONTWAIT)) > 0; ++answers)
        answer_bytes += static_cast<std::uint64_t>(got);
    fmt::print("{}\n", nlohmann::json{{"packets", packets}, {"bytes", packets * size}, {"answers", answers},
                                      {"answer_bytes", answer_bytes}}.dump());
}

int main(std::span<const char* const> words) {
    const auto text = [&](std::size_t n) { return n < words.size() ? words[n] : "0"; };
    const auto number = [&](std::size_t n) { return std::stod(text(n)); };
    const auto port = [&](std::size_t n) { return static_cast<std::uint16_t>(number(n)); };
    const std::string verb = text(1);
    if (verb == "receive") receive(port(2), number(3));
    else if (verb == "send") send(text(2), port(3), static_cast<std::size_t>(number(4)), number(5), number(6));
    else if (verb == "echo") echo(port(2), number(3));
    else if (verb == "ping")
        ping(text(2), port(3), static_cast<std::size_t>(number(4)), number(5), number(6));
    else if (verb == "initiations")
        initiations(text(2), port(3), number(4), number(5),
                    words.size() > 6 ? std::optional{PublicKey::parse(words[6]).value()} : std::nullopt);
    else return 1;
    return 0;
}

}  // namespace

}  // namespace overlay

int main(int argc, char** argv) {
    return overlay::main(std::span<const char* const>(argv, static_cast<std::size_t>(argc)));
}
