#pragma once
// The generic-netlink families that the kernel has, by name. Always one dump of all of them: asking for
// one by name makes the kernel load a module (Linux net/netlink/genetlink.c, ctrl_getfamily).

#include "netlink/socket.hpp"

#include <map>
#include <string>

namespace overlay::netlink {

class Families {
  public:
    [[nodiscard]] Result<void> read(Socket& generic);
    [[nodiscard]] std::optional<std::uint16_t> find(std::string_view name) const;

  private:
    std::map<std::string, std::uint16_t, std::less<>> by_name_;
};

}  // namespace overlay::netlink
