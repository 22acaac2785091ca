#pragma once
// A TAP or TUN device that exists already (netlink/ makes it, persistent, so that a reader's death loses
// frames and not the port): opened with virtio headers, so that frames come and go as super-frames.

#include "daemon/io/files.hpp"
#include "daemon/io/offloads.hpp"
#include "daemon/wire/virtio_net.hpp"
#include "topology/values.hpp"

#include <span>

#include <sys/uio.h>

namespace overlay::io {

/// Bytes of an IP packet that the device takes; nullopt: there is no such device.
[[nodiscard]] std::optional<std::size_t> mtu_of(const IfName& name);

class Tap {
  public:
    enum class Kind : std::uint8_t { Tap, Tun };
    /// Of `offloads`, device_tso is the device's; what it was before does not matter.
    /// Errors: NotFound (no such device: it is never made here), NotPermitted, Busy (somebody else reads it),
    /// Failed.
    [[nodiscard]] static Result<Tap> open(const IfName& name, Kind kind, const Offloads& offloads);

    /// Another way to the same device, for another thread to write to, or to read in place of this one.
    /// Errors: Failed (no descriptor is left).
    [[nodiscard]] Result<Tap> beside() const;

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const Offload& tso() const { return tso_; }
    /// Whether it hands over UDP's super-frames, and takes them: since Linux 6.2.
    [[nodiscard]] bool takes_udp() const { return takes_udp_; }
    /// Virtio header and frame into `to`; the bytes of both, 0 when there is nothing now.
    /// Errors: Failed, with the errno.
    [[nodiscard]] Result<std::size_t> read(std::span<std::byte> to);
    /// One frame, its first slice a virtio header; 0, or the errno of a device that did not take it.
    [[nodiscard]] int write(std::span<const iovec> slices);

  private:
    Tap(UniqueFd fd, const Offload& tso, bool takes_udp) : fd_{std::move(fd)}, tso_{tso}, takes_udp_{takes_udp} {}
    UniqueFd fd_;
    Offload tso_;
    bool takes_udp_;
};

}  // namespace overlay::io
