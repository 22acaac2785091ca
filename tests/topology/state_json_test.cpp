#include "topology/state_json.hpp"

#include "topology/kernel_text.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <functional>
#include <random>

using namespace overlay;

namespace {

/// A source of arbitrary states: every field of every type takes every kind of value it can have.
class Arbitrary {
  public:
    explicit Arbitrary(std::uint64_t seed) : engine_{seed} {}

    std::uint32_t number(std::uint32_t max) {
        const bool edge = pick(4) == 0;
        return edge ? (pick(2) != 0 ? max : 0)
                    : std::uniform_int_distribution<std::uint32_t>{0, max}(engine_);
    }
    std::uint32_t pick(std::uint32_t count) {
        return std::uniform_int_distribution<std::uint32_t>{0, count - 1}(engine_);
    }
    bool coin() { return pick(2) != 0; }

    /// Any bytes but NUL: a kernel does not care for UTF-8.
    std::string bytes(std::uint32_t min, std::uint32_t max) {
        static const std::vector<std::string> pieces{
            "a",    "eth",  ".", "\"",   "\\",           "\n",
            "\x7f", "\xff", "é", "\xc3", "\xee\xbe\x80", "\xf0\x9f\x90\xa7",
            "\x80", " "};
        std::string out;
        const std::uint32_t size = min + pick(max - min + 1);
        while (out.size() < size) out += pieces[pick(static_cast<std::uint32_t>(pieces.size()))];
        return out.substr(0, max);
    }
    IfName name() { return IfName::from_kernel(bytes(1, 15)); }
    IfName name_or_none() { return coin() ? name() : IfName{}; }
    template <class Make>
    auto maybe(Make&& make) -> std::optional<decltype(make())> {
        if (coin()) return std::nullopt;
        return make();
    }
    Family family() { return coin() ? Family::Ipv4 : Family::Ipv6; }
    IpAddress address() {
        std::array<std::uint8_t, 16> raw{};
        for (auto& byte : raw) byte = static_cast<std::uint8_t>(number(255));
        return IpAddress::from_bytes(family(), raw.data());
    }
    IpPrefix prefix() {
        const IpAddress a = address();
        return IpPrefix::of(a, static_cast<std::uint8_t>(number(a.max_prefix_length())));
    }
    std::uint16_t port() { return static_cast<std::uint16_t>(number(65535)); }
    std::uint8_t byte() { return static_cast<std::uint8_t>(number(255)); }
    Endpoint endpoint() { return {address(), port()}; }
    std::array<std::uint8_t, 32> key_bytes() {
        std::array<std::uint8_t, 32> raw{};
        for (auto& b : raw) b = static_cast<std::uint8_t>(pick(256));
        return raw;
    }
    MacAddress mac() { return MacAddress::from_bytes(key_bytes().data()); }
    PublicKey key() { return PublicKey::from_bytes(key_bytes().data()); }
    template <class T, class Make>
    std::set<T> some(Make&& make) {
        std::set<T> out;
        for (std::uint32_t i = pick(4); i > 0; --i) out.insert(make());
        return out;
    }

    GreEncap::Type encap() {
        return std::array{GreEncap::Type::None, GreEncap::Type::Fou, GreEncap::Type::Gue}[pick(3)];
    }

