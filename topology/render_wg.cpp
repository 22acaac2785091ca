// WireGuard's own file formats (wg(8), wg-quick(8)). Private and preshared keys stay where they
// are: a comment says which file and how to put it in.

#include "topology/render.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

namespace {

std::string prefixes(const std::set<IpPrefix>& all) {
    std::vector<std::string> out;
    for (const IpPrefix& prefix : all) out.push_back(text(prefix));
    return fmt::format("{}", fmt::join(out, ", "));
}

/// A file's name inside a comment: a line break in it would end the comment.
std::string one_line(std::string name) {
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c >= 0 && c < ' '; }, '?');
    return name;
}

/// "spokes.office.link" → "office": who the peer is, from where the file speaks of it.
std::string peer_name(const NodeIntent& intent, const IfName& device, const PublicKey& key) {
    const auto origin = intent.origins.find(fmt::format("peer {} of {}", text(key), device.str()));
    if (origin == intent.origins.end()) return {};
    const std::string& path = origin->second.path;
    return path.starts_with("spokes." + intent.node + ".") ? "hub" : path;
}

std::string peer_section(const NodeIntent& intent, const IfName& device, const PublicKey& key,
                         const std::set<IpPrefix>& allowed_ips) {
    const WireguardPeer& peer = intent.desired.wireguard.at(device).peers.at(key);
    std::string out = "\n[Peer]\n";
    const std::string name = peer_name(intent, device, key);
    if (!name.empty()) out += fmt::format("# {}\n", name);
    out += fmt::format("PublicKey = {}\n", text(key));
    const auto secret = intent.preshared_key_files.find({device, key});
    if (secret != intent.preshared_key_files.end()) {
        out += fmt::format("# PresharedKey = (the content of {})\n", one_line(secret->second));
    }
    if (!allowed_ips.empty()) out += fmt::format("AllowedIPs = {}\n", prefixes(allowed_ips));
    if (peer.endpoint) out += fmt::format("Endpoint = {}\n", text(*peer.endpoint));
    if (peer.keepalive_seconds != 0) {
        out += fmt::format("PersistentKeepalive = {}\n", peer.keepalive_seconds);
    }
    return out;
}

std::string interface_settings(const WireguardDevice& device) {
    std::string out;
    if (device.listen_port) out += fmt::format("ListenPort = {}\n", *device.listen_port);
    if (device.fwmark != 0) out += fmt::format("FwMark = {:#x}\n", device.fwmark);
    return out;
}

}  // namespace

std::string render_wg(const NodeIntent& intent) {
    std::string out;
    for (const auto& [name, device] : intent.desired.wireguard) {
        const auto file = intent.private_key_files.find(name);
        if (!out.empty()) out += "\n";
        out += fmt::format("# {}\n[Interface]\n# PublicKey = {}\n", name.str(),
                           text(device.public_key));
        if (file != intent.private_key_files.end()) {
            out += fmt::format("# PrivateKey: setconf clears it; then: wg set {} private-key {}\n",
                               name.str(), one_line(file->second));
        }
        out += interface_settings(device);
        for (const auto& [key, peer] : device.peers) out += peer_section(intent, name, key, peer.allowed_ips);
    }
    return out;
}

std::string render_wg_quick(const NodeIntent& intent, const IfName& name) {
    const auto device = intent.desired.wireguard.find(name);
    OVERLAY_ASSERT(device != intent.desired.wireguard.end());
    std::string out =
        fmt::format("# {} of network \"{}\", for wg-quick or a WireGuard app\n[Interface]\n",
                    intent.node, intent.network);
    out += fmt::format("# PublicKey = {}\n", text(device->second.public_key));
    out += "# PrivateKey = (put the private key of this public key here)\n";
    std::vector<std::string> addresses;
    std::set<Family> inside;
    for (const Address& address : intent.desired.addresses) {
        if (address.link != name) continue;
        addresses.push_back(text(address.prefix));
        inside.insert(address.prefix.family());
    }
    if (!addresses.empty()) out += fmt::format("Address = {}\n", fmt::join(addresses, ", "));
    const auto link = intent.desired.links.find(name);
    if (link != intent.desired.links.end() && link->second.mtu) {
        out += fmt::format("MTU = {}\n", link->second.mtu->bytes());
    }
    out += interface_settings(device->second);
    for (const auto& [key, peer] : device->second.peers) {
        // wg-quick makes a route of each, by which nobody would be reached without an address; who states "::/0" wants
        // that of everything.
        auto allowed_ips = peer.allowed_ips;
        std::erase_if(allowed_ips, [&](const IpPrefix& prefix) {
            return !inside.contains(prefix.family()) && prefix.length() > 0;
        });
        out += peer_section(intent, name, key, allowed_ips);
    }
    return out;
}

}  // namespace overlay
