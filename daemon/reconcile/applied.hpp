#pragma once
// What was applied last on this node, kept beside the ledger so that `status` can tell drift without being
// told the file: the file's text, its name and directory, and the node.

#include "topology/result.hpp"

#include <optional>
#include <string>

namespace overlay {

struct Applied {
    std::string file_name;   ///< absolute
    std::string node;
    std::string source;
};

[[nodiscard]] Result<void> save_applied(const std::string& state_directory, const std::string& network,
                                        const Applied& applied);
/// nullopt: nothing was applied. Errors: unreadable or damaged.
[[nodiscard]] Result<std::optional<Applied>> load_applied(const std::string& state_directory,
                                                          const std::string& network);
[[nodiscard]] Result<void> forget_applied(const std::string& state_directory, const std::string& network);

}  // namespace overlay