    GretapAttributes gretap() {
        GretapAttributes out{.local = address(), .remote = address(), .device = name_or_none()};
        out.input = {maybe([&] { return number(UINT32_MAX); }), coin(), coin()};
        out.output = {maybe([&] { return number(UINT32_MAX); }), coin(), coin()};
        out.ttl = byte();
        out.tos = byte();
        out.pmtudisc = coin();
        out.ignore_df = coin();
        out.encap_limit = maybe([&] { return byte(); });
        out.flow_label = number(0xfffff);
        out.encap = {encap(), port(), port(), coin(), coin(), coin()};
        out.copies_dscp = coin();
        out.inherits_fwmark = coin();
        out.allows_local_remote = coin();
        out.collect_metadata = coin();
        return out;
    }
    Link link() {
        Link out{.name = name()};
        out.kind = std::array{LinkKind::Bridge,    LinkKind::Gretap, LinkKind::Ip6gretap,
                              LinkKind::Wireguard, LinkKind::Tap,    LinkKind::Tun,
                              LinkKind::Veth,      LinkKind::Other}[pick(8)];
        out.alias = maybe([&] { return bytes(0, 40); });
        out.mac = maybe([&] { return mac(); });
        out.mtu = maybe([&] { return Mtu{number(UINT32_MAX)}; });
        out.up = maybe([&] { return coin(); });
        out.master = maybe([&] { return name_or_none(); });
        const auto flag = [&] { return maybe([&] { return coin(); }); };
        if (coin()) out.bridge = BridgeAttributes{flag(), flag(), flag()};
        if (coin()) out.gretap = gretap();
        if (coin()) {
            out.port = BridgePort{coin(), coin(), coin(), coin(), coin(), coin(),
                                  coin(), coin(), coin(), coin(), coin(), coin(), coin(), coin()};
        }
        out.link_local = maybe([&] { return address(); });
        return out;
    }
    WireguardDevice device() {
        WireguardDevice out{.public_key = coin() ? key() : PublicKey{},
                            .listen_port = maybe([&] { return port(); }),
                            .fwmark = number(UINT32_MAX)};
        for (std::uint32_t i = pick(4); i > 0; --i) {
            WireguardPeer peer{.endpoint = maybe([&] { return endpoint(); }),
                               .keepalive_seconds = port(),
                               .allowed_ips = some<IpPrefix>([&] { return prefix(); })};
            if (coin()) peer.preshared_key = Fingerprint::of_secret(key_bytes().data());
            out.peers.emplace(key(), std::move(peer));
        }
        return out;
    }
    FirewallRule rule() {
        switch (pick(6)) {
            case 0: return rule::Masquerade{name(), {prefix(), prefix()}, {address(), address()}};
            case 1: return rule::ClampMssToRoute{};
            case 2: return rule::DropDhcp{name()};
            case 3: return rule::DropRouterAdvertisement{name()};
            case 4: return rule::Unknown{bytes(0, 30)};
            default: break;
        }
        using Direction = rule::ClampMssToConstant::Direction;
        return rule::ClampMssToConstant{name(), coin() ? Direction::In : Direction::Out, family(),
                                        port()};
    }
    FirewallTable table() {
        FirewallTable out{.family = coin() ? TableFamily::Inet : TableFamily::Bridge,
                          .name = bytes(0, 20),
                          .mark = bytes(0, 20)};
        for (std::uint32_t i = pick(3); i > 0; --i) {
            FirewallChain chain{bytes(0, 9), bytes(0, 9),
                                bytes(0, 9), static_cast<int>(pick(600)) - 300,
                                coin(),      {}};
            for (std::uint32_t r = pick(5); r > 0; --r) chain.rules.push_back(rule());
            out.chains.push_back(std::move(chain));
        }
        if (coin()) out.extras = {bytes(0, 9), bytes(0, 9)};
        return out;
    }

    KernelState state() {
        KernelState out;
        for (std::uint32_t i = pick(6); i > 0; --i) {
            const Link made = link();
            out.links.insert_or_assign(made.name, made);
            out.wireguard.insert_or_assign(name(), device());
            out.sysctls.insert_or_assign(bytes(1, 40), bytes(0, 9));
            out.offloads.insert_or_assign({name(), coin() ? "tx" : "gro"}, coin());
            out.tables.push_back(table());
        }
        out.addresses = some<Address>([&] {
            return Address{name(), prefix(), coin(), coin(), {.secondary = coin(), .place = byte()}};
        });
        out.routes = some<Route>([&] {
            Route route{prefix(),           maybe([&] { return address(); }),
                         name_or_none(),     number(UINT32_MAX),
                         number(UINT32_MAX), byte(),
                         coin() ? RouteType::Unicast : RouteType::Blackhole,
                         maybe([&] { return address(); }), coin(),
                         coin() ? std::map<std::string, std::uint32_t>{}
                                : std::map<std::string, std::uint32_t>{{"mtu", number(9000)}}};
            route.tos = byte();
            route.scope = maybe([&] { return byte(); });
            route.preference = byte();
            route.expires = coin();
            if (coin()) route.congestion_control = "bbr";
            for (std::uint32_t i = pick(3); i > 0; --i)
                route.hops.push_back({maybe([&] { return address(); }), name(), coin(), port()});
            if (coin()) route.beyond_us = "a realm";
            return route;
        });
        out.neighbours = some<Neighbour>([&] {
            return Neighbour{name(), address(), maybe([&] { return mac(); }), coin(), coin(), coin(), byte()};
        });
        if (coin()) out.alternative_names[name()] = name();
        out.fou_ports = some<FouPort>([&] {
            return FouPort{family(),
                           port(),
                           encap(),
                           byte(),
                           maybe([&] { return address(); }),
                           maybe([&] { return endpoint(); }),
                           name_or_none(),
                           coin() ? Datapath::Kernel : Datapath::Userspace};
        });
        out.overlayd = coin();
        out.modules = some<std::string>([&] { return bytes(1, 20); });
        out.missing_modules = some<std::string>([&] { return bytes(1, 20); });
        out.all_tables = some<FoundTable>([&] { return FoundTable{bytes(1, 6), bytes(1, 20)}; });
        out.udp_sockets = some<UdpSocket>([&] {
            return UdpSocket{family(), address(), port(), bytes(0, 20)};
        });
        return out;
    }

