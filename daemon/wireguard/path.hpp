#pragma once
// How a peer is reached: its address as the last authentic datagram had it, and our own address
// that it came to, since an answer from another address of ours would not pass the NATs between.

#include "topology/values.hpp"

namespace overlay::wireguard {

struct Path {
    Endpoint remote;
    IpAddress local;              ///< unspecified: the kernel chooses
    std::uint32_t interface = 0;  ///< index; 0: the kernel chooses. A link-local remote needs it.
    friend bool operator==(const Path&, const Path&) = default;

    /// When nothing comes back, there may be another route by now, and with it another address of
    /// ours.
    void forget_local() {
        local = {};
        if (!remote.address.is_link_local()) interface = 0;
    }
};

}  // namespace overlay::wireguard
