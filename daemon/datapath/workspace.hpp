#pragma once
// What all endpoints of one loop share: the memory that a turn works in, and how devices are opened.

#include "daemon/datapath/device_port.hpp"
#include "daemon/datapath/memory.hpp"
#include "daemon/datapath/slot_room.hpp"
#include "daemon/datapath/trains.hpp"

#include <map>
#include <string>

namespace overlay::datapath {

/// A turn is what happens between two looks at what else there is to do. It is bounded, so that a busy
/// direction does not starve the other.
inline constexpr std::size_t turn_frames = 64;

struct Workspace {
    explicit Workspace(const Memory& size)
        : memory{size},
          frames(size.frame_bytes),
          slots{size.slot_bytes, size.slots},
          trains{size.slices, size.slices / 2 * usual_header_bytes},
          received{size.receive_buffers} {}

    static constexpr std::size_t usual_header_bytes = 160;   ///< of a datagram, from GUE to TCP with its options
    Memory memory;
    std::vector<std::byte> frames;   ///< as they were read
    SlotRoom slots;                  ///< where they are sealed
    Trains trains;
    io::ReceiveRoom received;
};

/// Which of how many threads.
struct Share {
    unsigned index = 0, count = 1;
    [[nodiscard]] bool has(unsigned number) const { return number % count == index; }
};

/// What an endpoint works with; all of it outlives the endpoint.
struct EndpointTools {
    io::EventLoop& loop;
    Workspace& workspace;
    const io::Offloads& offloads;
    Share share;
};

/// What endpoints dropped that was of no link of theirs: by their names and by reasons (the texts of both DropReasons).
using Strays = std::map<std::string, std::map<std::string, std::uint64_t>>;

struct LinkReport {
    IfName name;
    LinkCounters counters;
    io::Offloads offloads;   ///< what became of them at its device and at its socket

    /// Of another thread that carries it, too.
    void add(const LinkReport& other) {
        counters.add(other.counters);
        for (const auto& [word, which] : io::offload_names) {
            if ((offloads.*which).is_on()) offloads.*which = other.offloads.*which;
        }
    }
};

}  // namespace overlay::datapath
