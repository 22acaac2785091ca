// What a person sees: one line that names the place, the line of the file, a caret, a hint; and
// never a control character or a secret of the file's.

#include "topology/diagnostic.hpp"

#include "topology/key_text.hpp"

#include <doctest/doctest.h>

using namespace overlay;

namespace {

Diagnostic finding(Span at, std::string message) {
    return Diagnostic{.at = at, .path = "hub.mtu", .message = std::move(message), .hint = {}};
}

}  // namespace

TEST_SUITE("diagnostic") {

    TEST_CASE("a finding shows place, path, message, the line and a caret under the fault") {
        const std::string source = "{\n  \"mtu\": 70000,\n}\n";
        Diagnostic found = finding({2, 10, 5}, "too large");
        found.hint = "65535 at most";

        CHECK(text(found, "home.json", source) ==
              "home.json:2:10: hub.mtu: too large\n"
              "    \"mtu\": 70000,\n"
              "           ^~~~~\n"
              "    hint: 65535 at most\n");
    }

    TEST_CASE("a warning says so, and a finding without a place shows no line") {
        Diagnostic found = finding({}, "unused");
        found.severity = Diagnostic::Severity::Warning;
        CHECK(text(found, "home.json", "{}") == "home.json: warning: hub.mtu: unused\n");
    }

    TEST_CASE("findings are printed in order of their places") {
        const std::string source = "a\nb\n";
        CHECK(text({finding({2, 1, 1}, "second"), finding({1, 1, 1}, "first")}, "f", source) ==
              "f:1:1: hub.mtu: first\n    a\n    ^\nf:2:1: hub.mtu: second\n    b\n    ^\n");
    }

    TEST_CASE("control characters, direction marks and bad bytes never reach the terminal") {
        const std::string source = "x\x1b[31m \xe2\x80\xae \xff\x7f";
        CHECK(text(finding({1, 1, 1},
                           "a\x1b"
                           "b"),
                   "f\n", source) ==
              "f\\u000a:1:1: hub.mtu: a\\u001bb\n    x\\u001b[31m \\u202e \xef\xbf\xbd\\u007f\n    "
              "^\n");
    }

    TEST_CASE("the caret stands under the fault behind escapes and letters of several bytes") {
        CHECK(text(finding({1, 4, 2}, "here"), "f",
                   "\xc3\xa4\x01"
                   "b!?") == "f:1:4: hub.mtu: here\n    \xc3\xa4\\u0001b!?\n            ^~\n");
    }

    TEST_CASE("of a very long line only the part around the fault is shown") {
        const std::string source = std::string(5000, 'a') + "!" + std::string(5000, 'b');
        const std::string shown = text(finding({1, 5001, 1}, "here"), "f", source);
        CHECK(shown == "f:1:5001: hub.mtu: here\n    …" + std::string(50, 'a') + "!" +
                           std::string(49, 'b') + "…\n    " + std::string(51, ' ') + "^\n");
    }

    TEST_CASE("a fault at the end of a line has its caret behind the last character") {
        CHECK(text(finding({1, 4, 0}, "more"), "f", "abc\nd") ==
              "f:1:4: hub.mtu: more\n    abc\n       ^\n");
    }

    TEST_CASE("what stands behind a secret's key is starred out, and so is what looks like a key") {
        const std::string key = "8TYMD/dmDLgbAp1VSvhemGEe6e8Yr/7GGjRCAce6ZGA=";
        const std::string stars(44, '*');
        const auto shown = [&](const std::string& line) {
            return text(finding({1, 1, 1}, "x"), "f", line);
        };
        CHECK(shown("\"psk\": \"hunter2\"") ==
              "f:1:1: hub.mtu: x\n    \"psk\": \"*******\"\n    ^\n");
        CHECK(shown("\"k\": \"" + key + "\"") ==
              "f:1:1: hub.mtu: x\n    \"k\": \"" + stars + "\"\n    ^\n");
        CHECK(shown("\"public_key\": \"" + key + "\"").find(key) != std::string::npos);
        CHECK(shown("\"PrivateKey\": \"" + key).find(key) == std::string::npos);
    }

    TEST_CASE("a secret is starred out in single quotes, without quotes and without an end") {
        const std::string key = "8TYMD/dmDLgbAp1VSvhemGEe6e8Yr/7GGjRCAce6ZGA=";
        const auto shown = [&](const std::string& line) {
            return text(finding({1, 1, 1}, "x"), "f", line);
        };
        for (const std::string line :
             {"{'private_key':'hunter2'}", "{\"psk\": \"hunter2", "{psk: hunter2}",
              "{\"psk\":\n\"hunter2\"", "{\"psk: \"hunter2\"", "[\"secret\", \"psk\": [\"hunter2\"]"}) {
            CAPTURE(line);
            CHECK(shown(line).find("hunter2") == std::string::npos);
        }
        CHECK(shown("'" + key).find("8TYM") == std::string::npos);
        CHECK(shown("PrivateKey = " + key).find("8TYM") == std::string::npos);
    }

    TEST_CASE("a key is seen with and without its '=', in hexadecimal, and behind other text") {
        const std::string key = "8TYMD/dmDLgbAp1VSvhemGEe6e8Yr/7GGjRCAce6ZGA=";
        for (const std::string& text :
             {key, key.substr(0, 43), " " + key, key + "\n", "PrivateKey = " + key, "PrivateKey=" + key,
              std::string("00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF")}) {
            CAPTURE(text);
            CHECK(holds_a_key(text));
            CHECK(without_keys(text).find("***") != std::string::npos);
        }
        for (const char* const text :
             {"/etc/overlay/home.key", "/etc/overlay/networks/production/hub/private",
              "ffffffffffffffffffffffffffffffffffffffff", "8TYMD/dmDLgbAp1VSvhemGEe6e8Yr/7GGjRCAce6Z"}) {
            CAPTURE(text);
            CHECK_FALSE(holds_a_key(text));
        }
    }

    TEST_CASE("only an error is an error") {
        Diagnostic warning = finding({}, "x");
        warning.severity = Diagnostic::Severity::Warning;
        CHECK_FALSE(has_errors({}));
        CHECK_FALSE(has_errors({warning}));
        CHECK(has_errors({warning, finding({}, "y")}));
    }

    TEST_CASE("a slip of the pen finds the word that was meant, a different word finds none") {
        const std::vector<std::string> words{"address", "addresses", "mtu", "router_advertisement",
                                             "gue"};
        CHECK(closest("adress", words) == "address");
        CHECK(closest("adresses", words) == "addresses");
        CHECK(closest("mut", words) == "mtu");  // neighbours swapped: one slip
        CHECK(closest("MTU", words) == "mtu");
        CHECK(closest("RouterAdvertisement", words) == "router_advertisement");
        CHECK(closest("gre", words) == "gue");
        CHECK(closest("colour", words).empty());
        CHECK(closest("", words).empty());
        CHECK(closest(std::string(100, 'm'), words).empty());
    }
}
