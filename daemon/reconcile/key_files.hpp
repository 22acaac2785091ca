#pragma once
// Key files: opened so that no link, no other user and no mistake gets past, and checked against the file's
// public keys. What is wrong is a diagnostic at the place that names the key file.

#include "netlink/secrets.hpp"
#include "topology/intent.hpp"

#include <string>
#include <vector>

namespace overlay {

struct LoadedKeys {
    Secrets secrets;
    PresharedKeys preshared;
    std::vector<Diagnostic> diagnostics;
};

enum class WhichKeys { PresharedOnly, All };

/// Relative paths are relative to `base_directory`, the directory of the topology file.
[[nodiscard]] LoadedKeys load_keys(const Topology& topology, const Node& node,
                                   const std::string& base_directory, WhichKeys which);

/// A 32-byte key in base64, one line. The file must be regular, not a symbolic link, owned by root or
/// the caller, and closed to group and others.
[[nodiscard]] Result<SecretBytes> read_key_file(const std::string& path);

}  // namespace overlay
