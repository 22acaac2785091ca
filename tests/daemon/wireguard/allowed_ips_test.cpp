#include "daemon/wireguard/allowed_ips.hpp"

#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using namespace overlay::wireguard;

namespace {

IpAddress address(std::string_view text) { return *IpAddress::parse(text); }
IpPrefix prefix(std::string_view text) { return *IpPrefix::parse(text); }

/// What every look-up must agree with.
struct Naive {
    std::vector<std::pair<IpPrefix, AllowedIps::Owner>> entries;
    void insert(const IpPrefix& each, AllowedIps::Owner owner) {
        std::erase_if(entries, [&](const auto& entry) { return entry.first == each.network(); });
        entries.emplace_back(each.network(), owner);
    }
    void remove(const IpPrefix& each, AllowedIps::Owner owner) {
        std::erase_if(entries, [&](const auto& entry) {
            return entry.first == each.network() && entry.second == owner;
        });
    }
    [[nodiscard]] std::vector<IpPrefix> of(AllowedIps::Owner owner) const {
        std::vector<IpPrefix> out;
        for (const auto& entry : entries) {
            if (entry.second == owner) out.push_back(entry.first);
        }
        std::ranges::sort(out);
        return out;
    }
    void remove_owner(AllowedIps::Owner owner) {
        std::erase_if(entries, [&](const auto& entry) { return entry.second == owner; });
    }
    [[nodiscard]] AllowedIps::Owner find(const IpAddress& wanted) const {
        AllowedIps::Owner best = AllowedIps::nobody;
        int best_length = -1;
        for (const auto& [each, owner] : entries) {
            if (!each.contains(wanted) || each.length() <= best_length) continue;
            best = owner;
            best_length = each.length();
        }
        return best;
    }
};

IpAddress random_address(SeededRandom& random, Family family) {
    std::array<std::byte, 16> bytes{};
    random.fill(bytes);
    // Few different leading bits, so that prefixes nest and part late.
    for (std::size_t i = 0; i < 3; ++i) bytes[i] &= std::byte{0x81};
    return IpAddress::from_bytes(family, bytes.data());
}

}  // namespace

TEST_SUITE("wireguard allowed ips") {

    TEST_CASE("the longest prefix wins, in both families, with the default routes last") {
        AllowedIps table;
        table.insert(prefix("0.0.0.0/0"), 0);
        table.insert(prefix("10.0.0.0/8"), 1);
        table.insert(prefix("10.1.2.3/32"), 2);
        table.insert(prefix("::/0"), 3);
        table.insert(prefix("2001:db8::/32"), 4);
        table.insert(prefix("2001:db8::1/128"), 5);

        CHECK(table.find(address("8.8.8.8")) == 0);
        CHECK(table.find(address("10.1.2.4")) == 1);
        CHECK(table.find(address("10.1.2.3")) == 2);
        CHECK(table.find(address("2001:db9::")) == 3);
        CHECK(table.find(address("2001:db8::2")) == 4);
        CHECK(table.find(address("2001:db8::1")) == 5);
    }

    TEST_CASE("an address that no prefix covers belongs to nobody") {
        AllowedIps table;
        CHECK(table.find(address("10.0.0.1")) == AllowedIps::nobody);

        table.insert(prefix("10.0.0.0/30"), 1);
        CHECK(table.find(address("10.0.0.4")) == AllowedIps::nobody);
        CHECK(table.find(address("::1")) == AllowedIps::nobody);
    }

    TEST_CASE("a prefix given to another peer leaves the first one") {
        AllowedIps table;
        table.insert(prefix("10.0.0.5/24"), 1);  // host bits do not matter
        table.insert(prefix("10.0.0.0/24"), 2);

        CHECK(table.find(address("10.0.0.9")) == 2);
        CHECK(table.of(1).empty());
        CHECK(table.of(2) == std::vector{prefix("10.0.0.0/24")});
    }

    TEST_CASE("a prefix that lies where two others part is listed without their host bits") {
        AllowedIps table;
        table.insert(prefix("10.0.0.1/32"), 1);
        table.insert(prefix("10.0.0.2/32"), 1);
        table.insert(prefix("10.0.0.0/30"), 2);

        CHECK(table.of(2) == std::vector{prefix("10.0.0.0/30")});
    }

    TEST_CASE("a prefix is taken only from the peer that has it, and only as long as it is") {
        AllowedIps table;
        table.insert(prefix("10.0.0.0/24"), 1);
        table.insert(prefix("10.0.0.0/16"), 2);

        table.remove(prefix("10.0.0.0/24"), 2);
        table.remove(prefix("10.0.0.0/16"), 1);
        table.remove(prefix("10.0.0.0/25"), 1);
        table.remove(prefix("10.9.0.0/24"), 1);
        CHECK(table.find(address("10.0.0.9")) == 1);
        table.remove(prefix("10.0.0.9/24"), 1);
        CHECK(table.find(address("10.0.0.9")) == 2);
        CHECK(table.of(1).empty());
    }

    TEST_CASE("it agrees with a list that is searched from end to end, whatever comes and goes") {
        for (std::uint64_t seed = 1; seed <= 30; ++seed) {
            CAPTURE(seed);
            SeededRandom random{seed};
            AllowedIps table;
            Naive naive;
            for (int i = 0; i < 300; ++i) {
                const Family family = random.chance(0.5) ? Family::Ipv4 : Family::Ipv6;
                const auto owner = static_cast<AllowedIps::Owner>(random.next() % 10);
                const IpAddress base = random_address(random, family);
                const auto length =
                    static_cast<std::uint8_t>(random.next() % (base.max_prefix_length() + 1U));
                if (random.chance(0.03)) {
                    table.remove_owner(owner);
                    naive.remove_owner(owner);
                } else if (random.chance(0.2) && !naive.entries.empty()) {
                    const auto [each, whose] = naive.entries[random.next() % naive.entries.size()];
                    const AllowedIps::Owner claims = random.chance(0.8) ? whose : owner;
                    table.remove(each, claims);
                    naive.remove(each, claims);
                } else {
                    table.insert(IpPrefix::of(base, length), owner);
                    naive.insert(IpPrefix::of(base, length), owner);
                }
                for (int k = 0; k < 5; ++k) {
                    const IpAddress wanted = random_address(random, family);
                    REQUIRE(table.find(wanted) == naive.find(wanted));
                }
                REQUIRE(table.find(base) == naive.find(base));
            }
            for (AllowedIps::Owner owner = 0; owner < 10; ++owner)
                CHECK(table.of(owner) == naive.of(owner));
        }
    }

    TEST_CASE(
        "a thousand peers take little room, and coming and going a hundred times takes no more") {
        AllowedIps table;
        const auto fill = [&] {
            for (AllowedIps::Owner owner = 0; owner < 1000; ++owner) {
                const auto low = std::to_string(owner % 250), high = std::to_string(owner / 250);
                table.insert(prefix("10.0." + high + "." + low + "/32"), owner);
                table.insert(prefix("fd00::" + high + ":" + low + "/128"), owner);
            }
        };
        fill();
        const std::size_t full = table.size_bytes();

        for (int round = 0; round < 100; ++round) {
            for (AllowedIps::Owner owner = 0; owner < 1000; owner += 7) table.remove_owner(owner);
            fill();
        }
        CHECK(table.size_bytes() == full);
        CHECK(full <= 256 * 1024);
    }
}
