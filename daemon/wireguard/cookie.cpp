#include "daemon/wireguard/cookie.hpp"

#include <algorithm>

namespace overlay::wireguard {

namespace {

Hash labelled(std::string_view label, const PublicKey& key) {
    return hash({std::as_bytes(std::span{label}), bytes_of(key)});
}

Mac mac1_of(const Hash& key, Bytes message) {
    return keyed_mac(key, {MacFields{message.size()}.before_mac1().in(message)});
}

Mac mac2_of(const Mac& cookie, Bytes message) {
    return keyed_mac(cookie, {MacFields{message.size()}.before_mac2().in(message)});
}

}  // namespace

MacChecker::MacChecker(const PublicKey& ours)
    : mac1_key_{labelled("mac1----", ours)}, reply_key_{labelled("cookie--", ours)} {}

bool MacChecker::mac1_is_right(Bytes message) const {
    return equal_in_constant_time(mac1_of(mac1_key_, message),
                                  MacFields{message.size()}.mac1().in(message));
}

bool MacChecker::mac2_is_right(Bytes message, const Endpoint& from, Clock::time_point now) const {
    if (now >= secret_ends_) return false;  // also before the first reply: there is no cookie yet
    const Bytes told = MacFields{message.size()}.mac2().in(message);
    if (std::ranges::all_of(told, [](std::byte b) { return b == std::byte{0}; })) return false;   // who has none yet
    return equal_in_constant_time(mac2_of(cookie_for(from), message), told);
}

Mac MacChecker::cookie_for(const Endpoint& from) const {
    std::array<std::byte, 2> port{};
    wire::store16(port, 0, from.port);
    const auto* address = reinterpret_cast<const std::byte*>(from.address.data());
    return keyed_mac(secret_.bytes(), {Bytes{address, from.address.size_bytes()}, port});
}

void MacChecker::write_reply(const Reply& reply, Random& random, MutableBytes out) {
    OVERLAY_ASSERT(out.size() == cookie_reply::size_bytes && reply.to_message.size() >= out.size());
    if (reply.now >= secret_ends_) {
        random.fill(secret_.bytes());
        secret_ends_ = reply.now + cookie_secret_life;
    }
    store_type(out, MessageType::CookieReply);
    store32_le(out, 4, sender_of(reply.to_message));
    random.fill(cookie_reply::nonce.in(out));
    xseal(reply_key_, cookie_reply::nonce.in(Bytes{out}),
          MacFields{reply.to_message.size()}.mac1().in(reply.to_message), cookie_for(reply.from),
          cookie_reply::sealed_cookie.in(out));
}

MacWriter::MacWriter(const PublicKey& theirs)
    : mac1_key_{labelled("mac1----", theirs)}, reply_key_{labelled("cookie--", theirs)} {}

void MacWriter::write(MutableBytes message, Clock::time_point now) {
    const MacFields fields{message.size()};
    last_mac1_ = mac1_of(mac1_key_, message);
    std::ranges::copy(*last_mac1_, fields.mac1().in(message).begin());
    const Mac mac2 = now < cookie_ends_ ? mac2_of(cookie_, message) : Mac{};
    std::ranges::copy(mac2, fields.mac2().in(message).begin());
}

bool MacWriter::consume_reply(Bytes reply, Clock::time_point now) {
    if (!last_mac1_) return false;
    Mac cookie{};
    if (!xopen(reply_key_, cookie_reply::nonce.in(reply), *last_mac1_,
               cookie_reply::sealed_cookie.in(reply), cookie)) {
        return false;
    }
    cookie_ = cookie;
    cookie_ends_ = now + cookie_life;
    last_mac1_.reset();  // one reply per message
    return true;
}

}  // namespace overlay::wireguard
