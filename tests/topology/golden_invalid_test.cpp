// Each folder under tests/golden is a file and everything that must be said about it: "invalid" is
// refused, "valid" is accepted, with warnings or without. The texts were written by hand, place by
// place.

#include "tests/support/examples.hpp"
#include "topology/topology.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

using namespace overlay;
using test::file_text;
namespace fs = std::filesystem;

namespace {

std::vector<fs::path> cases(const char* kind) {
    std::vector<fs::path> out;
    for (const auto& entry :
         fs::directory_iterator(fs::path{OVERLAY_SOURCE_DIR} / "tests/golden" / kind)) {
        out.push_back(entry.path());
    }
    std::sort(out.begin(), out.end());
    return out;
}

struct Verdict {
    bool accepted = false;
    std::string text;
};

Verdict judge(const fs::path& folder) {
    const std::string source = file_text(folder / "topology.json");
    const ParsedFile file = parse_topology(source, "topology.json");
    return {file.topology && !has_errors(file.diagnostics),
            text(file.diagnostics, "topology.json", source)};
}

}  // namespace

TEST_SUITE("golden files") {

    TEST_CASE("each wrong file is refused with exactly the findings that its folder expects") {
        const std::vector<fs::path> folders = cases("invalid");
        REQUIRE(folders.size() >= 110);
        for (const fs::path& folder : folders) {
            CAPTURE(folder.filename().string());
            const Verdict verdict = judge(folder);
            CHECK_FALSE(verdict.accepted);
            CHECK(verdict.text == file_text(folder / "expected.txt"));
        }
    }

    TEST_CASE("each wrong file says whether its rule is one of shape or of meaning") {
        for (const fs::path& folder : cases("invalid")) {
            CAPTURE(folder.filename().string());
            CHECK(fs::exists(folder / "shape") != fs::exists(folder / "meaning"));
        }
    }

    TEST_CASE("each file just inside the limits is accepted") {
        const std::vector<fs::path> folders = cases("valid");
        REQUIRE(folders.size() >= 50);
        for (const fs::path& folder : folders) {
            CAPTURE(folder.filename().string());
            const Verdict verdict = judge(folder);
            CHECK(verdict.accepted);
            CHECK(verdict.text == file_text(folder / "expected.txt"));
        }
    }
}
