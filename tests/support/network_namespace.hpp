#pragma once
// A network namespace for one test: made empty, entered for the length of a scope, gone with its
// owner.

#include "netlink/fd.hpp"
#include "support/run_command.hpp"

#include <string>

namespace overlay::support {

class NetworkNamespace {
  public:
    /// Aborts the test program, saying why, where that is not permitted.
    NetworkNamespace();

    [[nodiscard]] int fd() const { return fd_.get(); }
    /// What `ip link set X netns` takes.
    [[nodiscard]] std::string path() const;
    /// `must_run` inside.
    std::string run(const std::string& words) const;

  private:
    netlink::UniqueFd fd_;
};

/// The calling thread is inside for as long as this lives.
class Inside {
  public:
    explicit Inside(const NetworkNamespace& name_space);
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    ~Inside();

  private:
    netlink::UniqueFd before_;
};

}  // namespace overlay::support
