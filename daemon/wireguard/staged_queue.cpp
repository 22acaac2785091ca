#include "daemon/wireguard/staged_queue.hpp"

#include <utility>

namespace overlay::wireguard {

std::size_t StagedQueue::push(wire::Bytes packet) {
    if (packet.size() > max_bytes) return 1;
    std::size_t leaving = packets_.size() < max_packets ? 0 : 1;
    std::size_t freed = leaving == 0 ? 0 : packets_.front().size();
    while (size_bytes_ - freed + packet.size() > max_bytes) freed += packets_[leaving++].size();
    packets_.erase(packets_.begin(), packets_.begin() + static_cast<std::ptrdiff_t>(leaving));
    packets_.emplace_back(packet.begin(), packet.end());
    size_bytes_ += packet.size() - freed;
    return leaving;
}

std::vector<std::vector<std::byte>> StagedQueue::take_all() {
    size_bytes_ = 0;
    return std::exchange(packets_, {});
}

}  // namespace overlay::wireguard
