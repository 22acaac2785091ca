#pragma once
// Whether this kernel's UDP_SEGMENT and UDP_GRO do what they say: trains of datagrams are sent to ourselves over the
// loopback device and compared byte by byte. What a network card or another machine does to trains is not seen here.

#include "daemon/io/offloads.hpp"

namespace overlay::io {

/// Takes milliseconds, 40 at most. Where nothing can be said (no loopback device, a firewall, a busy machine)
/// everything stays as asked; so does what the test found good. Leaves nothing behind.
[[nodiscard]] Offloads self_tested(const Offloads& asked);

}  // namespace overlay::io
