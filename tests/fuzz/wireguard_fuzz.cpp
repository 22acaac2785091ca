// Strangers against a device with two live peers. The input is a script: what honest peers send,
// how time passes, and what a stranger makes of everything that was ever on the wire, or makes up.
//
// Whatever it says: nothing that a stranger sent is delivered or moves a peer, he never gets more bytes
// than he sent, the device holds no more sessions than its peers have room for, and at the end both peers
// still get a packet through. A bug aborts.

#include "daemon/wireguard/device.hpp"
#include "fuzz.hpp"


using namespace overlay;
using namespace overlay::wireguard;

namespace {

class Script {
  public:
    explicit Script(Bytes bytes) : rest_{bytes} {}
    [[nodiscard]] bool ended() const { return rest_.empty(); }
    std::uint8_t byte() {
        if (rest_.empty()) return 0;
        const std::uint8_t out = wire::load8(rest_, 0);
        rest_ = rest_.subspan(1);
        return out;
    }
    std::vector<std::byte> bytes(std::size_t count) {
        const Bytes taken = rest_.first(std::min(count, rest_.size()));
        rest_ = rest_.subspan(taken.size());
        return {taken.begin(), taken.end()};
    }

  private:
    Bytes rest_;
};

Secret32 key_of(std::uint8_t name) {
    std::array<std::byte, 32> bytes{};
    bytes.fill(std::byte{name});
    return Secret32{bytes};
}

DeviceOptions loaded_from(std::uint8_t first) {
    DeviceOptions options;
    if (first % 2 != 0) options.load.waiting = 0;
    return options;
}

class Arena {
  public:
    explicit Arena(std::uint8_t first) : hub_{key_of(1), loaded_from(first), random_} {
        for (std::uint8_t i = 0; i < 2; ++i) {
            const std::string inner = "10.0.0." + std::to_string(i + 2) + "/32";
            hub_.change({.key = spokes_[i].public_key(), .allowed_ips = {*IpPrefix::parse(inner)}},
                        now_, out_);
            spokes_[i].change({.key = hub_.public_key(),
                               .endpoint = hub_path_.remote,
                               .persistent_keepalive = std::chrono::seconds{i == 0 ? 25 : 0},
                               .allowed_ips = {*IpPrefix::parse("10.0.0.1/32")}},
                              now_, out_);
            settle(i);
        }
        intruder_.change({.key = hub_.public_key(),
                          .endpoint = hub_path_.remote,
                          .allowed_ips = {*IpPrefix::parse("10.0.0.1/32")}},
                         now_, out_);
    }

    void step(Script& script) {
        const std::uint8_t what = script.byte();
        const std::uint8_t which = script.byte();
        switch (what % 8) {
            case 0: return stranger(script.bytes(which));
            case 1: return stranger(altered(seen(which), script));
            case 2: return stranger(seen(which));
            case 3: return with_right_mac1(which, script);
            case 4: return spoke_sends(which % 2);
            case 5: return hub_sends(which % 2);
            case 6: return pass(std::chrono::milliseconds{which * 10});
            default: return pass(std::chrono::seconds{which});
        }
    }

    /// A cookie is asked for under load, and an initiation is repeated after 5 s at the earliest.
    void demand_that_peers_live() {
        for (std::uint8_t i = 0; i < 2; ++i) {
            delivered_[i] = false;
            for (int seconds = 0; seconds < 40 && !delivered_[i]; ++seconds) {
                spoke_sends(i);
                if (!delivered_[i]) pass(std::chrono::seconds{1});
            }
            fuzz::demand(delivered_[i], "a peer is cut off");
        }
    }

  private:
    static constexpr std::size_t max_seen = 64;

    void stranger(std::vector<std::byte> datagram) {
        const std::size_t size = datagram.size();
        const Received received = hub_.receive(datagram, stranger_path_, now_, out_);
        if (received.kind == Received::Kind::Deliver)
            OVERLAY_UNREACHABLE("a stranger was believed");
        if (out_.total_bytes() > size)
            OVERLAY_UNREACHABLE("the answer is longer than the question");
        for (const PeerId peer : hub_.peers()) {
            const auto path = hub_.status(peer)->path;
            fuzz::demand(!path || path->remote != stranger_path_.remote, "a stranger moved a peer");
        }
        if (hub_.index_count() > 8) OVERLAY_UNREACHABLE("more sessions than peers have room for");
        out_.clear();
    }

    [[nodiscard]] std::vector<std::byte> seen(std::uint8_t which) const {
        return seen_.empty() ? std::vector<std::byte>{} : seen_[which % seen_.size()];
    }

    static std::vector<std::byte> altered(std::vector<std::byte> datagram, Script& script) {
        const std::uint8_t how = script.byte(), where = script.byte(), value = script.byte();
        if (datagram.empty()) return datagram;
        // A changed mac2 is no change where nobody asks for it.
        const std::size_t size = datagram.size();
        if (how % 3 == 0) datagram[where % size] ^= static_cast<std::byte>(value == 0 ? 1 : value);
        if (how % 3 == 1) datagram.resize(where % size);
        if (how % 3 == 2) datagram.insert(datagram.end(), std::size_t{1} + value, std::byte{where});
        return datagram;
    }

