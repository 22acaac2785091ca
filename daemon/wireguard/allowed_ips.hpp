#pragma once
// Which peer an inner address belongs to: by destination when we send, by source when we receive.
// The longest prefix wins, and a prefix has one owner: giving it to another peer takes it from the
// first.
//
// A binary trie per family with whole runs of bits in a node, so that n prefixes need fewer than 2n
// nodes of 32 bytes and a look-up passes about log2(n) of them.
//
// Source of the semantics: Linux drivers/net/wireguard/allowedips.c.

#include "topology/values.hpp"

#include <vector>

namespace overlay::wireguard {

class AllowedIps {
  public:
    using Owner = std::uint32_t;
    static constexpr Owner nobody = ~Owner{0};

    void insert(const IpPrefix& prefix, Owner owner);
    void remove(const IpPrefix& prefix, Owner owner);  ///< no more than what is this owner's
    void remove_owner(Owner owner);
    /// `nobody` when no prefix covers it.
    [[nodiscard]] Owner find(const IpAddress& address) const;
    [[nodiscard]] Owner find_ipv4(const std::byte* network_order) const;
    [[nodiscard]] Owner find_ipv6(const std::byte* network_order) const;
    /// In the order of the addresses. For a status, not for packets.
    [[nodiscard]] std::vector<IpPrefix> of(Owner owner) const;
    [[nodiscard]] std::size_t size_bytes() const;

  private:
    /// An address of either family as two numbers, most significant bit first; IPv4 uses the upper
    /// half of `high`.
    struct Bits {
        std::uint64_t high = 0, low = 0;
        friend bool operator==(const Bits&, const Bits&) = default;
    };
    using Node = std::uint32_t;
    static constexpr Node none = ~Node{0};

    class Trie {
      public:
        /// Whose it was.
        Owner insert(const Bits& key, std::uint8_t length, Owner owner);
        /// False: it was not this owner's.
        bool remove(const Bits& key, std::uint8_t length, Owner owner);
        [[nodiscard]] Owner find(const Bits& key) const;
        [[nodiscard]] std::size_t size_bytes() const { return nodes_.capacity() * sizeof(Entry); }

      private:
        struct Entry {
            Bits key;
            std::array<Node, 2> child{none, none};
            Owner owner = nobody;
            std::uint8_t length = 0;
        };
        [[nodiscard]] Node make(const Bits& key, std::uint8_t length, Owner owner);
        void put(Node child, Node parent, const Bits& key);
        void prune(Node at, Node parent);
        void release(Node node);
        std::vector<Entry> nodes_;
        Node root_ = none;
        Node free_ = none;
    };

    [[nodiscard]] static Bits bits_of(const IpAddress& address);
    [[nodiscard]] static std::uint8_t common(const Bits& a, const Bits& b);
    [[nodiscard]] static unsigned bit(const Bits& key, std::uint8_t at);
    [[nodiscard]] Trie& trie_of(Family family) { return family == Family::Ipv4 ? ipv4_ : ipv6_; }
    Trie ipv4_, ipv6_;
    /// The same by owner: a peer's own must not cost a walk through everybody's.
    std::vector<std::vector<IpPrefix>> owned_;
};

}  // namespace overlay::wireguard
