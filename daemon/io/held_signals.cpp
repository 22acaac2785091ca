#include "daemon/io/held_signals.hpp"

#include <array>
#include <ctime>

namespace overlay::io {

namespace {

struct Named {
    int number;
    const char* name;
};

constexpr std::array ends{Named{SIGINT, "SIGINT"}, Named{SIGTERM, "SIGTERM"}, Named{SIGHUP, "SIGHUP"}};

/// Linux keeps even an ignored signal waiting while it is blocked, in case a handler is set meanwhile.
bool is_ignored(int signal) {
    struct sigaction now {};
    return ::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;   // NOLINT: a union of libc's
}

}  // namespace

HeldSignals::HeldSignals() {
    ::sigemptyset(&held_);
    for (const Named& each : ends) {
        if (!is_ignored(each.number)) ::sigaddset(&held_, each.number);
    }
    ::pthread_sigmask(SIG_BLOCK, &held_, &before_);
}

HeldSignals::~HeldSignals() {
    const timespec at_once{};
    while (::sigtimedwait(&held_, nullptr, &at_once) > 0) {}
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

std::optional<std::string> HeldSignals::first() const {
    sigset_t waiting{};
    ::sigpending(&waiting);
    for (const Named& each : ends) {
        if (::sigismember(&held_, each.number) == 1 && ::sigismember(&waiting, each.number) == 1) return each.name;
    }
    return std::nullopt;
}

void release_all_signals() {
    sigset_t none{};
    ::sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace overlay::io
