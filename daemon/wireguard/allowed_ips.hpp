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
    void remove_owner(Owner owner);
    /// `nobody` when no prefix covers it.
    [[nodiscard]] Owner find(const IpAddress& address) const;
    [[nodiscard]] Owner find_ipv4(const std::byte* network_order) const;
    [[nodiscard]] Owner find_ipv6(const std::byte* network_order) const;
    /// In the order of the addresses. For a status, not for packets: looks at all.
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
        void insert(const Bits& key, std::uint8_t length, Owner owner);
        void remove_owner(Owner owner) { root_ = without(root_, owner); }
        [[nodiscard]] Owner find(const Bits& key) const;
        template <class Visit>
        void each(Node at, const Visit& visit) const;
        [[nodiscard]] Node root() const { return root_; }
        [[nodiscard]] std::size_t size_bytes() const { return nodes_.capacity() * sizeof(Entry); }

      private:
        struct Entry {
            Bits key;
            std::array<Node, 2> child{none, none};
            Owner owner = nobody;
            std::uint8_t length = 0;
        };
        [[nodiscard]] Node make(const Bits& key, std::uint8_t length, Owner owner);
        [[nodiscard]] Node without(Node at, Owner owner);
        void release(Node node);
        std::vector<Entry> nodes_;
        Node root_ = none;
        Node free_ = none;
    };

    [[nodiscard]] static Bits bits_of(const IpAddress& address);
    [[nodiscard]] static std::uint8_t common(const Bits& a, const Bits& b);
    [[nodiscard]] static unsigned bit(const Bits& key, std::uint8_t at);
    Trie ipv4_, ipv6_;
};

}  // namespace overlay::wireguard
