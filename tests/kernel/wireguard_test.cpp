// WireGuard devices and peers on a real kernel, judged by `wg show`.

#include "kernel/lab.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>

using namespace overlay;
using namespace overlay::test;

namespace {

SecretBytes secret(std::uint8_t first) {
    SecretBytes bytes{};
    bytes.fill(first);
    return bytes;
}

PublicKey public_key(std::uint8_t first) {
    const SecretBytes bytes = secret(first);
    return PublicKey::from_bytes(bytes.data());
}

/// The tab-separated words of `wg show wg0 dump`: the device's line, then one per peer.
std::vector<std::vector<std::string>> wg_dump() {
    std::vector<std::vector<std::string>> lines;
    std::istringstream text{output_of({"wg", "show", "wg0", "dump"})};
    for (std::string line; std::getline(text, line);) {
        std::istringstream words{line};
        lines.emplace_back();
        for (std::string word; std::getline(words, word, '\t');) lines.back().push_back(word);
    }
    return lines;
}

/// A namespace with wg0, ours, up.
void add_wireguard(Lab& lab) {
    lab.load({"wireguard"});
    lab.execute(CreateLink{wireguard("wg0")});
}

WireguardDevice device_of(Lab& lab) { return lab.snapshot().wireguard.at(if_name("wg0")); }

}  // namespace

