#pragma once
// Files for unit tests, and topologies out of text that must be free of errors.

#include "topology/topology.hpp"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace overlay::test {

[[nodiscard]] std::string file_text(const std::filesystem::path& path);

[[nodiscard]] Topology parsed(const std::string& source, const std::string& name = "test.json");

/// examples/NAME, each `first` replaced by its `second` in the text.
[[nodiscard]] Topology example(const std::string& name,
                               const std::vector<std::pair<std::string, std::string>>& changes = {});

}  // namespace overlay::test
