#pragma once
// Network namespaces with names, the way `ip netns` keeps them: a bind mount of the namespace under
// /run/netns, which keeps it alive without any process. Used by `overlayctl lab` only.

#include "netlink/fd.hpp"
#include "topology/result.hpp"

#include <sys/types.h>

#include <string>

namespace overlay::netlink {

inline constexpr const char* namespace_directory = "/run/netns";

class Namespace {
  public:
    /// Errors: NotFound, NotPermitted.
    [[nodiscard]] static Result<Namespace> open(const std::string& name);
    [[nodiscard]] static Result<Namespace> current();

    /// Moves the calling thread there. What it opened before stays where it was.
    [[nodiscard]] Result<void> enter() const;
    [[nodiscard]] bool holds(pid_t process) const;
    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    Namespace(UniqueFd fd, std::string name) : fd_{std::move(fd)}, name_{std::move(name)} {}
    UniqueFd fd_;
    std::string name_;
};

/// Errors: Conflict when the name is taken, NotPermitted.
[[nodiscard]] Result<void> make_namespace(const std::string& name);
/// Takes the name away; the namespace ends with its last process. No error when there is none.
[[nodiscard]] Result<void> remove_namespace(const std::string& name);
[[nodiscard]] bool namespace_exists(const std::string& name);

/// Moves the calling thread there and gives it a /sys of its own, so that /sys/class/net shows the
/// namespace's interfaces, as `ip netns exec` does. For a child process: there is no way back.
[[nodiscard]] Result<void> enter_for_good(const Namespace& there);

/// Runs `work` (returning a Result) inside and comes back.
template <class Work>
[[nodiscard]] auto run_inside(const Namespace& there, Work&& work) -> decltype(work()) {
    const auto here = Namespace::current();
    if (!here) return pass_on(here);
    if (const auto entered = there.enter(); !entered) return pass_on(entered);
    auto result = work();
    // Going on in the wrong namespace would change a network that is not the lab's.
    OVERLAY_ASSERT(here->enter());
    return result;
}

}   // namespace overlay::netlink
