#include "daemon/datapath/stamp_store.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include <unistd.h>

using namespace overlay;
using namespace overlay::datapath;
using wireguard::Tai64n;

namespace {

struct Folder {
    std::filesystem::path path = std::filesystem::temp_directory_path() /
                                 ("overlay-stamps." + std::to_string(::getpid()));
    Folder() { std::filesystem::create_directory(path); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { std::filesystem::remove_all(path); }
    [[nodiscard]] std::string file(const char* name) const { return path / name; }
};

std::string content_of(const std::string& path) {
    std::stringstream out;
    out << std::ifstream{path}.rdbuf();
    return out.str();
}

void write(const std::string& path, const std::string& content) { std::ofstream{path} << content; }

}  // namespace

TEST_SUITE("stamp store") {

    TEST_CASE("what was kept is there for the next run, in a file of one line that only we can read") {
        const Folder folder;
        const std::string path = folder.file("new/wg0");
        REQUIRE(StampStore{path}.keep({.seconds = 0x400000006553f100, .nanoseconds = 0x1000000}));

        CHECK(content_of(path) == "400000006553f100.01000000\n");
        CHECK(std::filesystem::status(path).permissions() ==
              (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
        CHECK(StampStore{path}.load().value() ==
              Tai64n{.seconds = 0x400000006553f100, .nanoseconds = 0x1000000});
    }

    TEST_CASE("where nothing was kept, the lowest bound is the bound") {
        const Folder folder;
        CHECK(StampStore{folder.file("none")}.load().value() == Tai64n{});
        CHECK(StampStore{""}.load().value() == Tai64n{});
        CHECK(StampStore{""}.keep({.seconds = 1}));
    }

    TEST_CASE("a file that is not ours is refused, never taken for a time") {
        const Folder folder;
        const std::string path = folder.file("wg0");
        for (const char* content : {"", "\n", "400000006553f100", "400000006553f100.0100000\n",
                                    "400000006553f100.01000000", "4000000g6553f100.01000000\n",
                                    "400000006553f100.3b9aca00\n", " 400000006553f10.01000000\n",
                                    "400000006553f100.01000000\n\n"}) {
            CAPTURE(content);
            write(path, content);
            const auto loaded = StampStore{path}.load();
            REQUIRE_FALSE(loaded);
            CHECK(loaded.error().kind == Error::Kind::Invalid);
        }
    }

    TEST_CASE("what cannot be kept is said, so that nothing leaves") {
        const Folder folder;
        write(folder.file("file"), "");
        CHECK_FALSE(StampStore{folder.file("file") + "/wg0"}.keep({.seconds = 1}));
    }

}  // TEST_SUITE