    /// As a stranger writes who knows the hub's public key, which is public.
    void with_right_mac1(std::uint8_t which, Script& script) {
        if (which >= 0xc0) return with_a_key_of_his_own();
        const bool is_initiation = which % 2 == 0;
        std::vector<std::byte> datagram =
            which % 4 < 2 ? seen(script.byte()) : script.bytes(initiation::size_bytes);
        datagram.resize(is_initiation ? initiation::size_bytes : response::size_bytes);
        datagram[which % datagram.size()] ^= std::byte{script.byte()};
        store_type(datagram, is_initiation ? MessageType::Initiation : MessageType::Response);
        MacWriter{hub_.public_key()}.write(datagram, now_.monotonic);
        stranger(std::move(datagram));
    }

    /// An initiation without fault, of somebody whom the hub does not know.
    void with_a_key_of_his_own() {
        (void)intruder_.send(packet("10.0.0.9", "10.0.0.1", 1), now_, out_);
        std::vector<std::vector<std::byte>> said;
        for (const Outbox::Datagram& each : out_.datagrams()) {
            const Bytes bytes = out_.bytes_of(each);
            said.emplace_back(bytes.begin(), bytes.end());
        }
        out_.clear();
        for (std::vector<std::byte>& datagram : said) stranger(std::move(datagram));
    }

    void spoke_sends(std::uint8_t spoke) {
        const std::string from = "10.0.0." + std::to_string(spoke + 2);
        (void)spokes_[spoke].send(packet(from, "10.0.0.1", 1), now_, out_);
        settle(spoke);
    }

    void hub_sends(std::uint8_t spoke) {
        (void)hub_.send(packet("10.0.0.1", "10.0.0." + std::to_string(spoke + 2), 1), now_, out_);
        settle_hub();
    }

    void pass(std::chrono::milliseconds time) {
        now_.monotonic += time;
        now_.wall += time;
        for (std::uint8_t i = 0; i < 2; ++i) {
            spokes_[i].on_time(now_, out_);
            settle(i);
        }
        hub_.on_time(now_, out_);
        settle_hub();
    }

    struct Flying {
        std::vector<std::byte> bytes;
        bool to_hub;
        std::uint8_t spoke;
    };

    void settle(std::uint8_t spoke) {
        std::vector<Flying> flying;
        take(flying, true, spoke);
        deliver(std::move(flying));
    }
    void settle_hub() {
        std::vector<Flying> flying;
        take(flying, false, 0);
        deliver(std::move(flying));
    }

    /// Everything in the outbox takes off, and is seen by the stranger.
    void take(std::vector<Flying>& flying, bool to_hub, std::uint8_t spoke) {
        for (const Outbox::Datagram& each : out_.datagrams()) {
            const Bytes bytes = out_.bytes_of(each);
            const auto to = static_cast<std::uint8_t>(each.to.remote.port == 1002 ? 1 : 0);
            flying.push_back({{bytes.begin(), bytes.end()}, to_hub, to_hub ? spoke : to});
            if (seen_.size() == max_seen) seen_.erase(seen_.begin());
            seen_.emplace_back(bytes.begin(), bytes.end());
        }
        out_.clear();
    }

    void deliver(std::vector<Flying> flying) {
        for (std::size_t i = 0; i < flying.size() && i < 1000; ++i) {
            Flying each = std::move(flying[i]);
            Device& to = each.to_hub ? hub_ : spokes_[each.spoke];
            const Path& from = each.to_hub ? spoke_paths_[each.spoke] : hub_path_;
            const Received received = to.receive(each.bytes, from, now_, out_);
            if (each.to_hub && received.kind == Received::Kind::Deliver) delivered_[each.spoke] = true;
            take(flying, !each.to_hub, each.spoke);
        }
    }

    SeededRandom random_{1};
    Moment now_{Clock::time_point{std::chrono::hours{1}},
                WallClock::time_point{std::chrono::hours{480000}}};
    Path hub_path_{.remote = *parse_endpoint("192.0.2.1:1000")};
    Path stranger_path_{.remote = *parse_endpoint("203.0.113.1:666")};
    std::array<Path, 2> spoke_paths_{Path{.remote = *parse_endpoint("192.0.2.2:1001")},
                                     Path{.remote = *parse_endpoint("192.0.2.3:1002")}};
    Device hub_;
    std::array<Device, 2> spokes_{Device{key_of(2), {}, random_}, Device{key_of(3), {}, random_}};
    Device intruder_{key_of(4), {}, random_};
    std::array<bool, 2> delivered_{};
    Outbox out_;
    std::vector<std::vector<std::byte>> seen_;
};

}  // namespace

void fuzz::run(Bytes input) {
    Script script{input};
    Arena arena{script.byte()};
    for (int steps = 0; !script.ended() && steps < 500; ++steps) arena.step(script);
    arena.demand_that_peers_live();
}

std::vector<std::byte> fuzz::make_up(SeededRandom& random) {
    std::vector<std::byte> input(random.next() % 600);
    random.fill(input);
    return input;
}
