#pragma once
// The lab's nodes need private keys, and those of the real nodes stay on the real nodes. So either
// the user gives a directory of keys that match the file, or fresh pairs take the place of the
// file's.

#include "topology/result.hpp"
#include "topology/topology.hpp"

#include <filesystem>
#include <optional>

namespace overlay::lab {

struct KeySource {
    std::optional<std::filesystem::path> given;   ///< DIR/<node>.key, <spoke>.<link>.key, ….psk
    std::filesystem::path made;                   ///< where fresh keys go, private to root
};

/// The topology with key files of the lab, and, where keys are fresh, with their public keys.
/// Errors: a given key is missing, unreadable, or not the one whose public key the file states.
[[nodiscard]] Result<Topology> with_lab_keys(Topology topology, const KeySource& source);

}   // namespace overlay::lab
