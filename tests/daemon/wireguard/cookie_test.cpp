#include "daemon/wireguard/cookie.hpp"

#include "daemon/wireguard/rate_limiter.hpp"
#include "support/wireguard_world.hpp"

#include <doctest/doctest.h>

using namespace overlay;
using namespace overlay::wireguard;
using namespace std::chrono_literals;

namespace {

struct Exchange {
    SeededRandom random{5};
    PublicKey responder = PrivateKey::generate(random).public_key();
    MacChecker checker{responder};
    MacWriter writer{responder};
    Endpoint from = *parse_endpoint("192.0.2.7:40001");
    std::vector<std::byte> message = std::vector<std::byte>(initiation::size_bytes);

    void ask_and_answer(Clock::time_point now) {
        std::vector<std::byte> reply(cookie_reply::size_bytes);
        writer.write(message, now);
        checker.write_reply({.to_message = message, .from = from, .now = now}, random, reply);
        REQUIRE(writer.consume_reply(reply, now));
    }
};

IpAddress address(const char* text) { return *IpAddress::parse(text); }

}  // namespace

TEST_SUITE("wireguard cookies") {

    TEST_CASE("a cookie is of no use from another address or another port") {
        Exchange exchange;
        exchange.ask_and_answer(Clock::time_point{});
        exchange.writer.write(exchange.message, Clock::time_point{});

        const auto right = [&](const char* from) {
            return exchange.checker.mac2_is_right(exchange.message, *parse_endpoint(from), {});
        };
        CHECK(right("192.0.2.7:40001"));
        CHECK_FALSE(right("192.0.2.7:40002"));
        CHECK_FALSE(right("192.0.2.8:40001"));
    }

    TEST_CASE(
        "a cookie ends with its secret after 120 s, and its owner stops using it 5 s earlier") {
        Exchange exchange;
        const Clock::time_point start{};
        exchange.ask_and_answer(start);
        exchange.writer.write(exchange.message, start);
        const std::vector<std::byte> with_cookie = exchange.message;

        CHECK(exchange.checker.mac2_is_right(with_cookie, exchange.from, start + 119s));
        CHECK_FALSE(exchange.checker.mac2_is_right(with_cookie, exchange.from, start + 120s));
        exchange.writer.write(exchange.message, start + 114s);
        CHECK(exchange.message == with_cookie);
        exchange.writer.write(exchange.message, start + 115s);
        CHECK(std::ranges::all_of(std::span{exchange.message}.last(16),
                                  [](std::byte each) { return each == std::byte{0}; }));
    }

    TEST_CASE("after 120 s there is another secret, whose cookies are good and whose elders are not") {
        Exchange exchange;
        const Clock::time_point start{};
        exchange.ask_and_answer(start);
        exchange.writer.write(exchange.message, start);
        const std::vector<std::byte> with_first = exchange.message;

        exchange.ask_and_answer(start + 120s);
        exchange.writer.write(exchange.message, start + 120s);
        CHECK(exchange.checker.mac2_is_right(exchange.message, exchange.from, start + 121s));
        CHECK_FALSE(exchange.checker.mac2_is_right(with_first, exchange.from, start + 121s));
    }

    TEST_CASE("whoever asked nobody takes no cookie, though anybody can seal one") {
        Exchange exchange;
        std::vector<std::byte> reply(cookie_reply::size_bytes);
        exchange.checker.write_reply({.to_message = exchange.message, .from = exchange.from, .now = {}},
                                     exchange.random, reply);   // to a mac1 of zeros

        CHECK_FALSE(exchange.writer.consume_reply(reply, {}));
    }

    TEST_CASE("before a cookie was handed out no mac2 is right, not even that of a zero secret") {
        Exchange exchange;
        const Mac cookie = keyed_mac(Secret32{}.bytes(), {from_hex("c00002079c41")});
        const Mac mac2 = keyed_mac(cookie, {Bytes{exchange.message}.first(132)});
        std::ranges::copy(mac2, exchange.message.begin() + 132);

        CHECK_FALSE(exchange.checker.mac2_is_right(exchange.message, exchange.from, {}));
    }

    TEST_CASE("a source may come five times at once and twenty times a second") {
        RateLimiter limiter;
        SeededRandom random{9};
        Clock::time_point now{};
        int allowed = 0;

        for (int i = 0; i < 100; ++i) allowed += limiter.allow(address("192.0.2.1"), now, random);
        CHECK(allowed == 5);
        for (int i = 0; i < 1000; ++i)
            allowed += limiter.allow(address("192.0.2.1"), now += 10ms, random);
        CHECK(allowed == 5 + 200);
        CHECK(limiter.allow(address("192.0.2.2"), now, random));
    }

    TEST_CASE("an IPv6 source is a /64") {
        RateLimiter limiter;
        SeededRandom random{9};

        int allowed = 0;
        for (int i = 0; i < 50; ++i) {
            const std::string text = "2001:db8::" + std::to_string(i);
            allowed += limiter.allow(address(text.c_str()), {}, random);
        }
        CHECK(allowed == 5);
        CHECK(limiter.allow(address("2001:db8:0:1::"), {}, random));
    }

    TEST_CASE("a million sources do not make the table grow") {
        RateLimiter limiter;
        SeededRandom random{9};
        (void)limiter.allow(address("192.0.2.1"), {}, random);
        const std::size_t before = limiter.size_bytes();

        int allowed = 0;
        for (int i = 0; i < 1'000'000; ++i) {
            const auto number = static_cast<std::uint32_t>(random.next());
            allowed += limiter.allow(IpAddress::from_bytes(Family::Ipv4, &number), {}, random);
        }
        CHECK(limiter.size_bytes() == before);
        CHECK(before <= 128 * 1024);
        CHECK(allowed <= 5 * 4096);
    }
}
