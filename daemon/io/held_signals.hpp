#pragma once
// Signals that ask a program to end: Ctrl-C, a terminal that hangs up, a service manager. Their default would end
// an apply between two steps. Held, they wait until it looks for them.

#include <csignal>
#include <optional>
#include <string>

namespace overlay::io {

/// SIGINT, SIGTERM and SIGHUP of this thread, but for those that are ignored (nohup): they stay ignored.
/// At its end, those that have come are forgotten: they were answered, or came too late.
class HeldSignals {
  public:
    HeldSignals();
    ~HeldSignals();
    HeldSignals(const HeldSignals&) = delete;
    HeldSignals& operator=(const HeldSignals&) = delete;

    /// "SIGINT", if one has come.
    [[nodiscard]] std::optional<std::string> first() const;

  private:
    sigset_t held_{};
    sigset_t before_{};
};

/// For a child that is about to become another program, which would inherit what is held.
void release_all_signals();

}  // namespace overlay::io
