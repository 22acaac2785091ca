#include "daemon/wireguard/outbox.hpp"

namespace overlay::wireguard {

MutableBytes Outbox::add(const Path& to, std::size_t size_bytes) {
    datagrams_.push_back({.to = to, .at = bytes_.size(), .size_bytes = size_bytes});
    bytes_.resize(bytes_.size() + size_bytes);
    return MutableBytes{bytes_}.last(size_bytes);
}

void Outbox::take_back() {
    bytes_.resize(datagrams_.back().at);
    datagrams_.pop_back();
}

void Outbox::clear() {
    // A burst of staged packets must not keep a quarter of a megabyte for ever.
    constexpr std::size_t keep_bytes = 64 * 1024;
    if (bytes_.capacity() > keep_bytes) bytes_ = {};
    bytes_.clear();
    datagrams_.clear();
    events_.clear();
    reservation_.reset();
}

}  // namespace overlay::wireguard
