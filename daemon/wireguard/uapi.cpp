#include "daemon/wireguard/uapi.hpp"

#include <cerrno>
#include <set>

namespace overlay::wireguard {

namespace {

void append(SecretText& out, std::string_view text) {
    out.insert(out.end(), text.begin(), text.end());
}

void line(SecretText& out, std::string_view key, std::string_view value) {
    append(out, key);
    out.push_back('=');
    append(out, value);
    out.push_back('\n');
}

template <class Number>
void number_line(SecretText& out, std::string_view key, Number value) {
    line(out, key, std::to_string(value));
}

/// Digit by digit into the answer: no other copy of a key is made.
void key_line(SecretText& out, std::string_view key, Bytes value) {
    constexpr std::string_view digits = "0123456789abcdef";
    append(out, key);
    out.push_back('=');
    for (const std::byte each : value) {
        out.push_back(digits[std::to_integer<unsigned>(each) >> 4]);
        out.push_back(digits[std::to_integer<unsigned>(each) & 15]);
    }
    out.push_back('\n');
}

/// A link-local address is none without its interface; wireguard-go leaves that out.
std::string endpoint_text(const Path& path) {
    const IpAddress& address = path.remote.address;
    if (address.family() == Family::Ipv4 || !address.is_link_local() || path.interface == 0) {
        return text(path.remote);
    }
    return "[" + text(address) + "%" + std::to_string(path.interface) +
           "]:" + std::to_string(path.remote.port);
}

void handshake_lines(SecretText& out, const std::optional<WallClock::time_point>& at) {
    using std::chrono::nanoseconds;
    using std::chrono::seconds;
    const nanoseconds since = at ? nanoseconds{at->time_since_epoch()} : nanoseconds{0};
    const seconds whole = std::chrono::floor<seconds>(since);
    number_line(out, "last_handshake_time_sec", whole.count());
    number_line(out, "last_handshake_time_nsec", (since - whole).count());
}

}  // namespace

SecretText uapi_errno(int error) {
    SecretText out;
    number_line(out, "errno", -error);
    out.push_back('\n');
    return out;
}

SecretText Uapi::answer(std::string_view request, Moment now, Outbox& out) {
    constexpr std::string_view get_line = "get=1\n", set_line = "set=1\n";
    const bool is_get = request.starts_with(get_line);
    if ((!is_get && !request.starts_with(set_line)) || !request.ends_with("\n\n")) return {};
    request.remove_prefix(set_line.size());
    request.remove_suffix(1);
    if (is_get) return request.empty() ? get() : uapi_errno(EINVAL);
    const UapiResult<UapiSet> wanted = parse_uapi_set(request, host_);
    return uapi_errno(wanted ? set(*wanted, now, out) : wanted.error());
}

// ---- set ---------------------------------------------------------------------------------------

/// What can be refused comes first; from there on, nothing can.
int Uapi::set(const UapiSet& wanted, Moment now, Outbox& out) {
    if (is_too_many(wanted)) return ENOMEM;
    if (const int error = change_socket(wanted); error != 0) return error;
    if (wanted.private_key) device_.set_private_key(*wanted.private_key, now, out);
    if (wanted.peers_mode == UapiSet::Peers::Replace) device_.remove_peers();
    for (const PeerChange& change : wanted.peers) device_.change(change, now, out);
    return 0;
}

bool Uapi::is_too_many(const UapiSet& wanted) const {
    const bool replaces = wanted.peers_mode == UapiSet::Peers::Replace;
    std::size_t count = replaces ? 0 : device_.peers().size();
    if (count + wanted.peers.size() <= max_peers_) return false;
    std::set<PublicKey> gone, fresh;
    for (const PeerChange& change : wanted.peers) {
        const bool was_there = !replaces && device_.find(change.key) && !gone.contains(change.key);
        if (change.action == PeerChange::Action::Remove) {
            if (was_there) gone.insert(change.key);
            fresh.erase(change.key);
        } else if (change.action == PeerChange::Action::Set && !was_there) {
            fresh.insert(change.key);
        }
        if (count - gone.size() + fresh.size() > max_peers_) return true;
    }
    return false;
}

int Uapi::change_socket(const UapiSet& wanted) {
    const SocketSettings before = host_.socket_settings();
    const SocketSettings after{.listen_port = wanted.listen_port.value_or(before.listen_port),
                               .fwmark = wanted.fwmark.value_or(before.fwmark)};
    const bool asks_for_any = wanted.listen_port == std::uint16_t{0};
    if (after == before && !asks_for_any) return 0;
    const int error = host_.change_socket(after);
    if (error == 0) device_.forget_local_addresses();
    return error;
}

// ---- get ---------------------------------------------------------------------------------------

SecretText Uapi::get() const {
    SecretText out;
    const SocketSettings socket = host_.socket_settings();
    if (!device_.public_key().is_zero()) {
        key_line(out, "private_key", device_.private_key().bytes());
    }
    if (socket.listen_port != 0) number_line(out, "listen_port", socket.listen_port);
    if (socket.fwmark != 0) number_line(out, "fwmark", socket.fwmark);
    for (const PeerId id : device_.peers()) write_peer(id, out);
    append(out, "errno=0\n\n");
    return out;
}

void Uapi::write_peer(PeerId id, SecretText& out) const {
    const PeerStatus peer = *device_.status(id);
    key_line(out, "public_key", bytes_of(peer.key));
    key_line(out, "preshared_key", device_.preshared_key(id)->bytes());
    line(out, "protocol_version", "1");
    if (peer.path) line(out, "endpoint", endpoint_text(*peer.path));
    handshake_lines(out, peer.statistics.last_handshake);
    number_line(out, "tx_bytes", peer.statistics.sent_bytes);
    number_line(out, "rx_bytes", peer.statistics.received_bytes);
    number_line(out, "persistent_keepalive_interval", peer.persistent_keepalive.count());
    for (const IpPrefix& prefix : peer.allowed_ips) line(out, "allowed_ip", text(prefix));
}

}  // namespace overlay::wireguard
