// What is switched, and the test that a kernel's UDP offloads are put to at start.

#include "daemon/io/self_test.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>

using namespace overlay;
using io::Offload;
using io::Offloads;

namespace {

std::string on(std::string_view words) {
    const auto offloads = Offloads::parse(words);
    if (!offloads) return offloads.error().reason.substr(0, offloads.error().reason.find(" is"));
    std::string out;
    for (const auto& [name, which] : io::offload_names) {
        if (((*offloads).*which).is_on()) out += (out.empty() ? "" : " ") + std::string{name};
    }
    return out;
}

std::size_t open_descriptors() {
    std::size_t out = 0;
    for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator{"/proc/self/fd"}) ++out;
    return out;
}

}  // namespace

TEST_SUITE("offloads") {

    TEST_CASE("words switch them on, each by itself or by two") {
        CHECK(on("auto") == "device-tso device-gro udp-gso udp-gro");
        CHECK(on("none").empty());
        CHECK(on("device") == "device-tso device-gro");
        CHECK(on("socket") == "udp-gso udp-gro");
        CHECK(on("device-gro") == "device-gro");
        CHECK(on("udp-gro,device-tso") == "device-tso udp-gro");
        CHECK(on("device,udp-gso") == "device-tso device-gro udp-gso");
    }

    TEST_CASE("a word that is none of them is named") {
        CHECK(on("gro") == "\"gro\"");
        CHECK(on("") == "\"\"");
        CHECK(on("device,") == "\"\"");
        CHECK(on("device,none") == "\"none\"");
        CHECK(on("udp-gso, udp-gro") == "\" udp-gro\"");
    }

    TEST_CASE("what is off though it was on is told with its reason, and nothing else") {
        Offloads before;
        before.udp_gro = {.state = Offload::State::Off};
        Offloads now = before;
        CHECK(io::news(before, now).empty());
        now.device_gro = {.state = Offload::State::Refused, .error_number = EINVAL};
        now.udp_gso = {.state = Offload::State::Lacking};
        CHECK(io::news(before, now) == std::vector<std::string>{"device-gro is off: refused: Invalid argument",
                                                                "udp-gso is off: this kernel has none"});
        CHECK(io::news(now, now).empty());
    }

    TEST_CASE("the test at start is short, leaves nothing, and switches on nothing that nobody asked for") {
        const std::size_t before = open_descriptors();
        for (const char* const words : {"auto", "none", "device", "udp-gso", "udp-gro"}) {
            CAPTURE(words);
            const Offloads asked = *Offloads::parse(words);
            const auto began = std::chrono::steady_clock::now();
            const Offloads tested = io::self_tested(asked);
            CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds{2});   // 40 ms, on an idle machine
            for (const auto& [name, which] : io::offload_names) {
                CHECK((asked.*which).is_on() >= (tested.*which).is_on());
                CHECK((tested.*which).state != Offload::State::Broken);   // of no kernel that we build on
            }
        }
        CHECK(open_descriptors() == before);
    }

}  // TEST_SUITE
