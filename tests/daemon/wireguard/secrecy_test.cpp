// Keys must not outlive their use: judged by looking for them in this process's memory.

#include "daemon/wireguard/uapi.hpp"
#include "support/uapi_host.hpp"
#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>

using namespace overlay;
using namespace overlay::wireguard;
using namespace std::chrono_literals;

namespace {

/// How often these bytes, 64 at most, stand in this process's writable memory: their second half,
/// as whoever frees memory writes his own over its beginning. Read through /proc, so that memory
/// that was given back counts as well.
int copies_in_memory(Bytes wanted) {
    std::ifstream maps{"/proc/self/maps"};
    const int memory = ::open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    REQUIRE(memory >= 0);
    int found = 0;
    wanted = wanted.subspan(wanted.size() / 2);
    std::vector<std::byte, WipingAllocator<std::byte>> page(
        1 << 20);  // a later search must not find it
    for (std::string line; std::getline(maps, line);) {
        unsigned long begin = 0, end = 0;
        std::array<char, 5> access{};
        if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, access.data()) != 3) continue;
        const bool is_heap =
            line.find("[heap]") != std::string::npos || line.find('/') == std::string::npos;
        if (access[1] != 'w' || !is_heap || line.find("[stack]") != std::string::npos) continue;
        if (end - begin > 1UL << 30) continue;  // the sanitizer's shadow
        for (unsigned long at = begin; at < end; at += page.size() - 64) {
            const ssize_t got = ::pread(memory, page.data(), std::min(page.size(), end - at),
                                        static_cast<off_t>(at));
            if (got < 32) break;
            const std::byte* from = page.data();
            const std::byte* const stop = from + got;
            const auto next = [&] {
                return static_cast<const std::byte*>(::memmem(
                    from, static_cast<std::size_t>(stop - from), wanted.data(), wanted.size()));
            };
            for (const std::byte* hit = next(); hit != nullptr; hit = next()) {
                ++found;
                from = hit + 1;
            }
        }
    }
    ::close(memory);
    return found;
}

Secret32 inverse_of(const Secret32& secret) {
    Secret32 out = secret;
    for (std::byte& each : out.bytes()) each = ~each;
    return out;
}

/// A key that stands nowhere else, as bytes in a row do in a C library's tables; X25519 takes it as
/// it is.
Secret32 key_from(unsigned first) {
    Secret32 out;
    for (unsigned i = 0; i < 32; ++i) out.bytes()[i] = static_cast<std::byte>(first + i * 7 % 32);
    return out;
}

SecretText hex_text(const Secret32& key) {
    SecretText out;
    for (const std::byte each : key.bytes()) {
        for (const unsigned digit :
             {std::to_integer<unsigned>(each) >> 4, std::to_integer<unsigned>(each) & 15})
            out.push_back("0123456789abcdef"[digit]);
    }
    return out;
}

int copies_of_text(const Secret32& key) {
    const SecretText wanted = hex_text(key);
    return copies_in_memory(std::as_bytes(std::span{wanted})) - 1;
}

SecretText request_with_keys(const SecretText& private_key, const SecretText& preshared_key) {
    SecretText out;
    const auto add = [&](const auto& text) { out.insert(out.end(), text.begin(), text.end()); };
    add(std::string_view{"set=1\nprivate_key="});
    add(private_key);
    add("\npublic_key=" + std::string(64, 'a') + "\npreshared_key=");
    add(preshared_key);
    add(std::string_view{"\n\n"});
    return out;
}

struct Call {
    Moment now;
    const Path& from;
    Outbox& out;
};

