// What a WireGuard device remembers: memory after handshakes that succeed, handshakes that fail, changes of peers and
// garbage, by a clock that runs as fast as the processor; and what a peer takes that says nothing.
//
//     wireguard_memory [SHARE]      of 10^6 handshakes of each kind, 10^5 changes, 10^7 datagrams; 1 by default
//
// Bytes in use are malloc's own count (mallinfo2), resident ones the kernel's.

#include "support/wireguard_world.hpp"

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>   // World's demands
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include <malloc.h>
#include <unistd.h>

namespace overlay::wireguard {

namespace {

using namespace std::chrono_literals;

struct Memory {
    double used_kib = static_cast<double>(::mallinfo2().uordblks) / 1024;
    double resident_kib = 0;

    Memory() {
        long pages = 0, resident = 0;
        std::ifstream{"/proc/self/statm"} >> pages >> resident;
        resident_kib = static_cast<double>(resident * ::sysconf(_SC_PAGESIZE)) / 1024;
    }
};

void forget(World& world) {
    for (const Side side : {Side::Left, Side::Right}) {
        world.events(side).clear();
        world.delivered(side).clear();
    }
}

/// Runs `work` for a hundredth, which fills what is kept for reuse, and then in full.
template <class Work>
void measure(const std::string& name, std::size_t count, const Work& work) {
    work(count / 100 + 1);
    const Memory before;
    work(count);
    const Memory after;
    fmt::print("{:38} {:>9}: {:+8.1f} KiB in use, {:+8.1f} KiB resident\n", name, count,
               after.used_kib - before.used_kib, after.resident_kib - before.resident_kib);
}

void complete_handshakes(std::size_t count) {
    static World world;
    const std::size_t end = world.sent(Side::Left, MessageType::Initiation) + count;
    while (world.sent(Side::Left, MessageType::Initiation) < end) {
        (void)world.send(Side::Left, 1);   // what is older than two minutes is renewed
        world.advance(121s);
        forget(world);
    }
}

void fail_handshakes(std::size_t count) {
    static World world;
    world.on_wire = [](Side from, Bytes) { return from == Side::Left; };   // no answer comes back
    const std::size_t end = world.sent(Side::Left, MessageType::Initiation) + count;
    while (world.sent(Side::Left, MessageType::Initiation) < end) {
        (void)world.send(Side::Left, 1);
        world.advance(60s);
        forget(world);
    }
}

PublicKey key_of(std::uint64_t number) {
    std::array<std::uint8_t, 32> bytes{};
    std::memcpy(bytes.data(), &number, sizeof number);
    bytes[31] = 1;
    return PublicKey::from_bytes(bytes.data());
}

IpPrefix address_of(std::uint64_t number) {
    return *IpPrefix::parse(fmt::format("10.{}.{}.{}/32", number >> 16 & 255, number >> 8 & 255, number & 255));
}

PeerChange peer(std::uint64_t number) {
    PeerChange out{.key = key_of(number)};
    out.endpoint = parse_endpoint("192.0.2.9:51820").value();
    out.allowed_ips = {address_of(number)};
    return out;
}

void change_peers(World& world, std::size_t count) {
    static std::uint64_t number = 1;
    Outbox out;
    for (std::size_t n = 0; n < count; n += 2, ++number) {
        world.device(Side::Left).change(peer(number), world.now(), out);
        PeerChange removal = peer(number);
        removal.action = PeerChange::Action::Remove;
        world.device(Side::Left).change(removal, world.now(), out);
        out.clear();
    }
}

void receive_garbage(World& world, std::size_t count) {
    static SeededRandom random{7};
    for (std::size_t n = 0; n < count; ++n) {
        constexpr std::array<std::size_t, 5> sizes{0, 148, 92, 64, 80};   // of each type of message
        const std::size_t type = random.next() % sizes.size();
        std::vector<std::byte> datagram(type == 0 ? random.next() % 200 : sizes[type]);
        for (std::size_t at = 0; at + 8 <= datagram.size(); at += 8) {
            const std::uint64_t word = random.next();
            std::memcpy(datagram.data() + at, &word, sizeof word);
        }
        if (type != 0) {
            datagram[0] = static_cast<std::byte>(type);
            std::fill_n(datagram.begin() + 1, 3, std::byte{0});
        }
        (void)world.inject(Side::Right, std::move(datagram));
        if (n % 1024 == 0) {
            world.advance(1ms);
            forget(world);
        }
    }
}

void count_idle_peers() {
    constexpr std::size_t count = 1000;
    World world;
    Outbox out;
    for (std::uint64_t number = 1; number <= 10; ++number)
        world.device(Side::Left).change(peer(number), world.now(), out);
    const Memory before;
    for (std::uint64_t number = 11; number <= 10 + count; ++number) {
        world.device(Side::Left).change(peer(number), world.now(), out);
        out.clear();
    }
    const Memory after;
    fmt::print("{:38} {:>9}: {:8.2f} KiB in use each, {:8.2f} KiB resident each\n", "idle peers", count,
               (after.used_kib - before.used_kib) / count, (after.resident_kib - before.resident_kib) / count);
}

}  // namespace

}  // namespace overlay::wireguard

int main(int argc, char** argv) {
    using namespace overlay::wireguard;
    const double share = argc > 1 ? std::atof(argv[1]) : 1;
    const auto of = [&](double whole) { return static_cast<std::size_t>(whole * share); };
    count_idle_peers();
    World world;
    world.connect();
    measure("changes of peers", of(1e5), [&](std::size_t count) { change_peers(world, count); });
    measure("datagrams of garbage", of(1e7), [&](std::size_t count) { receive_garbage(world, count); });
    measure("handshakes that nobody answers", of(1e6), fail_handshakes);
    measure("handshakes", of(1e6), complete_handshakes);
    return 0;
}