TEST_SUITE("wireguard on a kernel") {

TEST_CASE("a device is created, and reads back as a link and as a device without key") {
    Lab lab;
    lab.load({"wireguard"});

    lab.there_and_back(CreateLink{wireguard("wg0")}, [&] {
        CHECK(lab.link("wg0").kind == LinkKind::Wireguard);
        CHECK(lab.link("wg0").alias == "overlay:test:wg");
        CHECK(lab.link("wg0").mtu == Mtu{1420});
        CHECK(device_of(lab).public_key.is_zero());
        CHECK(ip_link("wg0")["linkinfo"]["info_kind"] == "wireguard");
    });
}

TEST_CASE("private key, port and mark are set and taken back, and wg agrees") {
    Lab lab;
    add_wireguard(lab);
    const SecretBytes key = secret(0x42);
    const WireguardDevice wanted{.public_key = lab.secrets().add_private_key(key),
                                 .listen_port = 23450, .fwmark = 0x77};
    const SetWireguard step{if_name("wg0"), WireguardDevice{.listen_port = 0}, wanted};

    lab.there_and_back(step, [&] {
        CHECK(device_of(lab) == wanted);
        auto judged = wg_dump().at(0);
        // The kernel clamps what it is given (RFC 7748 §5): 0x42 → 0x40 first, 0x42 stays last.
        CHECK(judged[1] == text(wanted.public_key));
        CHECK(judged[2] == "23450");
        CHECK(judged[3] == "0x77");
    });
    CHECK(wg_dump().at(0)[0] == "(none)");
}

TEST_CASE("the key that a device already has is learned under its public key") {
    Lab lab;
    add_wireguard(lab);
    (void)output_of({"sh", "-c", "wg genkey >/run/key && wg set wg0 private-key /run/key"});

    const WireguardDevice found = device_of(lab);

    std::ifstream file{"/run/key"};
    std::string line;
    std::getline(file, line);
    const SecretBytes* const key = lab.secrets().private_key(found.public_key);
    REQUIRE(key != nullptr);
    CHECK(base64_encode(key->data(), key->size()) == line);
    CHECK(wg_dump().at(0)[1] == text(found.public_key));
}

TEST_CASE("a peer is added, each setting changed in place, and removed; another is never touched") {
    Lab lab;
    add_wireguard(lab);
    const IfName name = if_name("wg0");
    WireguardPeer other{.allowed_ips = {prefix("172.16.0.9/32")}};
    lab.execute(SetPeer{name, public_key(9), std::nullopt, other});
    const WireguardPeer base{.preshared_key = lab.secrets().add_preshared_key(secret(0x55)),
                             .endpoint = Endpoint{ip("198.51.100.7"), 51820},
                             .keepalive_seconds = 25,
                             .allowed_ips = {prefix("172.16.0.2/32"), prefix("2001:db8:2::/64")}};
    const auto peer_line = [&] {
        for (const auto& line : wg_dump()) {
            if (line[0] == text(public_key(2))) return line;
        }
        FAIL("wg does not show the peer");
        return std::vector<std::string>{};
    };
    lab.there_and_back(SetPeer{name, public_key(2), std::nullopt, base}, [&] {
        CHECK(device_of(lab).peers.at(public_key(2)) == base);
        auto judged = peer_line();
        const SecretBytes key = secret(0x55);
        CHECK(judged[1] == base64_encode(key.data(), key.size()));
        CHECK(judged[2] == "198.51.100.7:51820");
        CHECK(judged[3].find("172.16.0.2/32") != std::string::npos);
        CHECK(judged[3].find("2001:db8:2::/64") != std::string::npos);
        CHECK(judged[7] == "25");
    });
    lab.execute(SetPeer{name, public_key(2), std::nullopt, base});
    const auto one = [&](auto&& edit, std::size_t column, const std::string& expected) {
        CAPTURE(expected);
        WireguardPeer to = base;
        edit(to);
        lab.there_and_back(SetPeer{name, public_key(2), base, to}, [&] {
            CHECK(device_of(lab).peers.at(public_key(2)) == to);
            CHECK(peer_line()[column] == expected);
            CHECK(device_of(lab).peers.at(public_key(9)) == other);
        });
    };
    using P = WireguardPeer;

    one([](P& to) { to.preshared_key = {}; }, 1, "(none)");
    one([](P& to) { to.endpoint = Endpoint{ip("2001:db8::5"), 7}; }, 2, "[2001:db8::5]:7");
    one([](P& to) { to.allowed_ips = {prefix("10.0.0.0/8")}; }, 3, "10.0.0.0/8");
    one([](P& to) { to.allowed_ips.clear(); }, 3, "(none)");
    one([](P& to) { to.keepalive_seconds = 0; }, 7, "off");
}

TEST_CASE("allowed IPs beyond one message all arrive, and all are read back") {
    Lab lab;
    add_wireguard(lab);
    WireguardPeer many;
    for (unsigned i = 0; i < 3000; ++i) {
        std::array<std::uint8_t, 16> bytes{0x20, 1, 0xd, 0xb8};
        bytes[14] = static_cast<std::uint8_t>(i >> 8);
        bytes[15] = static_cast<std::uint8_t>(i);
        many.allowed_ips.insert(IpPrefix::host(IpAddress::from_bytes(Family::Ipv6, bytes.data())));
    }

    lab.there_and_back(SetPeer{if_name("wg0"), public_key(2), std::nullopt, many}, [&] {
        CHECK(device_of(lab).peers.at(public_key(2)).allowed_ips.size() == 3000);
        const std::string judged = wg_dump().at(1)[3];
        CHECK(std::ranges::count(judged, ',') == 2999);
    });
}

TEST_CASE("removing or changing a peer that is gone does not bring it back") {
    Lab lab;
    add_wireguard(lab);
    WireguardPeer peer{.keepalive_seconds = 5};

    lab.execute(SetPeer{if_name("wg0"), public_key(2), peer, std::nullopt});
    WireguardPeer changed = peer;
    changed.keepalive_seconds = 6;
    lab.execute(SetPeer{if_name("wg0"), public_key(2), peer, changed});

    CHECK(device_of(lab).peers.empty());
}

TEST_CASE("refused: a key that is not at hand, a device that is not there") {
    Lab lab;
    add_wireguard(lab);

    SetWireguard stranger{.link = if_name("wg0"), .from = {}, .to = {}};
    stranger.to.public_key = public_key(3);
    CHECK(lab.refusal(stranger).reason == "its private key is not at hand");
    SetWireguard nowhere{.link = if_name("wg7"), .from = {}, .to = {}};
    nowhere.to.fwmark = 1;
    CHECK(lab.refusal(nowhere).kind == Error::Kind::NotFound);
    CHECK(lab.refusal(SetPeer{if_name("lo"), public_key(2), std::nullopt, WireguardPeer{}}).kind ==
          Error::Kind::Unsupported);
}

}
