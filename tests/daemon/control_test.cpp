// The words between overlayctl and overlayd: framing, and WireGuard's text.

#include "daemon/control/client.hpp"
#include "daemon/control/uapi_text.hpp"
#include "daemon/io/clock.hpp"
#include "daemon/io/unix_address.hpp"
#include "daemon/overlayd/control_server.hpp"

#include <doctest/doctest.h>

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include <sys/socket.h>

using namespace overlay;
using namespace overlay::control;

namespace {

// RFC 7748 §6.1: Alice's key pair.
constexpr const char* alice_private = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";

std::string hex(char digit) { return std::string(64, digit); }

SecretBytes filled(std::uint8_t byte) {
    SecretBytes out{};
    out.fill(byte);
    return out;
}

}  // namespace

TEST_SUITE("control: messages") {
    TEST_CASE("a request arrives whole, in pieces, and with the next behind it") {
        const std::string text = to_text({"uapi", "wg0", "get=1\n\n"});
        CHECK(text == "uapi wg0 7\nget=1\n\n");
        std::string received;
        for (const char c : text + "state 0\n") {
            received += c;
            if (received.size() < text.size()) CHECK_FALSE(take_request(received)->has_value());
        }
        const auto first = take_request(received);
        REQUIRE((first && *first));
        CHECK((*first)->verb == "uapi");
        CHECK((*first)->argument == "wg0");
        CHECK((*first)->body == "get=1\n\n");
        const auto second = take_request(received);
        REQUIRE((second && *second));
        CHECK((*second)->verb == "state");
        CHECK((*second)->body.empty());
        CHECK(received.empty());
    }

    TEST_CASE("what is no request is told apart from one that is not there yet") {
        for (std::string text : {std::string{"state\n"}, std::string{" 0\n"}, std::string{"a b c 0\n"},
                                 std::string{"state -1\n"}, std::string{"state 8388609\n"},
                                 std::string{"state 99999999999999999999\n"}, std::string(128, 'x')}) {
            CAPTURE(text);
            CHECK_FALSE(take_request(text));
        }
        std::string unfinished(127, 'x');
        CHECK(take_request(unfinished));
    }

    TEST_CASE("an answer is a body or an error with its kind and number") {
        std::string received = answer("{}") + answer(Error{Error::Kind::NotFound, "carry gt", "no such port", 2, {}});
        const Answer good = take_answer(received);
        CHECK(good.complete);
        CHECK(good.body == "{}");
        const Answer bad = take_answer(received);
        REQUIRE_FALSE(bad.body);
        CHECK(bad.body.error().kind == Error::Kind::NotFound);
        CHECK(bad.body.error().code == 2);
        CHECK(bad.body.error().reason == "carry gt: no such port");
        std::string half = "ok 5\nabc";
        CHECK_FALSE(take_answer(half).complete);
    }
}

TEST_SUITE("control: the socket") {
    TEST_CASE("its path may be longer than a socket's address") {
        std::string top = (std::filesystem::temp_directory_path() / "control.XXXXXX").string();
        REQUIRE(::mkdtemp(top.data()) != nullptr);
        for (const std::size_t length : {106U, 107U, 108U, 250U}) {   // an address has 108, with a zero
            CAPTURE(length);
            const std::string name(length - top.size() - 1 - std::string_view{"/control.sock"}.size(), 'd');
            const std::string directory = top + "/" + name;
            std::filesystem::create_directory(directory);
            const auto none = Client::connect(directory);
            REQUIRE_FALSE(none);
            CHECK(none.error().kind == Error::Kind::NotFound);
            auto loop = io::EventLoop::make();
            REQUIRE(loop);
            const auto serve = [](const Request& request) { return Result<std::string>{request.verb + "!"}; };
            {
                const auto server = overlayd::ControlServer::listen(directory, *loop, serve);
                REQUIRE(server);
                CHECK_FALSE(overlayd::ControlServer::listen(directory, *loop, serve));   // it is taken
                CHECK(std::filesystem::exists(directory + "/control.sock"));
                std::string answered;
                std::atomic<bool> is_over = false;
                std::thread asker{[&] {
                    auto client = Client::connect(directory);
                    if (client) answered = client->ask({"state", "", ""}).value_or("");
                    is_over = true;
                }};
                while (!is_over) (void)loop->wait(io::now().monotonic + std::chrono::milliseconds{10});
                asker.join();
                CHECK(answered == "state!");
            }
            CHECK_FALSE(std::filesystem::exists(directory + "/control.sock"));
        }
        std::filesystem::remove_all(top);
    }

    TEST_CASE("a connection on which an answer failed to come is closed, and takes no other's for its own") {
        std::string directory = (std::filesystem::temp_directory_path() / "control.XXXXXX").string();
        REQUIRE(::mkdtemp(directory.data()) != nullptr);
        const auto address = io::UnixAddress::of(directory + "/control.sock");
        REQUIRE(address);
        const netlink::UniqueFd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        REQUIRE(::bind(listener.get(), address->get(), io::UnixAddress::size_bytes()) == 0);
        REQUIRE(::listen(listener.get(), 1) == 0);
        auto client = Client::connect(directory);
        REQUIRE(client);
        CHECK(client->is_open());
        const netlink::UniqueFd server{::accept(listener.get(), nullptr, nullptr)};
        const std::string_view half = "ok 5\nst";
        REQUIRE(::send(server.get(), half.data(), half.size(), 0) == ssize_t(half.size()));
        REQUIRE(::shutdown(server.get(), SHUT_WR) == 0);
        const auto answered = client->ask({"state", "", ""});
        REQUIRE_FALSE(answered);
        CHECK(answered.error().kind == Error::Kind::Failed);
        CHECK_FALSE(client->is_open());
        std::filesystem::remove_all(directory);
    }
}

