#pragma once
// WireGuard devices and peers by the generic-netlink family `wireguard`. Reading gives the private key
// and the preshared keys to root; they go into Secrets here and nowhere else, and every buffer that held
// them is wiped (Message, Replies).
//
// Changes are deltas: one peer at a time, never the flag that replaces all peers, so that the sessions
// of the others live on.

#include "netlink/links.hpp"
#include "netlink/secrets.hpp"
#include "topology/step.hpp"

namespace overlay::netlink {

[[nodiscard]] Result<WireguardDevice> read_wireguard(Socket& generic, std::uint16_t family,
                                                     const IfName& link, Secrets& secrets);

/// Private key, listen port (when set) and fwmark.
[[nodiscard]] Result<void> set_wireguard(Socket& generic, std::uint16_t family,
                                         const SetWireguard& step, const Secrets& secrets);

[[nodiscard]] Result<void> set_peer(Socket& generic, std::uint16_t family, const SetPeer& step,
                                    const Secrets& secrets);

/// The messages of set_peer: more than one when the allowed IPs do not fit into the first. A
/// continuation names the peer again and has no flags but UPDATE_ONLY.
[[nodiscard]] Result<std::vector<Message>> peer_requests(std::uint16_t family, const SetPeer& step,
                                                         const Secrets& secrets);

/// A sockaddr_in or sockaddr_in6 as the kernel sends it; nullopt for anything else.
[[nodiscard]] std::optional<Endpoint> decode_endpoint(std::span<const std::uint8_t> bytes);

/// Adds one message of a device dump to what the messages before it said.
void decode_wireguard(const Attributes& attributes, WireguardDevice& device, Secrets& secrets);

}  // namespace overlay::netlink
