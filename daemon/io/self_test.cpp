#include "daemon/io/self_test.hpp"

#include "daemon/io/udp_socket.hpp"

#include <algorithm>
#include <chrono>

#include <poll.h>

namespace overlay::io {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds patience{35}, grace{3};
// As the data path has them: headers and payload in slices of their own, the last datagram shorter.
constexpr std::size_t segments = 20, segment_bytes = 1392, last_bytes = 333, header_bytes = 72;
constexpr std::size_t train_bytes = (segments - 1) * segment_bytes + last_bytes;

/// No two datagrams are alike, nor two places in one.
std::vector<std::byte> made_up() {
    std::vector<std::byte> out(train_bytes);
    std::uint32_t value = 1;
    for (std::byte& each : out) {
        value = value * 1664525U + 1013904223U;   // Numerical Recipes §7.1
        each = static_cast<std::byte>(value >> 24U);
    }
    return out;
}

class Trial {
  public:
    enum class Verdict { Whole, Damaged, None };

    /// A train from one socket to another, and behind it a datagram that says that all of it has come.
    Verdict send_train(const Offloads& sender, const Offloads& receiver);
    [[nodiscard]] const Offload& gso() const { return gso_; }
    [[nodiscard]] const Offload& gro() const { return gro_; }

  private:
    /// False: nothing more came in time.
    bool receive_until(UdpSocket& socket, std::uint16_t sender_port, Clock::time_point end);

    const Clock::time_point end_ = Clock::now() + patience;
    std::vector<std::byte> sent_ = made_up();
    ReceiveRoom room_{2};
    std::vector<std::byte> came_;
    bool are_sizes_right_ = true, has_ended_ = false;
    Offload gso_, gro_;
};

bool Trial::receive_until(UdpSocket& socket, std::uint16_t sender_port, Clock::time_point end) {
    const auto left = std::chrono::ceil<milliseconds>(end - Clock::now());
    pollfd wait{socket.fd(), POLLIN, 0};
    if (::poll(&wait, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0))) <= 0) return false;
    for (const Received& each : socket.receive(room_)) {
        if (each.from.port() != sender_port) continue;
        if (each.bytes.size() == 1) {
            has_ended_ = true;
            continue;
        }
        const bool is_last = came_.size() + each.bytes.size() == train_bytes;
        are_sizes_right_ = are_sizes_right_ && each.segment_bytes == (is_last && each.bytes.size() == last_bytes
                                                                          ? last_bytes : segment_bytes);
        came_.insert(came_.end(), each.bytes.begin(), each.bytes.end());
    }
    return true;
}

Trial::Verdict Trial::send_train(const Offloads& sender, const Offloads& receiver) {
    UdpOptions options;
    options.local = IpAddress::parse("127.0.0.1").value();
    auto from = UdpSocket::open(options, sender), to = UdpSocket::open(options, receiver);
    if (!from || !to) return Verdict::None;
    gso_ = from->gso();
    gro_ = to->gro();
    came_.clear();
    are_sizes_right_ = true;
    has_ended_ = false;

    std::array<iovec, 2 * segments> slices{};
    for (std::size_t i = 0; i < segments; ++i) {
        std::byte* const start = sent_.data() + i * segment_bytes;
        const std::size_t size = i + 1 < segments ? segment_bytes : last_bytes;
        slices[2 * i] = {start, header_bytes};
        slices[2 * i + 1] = {start + header_bytes, size - header_bytes};
    }
    iovec end_slice{sent_.data(), 1};
    const SocketAddress address = SocketAddress::of({*options.local, to->port()});
    const std::array<Train, 2> trains{
        Train{.to = &address, .slices = slices, .segment_bytes = segment_bytes, .size_bytes = train_bytes,
              .segments = segments},
        Train{.to = &address, .slices = {&end_slice, 1}, .segment_bytes = 1, .size_bytes = 1, .segments = 1}};
    if (from->send(trains) != 0) return Verdict::None;
    gso_ = from->gso();   // sent one by one, if the kernel has refused the train
    while (!has_ended_) {
        if (!receive_until(*to, from->port(), end_)) return Verdict::None;
    }
    // Two processors may have taken part, and the end come first.
    const auto last = std::min(end_, Clock::now() + grace);
    while (came_.size() < train_bytes && receive_until(*to, from->port(), last)) {}
    return came_ == sent_ && are_sizes_right_ ? Verdict::Whole : Verdict::Damaged;
}

}  // namespace

Offloads self_tested(const Offloads& asked) {
    Offloads out = asked;
    if (!asked.udp_gso.is_on() && !asked.udp_gro.is_on()) return out;
    Trial trial;
    Offloads with = Offloads::none();
    if (trial.send_train(with, with) != Trial::Verdict::Whole) return out;   // single ones do not, either
    const auto judge = [&](Trial::Verdict verdict, const Offload& found, Offload& offload) {
        if (!offload.is_on()) return;
        if (!found.is_on()) offload = found;
        else if (verdict == Trial::Verdict::Damaged) offload = {.state = Offload::State::Broken};
    };
    with.udp_gso = asked.udp_gso;
    const auto sending = trial.send_train(with, Offloads::none());
    const bool makes_trains = sending == Trial::Verdict::Whole && trial.gso().is_on();
    judge(sending, trial.gso(), out.udp_gso);
    Offloads receiver = Offloads::none();
    receiver.udp_gro = {};
    const auto receiving = trial.send_train(makes_trains ? with : Offloads::none(), receiver);
    judge(receiving, trial.gro(), out.udp_gro);
    return out;
}

}  // namespace overlay::io
