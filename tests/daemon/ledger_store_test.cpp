// The ledger as text: what we must remember comes back, and only what we must is said.

#include "daemon/reconcile/ledger_store.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

using namespace overlay;

namespace {

Ledger remembered(const std::string& network) {
    Ledger out{.network = network, .node = "hub"};
    const IfName uplink = IfName::from_kernel("eth0"), bridge = IfName::from_kernel("br0");
    out.links[bridge] = {.name = bridge,
                         .kind = LinkKind::Bridge,
                         .mac = MacAddress::parse("02:00:00:00:00:01")};
    const IfName wireguard = IfName::from_kernel("wg0");
    out.links[wireguard] = {.name = wireguard, .kind = LinkKind::Wireguard};
    out.wireguard_keys[wireguard] =
        *PublicKey::parse("m84oJmrE7NEb+ZyPkKPpelkRQSzsvUm4QprxoTL9rRE=");
    out.fou_ports.insert({.port = 5555});
    out.tables.insert({"inet", "overlay_home"});
    out.sysctls["net.ipv4.conf.all.forwarding"] = {"0", "1", ""};
    out.sysctls["net.ipv4.conf.eth0.forwarding"] = {"0", "1", "net.ipv4.conf.all.forwarding"};
    out.offloads[{bridge, "tx"}] = {true, false, ""};
    out.offloads[{uplink, "lro"}] = {true, false, "net.ipv4.conf.all.forwarding"};
    out.borrowed[uplink] = {{.name = uplink, .mtu = Mtu{1500}}, {.name = uplink, .mtu = Mtu{1400}}, {}};
    Address moved{uplink, *IpPrefix::parse("203.0.113.20/24"), false, true};
    moved.details.broadcast = IpAddress::parse("203.0.113.255");
    moved.details.valid_seconds = moved.details.preferred_seconds = 3600;
    out.moved_addresses.insert(moved);
    out.moved_neighbours.insert({.link = uplink,
                                 .address = *IpAddress::parse("fe80::1"),
                                 .mac = MacAddress::parse("02:00:00:00:0f:01"),
                                 .is_router = true,
                                 .is_learned = true,
                                 .protocol = 186});
    out.moved_neighbours.insert(
        {.link = uplink, .address = *IpAddress::parse("203.0.113.70"), .mac = {}, .is_proxy = true});
    out.moved_routes.insert({.destination = *IpPrefix::parse("0.0.0.0/0"),
                             .gateway = IpAddress::parse("169.254.1.1"),
                             .device = uplink,
                             .protocol = 16,
                             .on_link = true,
                             .metrics = {{"mtu", 1400}}});
    out.moved_routes.insert({.destination = *IpPrefix::parse("10.0.0.0/8"),
                             .protocol = 3,
                             .hops = {{.gateway = IpAddress::parse("203.0.113.8"), .device = uplink},
                                      {.gateway = IpAddress::parse("fe80::9"),
                                       .device = uplink,
                                       .on_link = true,
                                       .weight = 256}}});
    return out;
}

}  // namespace

TEST_SUITE("ledger store") {

    TEST_CASE("what is written is read again, with the details of what moved") {
        const Ledger ledger = remembered("home");

        const auto read = ledger_from_json(ledger_to_json(ledger, "this-boot"));

        REQUIRE(read);
        CHECK(read->boot_id == "this-boot");
        CHECK(read->ledger == ledger);
        const AddressDetails& details = read->ledger.moved_addresses.begin()->details;
        CHECK(details.broadcast == IpAddress::parse("203.0.113.255"));
        CHECK(details.valid_seconds == 3600U);
    }

    TEST_CASE("the neighbours of a network are all others; a damaged one is an error that names it") {
        std::string pattern = std::filesystem::temp_directory_path() / "overlay-ledgers.XXXXXX";
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        const LedgerStore store{pattern};
        for (const char* network : {"home", "office", "lab"})
            REQUIRE(store.save(remembered(network)));

        const auto neighbours = store.load_neighbours("home");
        REQUIRE(neighbours);
        CHECK(neighbours->size() == 2);
        CHECK((*neighbours)[0] == remembered("lab"));
        CHECK((*neighbours)[1] == remembered("office"));

        std::filesystem::resize_file(pattern + "/lab/ledger.json", 10);
        const auto damaged = store.load_neighbours("home");
        REQUIRE_FALSE(damaged);
        CHECK(damaged.error().doing.find("/lab/ledger.json") != std::string::npos);
        CHECK(damaged.error().reason.starts_with("damaged: parse error at line 2, column "));
        std::filesystem::remove_all(pattern);
    }

    TEST_CASE("a network whose ledger cannot be looked at is there all the same") {
        std::string folder = "/tmp/ledger-store-XXXXXX";
        REQUIRE(::mkdtemp(folder.data()) != nullptr);
        for (const char* network : {"turning", "empty"}) std::filesystem::create_directory(folder + "/" + network);
        std::filesystem::create_symlink("ledger.json", folder + "/turning/ledger.json");

        const auto networks = LedgerStore{folder}.networks();

        std::filesystem::remove_all(folder);
        REQUIRE(networks);
        CHECK(*networks == std::vector<std::string>{"turning"});
    }

    TEST_CASE("a nesting bomb is damage, not a stack that overflows") {
        const std::string bomb = std::string(400'000, '[') + std::string(400'000, ']');

        const auto read = ledger_from_json(R"({"version": 1, "owned": )" + bomb + "}");

        REQUIRE_FALSE(read);
        CHECK(read.error().reason == "damaged: nested too deeply");
    }

}  // TEST_SUITE