/// Begins a session with the device and confirms it; both keys of it, inverted.
std::array<Secret32, 2> inverted_keys_of_session(Device& device, const PrivateKey& ours,
                                                 Random& random, const Call& call) {
    const RemoteIdentity remote{ours, device.public_key()};
    std::vector<std::byte> message(initiation::size_bytes);
    const auto sent = Initiation::create(
        ours, remote, random, {.sender = 1, .timestamp = Tai64n::of(call.now.wall)}, message);
    MacWriter{remote.key()}.write(message, {});
    REQUIRE(device.receive(message, call.from, call.now, call.out).kind == Received::Kind::Handled);
    const Bytes response = call.out.bytes_of(call.out.datagrams()[0]);
    const auto keys = sent->consume_response(ours, remote, response);
    REQUIRE(keys);

    std::vector<std::byte> keepalive(data::overhead_bytes);
    store_type(keepalive, MessageType::Data);
    store32_le(keepalive, 4, sender_of(response));
    Aead{keys->send, Aead::Direction::Seal}.seal(0, {}, MutableBytes{keepalive}.subspan(16));
    REQUIRE(device.receive(keepalive, call.from, call.now, call.out).kind ==
            Received::Kind::Handled);
    return {inverse_of(keys->send), inverse_of(keys->receive)};
}

}  // namespace

TEST_SUITE("wireguard secrecy") {

    TEST_CASE("session keys are in memory while the session lives, and nowhere after 540 s") {
        // We play one end by hand, to know the keys; what we know is kept inverted, as the search
        // must not find itself.
        SeededRandom random{1};
        const PrivateKey ours = PrivateKey::generate(random);
        Device device{Secret32{from_hex(std::string(64, '7'))}, {}, random};
        const Moment start{Clock::time_point{1h}, WallClock::time_point{480000h}};
        const Path from{.remote = *parse_endpoint("192.0.2.1:1")};
        Outbox out;
        device.change({.key = ours.public_key()}, start, out);
        std::array<Secret32, 2> inverted =
            inverted_keys_of_session(device, ours, random, {start, from, out});

        for (const Secret32& each : inverted)
            CHECK(copies_in_memory(inverse_of(each).bytes()) >= 1);
        device.on_time({start.monotonic + 540s, start.wall + 540s}, out);
        CHECK(device.index_count() == 0);
        for (const Secret32& each : inverted)
            CHECK(copies_in_memory(inverse_of(each).bytes()) == 0);
    }

    TEST_CASE("a secret is wiped where it lay") {
        alignas(Secret32) std::array<std::byte, sizeof(Secret32)> memory{};
        auto* secret = new (memory.data()) Secret32{};
        std::ranges::fill(secret->bytes(), std::byte{0xc7});

        secret->~Secret();
        CHECK(memory == std::array<std::byte, sizeof(Secret32)>{});
    }

    TEST_CASE("of keys that came and went through the userspace interface, no text is left") {
        SeededRandom random{1};
        Device device{Secret32{}, {}, random};
        FakeUapiHost host;
        Outbox out;
        Uapi uapi{device, host};
        const Moment now{Clock::time_point{1h}, WallClock::time_point{480000h}};
        {
            const SecretText request =
                request_with_keys(hex_text(key_from(0x60)), hex_text(key_from(0x20)));
            const SecretText done = uapi.answer({request.data(), request.size()}, now, out);
            CHECK(std::string_view{done.data(), done.size()} == "errno=0\n\n");
            const SecretText told = uapi.answer("get=1\n\n", now, out);
            for (const unsigned first : {0x60U, 0x20U}) CHECK(copies_of_text(key_from(first)) >= 2);
        }

        for (const unsigned first : {0x60U, 0x20U}) CHECK(copies_of_text(key_from(first)) == 0);
    }

    TEST_CASE("keys that are taken back from a device are nowhere") {
        SeededRandom random{1};
        Device device{Secret32{}, {}, random};
        FakeUapiHost host;
        Outbox out;
        Uapi uapi{device, host};
        const Moment now{Clock::time_point{1h}, WallClock::time_point{480000h}};
        {
            const SecretText request =
                request_with_keys(hex_text(key_from(0x60)), hex_text(key_from(0x20)));
            (void)uapi.answer({request.data(), request.size()}, now, out);
        }
        for (const unsigned first : {0x60U, 0x20U})
            CHECK(copies_in_memory(key_from(first).bytes()) >= 1);

        const std::string none(64, '0');
        (void)uapi.answer("set=1\nprivate_key=" + none + "\nreplace_peers=true\n\n", now, out);
        for (const unsigned first : {0x60U, 0x20U})
            CHECK(copies_in_memory(key_from(first).bytes()) == 0);
    }
}
