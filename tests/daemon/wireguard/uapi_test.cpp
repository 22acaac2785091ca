// Judged by what wireguard-go answered to the same words (tests/vectors/wireguard/uapi.txt), and,
// where it has no opinion, by the protocol's description.

#include "daemon/wireguard/uapi.hpp"
#include "support/uapi_host.hpp"
#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <fstream>

using namespace overlay;
using namespace overlay::wireguard;
using namespace std::chrono_literals;

namespace {

const std::string one(64, 'a'), two(64, 'b'), zeros(64, '0'), key_11 = "1" + std::string(63, '1');
constexpr Moment start{Clock::time_point{1h}, WallClock::time_point{1'700'000'000s}};

/// A device without a key, and whoever asks it.
struct Asked {
    explicit Asked(std::size_t max_peers = max_uapi_peers) : uapi{device, host, max_peers} {}

    std::string ask(std::string_view request) {
        const SecretText answer = uapi.answer(request, start, out);
        return {answer.begin(), answer.end()};
    }
    std::string set(std::string_view lines) { return ask("set=1\n" + std::string{lines} + "\n"); }
    std::string get() { return ask("get=1\n\n"); }

    SeededRandom random{1};
    Device device{Secret32{}, {}, random};
    FakeUapiHost host;
    Outbox out;
    Uapi uapi;
};

struct Exchange {
    std::string title, request, answer;
};

std::vector<Exchange> captured() {
    std::ifstream file{OVERLAY_SOURCE_DIR "/tests/vectors/wireguard/uapi.txt"};
    std::vector<Exchange> out;
    for (std::string line; std::getline(file, line);) {
        const std::string text = line.size() > 2 ? line.substr(2) : "";
        if (line[0] == '#') out.push_back({.title = text});
        if (line[0] == '>') out.back().request += text + "\n";
        if (line[0] == '<') out.back().answer += text + "\n";
    }
    return out;
}

/// Of an answer: the values of a key.
std::vector<std::string> values(std::string_view answer, std::string_view key) {
    std::vector<std::string> out;
    const std::string wanted = "\n" + std::string{key} + "=";
    const std::string text = "\n" + std::string{answer};
    for (auto at = text.find(wanted); at != std::string::npos; at = text.find(wanted, at + 1)) {
        const auto from = at + wanted.size();
        out.push_back(text.substr(from, text.find('\n', from) - from));
    }
    return out;
}

using Texts = std::vector<std::string>;

std::string answer_of(World& world, Side side, std::string_view request) {
    FakeUapiHost host;
    Outbox out;
    const SecretText answer = Uapi{world.device(side), host}.answer(request, world.now(), out);
    return {answer.begin(), answer.end()};
}

std::string hex_of(const PublicKey& key) { return to_hex(bytes_of(key)); }

}  // namespace

TEST_SUITE("wireguard uapi") {

    TEST_CASE("wg, and who writes by hand, get from us what they get from wireguard-go") {
        Asked asked;
        const std::vector<Exchange> exchanges = captured();
        REQUIRE(exchanges.size() > 100);

        for (const Exchange& each : exchanges) {
            CAPTURE(each.title);
            CAPTURE(each.request);
            CHECK(asked.ask(each.request) == each.answer);
        }
    }

    TEST_CASE("a request with one bad line changes nothing, wherever that line is") {
        Asked asked;
        REQUIRE(asked.set("private_key=" + key_11 + "\nlisten_port=5\npublic_key=" + one +
                          "\nallowed_ip=10.0.0.0/8\n") == "errno=0\n\n");
        const std::string before = asked.get();
        const std::string device =
            "private_key=" + two + "\nlisten_port=6\nfwmark=7\nreplace_peers=true\n";
        const std::string peer = "public_key=" + two + "\nallowed_ip=10.0.0.0/8\n";
        const int changes = asked.host.changes;

        for (const auto& [lines, answer] : std::vector<std::pair<std::string, std::string>>{
                 {device + "what=1\n" + peer, "errno=-22\n\n"},
                 {device + "what\n" + peer, "errno=-71\n\n"},
                 {device + peer + "endpoint=1.2.3.4\n", "errno=-22\n\n"},
                 {device + peer + peer + "remove=true\nallowed_ip=-\n", "errno=-22\n\n"},
                 {device + peer + "\nwhat=1\n", "errno=-71\n\n"}}) {
            CAPTURE(lines);
            CHECK(asked.set(lines) == answer);
            CHECK(asked.get() == before);
        }
        CHECK(asked.host.changes == changes);
    }

    TEST_CASE("a socket that cannot be as wanted is asked first, and its refusal is the answer") {
        Asked asked;
        const std::string before = asked.get();
        for (const int refusal : {EADDRINUSE, EPERM}) {
            asked.host.refusal = refusal;

            CHECK(asked.set("private_key=" + key_11 + "\nlisten_port=5\nfwmark=6\npublic_key=" +
                            one + "\n") == "errno=-" + std::to_string(refusal) + "\n\n");
            CHECK(asked.get() == before);
        }
    }

    TEST_CASE("the socket is left alone unless something is to change") {
        Asked asked;
        (void)asked.set("listen_port=5\nfwmark=6\n");
        CHECK(asked.host.changes == 1);

        (void)asked.set("listen_port=5\nfwmark=6\n");
        (void)asked.set("private_key=" + key_11 + "\n");
        CHECK(asked.host.changes == 1);
        (void)asked.set("fwmark=0\n");
        CHECK(asked.host.settings == SocketSettings{.listen_port = 5, .fwmark = 0});
        (void)asked.set("listen_port=0\n");
        CHECK(asked.host.settings == SocketSettings{.listen_port = 40000, .fwmark = 0});
        (void)asked.set("listen_port=0\n");  // another one, as from the kernel
        CHECK(asked.host.changes == 4);
    }

    TEST_CASE("with another socket, the address that peers are sent from is chosen again") {
        World world;
        world.connect();
        Outbox out;
        FakeUapiHost host;
        Path path{.remote = *parse_endpoint("192.0.2.2:2000"),
                  .local = *IpAddress::parse("192.0.2.1")};
        std::vector<std::byte> keepalive;
        world.on_wire = [&](Side, Bytes bytes) {
            keepalive.assign(bytes.begin(), bytes.end());
            return false;
        };
        (void)world.send(Side::Right, 1);
        (void)world.device(Side::Left).receive(keepalive, path, world.now(), out);
        REQUIRE(world.status(Side::Left).path == path);

        (void)Uapi{world.device(Side::Left), host}.answer("set=1\nfwmark=6\n\n", world.now(), out);
        path.local = {};
        CHECK(world.status(Side::Left).path == path);
    }

    TEST_CASE("an allowed ip with a minus is taken from this peer, in the order of the lines") {
        Asked asked;
        const auto left = [&](const std::string& lines) {
            REQUIRE(asked.set("replace_peers=true\npublic_key=" + one + "\n" + lines) ==
                    "errno=0\n\n");
            return values(asked.get(), "allowed_ip");
        };

        CHECK(left("allowed_ip=10.0.0.0/8\nallowed_ip=-10.0.0.0/8\n") == Texts{});
        CHECK(left("allowed_ip=-10.0.0.0/8\nallowed_ip=10.0.0.0/8\n") == Texts{"10.0.0.0/8"});
        CHECK(left("allowed_ip=10.0.0.0/8\nallowed_ip=fd00::/8\nallowed_ip=-10.0.0.0/16\n"
                   "allowed_ip=-fd12::/8\n") == Texts{"10.0.0.0/8"});
        CHECK(left("allowed_ip=10.0.0.0/8\nallowed_ip=-10.0.0.0/8\nreplace_allowed_ips=true\n"
                   "allowed_ip=fd00::/8\n") == Texts{"fd00::/8"});
        CHECK(left("allowed_ip=10.0.0.0/8\npublic_key=" + two + "\nallowed_ip=-10.0.0.0/8\n") ==
              Texts{"10.0.0.0/8"});
        CHECK(left("allowed_ip=-10.0.0.0/8\nremove=true\nallowed_ip=-10.0.0.0/8\n") == Texts{});
        CHECK(asked.set("public_key=" + one + "\nallowed_ip=--10.0.0.0/8\n") == "errno=-22\n\n");
    }

    TEST_CASE("a peer that is only updated is not made by the second half of its lines") {
        Asked asked;

        (void)asked.set("public_key=" + one +
                        "\nallowed_ip=10.0.0.0/8\nallowed_ip=-10.0.0.0/8\nupdate_only=true\n");
        CHECK(asked.device.peers().empty());
    }

    TEST_CASE("a peer at a link-local address is shown with the interface it needs") {
        Asked asked;
        (void)asked.set("public_key=" + one + "\nendpoint=[fe80::1%lo]:5\n");
        CHECK(values(asked.get(), "endpoint") == Texts{"[fe80::1%1]:5"});

        (void)asked.set("public_key=" + one + "\nendpoint=[fe80::1%22]:5\n");
        CHECK(values(asked.get(), "endpoint") == Texts{"[fe80::1%22]:5"});
        (void)asked.set("public_key=" + one + "\nendpoint=[2001:db8::1%22]:5\n");
        CHECK(values(asked.get(), "endpoint") == Texts{"[2001:db8::1]:5"});
        for (const std::string_view bad : {"nosuch", "0", "-1", ""}) {
            CAPTURE(bad);
            CHECK(asked.set("public_key=" + one + "\nendpoint=[fe80::1%" + std::string{bad} +
                            "]:5\n") == "errno=-22\n\n");
        }
    }

    TEST_CASE("counters and the last handshake are told as they are, to the nanosecond") {
        World world{{.start = {Clock::time_point{1h},
                               WallClock::time_point{1'700'000'000s + 250'000'007ns}}}};
        CHECK(values(answer_of(world, Side::Left, "get=1\n\n"), "last_handshake_time_sec") ==
              Texts{"0"});
        world.connect();

        const std::string answer = answer_of(world, Side::Left, "get=1\n\n");
        CHECK(values(answer, "last_handshake_time_sec") == Texts{"1700000000"});
        CHECK(values(answer, "last_handshake_time_nsec") == Texts{"250000007"});
        CHECK(values(answer, "tx_bytes") == Texts{"244"});  // 148 and a packet of 64 in 96
        CHECK(values(answer, "rx_bytes") == Texts{"92"});
    }

    TEST_CASE("a session survives a request that says what is so already") {
        World world;
        world.connect();
        const PeerStatus before = world.status(Side::Left);
        const std::string request =
            "set=1\nprivate_key=" + to_hex(world.device(Side::Left).private_key().bytes()) +
            "\npublic_key=" + hex_of(before.key) + "\npreshared_key=" + zeros +
            "\nendpoint=" + text(before.path->remote) +
            "\npersistent_keepalive_interval=0\nreplace_allowed_ips=true\nallowed_ip=" +
            text(before.allowed_ips.at(0)) + "\n\n";

        CHECK(answer_of(world, Side::Left, request) == "errno=0\n\n");
        CHECK(world.send(Side::Left, 7).kind == Sealed::Kind::Send);
        CHECK(world.status(Side::Left).path == before.path);
        world.settle();
        CHECK(world.delivered(Side::Right).back() == 7);
    }

    TEST_CASE("replaced peers begin anew, even those that are there again") {
        World world;
        world.connect();
        const PeerStatus peer = world.status(Side::Left);

        CHECK(answer_of(world, Side::Left,
                        "set=1\nreplace_peers=true\npublic_key=" + hex_of(peer.key) +
                            "\nendpoint=" + text(peer.path->remote) + "\nallowed_ip=" +
                            text(peer.allowed_ips.at(0)) + "\n\n") == "errno=0\n\n");
        CHECK(world.send(Side::Left, 7).kind == Sealed::Kind::Hold);
    }

    TEST_CASE("without a private key nobody is called and nobody answered") {
        World world;
        const auto set_key = [&](const std::string& hex) {
            return answer_of(world, Side::Left, "set=1\nprivate_key=" + hex + "\n\n");
        };
        REQUIRE(set_key(zeros) == "errno=0\n\n");

        CHECK(values(answer_of(world, Side::Left, "get=1\n\n"), "private_key").empty());
        (void)world.send(Side::Left, 1);
        world.settle();
        CHECK(world.sent(Side::Left, MessageType::Initiation) == 0);
        // Its public key would be that of a private key which everybody knows.
        std::vector<std::byte> initiation(initiation::size_bytes);
        store_type(initiation, MessageType::Initiation);
        MacWriter{PublicKey{}}.write(initiation, world.now().monotonic);
        CHECK(world.inject(Side::Left, initiation).reason == DropReason::Handshake);
    }

    TEST_CASE("the first private key lets the keepalives begin that waited for it") {
        Asked asked;
        (void)asked.set("public_key=" + one +
                        "\nendpoint=192.0.2.1:5\npersistent_keepalive_interval=25\n");
        REQUIRE(asked.out.datagrams().empty());

        (void)asked.set("private_key=" + key_11 + "\n");
        REQUIRE(asked.out.datagrams().size() == 1);
        CHECK(asked.out.datagrams()[0].size_bytes == 148);
    }

    TEST_CASE("no more peers than there is room for, and what leaves makes room") {
        Asked asked{2};
        const auto peer = [](int number, const std::string& rest = "") {
            return "public_key=" + std::to_string(number) + std::string(63, '1') + "\n" + rest;
        };
        CHECK(asked.set(peer(1) + peer(2) + peer(3)) == "errno=-12\n\n");
        CHECK(asked.device.peers().empty());

        CHECK(asked.set(peer(1) + peer(2) + peer(1) + peer(2)) == "errno=0\n\n");
        CHECK(asked.set(peer(3)) == "errno=-12\n\n");
        CHECK(asked.set(peer(3, "remove=true\n") + peer(4)) == "errno=-12\n\n");
        CHECK(asked.set(peer(3, "update_only=true\n") + peer(2)) == "errno=0\n\n");
        CHECK(asked.set(peer(1, "remove=true\n") + peer(3)) == "errno=0\n\n");
        CHECK(asked.set(peer(2, "remove=true\n") + peer(1) + peer(2)) == "errno=-12\n\n");
        CHECK(asked.set("replace_peers=true\n" + peer(4) + peer(5)) == "errno=0\n\n");
        CHECK(asked.set("replace_peers=true\n" + peer(6) + peer(7) + peer(8)) == "errno=-12\n\n");
        CHECK(asked.device.peers().size() == 2);
    }

    TEST_CASE("what is no request gets no answer") {
        Asked asked;
        for (const std::string_view request :
             {"", "\n", "\n\n", "get=1", "get=1\n", "set=1\n", "get=2\n\n", "GET=1\n\n",
              "set=1\nlisten_port=5\n", " get=1\n\n"}) {
            CAPTURE(request);
            CHECK(asked.ask(request).empty());
        }
        CHECK(asked.host.changes == 0);
    }
}
