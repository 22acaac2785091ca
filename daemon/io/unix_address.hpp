#pragma once
// Where a unix socket is. An address has room for 107 bytes of path (unix(7)); a longer one is reached by the way of
// its directory, which is open meanwhile.

#include "daemon/io/files.hpp"

#include <sys/socket.h>
#include <sys/un.h>

namespace overlay::io {

class UnixAddress {
  public:
    /// Errors: those of opening the directory of a long path; Invalid: the name alone is too long.
    [[nodiscard]] static Result<UnixAddress> of(const std::string& path);

    /// For bind(2) and connect(2), as long as this lives.
    [[nodiscard]] const sockaddr* get() const {
        return static_cast<const sockaddr*>(static_cast<const void*>(&address_));
    }
    [[nodiscard]] static constexpr socklen_t size_bytes() { return sizeof(sockaddr_un); }

  private:
    sockaddr_un address_{.sun_family = AF_UNIX, .sun_path = {}};
    UniqueFd directory_{-1};
};

}  // namespace overlay::io
