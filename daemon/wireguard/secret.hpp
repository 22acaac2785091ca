#pragma once
// Bytes that must not stay in memory when they are no longer needed: every copy wipes itself.

#include "daemon/wire/bytes.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

namespace overlay::wireguard {

/// Overwrites in a way that no compiler takes out.
void cleanse(wire::MutableBytes bytes);

template <std::size_t Size>
class Secret {
  public:
    Secret() = default;  ///< all zero
    explicit Secret(wire::Bytes bytes) { std::copy_n(bytes.begin(), Size, bytes_.begin()); }
    Secret(const Secret&) = default;
    Secret& operator=(const Secret&) = default;
    ~Secret() { cleanse(bytes_); }

    [[nodiscard]] wire::Bytes bytes() const { return bytes_; }
    [[nodiscard]] wire::MutableBytes bytes() { return bytes_; }

  private:
    std::array<std::byte, Size> bytes_{};
};

using Secret32 = Secret<32>;

/// Memory that is wiped before it is given back, such as when a vector outgrows it.
template <class T>
struct WipingAllocator {
    using value_type = T;
    WipingAllocator() = default;
    template <class U>
    explicit WipingAllocator(const WipingAllocator<U>&) {}
    [[nodiscard]] T* allocate(std::size_t count) { return std::allocator<T>{}.allocate(count); }
    void deallocate(T* memory, std::size_t count) {
        cleanse(std::as_writable_bytes(std::span{memory, count}));
        std::allocator<T>{}.deallocate(memory, count);
    }
    friend bool operator==(const WipingAllocator&, const WipingAllocator&) = default;
};

/// Text with keys in it. Not a std::string: that one keeps a short text inside itself, unwiped.
using SecretText = std::vector<char, WipingAllocator<char>>;

}  // namespace overlay::wireguard
