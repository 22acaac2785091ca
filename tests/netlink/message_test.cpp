// Messages as bytes: we write what Linux's headers say, and check the size of what we read.

#include "netlink/message.hpp"
#include "netlink/socket.hpp"

#include <doctest/doctest.h>

#include <linux/genetlink.h>
#include <linux/netlink.h>

#include <cerrno>
#include <cstring>
#include <utility>

using namespace overlay;
using namespace overlay::netlink;

namespace {

/// The bytes of a message behind its header of 16, as hex.
std::string payload_hex(const Message& message) {
    const void* const start = &message.header();
    const auto* const bytes = static_cast<const std::uint8_t*>(start);
    std::string hex;
    for (std::size_t at = 16; at < message.header().nlmsg_len; ++at) {
        constexpr std::string_view digits = "0123456789abcdef";
        hex += digits[bytes[at] >> 4];
        hex += digits[bytes[at] & 0xf];
    }
    return hex;
}

/// An NLMSG_ERROR as Linux sends it with NETLINK_CAP_ACK: code, our header, extended ACK.
Message error_message(int code, std::string_view words) {
    Message message{NLMSG_ERROR, NLM_F_CAPPED};
    message.fixed_header<nlmsgerr>().error = code;
    if (!words.empty()) {
        message.header()->nlmsg_flags |= NLM_F_ACK_TLVS;
        message.put_c_string(NLMSGERR_ATTR_MSG, words);
    }
    return message;
}

}  // namespace

TEST_SUITE("netlink messages") {

TEST_CASE("attributes are length, type, value, padding; ports and keys big-endian") {
    Message message{0x1c, 0};
    message.put_u8(1, 0xab);
    message.put_be16(2, 5555);          // 0x15b3
    message.put_be32(3, 0x01020304);
    message.put_string(4, "abc");
    message.put_c_string(5, "abc");
    message.put_flag(6);

    // Little-endian lengths and types: the machines that run unit tests.
    CHECK(payload_hex(message) ==
          "05000100ab000000"
          "0600020015b30000"
          "0800030001020304"
          "0700040061626300"
          "0800050061626300"
          "04000600");
}

TEST_CASE("a nest holds what was written inside it") {
    Message message{0x1c, 0};

    message.nest(1, [&] { message.put_u8(2, 7); });

    CHECK(payload_hex(message) == "0c0001800500020007000000");   // 0x8000: NLA_F_NESTED
}

TEST_CASE("an attribute of another size than asked for reads as absent") {
    Message message{0x1c, 0};
    message.put_u8(1, 7);
    message.put_u32(2, 7);
    const auto attributes = Attributes::of(std::as_const(message).header(), 0);

    CHECK(attributes.u8(1) == 7);
    CHECK_FALSE(attributes.u32(1));
    CHECK_FALSE(attributes.u8(2));
    CHECK_FALSE(attributes.u32(3));
    CHECK_FALSE(attributes.address(1));
    CHECK_FALSE(attributes.u32(60'000));
}

TEST_CASE("a message shorter than its fixed header has no attributes") {
    Message message{0x1c, 0};
    message.put_u8(1, 7);

    CHECK_FALSE(Attributes::of(std::as_const(message).header(), 64).has(1));
}

TEST_CASE("a string ends at its zero, or with its attribute") {
    Message message{0x1c, 0};
    message.put_c_string(1, "eth0");
    message.put_string(2, "eth1");
    const auto attributes = Attributes::of(std::as_const(message).header(), 0);

    CHECK(attributes.string(1) == "eth0");
    CHECK(attributes.string(2) == "eth1");
}

TEST_CASE("a refusal says what we were doing, the errno's words and the kernel's own") {
    const Message with = error_message(-EOPNOTSUPP, "Unknown device type");
    const Message without = error_message(-EPERM, "");

    const auto unknown = error_in(with.header(), "create link g");
    REQUIRE(unknown);
    CHECK(text(*unknown) == "create link g: Operation not supported: Unknown device type");
    CHECK(unknown->kind == Error::Kind::Unsupported);
    CHECK(unknown->code == EOPNOTSUPP);
    const auto forbidden = error_in(without.header(), "create link g");
    REQUIRE(forbidden);
    CHECK(forbidden->kind == Error::Kind::NotPermitted);
    CHECK(text(*forbidden) ==
          "create link g: Operation not permitted (hint: root or CAP_NET_ADMIN is needed)");
}

TEST_CASE("an ACK is no refusal, a cut one is") {
    const Message ack = error_message(0, "");
    const Message cut{NLMSG_ERROR, 0};

    CHECK_FALSE(error_in(ack.header(), "x"));
    CHECK(error_in(cut.header(), "x"));
}

TEST_CASE("each errno has one meaning for callers") {
    CHECK(kind_of_errno(EACCES) == Error::Kind::NotPermitted);
    CHECK(kind_of_errno(ENODEV) == Error::Kind::NotFound);
    CHECK(kind_of_errno(EEXIST) == Error::Kind::Conflict);
    CHECK(kind_of_errno(EADDRINUSE) == Error::Kind::Conflict);
    CHECK(kind_of_errno(EAFNOSUPPORT) == Error::Kind::Unsupported);
    CHECK(kind_of_errno(EINVAL) == Error::Kind::Failed);
}

}
