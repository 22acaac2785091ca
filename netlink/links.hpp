#pragma once
// Network interfaces: all of them as values, and the steps over one of them. Links are named by
// name in values and by index in messages; a step looks the index up, and a deletion checks first that
// the link still is the one that was meant.

#include "netlink/socket.hpp"
#include "topology/state.hpp"

#include <map>

namespace overlay::netlink {

using LinkNames = std::map<std::uint32_t, IfName>;

/// Of the attribute with this number; nullopt: it is none, or not of 1 to 15 bytes.
[[nodiscard]] std::optional<IfName> link_name(const Attributes& attributes, std::uint16_t type);
/// nullopt: the family has no such length.
[[nodiscard]] std::optional<IpPrefix> prefix_of(const IpAddress& address, std::uint8_t length);

struct FoundLinks {
    std::map<IfName, Link> links;
    LinkNames names;   ///< by interface index, for what the kernel reports by index
    std::map<IfName, IfName> alternative_names;   ///< `altname` → the link that has it
};

[[nodiscard]] Result<FoundLinks> snapshot_links(Socket& route);

/// One link as it is now.
struct FoundLink {
    std::uint32_t index = 0;
    Link link;   ///< master and tunnel device by name are left empty
};
[[nodiscard]] Result<FoundLink> find_link(Socket& route, const IfName& name, std::string_view doing);

/// In two or three messages: the kernel ignores IFLA_IFALIAS at creation (Linux net/core/rtnetlink.c
/// rtnl_create_link), and pins a bridge's MTU only when it is changed. If one of the later ones fails,
/// the link is deleted again.
[[nodiscard]] Result<void> create_link(Socket& route, const Link& link, std::string_view doing);
[[nodiscard]] Result<void> delete_link(Socket& route, const Link& link, std::string_view doing);
[[nodiscard]] Result<void> rename_link(Socket& route, const IfName& from, const IfName& to,
                                       std::string_view doing);
[[nodiscard]] Result<void> change_link(Socket& route, const Link& to, std::string_view doing);

}  // namespace overlay::netlink
