// What comes in at overlayd's control socket, what overlayctl reads from it, and WireGuard's text inside. The input
// is a byte for which of them, one for the size of the pieces that it arrives in, and what arrives.
//
// Whatever it says: it does not matter in which pieces it comes; nothing is waited for that may not come; a message
// that is taken is written as one that means the same, and so is a device. A bug aborts.

#include "daemon/control/message.hpp"
#include "daemon/control/uapi_text.hpp"
#include "fuzz.hpp"

#include <algorithm>

using namespace overlay;
using namespace overlay::control;
using fuzz::demand;

namespace {

/// Everything that is taken, one behind the other, and how it ended.
template <class Taken>
struct Conversation {
    std::vector<Taken> taken;
    bool broken = false;
    friend bool operator==(const Conversation&, const Conversation&) = default;
};

using Words = std::array<std::string, 3>;
Words words_of(const Request& request) { return {request.verb, request.argument, request.body}; }

Conversation<Words> requests_in(std::string_view stream, std::size_t piece_bytes) {
    Conversation<Words> out;
    for (std::string received; !stream.empty() && !out.broken;) {
        received += stream.substr(0, piece_bytes);
        stream.remove_prefix(std::min(piece_bytes, stream.size()));
        for (;;) {
            const std::size_t before = received.size();
            const auto request = take_request(received);
            out.broken = !request;
            if (!request || !*request) {
                demand(received.size() == before, "taken, and not told");
                demand(out.broken || before < max_head_bytes || before < max_head_bytes + max_body_bytes,
                       "more is kept than a message may have");
                break;
            }
            demand(received.size() < before, "taken out of nothing");
            out.taken.push_back(words_of(**request));
        }
    }
    return out;
}

void requests(std::string_view stream, std::size_t piece_bytes) {
    const auto whole = requests_in(stream, std::max<std::size_t>(stream.size(), 1));
    demand(requests_in(stream, piece_bytes) == whole, "pieces make another message");
    for (const Words& words : whole.taken) {
        std::string written = to_text({.verb = words[0], .argument = words[1], .body = words[2]});
        const auto again = take_request(written);
        demand(again && *again && words_of(**again) == words, "a request means something else");
        demand(written.empty(), "a request has something behind it");
    }
}

void answers(std::string received) {
    const Answer first = take_answer(received);
    if (!first.complete) return;
    std::string written = first.body ? answer(*first.body) : answer(first.body.error());
    const Answer again = take_answer(written);
    demand(again.complete, "an answer of ours is not whole");
    demand(first.body.has_value() == again.body.has_value(), "an answer turned into its opposite");
    if (first.body) return demand(*first.body == *again.body, "an answer means something else");
    const Error &one = first.body.error(), &other = again.body.error();
    demand(one.kind == other.kind && one.code == other.code, "an error means something else");
}

void device(std::string_view text) {
    Secrets secrets;
    (void)outcome_of(text, "try");
    const auto read = device_of(text, secrets);
    const std::string settings = settings_of(text);
    demand(settings.starts_with("set=1\n") && settings.ends_with("\n\n"), "settings that are no request");
    if (!read) return demand(!read.error().reason.empty(), "refused without a reason");
    const auto again = device_of(settings.substr(0, settings.size() - 1) + "errno=0\n\n", secrets);
    demand(again.has_value(), "settings of a device are none of a device");
    demand(again->device == read->device, "settings are those of another device");
}

constexpr std::array<std::string_view, 3> texts{
    "set-link 412\n", "error busy 16 7\nlater: ",
    "private_key=0101010101010101010101010101010101010101010101010101010101010101\nlisten_port=51820\nfwmark=7\n"
    "public_key=0202020202020202020202020202020202020202020202020202020202020202\n"
    "preshared_key=0303030303030303030303030303030303030303030303030303030303030303\n"
    "endpoint=[2001:db8::1]:9\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nrx_bytes=5\nerrno=0\n\n"};

}  // namespace

void fuzz::run(wire::Bytes input) {
    if (input.size() < 2) return;
    const std::size_t piece_bytes = std::max<std::size_t>(wire::load8(input, 1), 1);
    const std::string_view rest = text_of(input.subspan(2));
    switch (wire::load8(input, 0) % 3) {
        case 0: return requests(rest, piece_bytes);
        case 1: return answers(std::string{rest});
        default: return device(rest);
    }
}

std::vector<std::byte> fuzz::make_up(wireguard::SeededRandom& random) {
    const std::uint64_t which = random.next() % 3;
    std::string text{texts.at(which)};
    if (which == 0) {
        const std::string body(random.next() % 30, 'b');
        text = to_text({.verb = "uapi", .argument = "wg0", .body = body}) +
               to_text({.verb = "stop", .argument = "", .body = ""});
    }
    const std::string head{static_cast<char>(which), static_cast<char>(random.next() % 20)};
    return bytes_of(head + worn(text, random));
}
