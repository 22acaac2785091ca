#include "daemon/wireguard/allowed_ips.hpp"

#include "daemon/wire/bytes.hpp"

#include <bit>

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

void AllowedIps::Trie::insert(const Bits& key, std::uint8_t length, Owner owner) {
    Node parent = none;
    Node at = root_;
    while (at != none && nodes_[at].length <= length &&
           common(nodes_[at].key, key) >= nodes_[at].length) {
        if (nodes_[at].length == length) {
            nodes_[at].owner = owner;
            return;
        }
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
    if (parent == none) {
        root_ = fresh;
    } else {
        nodes_[parent].child[bit(key, nodes_[parent].length)] = fresh;
    }
}

/// The subtree with nothing of the owner's; a node that serves neither an owner nor a fork goes.
/// Depth is at most the width of an address.
AllowedIps::Node AllowedIps::Trie::without(Node at, Owner owner) {
    if (at == none) return none;
    for (const unsigned side : {0U, 1U}) {
        const Node left = without(nodes_[at].child[side], owner);
        nodes_[at].child[side] = left;
    }
    Entry& entry = nodes_[at];
    if (entry.owner == owner) entry.owner = nobody;
    if (entry.owner != nobody || (entry.child[0] != none && entry.child[1] != none)) return at;
    const Node only = entry.child[0] != none ? entry.child[0] : entry.child[1];
    release(at);
    return only;
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

template <class Visit>
void AllowedIps::Trie::each(Node at, const Visit& visit) const {
    if (at == none) return;
    if (nodes_[at].owner != nobody) visit(nodes_[at].key, nodes_[at].length, nodes_[at].owner);
    for (const Node child : nodes_[at].child) each(child, visit);
}

// ---- both --------------------------------------------------------------------------------------

void AllowedIps::insert(const IpPrefix& prefix, Owner owner) {
    Trie& trie = prefix.family() == Family::Ipv4 ? ipv4_ : ipv6_;
    trie.insert(bits_of(prefix.network().address()), prefix.length(), owner);
}

void AllowedIps::remove_owner(Owner owner) {
    ipv4_.remove_owner(owner);
    ipv6_.remove_owner(owner);
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
    std::vector<IpPrefix> out;
    const auto collect = [&](Family family, const Trie& trie) {
        trie.each(trie.root(), [&](const Bits& key, std::uint8_t length, Owner whose) {
            if (whose != owner) return;
            std::array<std::byte, 16> bytes{};
            wire::store32(bytes, 0, static_cast<std::uint32_t>(key.high >> 32));
            wire::store32(bytes, 4, static_cast<std::uint32_t>(key.high));
            wire::store32(bytes, 8, static_cast<std::uint32_t>(key.low >> 32));
            wire::store32(bytes, 12, static_cast<std::uint32_t>(key.low));
            out.push_back(IpPrefix::of(IpAddress::from_bytes(family, bytes.data()), length));
        });
    };
    collect(Family::Ipv4, ipv4_);
    collect(Family::Ipv6, ipv6_);
    return out;
}

std::size_t AllowedIps::size_bytes() const { return ipv4_.size_bytes() + ipv6_.size_bytes(); }

}  // namespace overlay::wireguard
