#pragma once
// What kernels do for whole batches of packets, each of it switchable by itself, because each has failed somewhere:
//
//     device-tso   the device hands over super-frames, and checksums that are not finished
//     device-gro   frames of a flow are merged into super-frames for the device
//     udp-gso      trains of datagrams in one send (UDP_SEGMENT, Linux 4.18)
//     udp-gro      trains of datagrams in one receive (UDP_GRO, Linux 5.0)
//
// The same type says what was asked and what became of it. Without any of them everything works, only slower.

#include "topology/result.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace overlay::io {

struct Offload {
    enum class State : std::uint8_t {
        On,
        Off,       ///< nobody asked for it
        Lacking,   ///< the kernel has none
        Broken,    ///< it failed its test at start
        Refused,   ///< the kernel, or the path, did not take it at run time
    } state = State::On;
    int error_number = 0;   ///< with which it was refused

    [[nodiscard]] bool is_on() const { return state == State::On; }
    friend bool operator==(const Offload&, const Offload&) = default;
};

/// Stable: a value in `status --json`.
[[nodiscard]] std::string_view text(Offload::State state);

struct Offloads {
    Offload device_tso, device_gro, udp_gso, udp_gro;

    /// "auto", "none", or some of "device", "socket" and the four names, with commas between.
    /// Errors: Invalid, naming the word.
    [[nodiscard]] static Result<Offloads> parse(std::string_view words);
    [[nodiscard]] static Offloads none();
    friend bool operator==(const Offloads&, const Offloads&) = default;
};

inline constexpr std::array<std::pair<std::string_view, Offload Offloads::*>, 4> offload_names{{
    {"device-tso", &Offloads::device_tso},
    {"device-gro", &Offloads::device_gro},
    {"udp-gso", &Offloads::udp_gso},
    {"udp-gro", &Offloads::udp_gro},
}};

/// What is off though it was on in `before`, and why, a sentence each: "udp-gso is off: this kernel has none".
[[nodiscard]] std::vector<std::string> news(const Offloads& before, const Offloads& now);

}  // namespace overlay::io
