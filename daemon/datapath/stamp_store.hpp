#pragma once
// What a WireGuard endpoint must remember over a crash: a bound that all timestamps of its handshakes
// stay below (daemon/wireguard/tai64n.hpp says why). A file of one line, replaced as a whole and on disk
// before anything that it allows has left.

#include "daemon/wireguard/tai64n.hpp"
#include "topology/result.hpp"

#include <string>

namespace overlay::datapath {

class StampStore {
  public:
    /// `path`: empty where nothing is to be remembered, as for a measurement.
    explicit StampStore(std::string path) : path_{std::move(path)} {}

    /// The last bound that was kept; the lowest, where there is no file.
    /// Errors: NotPermitted; Invalid, when it is not a file of ours.
    [[nodiscard]] Result<wireguard::Tai64n> load() const;
    /// Errors: those of io::replace_file; then nothing may leave that needs it.
    [[nodiscard]] Result<void> keep(const wireguard::Tai64n& bound) const;

  private:
    std::string path_;
};

}  // namespace overlay::datapath
