#pragma once
// One netlink message: written attribute by attribute (Message), read by attribute number (Attributes).
// libmnl does the alignment; these two give its buffers an owner and its reads a size check.
// Every Message is wiped on release, since some carry WireGuard keys.
//
// Units:   sizes in bytes; integers in host order unless the name says be16 or be32.
// Sources: RFC 3549 §2; Linux include/uapi/linux/netlink.h.

#include "topology/values.hpp"

#include <libmnl/libmnl.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace overlay::netlink {

class Message {
  public:
    /// Room for every message of ours; a WireGuard peer that does not fit is split (wireguard.cpp). The
    /// kernel takes a nest of up to 64 KiB.
    static constexpr std::size_t capacity_bytes = 16 * 1024;

    Message(std::uint16_t type, std::uint16_t flags);
    Message(Message&&) noexcept = default;
    Message& operator=(Message&&) = delete;
    Message(const Message&) = delete;
    Message& operator=(const Message&) = delete;
    ~Message();

    /// The fixed header of the request (ifinfomsg, genlmsghdr, …), zeroed. Once, before any attribute.
    template <class Header>
    Header& fixed_header() {
        static_assert(std::is_trivially_copyable_v<Header>);
        return *static_cast<Header*>(mnl_nlmsg_put_extra_header(header(), sizeof(Header)));
    }

    void put_u8(std::uint16_t type, std::uint8_t value);
    void put_u16(std::uint16_t type, std::uint16_t value);
    void put_u32(std::uint16_t type, std::uint32_t value);
    void put_be16(std::uint16_t type, std::uint16_t value);
    void put_be32(std::uint16_t type, std::uint32_t value);
    void put_flag(std::uint16_t type);
    void put_bytes(std::uint16_t type, std::span<const std::uint8_t> bytes);
    void put_address(std::uint16_t type, const IpAddress& address);
    void put_string(std::uint16_t type, std::string_view text);     ///< without a terminating zero
    void put_c_string(std::uint16_t type, std::string_view text);   ///< with one

    /// Writes what `content` writes inside a nested attribute.
    template <class Content>
    void nest(std::uint16_t type, Content&& content) {
        nlattr* const start = start_nest(type);
        content();
        mnl_attr_nest_end(header(), start);
    }

    [[nodiscard]] nlmsghdr* header();
    [[nodiscard]] const nlmsghdr& header() const;
    [[nodiscard]] std::size_t room_bytes() const;

  private:
    nlattr* start_nest(std::uint16_t type);
    std::vector<char> buffer_;
};

/// A generic-netlink request: the message type is the family's number of this boot.
[[nodiscard]] Message generic_request(std::uint16_t family, std::uint8_t command, std::uint16_t flags);

/// The attributes at one level of a message from the kernel, by number. A view: the message must outlive
/// it. An attribute that is absent or has another size than asked for reads as nullopt.
class Attributes {
  public:
    [[nodiscard]] static Attributes of(const nlmsghdr& message, std::size_t fixed_header_bytes);
    [[nodiscard]] static Attributes inside(const nlattr& nest);
    [[nodiscard]] static Attributes inside(std::span<const std::uint8_t> payload);

    [[nodiscard]] bool has(std::uint16_t type) const { return find(type) != nullptr; }
    [[nodiscard]] std::optional<std::uint8_t> u8(std::uint16_t type) const { return read<std::uint8_t>(type); }
    [[nodiscard]] std::optional<std::uint16_t> u16(std::uint16_t type) const { return read<std::uint16_t>(type); }
    [[nodiscard]] std::optional<std::uint32_t> u32(std::uint16_t type) const { return read<std::uint32_t>(type); }
    [[nodiscard]] std::optional<std::uint16_t> be16(std::uint16_t type) const;
    [[nodiscard]] std::optional<std::uint32_t> be32(std::uint16_t type) const;
    [[nodiscard]] std::optional<std::string_view> string(std::uint16_t type) const;
    [[nodiscard]] std::span<const std::uint8_t> bytes(std::uint16_t type) const;
    /// Four bytes are IPv4, sixteen are IPv6.
    [[nodiscard]] std::optional<IpAddress> address(std::uint16_t type) const;
    [[nodiscard]] std::optional<Attributes> nest(std::uint16_t type) const;
    [[nodiscard]] const nlattr* find(std::uint16_t type) const;

  private:
    template <class Integer>
    [[nodiscard]] std::optional<Integer> read(std::uint16_t type) const {
        const auto found = bytes(type);
        if (found.size() != sizeof(Integer)) return std::nullopt;
        Integer value;
        std::memcpy(&value, found.data(), sizeof value);
        return value;
    }
    static int keep(const nlattr* attribute, void* attributes);

    /// Above the highest number we ask for (IFLA_* ends at 63 in Linux 6.1).
    static constexpr std::size_t max_type = 80;
    std::array<const nlattr*, max_type> by_type_{};
};

/// Calls `visit(const nlattr&)` for each element of a nested array.
template <class Visit>
void for_each_inside(const nlattr& nest, Visit&& visit) {
    const auto* next = static_cast<const nlattr*>(mnl_attr_get_payload(&nest));
    auto left = static_cast<int>(mnl_attr_get_payload_len(&nest));
    while (mnl_attr_ok(next, left)) {
        visit(*next);
        left -= MNL_ALIGN(next->nla_len);
        next = mnl_attr_next(next);
    }
}

}  // namespace overlay::netlink