  private:
    std::mt19937_64 engine_;
};

std::uint64_t seed() {
    const char* stated = std::getenv("OVERLAY_SEED");
    return stated != nullptr ? std::strtoull(stated, nullptr, 10) : std::random_device{}();
}

std::string reason(std::string_view source) {
    const auto read = state_from_json(source);
    return read ? "accepted" : read.error().reason;
}

/// A whole snapshot with one part replaced.
std::string snapshot_with(std::string_view key, std::string_view value) {
    std::string out =
        R"({"version": 1, "links": {}, "addresses": [], "routes": [], "fou_ports": [], )"
        R"("wireguard": {}, "sysctls": {}, "offloads": {}, "tables": [], "modules": [], )"
        R"("all_tables": [], "udp_sockets": [] })";
    const std::string start = "\"" + std::string{key} + "\": ";
    const std::size_t at = out.find(start) + start.size();
    const std::size_t end = out.find_first_of(",}", at + (out[at] == '{' ? 2 : 0));
    return out.replace(at, end - at, value);
}

}  // namespace

TEST_SUITE("state as JSON") {

    TEST_CASE("whatever a kernel may hold is written and read back as the same state") {
        const std::uint64_t start = seed();
        for (std::uint64_t i = 0; i < 300; ++i) {
            CAPTURE(start + i);  // OVERLAY_SEED=… repeats it
            const KernelState state = Arbitrary{start + i}.state();

            const std::string json = to_json(state);
            const auto read = state_from_json(json);

            REQUIRE_MESSAGE(read.has_value(), read.error().reason);
            REQUIRE(*read == state);
            REQUIRE(to_json(*read) == json);
        }
    }

    TEST_CASE("the text is that of the reference") {
        KernelState state;
        Link link{.name = IfName::from_kernel("br0"),
                  .kind = LinkKind::Bridge,
                  .alias = "",
                  .mtu = Mtu{1382}};
        link.master = IfName{};
        link.bridge = BridgeAttributes{.stp = false};
        state.links.emplace(link.name, link);
        state.sysctls["net.ipv4.conf.all.forwarding"] = "1";
        state.offloads[{link.name, "tx"}] = false;
        state.neighbours.insert({.link = link.name,
                                 .address = *IpAddress::parse("fe80::1"),
                                 .mac = MacAddress::parse("02:00:00:00:0f:01"),
                                 .is_router = true});
        state.neighbours.insert(
            {.link = link.name, .address = *IpAddress::parse("fe80::2"), .mac = {}, .is_proxy = true});

        CHECK(to_json(state) == R"({
  "version": 1,
  "links": {
    "br0": {
      "type": "bridge",
      "alias": "",
      "mtu": 1382,
      "master": null,
      "bridge": {
        "stp": false
      }
    }
  },
  "addresses": [],
  "routes": [],
  "fou_ports": [],
  "wireguard": {},
  "sysctls": {
    "net.ipv4.conf.all.forwarding": "1"
  },
  "offloads": {
    "br0": {
      "tx": false
    }
  },
  "tables": [],
  "modules": [],
  "missing_modules": [],
  "all_tables": [],
  "udp_sockets": [],
  "neighbours": [
    {
      "link": "br0",
      "address": "fe80::1",
      "mac": "02:00:00:00:0f:01",
      "router": true
    },
    {
      "link": "br0",
      "address": "fe80::2",
      "proxy": true
    }
  ],
  "alternative_names": {}
}
)");
    }

    TEST_CASE("in which order the kernel lists addresses is kept, though they are the same in any") {
        Address address{.link = IfName::from_kernel("br0"), .prefix = *IpPrefix::parse("203.0.113.1/24")};
        address.details.place = 70000;
        KernelState state;
        state.addresses.insert(address);

        const auto read = state_from_json(to_json(state));

        REQUIRE(read.has_value());
        REQUIRE(read->addresses.size() == 1);
        CHECK(read->addresses.begin()->details.place == 70000);
        address.details.place = 1;
        CHECK(read->addresses.contains(address));
    }

    TEST_CASE("a mistake in a snapshot is named by its place") {
        CHECK(reason(snapshot_with("version", "1")) == "accepted");
        CHECK(reason("{").starts_with("not JSON: "));
        CHECK(reason("[]") == "not an object");
        CHECK(reason("{}") == "version is missing");
        CHECK(reason(snapshot_with("version", "2")) ==
              "version: not 1, the only one that this program knows");
        CHECK(reason(snapshot_with("links", "{\"a\": {}}")) == "links.a: type is missing");
        CHECK(reason(snapshot_with("links", R"({"a": {"type": "vlan"}})")) ==
              "links.a.type: not one of bridge, gretap, ip6gretap, wireguard, tap, tun, veth, "
              "other");
        CHECK(reason(snapshot_with("links", R"({"a": {"type": "veth", "mtu": 4294967296}})")) ==
              "links.a.mtu: not a number from 0 to 4294967295");
        CHECK(reason(snapshot_with("links", R"({"a": {"type": "veth", "mtu": -1}})")) ==
              "links.a.mtu: not a number from 0 to 4294967295");
        CHECK(reason(snapshot_with("links",
                                   R"({"a": {"type": "veth", "mtu": 18446744073709551615}})")) ==
              "links.a.mtu: not a number from 0 to 4294967295");
        CHECK(reason(snapshot_with("links", R"({"a": {"type": "veth", "speed": 1}})")) ==
              "links.a.speed: unknown key");
        CHECK(reason(snapshot_with("links", R"({"a234567890123456": {"type": "veth"}})")) ==
              "links.a234567890123456: not an interface name");
        CHECK(reason(snapshot_with("modules", "[\"fou\", 7]")) == "modules[1]: not a string");
        CHECK(reason(snapshot_with("modules", "{}")) == "modules: not a list");
        CHECK(reason(snapshot_with("routes", "[{}]")) == "routes[0]: destination is missing");
        CHECK(reason(snapshot_with("wireguard",
                                   R"({"wg0": {"public_key": "x", "fwmark": 0, "peers": {}}})")) ==
              "wireguard.wg0.public_key: not a public key in base64, or null");
    }

    TEST_CASE("a peer whose key is all zeros, which Linux takes, is read back") {
        KernelState state;
        state.wireguard[IfName::from_kernel("wg0")].peers[PublicKey{}].keepalive_seconds = 25;

        const auto read = state_from_json(to_json(state));

        REQUIRE_MESSAGE(read.has_value(), read.error().reason);
        CHECK(*read == state);
        CHECK(reason(snapshot_with("wireguard", R"({"wg0": {"public_key": null, "fwmark": 0, "peers": {"x": {}}}})")) ==
              "wireguard.wg0.peers.x: its name is not a public key");
    }

    TEST_CASE("of two equal keys neither is believed") {
        CHECK(reason(snapshot_with("sysctls", R"({"a": "1", "a": "0"})")) ==
              "a: said twice in one object");
    }

    TEST_CASE("a nesting bomb is refused") {
        CHECK(reason(std::string(100000, '[')) == "nested too deeply");
    }

    TEST_CASE("bytes that are not UTF-8 survive, each as one private character") {
        CHECK(bytes_to_utf8("eth\xff") == "eth\xee\xbf\xbf");  // U+EFFF
        CHECK(bytes_to_utf8("\xee\xbe\x80") ==
              "\xee\xbf\xae\xee\xbe\xbe\xee\xbe\x80");  // U+EF80 itself
        CHECK(utf8_to_bytes("eth\xee\xbf\xbf") == "eth\xff");
        CHECK(bytes_to_utf8("é") == "é");
    }

}  // TEST_SUITE
