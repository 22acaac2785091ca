#pragma once
// Sysctls below /proc/sys, in the network namespace of the calling thread (that is what /proc/sys/net
// follows). Every access starts at one held descriptor and cannot leave it: no "..", no symbolic or magic
// links (openat2, Linux ≥ 5.6).

#include "netlink/fd.hpp"
#include "topology/state.hpp"
#include "topology/step.hpp"

#include <cstdint>

namespace overlay::netlink {

class Sysctls {
  public:
    /// Opens /proc/sys.
    [[nodiscard]] static Result<Sysctls> open();

    /// Without the newline. nullopt: there is no such key.
    [[nodiscard]] Result<std::optional<std::string>> read(std::string_view key) const;

    /// The keys that we know, of `all`, `default` and every link; those that this kernel has.
    [[nodiscard]] Result<std::map<std::string, std::string>> snapshot(
        const std::map<IfName, Link>& links) const;

    /// Writes the value, then those of the cascade that did not follow by themselves.
    [[nodiscard]] Result<void> set(const SetSysctl& step);

    [[nodiscard]] std::uint64_t writes() const { return writes_; }

  private:
    explicit Sysctls(UniqueFd root) : root_{std::move(root)} {}
    [[nodiscard]] Result<void> write(std::string_view key, std::string_view value);
    UniqueFd root_;
    std::uint64_t writes_ = 0;
};

/// "net.ipv4.conf.eth0/100.forwarding" → "net/ipv4/conf/eth0.100/forwarding", as sysctl(8) reads it.
/// nullopt for a key outside net.
[[nodiscard]] std::optional<std::string> path_of_sysctl(std::string_view key);

}  // namespace overlay::netlink
