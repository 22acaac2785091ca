#pragma once
// Packets that wait for a session. The youngest matter most, so the oldest make room.

#include "daemon/wire/bytes.hpp"

#include <vector>

namespace overlay::wireguard {

class StagedQueue {
  public:
    static constexpr std::size_t max_packets = 128;       ///< the kernel's MAX_STAGED_PACKETS
    static constexpr std::size_t max_bytes = 256 * 1024;  ///< and what 128 full packets need

    /// How many older packets had to go, or the packet itself where it alone is too large.
    [[nodiscard]] std::size_t push(wire::Bytes packet);
    [[nodiscard]] bool empty() const { return packets_.empty(); }
    [[nodiscard]] std::size_t packets() const { return packets_.size(); }
    [[nodiscard]] std::size_t size_bytes() const { return size_bytes_; }
    /// In the order in which they came; the queue is empty after it, and holds no memory.
    [[nodiscard]] std::vector<std::vector<std::byte>> take_all();

  private:
    std::vector<std::vector<std::byte>> packets_;
    std::size_t size_bytes_ = 0;
};

}  // namespace overlay::wireguard
