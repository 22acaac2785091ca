#pragma once
// Kernel modules by libkmod: which of those that we may need are there, and loading one. They are never
// unloaded. A kernel without /lib/modules is a normal case (everything built in, or a container): then
// what shows itself counts: /sys/module, and the kernel's own list of functions (/proc/kallsyms).

#include "topology/result.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

struct kmod_ctx;

namespace overlay::netlink {

class Modules {
  public:
    [[nodiscard]] static Result<Modules> open();

    /// Loaded or built in, out of known_modules().
    [[nodiscard]] std::set<std::string> present();
    [[nodiscard]] Result<void> load(const std::string& name);
    /// Those of known_modules() that are neither present nor on disk for this kernel.
    [[nodiscard]] std::set<std::string> missing(const std::set<std::string>& present) const;
    /// Not loaded, but on disk for this kernel.
    [[nodiscard]] bool is_loadable(const std::string& name) const;

    [[nodiscard]] std::uint64_t writes() const { return writes_; }

  private:
    struct Unreference {
        void operator()(kmod_ctx* context) const;
    };
    explicit Modules(kmod_ctx* context) : context_{context} {}
    [[nodiscard]] bool is_present(const std::string& name) const;
    [[nodiscard]] bool knows_built_in() const;

    std::unique_ptr<kmod_ctx, Unreference> context_;
    std::optional<std::set<std::string>> built_in_;   ///< of kallsyms; cannot change
    std::uint64_t writes_ = 0;
};

[[nodiscard]] const std::vector<std::string>& known_modules();

/// Where a module comes from: "load module fou (Debian: …; OpenWrt: kmod-fou)".
[[nodiscard]] std::string package_hint(std::string_view module);

}  // namespace overlay::netlink
