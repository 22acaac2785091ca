// Every demand here is doctest's, so that a test fails where it is told.

#include "tests/support/examples.hpp"

#include <doctest/doctest.h>

#include <fstream>

namespace overlay::test {

std::string file_text(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

Topology parsed(const std::string& source, const std::string& name) {
    const ParsedFile file = parse_topology(source, name);
    CAPTURE(overlay::text(file.diagnostics, name, source));
    REQUIRE(file.topology);
    REQUIRE_FALSE(has_errors(file.diagnostics));
    return *file.topology;
}

Topology example(const std::string& name,
                 const std::vector<std::pair<std::string, std::string>>& changes) {
    std::string source = file_text(std::filesystem::path{OVERLAY_SOURCE_DIR} / "examples" / name);
    for (const auto& [from, to] : changes) {
        REQUIRE(source.find(from) != std::string::npos);
        for (auto at = source.find(from); at != std::string::npos;
             at = source.find(from, at + to.size()))
            source.replace(at, from.size(), to);
    }
    return parsed(source, name);
}

}  // namespace overlay::test
