#pragma once
// How much memory a loop works in. Less of it means shorter batches and more system calls; what comes faster than that
// waits in the kernel, and is lost there.

#include "topology/result.hpp"

#include <cstddef>
#include <string_view>

namespace overlay::datapath {

struct Memory {
    std::size_t frame_bytes;       ///< of frames that go as they were read, in one turn; two super-frames at least
    std::size_t bytes_to_seal;     ///< of frames read from a device in one turn, to be sealed: more only wait longer
    std::size_t receive_buffers;   ///< trains of datagrams received in one turn, 64 KiB each
    std::size_t slot_bytes;        ///< of packets that wait to be sealed
    std::size_t slots;             ///< how many those may be
    std::size_t slices;            ///< of what is sent in one turn
    std::size_t super_frames;      ///< of each device, until they are written
    int gue_socket_bytes;          ///< of the kernel's, each way: what a GUE port has not taken or sent yet
    bool multi_buffer_crypto;      ///< libipsec-mb: fast, and some four megabytes of code and tables
    bool keeps_start_pages;        ///< of code that only the start needed; else io::let_go_of_file_pages()

    /// "default" or "small". Errors: Invalid, naming the word.
    [[nodiscard]] static Result<Memory> parse(std::string_view word);
};

/// For hubs: what carried most.
inline constexpr Memory default_memory{.frame_bytes = 768 * 1024,
                                       .bytes_to_seal = 256 * 1024,
                                       .receive_buffers = 16,
                                       .slot_bytes = 768 * 1024,
                                       .slots = 1024,
                                       .slices = 4096,
                                       .super_frames = 256,
                                       .gue_socket_bytes = 2 * 1024 * 1024,
                                       .multi_buffer_crypto = true,
                                       .keeps_start_pages = true};

/// For routers: overlayd as a whole stays below 8 MiB resident with a few links (docs/benchmarks.md).
inline constexpr Memory small_memory{.frame_bytes = 132 * 1024,
                                     .bytes_to_seal = 132 * 1024,
                                     .receive_buffers = 3,
                                     .slot_bytes = 132 * 1024,
                                     .slots = 256,
                                     .slices = 1024,
                                     .super_frames = 64,
                                     .gue_socket_bytes = 1024 * 1024,
                                     .multi_buffer_crypto = false,
                                     .keeps_start_pages = false};

}  // namespace overlay::datapath
