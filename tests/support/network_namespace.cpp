// unshare and setns of the calling thread.

#include "support/network_namespace.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sched.h>

namespace overlay::support {

namespace {

netlink::UniqueFd current() {
    return netlink::UniqueFd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
}

void check(bool succeeded, const char* doing) {
    if (succeeded) return;
    fmt::print(stderr, "{}: {} (needs root in a user namespace of its own, or the kernel lab)\n",
               doing, std::strerror(errno));
    std::abort();
}

}  // namespace

NetworkNamespace::NetworkNamespace() {
    const netlink::UniqueFd before = current();
    check(before.get() >= 0, "open /proc/thread-self/ns/net");
    check(::unshare(CLONE_NEWNET) == 0, "unshare the network");
    fd_ = current();
    check(::setns(before.get(), CLONE_NEWNET) == 0, "return to the former namespace");
    run("ip link set lo up");
}

std::string NetworkNamespace::path() const {
    return fmt::format("/proc/{}/fd/{}", ::getpid(), fd());
}

std::string NetworkNamespace::run(const std::string& words) const {
    CommandOptions options;
    options.network_namespace = fd();
    return must_run(words, options);
}

Inside::Inside(const NetworkNamespace& name_space) : before_{current()} {
    check(::setns(name_space.fd(), CLONE_NEWNET) == 0, "enter the namespace");
}

Inside::~Inside() { check(::setns(before_.get(), CLONE_NEWNET) == 0, "leave the namespace"); }

}  // namespace overlay::support