TEST_SUITE("control: uapi text") {
    TEST_CASE("a device's settings: what changes and nothing else") {
        Secrets secrets;
        SecretBytes key = filled(0x11);
        const PublicKey name = secrets.add_private_key(key);
        const SetWireguard step{*IfName::parse("wg0"), {}, {.public_key = name, .listen_port = 51820, .peers = {}}};
        CHECK(*set_text(step, secrets) ==
              "set=1\nprivate_key=" + hex('1') + "\nlisten_port=51820\n\n");
        CHECK(*set_text(SetWireguard{step.link, step.to, step.to}, secrets) == "set=1\n\n");
        const Secrets none;
        const auto missing = set_text(step, none);
        REQUIRE_FALSE(missing);
        CHECK(missing.error().kind == Error::Kind::NotFound);
    }

    TEST_CASE("a peer that comes, changes, and goes") {
        Secrets secrets;
        const PublicKey peer = PublicKey::from_bytes(filled(0xab).data());
        std::string key_hex;
        for (int i = 0; i < 32; ++i) key_hex += "ab";
        WireguardPeer wanted;
        wanted.preshared_key = secrets.add_preshared_key(filled(0x22));
        wanted.endpoint = parse_endpoint("[2001:db8::7]:51820");
        wanted.keepalive_seconds = 25;
        wanted.allowed_ips = {*IpPrefix::parse("10.0.0.0/24")};
        const IfName device = *IfName::parse("wg0");
        CHECK(*set_text(SetPeer{device, peer, std::nullopt, wanted}, secrets) ==
              "set=1\npublic_key=" + key_hex + "\npreshared_key=" + hex('2') +
                  "\nendpoint=[2001:db8::7]:51820\npersistent_keepalive_interval=25\n"
                  "replace_allowed_ips=true\nallowed_ip=10.0.0.0/24\n\n");
        WireguardPeer quiet = wanted;
        quiet.keepalive_seconds = 0;
        quiet.preshared_key = {};
        CHECK(*set_text(SetPeer{device, peer, wanted, quiet}, secrets) ==
              "set=1\npublic_key=" + key_hex + "\nupdate_only=true\npreshared_key=" + hex('0') +
                  "\npersistent_keepalive_interval=0\n\n");
        CHECK(*set_text(SetPeer{device, peer, wanted, std::nullopt}, secrets) ==
              "set=1\npublic_key=" + key_hex + "\nremove=true\n\n");
    }

    const std::string told = fmt::format(
        "private_key={}\nlisten_port=51820\nfwmark=7\npublic_key={}\npreshared_key={}\n"
        "protocol_version=1\nendpoint=192.0.2.1:1234\nlast_handshake_time_sec=1700000000\n"
        "last_handshake_time_nsec=5\ntx_bytes=10\nrx_bytes=20\npersistent_keepalive_interval=25\n"
        "allowed_ip=10.0.0.2/32\nerrno=0\n\n",
        alice_private, hex('3'), hex('0'));

    TEST_CASE("an answer becomes a device; its keys are kept apart") {
        Secrets secrets;
        const auto read = device_of(told, secrets);
        REQUIRE(read);
        // RFC 7748 §6.1: Alice's public key.
        CHECK(text(read->device.public_key) == "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
        CHECK(secrets.private_key(read->device.public_key) != nullptr);
        CHECK(read->device.listen_port == 51820);
        CHECK(read->device.fwmark == 7);
        REQUIRE(read->device.peers.size() == 1);
        const auto& [key, peer] = *read->device.peers.begin();
        CHECK(peer.preshared_key.is_none());
        CHECK(peer.endpoint == parse_endpoint("192.0.2.1:1234"));
        CHECK(peer.keepalive_seconds == 25);
        CHECK(peer.allowed_ips == std::set<IpPrefix>{*IpPrefix::parse("10.0.0.2/32")});
        const auto& activity = read->activity.at(key);
        CHECK(activity.last_handshake_seconds == 1700000000);
        CHECK(activity.rx_bytes == 20);
        CHECK(activity.tx_bytes == 10);
    }

    TEST_CASE("what is no answer is refused, and an errno is an error") {
        Secrets secrets;
        for (const std::string text :
             {"", "errno=x\n\n", "private_key=12\nerrno=0\n\n", "listen_port=70000\nerrno=0\n\n",
              "words\nerrno=0\n\n"}) {
            CAPTURE(text);
            CHECK_FALSE(device_of(text, secrets));
        }
        const auto refused = device_of("errno=-13\n\n", secrets);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == 13);
        CHECK(outcome_of("errno=0\n\n", "configure wg0"));
        CHECK(outcome_of("errno=-22\n\n", "configure wg0").error().code == 22);
        CHECK_FALSE(outcome_of("nothing", "configure wg0"));
    }

    TEST_CASE("from an answer, the request that makes such a device: no counters") {
        CHECK(settings_of(told) ==
              fmt::format("set=1\nprivate_key={}\nlisten_port=51820\nfwmark=7\npublic_key={}\n"
                          "replace_allowed_ips=true\npreshared_key={}\nendpoint=192.0.2.1:1234\n"
                          "persistent_keepalive_interval=25\nallowed_ip=10.0.0.2/32\n\n",
                          alice_private, hex('3'), hex('0')));
    }
}
