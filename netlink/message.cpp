#include "netlink/message.hpp"

#include <linux/genetlink.h>

#include <arpa/inet.h>
#include <cstring>
#include <string>

namespace overlay::netlink {

Message::Message(std::uint16_t type, std::uint16_t flags) : buffer_(capacity_bytes) {
    nlmsghdr* const message = mnl_nlmsg_put_header(buffer_.data());
    message->nlmsg_type = type;
    message->nlmsg_flags = flags;
}

Message::~Message() {
    if (!buffer_.empty()) explicit_bzero(buffer_.data(), buffer_.size());
}

nlmsghdr* Message::header() {
    return static_cast<nlmsghdr*>(static_cast<void*>(buffer_.data()));
}

const nlmsghdr& Message::header() const {
    return *static_cast<const nlmsghdr*>(static_cast<const void*>(buffer_.data()));
}

std::size_t Message::room_bytes() const { return buffer_.size() - header().nlmsg_len; }

void Message::put_u8(std::uint16_t type, std::uint8_t value) {
    OVERLAY_ASSERT(mnl_attr_put_u8_check(header(), capacity_bytes, type, value));
}

void Message::put_u16(std::uint16_t type, std::uint16_t value) {
    OVERLAY_ASSERT(mnl_attr_put_u16_check(header(), capacity_bytes, type, value));
}

void Message::put_u32(std::uint16_t type, std::uint32_t value) {
    OVERLAY_ASSERT(mnl_attr_put_u32_check(header(), capacity_bytes, type, value));
}

void Message::put_be16(std::uint16_t type, std::uint16_t value) { put_u16(type, htons(value)); }

void Message::put_be32(std::uint16_t type, std::uint32_t value) { put_u32(type, htonl(value)); }

void Message::put_flag(std::uint16_t type) { put_bytes(type, {}); }

void Message::put_bytes(std::uint16_t type, std::span<const std::uint8_t> bytes) {
    static constexpr std::uint8_t nothing = 0;
    const void* const data = bytes.empty() ? &nothing : bytes.data();
    OVERLAY_ASSERT(mnl_attr_put_check(header(), capacity_bytes, type, bytes.size(), data));
}

void Message::put_address(std::uint16_t type, const IpAddress& address) {
    put_bytes(type, {address.data(), address.size_bytes()});
}

void Message::put_string(std::uint16_t type, std::string_view text) {
    const void* const data = text.empty() ? "" : text.data();
    OVERLAY_ASSERT(mnl_attr_put_check(header(), capacity_bytes, type, text.size(), data));
}

void Message::put_c_string(std::uint16_t type, std::string_view text) {
    const std::string terminated{text};
    OVERLAY_ASSERT(mnl_attr_put_check(header(), capacity_bytes, type, terminated.size() + 1,
                                      terminated.c_str()));
}

nlattr* Message::start_nest(std::uint16_t type) {
    nlattr* const start = mnl_attr_nest_start_check(header(), capacity_bytes, type);
    OVERLAY_ASSERT(start != nullptr);
    return start;
}

Message generic_request(std::uint16_t family, std::uint8_t command, std::uint16_t flags) {
    Message request{family, flags};
    auto& fixed = request.fixed_header<genlmsghdr>();
    fixed.cmd = command;
    fixed.version = 1;   // of fou, wireguard, ethtool alike; the controller ignores it
    return request;
}

int Attributes::keep(const nlattr* attribute, void* attributes) {
    auto& self = *static_cast<Attributes*>(attributes);
    const std::uint16_t type = mnl_attr_get_type(attribute);
    if (type < max_type) self.by_type_[type] = attribute;
    return MNL_CB_OK;
}

Attributes Attributes::of(const nlmsghdr& message, std::size_t fixed_header_bytes) {
    // mnl_attr_parse() pads the fixed header to four bytes but does not check that the message is that long, and
    // takes the padding behind the message for a part of it.
    const std::size_t aligned_bytes = (fixed_header_bytes + 3) / 4 * 4;
    const std::size_t payload_bytes = mnl_nlmsg_get_payload_len(&message);
    if (payload_bytes < aligned_bytes) return {};
    const auto* const payload = static_cast<const std::uint8_t*>(mnl_nlmsg_get_payload(&message));
    return inside({payload + aligned_bytes, payload_bytes - aligned_bytes});
}

Attributes Attributes::inside(const nlattr& nest) {
    Attributes found;
    mnl_attr_parse_nested(&nest, keep, &found);
    return found;
}

Attributes Attributes::inside(std::span<const std::uint8_t> payload) {
    Attributes found;
    mnl_attr_parse_payload(payload.data(), payload.size(), keep, &found);
    return found;
}

const nlattr* Attributes::find(std::uint16_t type) const {
    return type < max_type ? by_type_[type] : nullptr;
}

std::optional<std::uint16_t> Attributes::be16(std::uint16_t type) const {
    const auto value = u16(type);
    if (!value) return std::nullopt;
    return ntohs(*value);
}

std::optional<std::uint32_t> Attributes::be32(std::uint16_t type) const {
    const auto value = u32(type);
    if (!value) return std::nullopt;
    return ntohl(*value);
}

std::optional<std::string_view> Attributes::string(std::uint16_t type) const {
    if (!has(type)) return std::nullopt;
    const auto found = bytes(type);
    const auto* const start = static_cast<const char*>(static_cast<const void*>(found.data()));
    return std::string_view{start, strnlen(start, found.size())};
}

std::span<const std::uint8_t> Attributes::bytes(std::uint16_t type) const {
    const nlattr* const found = find(type);
    if (found == nullptr) return {};
    return {static_cast<const std::uint8_t*>(mnl_attr_get_payload(found)),
            mnl_attr_get_payload_len(found)};
}

std::optional<IpAddress> Attributes::address(std::uint16_t type) const {
    const auto found = bytes(type);
    if (found.size() == 4) return IpAddress::from_bytes(Family::Ipv4, found.data());
    if (found.size() == 16) return IpAddress::from_bytes(Family::Ipv6, found.data());
    return std::nullopt;
}

std::optional<Attributes> Attributes::nest(std::uint16_t type) const {
    const nlattr* const found = find(type);
    if (found == nullptr) return std::nullopt;
    return inside(*found);
}

}  // namespace overlay::netlink
