#pragma once
// A TAP or TUN device that exists already (netlink/ makes it, persistent, so that a reader's death loses
// frames and not the port): opened with virtio headers, so that frames come and go as super-frames.

#include "daemon/io/files.hpp"
#include "daemon/wire/virtio_net.hpp"
#include "topology/values.hpp"

#include <span>

#include <sys/uio.h>

namespace overlay::io {

struct TapOptions {
    enum class Kind : std::uint8_t { Tap, Tun } kind = Kind::Tap;
    /// Whether the device may hand us super-frames and unfinished checksums.
    enum class Offload : std::uint8_t { Auto, None } offload = Offload::Auto;
};

/// Bytes of an IP packet that the device takes; nullopt: there is no such device.
[[nodiscard]] std::optional<std::size_t> mtu_of(const IfName& name);

class Tap {
  public:
    /// Errors: NotFound (no such device: it is never made here), NotPermitted, Busy (somebody else reads it),
    /// Failed.
    [[nodiscard]] static Result<Tap> open(const IfName& name, const TapOptions& options);

    [[nodiscard]] int fd() const { return fd_.get(); }
    /// Virtio header and frame into `to`; the bytes of both, 0 when there is nothing now.
    /// Errors: Failed, with the errno.
    [[nodiscard]] Result<std::size_t> read(std::span<std::byte> to);
    /// One frame, its first slice a virtio header; 0, or the errno of a device that did not take it.
    [[nodiscard]] int write(std::span<const iovec> slices);

  private:
    explicit Tap(UniqueFd fd) : fd_{std::move(fd)} {}
    UniqueFd fd_;
};

}  // namespace overlay::io
