// Requests, right and wrong, to one device. The input is a row of requests, each of them either
// text as it stands or a row of numbers that choose lines from a list.
//
// Whatever it says: an answer is none or ends with an errno; a request that is refused changes
// nothing; what the device says of itself makes a second one that says the same; there are never
// more peers than there may be. A bug aborts.

#include "daemon/wireguard/uapi.hpp"
#include "support/uapi_host.hpp"
#include "fuzz.hpp"

#include <cerrno>

using namespace overlay;
using namespace overlay::wireguard;

namespace {

constexpr std::size_t max_peers = 4;
constexpr Moment start{Clock::time_point{std::chrono::hours{1}},
                       WallClock::time_point{std::chrono::hours{480000}}};

/// Values of each kind that are taken, and some that are not; keys are of one digit.
constexpr std::array<std::string_view, 8> numbers{"0",     "1",  "51820",      "65535",
                                                  "65536", "-1", "4294967295", "x"};
constexpr std::array<std::string_view, 8> endpoints{
    "1.2.3.4:5", "[2001:db8::1]:6", "[fe80::1%lo]:7", "[fe80::1%9]:8",
    "1.2.3.4:0", "1.2.3.4",         "[fe80::1%no]:9", "[::ffff:1.2.3.4]:1"};
constexpr std::array<std::string_view, 8> prefixes{"10.0.0.0/8",  "10.1.2.3/16", "0.0.0.0/0",
                                                   "10.0.0.1/32", "fd00::/8",    "fd00::1/128",
                                                   "::/0",        "10.0.0.0/33"};
constexpr std::array<std::string_view, 14> keys{"public_key",
                                                "allowed_ip",
                                                "allowed_ip",
                                                "replace_allowed_ips",
                                                "remove",
                                                "update_only",
                                                "endpoint",
                                                "preshared_key",
                                                "persistent_keepalive_interval",
                                                "private_key",
                                                "listen_port",
                                                "fwmark",
                                                "replace_peers",
                                                "protocol_version"};

std::string value_for(std::string_view key, std::uint8_t choice) {
    if (key.ends_with("_key")) {
        const std::size_t length = choice == 0xff ? 63 : 64;
        return std::string(length, "0123456789abcdeg"[choice % 16]);
    }
    if (key == "endpoint") return std::string{endpoints[choice % 8]};
    if (key == "allowed_ip") return (choice >= 0xc0 ? "-" : "") + std::string{prefixes[choice % 8]};
    if (key == "protocol_version") return choice == 0xff ? "2" : "1";
    if (key == "fwmark" || key.starts_with("listen") || key.starts_with("persistent"))
        return std::string{numbers[choice % 8]};
    return choice == 0xff ? "false" : "true";
}

std::string chosen(Bytes choices) {
    std::string out = "set=1\n";
    for (std::size_t i = 0; i + 1 < choices.size(); i += 2) {
        const std::string_view key = keys[wire::load8(choices, i) % keys.size()];
        out += std::string{key} + "=" + value_for(key, wire::load8(choices, i + 1)) + "\n";
    }
    return out + "\n";
}

struct Asked {
    std::string ask(std::string_view request) {
        const SecretText answer = uapi.answer(request, start, out);
        out.clear();
        return {answer.begin(), answer.end()};
    }
    SeededRandom random{1};
    Device device{Secret32{}, {}, random};
    FakeUapiHost host;
    Outbox out;
    Uapi uapi{device, host, max_peers};
};

/// What a device says of itself, as a request for another one.
std::string as_request(std::string_view answer) {
    std::string out = "set=1\nreplace_peers=true\n";
    while (!answer.empty()) {
        const std::string_view line = answer.substr(0, answer.find('\n'));
        answer.remove_prefix(line.size() + 1);
        const bool is_counter = line.starts_with("last_") || line.starts_with("tx_") ||
                                line.starts_with("rx_") || line.starts_with("errno");
        if (!is_counter && !line.empty()) out += std::string{line} + "\n";
    }
    return out + "\n";
}

std::string without_counters(std::string_view answer) { return as_request(answer); }

void check(Asked& asked, std::string_view request) {
    const std::string before = asked.ask("get=1\n\n");
    const std::string answer = asked.ask(request);
    const std::string after = asked.ask("get=1\n\n");
    const auto last = answer.rfind("errno=");
    if (!answer.empty() && (last == std::string::npos || !answer.ends_with("\n\n")))
        OVERLAY_UNREACHABLE("an answer without an errno");
    if (!answer.ends_with("errno=0\n\n") && before != after)
        OVERLAY_UNREACHABLE("a request that was refused left a trace");
    if (asked.device.peers().size() > max_peers)
        OVERLAY_UNREACHABLE("more peers than there may be");
    Asked copy;
    if (copy.ask(as_request(after)) != "errno=0\n\n")
        OVERLAY_UNREACHABLE("what it says of itself is refused");
    if (without_counters(copy.ask("get=1\n\n")) != without_counters(after))
        OVERLAY_UNREACHABLE("what it says of itself is not what it is");
}

}  // namespace

/// Each request: a byte for its kind, one for its length, and so many.
void fuzz::run(Bytes input) {
    Asked asked;
    while (input.size() >= 2) {
        const std::uint8_t kind = wire::load8(input, 0);
        const std::size_t length = std::min<std::size_t>(wire::load8(input, 1), input.size() - 2);
        const Bytes content = input.subspan(2, length);
        input = input.subspan(2 + length);
        std::string text{reinterpret_cast<const char*>(content.data()), content.size()};
        if (kind % 4 == 0) check(asked, text);
        if (kind % 4 == 1) check(asked, "set=1\n" + text + "\n\n");
        asked.host.refusal = kind % 4 == 2 ? EADDRINUSE : 0;
        if (kind % 4 >= 2) check(asked, chosen(content));
        asked.host.refusal = 0;
    }
}

std::vector<std::byte> fuzz::make_up(SeededRandom& random) {
    std::vector<std::byte> input(random.next() % 100);
    random.fill(input);
    for (std::size_t at = 1; at < input.size(); at += 2 + std::to_integer<std::size_t>(input[at]))
        input[at] &= std::byte{0x0f};  // many short requests rather than one long one
    return input;
}
