// The lab's keys: its own in place of the file's, or the user's when they are the right ones.

#include "daemon/lab/lab_keys.hpp"

#include "daemon/io/files.hpp"
#include "daemon/reconcile/key_files.hpp"

#include <doctest/doctest.h>

#include <filesystem>

#include <unistd.h>

using namespace overlay;
using namespace overlay::lab;
namespace fs = std::filesystem;

namespace {

class Directory {
  public:
    Directory() {
        std::string pattern = (fs::temp_directory_path() / "overlay-keys.XXXXXX").string();
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
    }
    ~Directory() { fs::remove_all(path_); }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
    [[nodiscard]] const fs::path& path() const { return path_; }

  private:
    fs::path path_;
};

// RFC 7748 §6.1: Alice's and Bob's pairs, in base64.
const std::string alice_private = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n";
const std::string alice_public = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const std::string bob_private = "XasIfmJKikt54X+Lg4AO5m87sSkmGLb9HC+LJ/+I4Os=\n";
const std::string bob_public = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

Topology two_nodes() {
    const std::string source =
        R"({ "version": 1, "network": "pair",
             "hub": { "name": "hub", "underlay": { "interface": "eth0", "addresses": ["9.9.9.9"] },
                      "wireguard": { "private_key_file": "hub.key", "public_key": ")" +
        alice_public +
        R"(" } }, "spokes": { "bob": { "link": { "type": "wireguard", "public_key": ")" +
        bob_public + R"(" } } } })";
    ParsedFile file = parse_topology(source, "pair.json");
    INFO(text(file.diagnostics, "pair.json", source));
    REQUIRE(file.topology);
    return *file.topology;
}

}  // namespace

TEST_SUITE("lab keys") {
    TEST_CASE("fresh keys take the place of the file's, each public key that of its private file") {
        const Directory made;

        const auto topology = with_lab_keys(two_nodes(), {{}, made.path()});

        REQUIRE(topology);
        const WireguardEndpoint& hub = *topology->hub.wireguard;
        CHECK(text(hub.public_key.value) != alice_public);
        CHECK(hub.private_key_file.value == (made.path() / "hub.key").string());
        const auto secret = read_key_file(hub.private_key_file.value);
        REQUIRE(secret);
        CHECK(public_key_of(*secret) == hub.public_key.value);
        CHECK((fs::status(hub.private_key_file.value).permissions() & fs::perms::mask) ==
              (fs::perms::owner_read | fs::perms::owner_write));
        CHECK(topology->spokes[0].links[0].public_key->value != hub.public_key.value);
    }

    TEST_CASE("given keys are used when they are those of the file") {
        const Directory given;
        REQUIRE(io::replace_file(given.path() / "hub.key", alice_private, 0600));
        REQUIRE(io::replace_file(given.path() / "bob.key", bob_private, 0600));

        const auto topology = with_lab_keys(two_nodes(), {given.path(), given.path()});

        REQUIRE(topology);
        CHECK(text(topology->hub.wireguard->public_key.value) == alice_public);
        CHECK(topology->spokes[0].links[0].private_key_file->value ==
              (given.path() / "bob.key").string());
    }

    TEST_CASE("a key of somebody else is refused, naming both public keys") {
        const Directory given;
        REQUIRE(io::replace_file(given.path() / "hub.key", bob_private, 0600));
        REQUIRE(io::replace_file(given.path() / "bob.key", bob_private, 0600));

        const auto topology = with_lab_keys(two_nodes(), {given.path(), given.path()});

        REQUIRE_FALSE(topology);
        CHECK(topology.error().reason ==
              "its public key is " + bob_public + ", the file says " + alice_public);
    }
}
