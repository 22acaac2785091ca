#include "daemon/io/process.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace overlay::io {

netlink::UniqueFd open_process(pid_t process) {
    return netlink::UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, process, 0))};
}

bool ends_within(const netlink::UniqueFd& process, int timeout_ms) {
    pollfd wait{process.get(), POLLIN, 0};
    return ::poll(&wait, 1, timeout_ms) > 0;
}

}  // namespace overlay::io
