#pragma once
// Packets of one peer, each laid out where its datagram will be, one behind the other, so that sealing
// happens in place and what is sealed is a train already:
//
//     | 16 | IP GRE frame … | pad, tag | 16 | IP GRE frame … | pad, tag | 16 | …

#include "daemon/wireguard/device.hpp"

namespace overlay::datapath {

class SlotRoom {
  public:
    /// Allocates here and never again.
    SlotRoom(std::size_t room_bytes, std::size_t max_slots) : memory_(room_bytes), max_slots_{max_slots} {
        slots_.reserve(max_slots);
    }

    /// Room for a packet, whose datagram will have `datagram_bytes`; empty: there is none left.
    [[nodiscard]] wire::MutableBytes add(std::size_t packet_bytes, std::size_t datagram_bytes) {
        if (slots_.size() == max_slots_ || memory_.size() - used_ < datagram_bytes) return {};
        const wire::MutableBytes datagram = wire::MutableBytes{memory_}.subspan(used_, datagram_bytes);
        used_ += datagram_bytes;
        slots_.push_back({.datagram = datagram, .plaintext_bytes = packet_bytes});
        return datagram.subspan(wireguard::data::header_bytes, packet_bytes);
    }

    /// What was added since next_batch().
    [[nodiscard]] std::span<const wireguard::Slot> batch() const { return slots_; }
    void next_batch() { slots_.clear(); }
    /// When everything has left.
    void clear() {
        slots_.clear();
        used_ = 0;
    }

  private:
    std::vector<std::byte> memory_;
    std::size_t max_slots_;
    std::size_t used_ = 0;
    std::vector<wireguard::Slot> slots_;
};

}  // namespace overlay::datapath
