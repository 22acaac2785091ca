#include "daemon/wireguard/allowed_ips.hpp"

#include "daemon/wire/bytes.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace overlay::wireguard {

namespace {

std::uint64_t load64(const std::byte* bytes) {
    const wire::Bytes view{bytes, 8};
    return std::uint64_t{wire::load32(view, 0)} << 32 | wire::load32(view, 4);
}

}  // namespace

AllowedIps::Bits AllowedIps::bits_of(const IpAddress& address) {
    const auto* bytes = reinterpret_cast<const std::byte*>(address.data());
    if (address.family() == Family::Ipv6) return {load64(bytes), load64(bytes + 8)};
    return {std::uint64_t{wire::load32({bytes, 4}, 0)} << 32, 0};
}

/// How many bits agree from the front; 128 when all do.
std::uint8_t AllowedIps::common(const Bits& a, const Bits& b) {
    const int high = std::countl_zero(a.high ^ b.high);
    return static_cast<std::uint8_t>(high < 64 ? high : 64 + std::countl_zero(a.low ^ b.low));
}

unsigned AllowedIps::bit(const Bits& key, std::uint8_t at) {
    const std::uint64_t half = at < 64 ? key.high : key.low;
    return static_cast<unsigned>(half >> (63 - at % 64) & 1);
}

// ---- one family --------------------------------------------------------------------------------

AllowedIps::Node AllowedIps::Trie::make(const Bits& key, std::uint8_t length, Owner owner) {
    Node node = free_;
    if (node == none) {
        node = static_cast<Node>(nodes_.size());
        nodes_.emplace_back();
    } else {
        free_ = nodes_[node].child[0];
    }
    nodes_[node] = Entry{.key = key, .child = {none, none}, .owner = owner, .length = length};
    return node;
}

void AllowedIps::Trie::release(Node node) {
    nodes_[node] = Entry{};
    nodes_[node].child[0] = free_;
    free_ = node;
}

/// `key` says on which side of the parent.
void AllowedIps::Trie::put(Node child, Node parent, const Bits& key) {
    if (parent == none) {
        root_ = child;
    } else {
        nodes_[parent].child[bit(key, nodes_[parent].length)] = child;
    }
}

AllowedIps::Owner AllowedIps::Trie::insert(const Bits& key, std::uint8_t length, Owner owner) {
    Node parent = none;
    Node at = root_;
    while (at != none && nodes_[at].length <= length &&
           common(nodes_[at].key, key) >= nodes_[at].length) {
        if (nodes_[at].length == length) return std::exchange(nodes_[at].owner, owner);
        parent = at;
        at = nodes_[at].child[bit(key, nodes_[at].length)];
    }
    Node fresh = make(key, length, owner);
    if (at != none) {
        const std::uint8_t shared = std::min(common(nodes_[at].key, key), length);
        Node fork = fresh;
        if (shared < length) {  // two ways apart: a node that nobody owns lies where they part
            fork = make(key, shared, nobody);
            nodes_[fork].child[bit(key, shared)] = fresh;
        }
        nodes_[fork].child[bit(nodes_[at].key, shared)] = at;
        fresh = fork;
    }
    put(fresh, parent, key);
    return nobody;
}

bool AllowedIps::Trie::remove(const Bits& key, std::uint8_t length, Owner owner) {
    Node above = none, parent = none, at = root_;
    while (at != none && nodes_[at].length < length) {
        above = std::exchange(parent, at);
        at = nodes_[at].child[bit(key, nodes_[at].length)];
    }
    if (at == none || nodes_[at].length != length || nodes_[at].owner != owner ||
        common(nodes_[at].key, key) < length) {
        return false;
    }
    nodes_[at].owner = nobody;
    prune(at, parent);
    if (parent != none) prune(parent, above);
    return true;
}

/// A node that serves neither an owner nor a fork goes.
void AllowedIps::Trie::prune(Node at, Node parent) {
    const Entry entry = nodes_[at];
    if (entry.owner != nobody || (entry.child[0] != none && entry.child[1] != none)) return;
    put(entry.child[0] != none ? entry.child[0] : entry.child[1], parent, entry.key);
    release(at);
}

AllowedIps::Owner AllowedIps::Trie::find(const Bits& key) const {
    Owner best = nobody;
    Node at = root_;
    while (at != none) {
        const Entry& entry = nodes_[at];
        if (common(entry.key, key) < entry.length) break;
        if (entry.owner != nobody) best = entry.owner;
        if (entry.length == 128) break;
        at = entry.child[bit(key, entry.length)];
    }
    return best;
}

// ---- both --------------------------------------------------------------------------------------

void AllowedIps::insert(const IpPrefix& prefix, Owner owner) {
    const IpPrefix network = prefix.network();
    const Bits key = bits_of(network.address());
    const Owner before = trie_of(network.family()).insert(key, network.length(), owner);
    if (before == owner) return;
    if (before != nobody) std::erase(owned_[before], network);
    if (owner >= owned_.size()) owned_.resize(owner + 1);
    owned_[owner].push_back(network);
}

void AllowedIps::remove(const IpPrefix& prefix, Owner owner) {
    const IpPrefix network = prefix.network();
    const Bits key = bits_of(network.address());
    if (!trie_of(network.family()).remove(key, network.length(), owner)) return;
    std::erase(owned_[owner], network);
}

void AllowedIps::remove_owner(Owner owner) {
    if (owner >= owned_.size()) return;
    for (const IpPrefix& network : owned_[owner]) {
        const bool was_there =
            trie_of(network.family()).remove(bits_of(network.address()), network.length(), owner);
        OVERLAY_ASSERT(was_there);
    }
    owned_[owner].clear();
}

AllowedIps::Owner AllowedIps::find(const IpAddress& address) const {
    const auto* bytes = reinterpret_cast<const std::byte*>(address.data());
    return address.family() == Family::Ipv4 ? find_ipv4(bytes) : find_ipv6(bytes);
}

AllowedIps::Owner AllowedIps::find_ipv4(const std::byte* network_order) const {
    return ipv4_.find({std::uint64_t{wire::load32({network_order, 4}, 0)} << 32, 0});
}

AllowedIps::Owner AllowedIps::find_ipv6(const std::byte* network_order) const {
    return ipv6_.find({load64(network_order), load64(network_order + 8)});
}

std::vector<IpPrefix> AllowedIps::of(Owner owner) const {
    if (owner >= owned_.size()) return {};
    std::vector<IpPrefix> out = owned_[owner];
    std::ranges::sort(out);
    return out;
}

std::size_t AllowedIps::size_bytes() const {
    std::size_t bytes = ipv4_.size_bytes() + ipv6_.size_bytes();
    for (const auto& each : owned_) bytes += sizeof each + each.capacity() * sizeof(IpPrefix);
    return bytes;
}

}  // namespace overlay::wireguard
