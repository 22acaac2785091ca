// What overlayd has kept, struck out while it does not run.

#include "daemon/control/kept.hpp"

#include "daemon/io/files.hpp"
#include "topology/state_json.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <filesystem>

#include <stdlib.h>

using namespace overlay;
using control::keep_only;
using control::kept_path;
using nlohmann::json;

namespace {

FouPort port(std::uint16_t number) {
    return {.family = Family::Ipv4, .port = number, .datapath = Datapath::Userspace};
}

struct RunDirectory {
    RunDirectory() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
    RunDirectory(const RunDirectory&) = delete;
    RunDirectory& operator=(const RunDirectory&) = delete;
    ~RunDirectory() { std::filesystem::remove_all(path); }

    void write(const std::string& text) const { REQUIRE(io::replace_file(kept_path(path), text, 0600)); }
    [[nodiscard]] bool is_kept() const { return std::filesystem::exists(kept_path(path)); }

    std::string path = "/tmp/kept-XXXXXX";
};

/// Of two networks: a port, a TAP and a device each.
std::string of_two() {
    KernelState state;
    for (const char* name : {"gt-one", "gt-two"}) {
        const IfName tap = IfName::from_kernel(name);
        state.links[tap] = Link{.name = tap, .kind = LinkKind::Tap, .gretap = GretapAttributes{}};
    }
    state.fou_ports = {port(5001), port(5002)};
    const json devices{{"wg-one", "one"}, {"wg-two", "two"}};
    return json{{"version", 1}, {"devices", devices}, {"state", json::parse(to_json(state))}}.dump();
}

}  // namespace

TEST_SUITE("what overlayd keeps") {

    TEST_CASE("what one network had is struck out, the other's stays") {
        const RunDirectory run;
        run.write(of_two());

        REQUIRE(keep_only(run.path, {port(5002)}, {IfName::from_kernel("gt-two"), IfName::from_kernel("wg-two")}));

        const auto text = io::read_file(kept_path(run.path), 65536);
        REQUIRE(text);
        const json left = json::parse(*text);
        CHECK(left["devices"] == json{{"wg-two", "two"}});
        const auto state = state_from_json(left["state"].dump());
        REQUIRE(state);
        CHECK(state->fou_ports == std::set{port(5002)});
        CHECK(state->links.size() == 1);
        CHECK(state->links.contains(IfName::from_kernel("gt-two")));
        CHECK((std::filesystem::status(kept_path(run.path)).permissions() & std::filesystem::perms::all) ==
              (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
    }

    TEST_CASE("a file of which nothing is left goes, and so does one that nobody can read") {
        const RunDirectory run;
        CHECK(keep_only(run.path, {}, {}));
        for (const std::string& text : {of_two(), std::string{"{"}, std::string{"[]"}, std::string{R"({"state": 7})"},
                                        std::string{R"({"state": {}, "devices": []})"}}) {
            CAPTURE(text);
            run.write(text);
            CHECK(keep_only(run.path, {}, {}));
            CHECK_FALSE(run.is_kept());
        }
    }

}  // TEST_SUITE
