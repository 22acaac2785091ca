#include "netlink/families.hpp"

#include <linux/genetlink.h>

namespace overlay::netlink {

Result<void> Families::read(Socket& generic) {
    Message request = generic_request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0);
    const auto replies = generic.dump(request, "list generic-netlink families");
    if (!replies) return pass_on(replies);
    by_name_.clear();
    replies->for_each([&](const nlmsghdr& message) {
        const auto attributes = Attributes::of(message, sizeof(genlmsghdr));
        const auto name = attributes.string(CTRL_ATTR_FAMILY_NAME);
        const auto number = attributes.u16(CTRL_ATTR_FAMILY_ID);
        if (name && number) by_name_.emplace(*name, *number);
    });
    return {};
}

std::optional<std::uint16_t> Families::find(std::string_view name) const {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) return std::nullopt;
    return found->second;
}

}  // namespace overlay::netlink
