#pragma once
// WireGuard's cross-platform text (https://www.wireguard.com/xplatform/) as overlayctl speaks it to overlayd:
// steps become `set=1`, an answer to `get=1` becomes a device. Both texts hold keys: wipe them.

#include "netlink/activity.hpp"
#include "netlink/secrets.hpp"
#include "topology/step.hpp"

#include <string>
#include <string_view>

namespace overlay::control {

inline constexpr std::string_view get_device = "get=1\n\n";

/// Errors: NotFound, when a secret that the step names is not at hand.
[[nodiscard]] Result<std::string> set_text(const SetWireguard& step, const Secrets& secrets);
[[nodiscard]] Result<std::string> set_text(const SetPeer& step, const Secrets& secrets);

struct UapiDevice {
    WireguardDevice device;
    std::map<PublicKey, netlink::PeerActivity> activity;
};
/// Errors: Invalid (not an answer), Failed (the errno that it carries).
[[nodiscard]] Result<UapiDevice> device_of(std::string_view answer, Secrets& secrets);
/// From an answer to `get=1` the request that makes such a device: all that was set, nothing that was counted.
[[nodiscard]] std::string settings_of(std::string_view answer);
/// Of an answer to `set=1`.
[[nodiscard]] Result<void> outcome_of(std::string_view answer, std::string_view doing);

}  // namespace overlay::control
