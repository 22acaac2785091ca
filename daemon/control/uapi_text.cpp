#include "daemon/control/uapi_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace overlay::control {

namespace {

constexpr SecretBytes no_key{};

std::string hex(const std::uint8_t* bytes) {
    std::string out;
    out.reserve(64);
    for (std::size_t i = 0; i < 32; ++i) out += fmt::format("{:02x}", bytes[i]);
    return out;
}

std::optional<SecretBytes> key_of(std::string_view hex64) {
    SecretBytes out{};
    if (hex64.size() != 2 * out.size()) return std::nullopt;
    for (std::size_t i = 0; i < out.size(); ++i) {
        const char* at = hex64.data() + 2 * i;
        const auto [end, error] = std::from_chars(at, at + 2, out[i], 16);
        if (error != std::errc{} || end != at + 2) return std::nullopt;
    }
    return out;
}

template <class Number>
bool read(std::string_view word, Number& out) {
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out);
    return error == std::errc{} && end == word.data() + word.size();
}

void put_peer_settings(std::string& out, const SetPeer& step) {
    const WireguardPeer before = step.from.value_or(WireguardPeer{});
    const WireguardPeer& after = *step.to;
    if (after.endpoint && after.endpoint != before.endpoint)
        out += fmt::format("endpoint={}\n", text(*after.endpoint));
    if (after.keepalive_seconds != before.keepalive_seconds)
        out += fmt::format("persistent_keepalive_interval={}\n", after.keepalive_seconds);
    if (after.allowed_ips == before.allowed_ips) return;
    out += "replace_allowed_ips=true\n";
    for (const IpPrefix& prefix : after.allowed_ips)
        out += fmt::format("allowed_ip={}\n", text(prefix));
}

}  // namespace

Result<std::string> set_text(const SetWireguard& step, const Secrets& secrets) {
    std::string out = "set=1\n";
    if (step.to.public_key != step.from.public_key) {
        const SecretBytes* key =
            step.to.public_key.is_zero() ? &no_key : secrets.private_key(step.to.public_key);
        if (key == nullptr)
            return fail(Error::Kind::NotFound, describe(step), "its private key is not at hand");
        out += fmt::format("private_key={}\n", hex(key->data()));
    }
    if (step.to.listen_port && step.to.listen_port != step.from.listen_port)
        out += fmt::format("listen_port={}\n", *step.to.listen_port);
    if (step.to.fwmark != step.from.fwmark) out += fmt::format("fwmark={}\n", step.to.fwmark);
    return out + "\n";
}

Result<std::string> set_text(const SetPeer& step, const Secrets& secrets) {
    std::string out = fmt::format("set=1\npublic_key={}\n", hex(step.peer.data()));
    if (!step.to) return out + "remove=true\n\n";
    const Fingerprint before = step.from ? step.from->preshared_key : Fingerprint{};
    if (step.from) out += "update_only=true\n";
    if (step.to->preshared_key != before) {
        const SecretBytes* key = step.to->preshared_key.is_none()
                                     ? &no_key
                                     : secrets.preshared_key(step.to->preshared_key);
        if (key == nullptr)
            return fail(Error::Kind::NotFound, describe(step), "its preshared key is not at hand");
        out += fmt::format("preshared_key={}\n", hex(key->data()));
    }
    put_peer_settings(out, step);
    return out + "\n";
}

// ---- answers ------------------------------------------------------------------------------------

namespace {

class DeviceReader {
  public:
    explicit DeviceReader(Secrets& secrets) : secrets_{secrets} {}

    /// False: not a line of this protocol.
    bool line(std::string_view key, std::string_view value) {
        if (key == "errno") return read(value, error_number.emplace());
        if (key == "public_key") return begin_peer(value);
        return peer_ == nullptr ? device_line(key, value) : peer_line(key, value);
    }

    UapiDevice out;
    std::optional<int> error_number;

  private:
    bool begin_peer(std::string_view value) {
        const auto key = key_of(value);
        if (!key) return false;
        const PublicKey name = PublicKey::from_bytes(key->data());
        peer_ = &out.device.peers[name];
        activity_ = &out.activity[name];
        return true;
    }

    bool device_line(std::string_view key, std::string_view value) {
        if (key == "private_key") {
            const auto secret = key_of(value);
            if (secret && *secret != no_key)
                out.device.public_key = secrets_.add_private_key(*secret);
            return secret.has_value();
        }
        if (key == "listen_port") return read(value, out.device.listen_port.emplace());
        if (key == "fwmark") return read(value, out.device.fwmark);
        return true;   // later versions may say more
    }

    bool peer_line(std::string_view key, std::string_view value) {
        if (key == "preshared_key") {
            const auto secret = key_of(value);
            if (secret && *secret != no_key)
                peer_->preshared_key = secrets_.add_preshared_key(*secret);
            return secret.has_value();
        }
        if (key == "endpoint") {
            peer_->endpoint = activity_->endpoint = parse_endpoint(value);
            return peer_->endpoint.has_value();
        }
        if (key == "allowed_ip") {
            const auto prefix = IpPrefix::parse(value);
            if (prefix) peer_->allowed_ips.insert(*prefix);
            return prefix.has_value();
        }
        if (key == "persistent_keepalive_interval") return read(value, peer_->keepalive_seconds);
        if (key == "rx_bytes") return read(value, activity_->rx_bytes);
        if (key == "tx_bytes") return read(value, activity_->tx_bytes);
        if (key == "last_handshake_time_sec")
            return read(value, activity_->last_handshake_seconds);
        return true;
    }

    Secrets& secrets_;
    WireguardPeer* peer_ = nullptr;
    netlink::PeerActivity* activity_ = nullptr;
};

tl::unexpected<Error> not_an_answer() {
    return fail(Error::Kind::Invalid, "read a WireGuard device of overlayd", "not an answer");
}

}  // namespace

Result<UapiDevice> device_of(std::string_view answer, Secrets& secrets) {
    DeviceReader reader{secrets};
    while (!answer.empty() && answer.front() != '\n') {
        const std::size_t end = std::min(answer.find('\n'), answer.size());
        const std::string_view line = answer.substr(0, end);
        const std::size_t equals = line.find('=');
        if (equals == std::string_view::npos) return not_an_answer();
        if (!reader.line(line.substr(0, equals), line.substr(equals + 1))) return not_an_answer();
        answer.remove_prefix(std::min(end + 1, answer.size()));
    }
    if (!reader.error_number) return not_an_answer();
    if (const int number = std::abs(*reader.error_number); number != 0)
        return fail(Error::Kind::Failed, "read a WireGuard device of overlayd",
                    std::strerror(number), number);
    return std::move(reader.out);
}

std::string settings_of(std::string_view answer) {
    static constexpr std::array kept{"private_key", "listen_port", "fwmark", "preshared_key", "endpoint",
                                     "persistent_keepalive_interval", "allowed_ip"};
    std::string out = "set=1\n";
    while (!answer.empty() && answer.front() != '\n') {
        const std::size_t end = std::min(answer.find('\n'), answer.size());
        const std::string_view line = answer.substr(0, end);
        const std::string_view key = line.substr(0, line.find('='));
        const bool is_peer = key == "public_key";
        if (is_peer || std::ranges::find(kept, key) != kept.end()) out.append(line).append("\n");
        if (is_peer) out += "replace_allowed_ips=true\n";
        answer.remove_prefix(std::min(end + 1, answer.size()));
    }
    return out + "\n";
}

Result<void> outcome_of(std::string_view answer, std::string_view doing) {
    int code = 0;
    constexpr std::string_view prefix = "errno=";
    const std::size_t end = answer.find('\n');
    if (!answer.starts_with(prefix) || end == std::string_view::npos ||
        !read(answer.substr(prefix.size(), end - prefix.size()), code))
        return fail(Error::Kind::Invalid, doing, "overlayd gave no answer of this protocol");
    if (code == 0) return {};
    return fail(Error::Kind::Failed, doing, std::strerror(std::abs(code)), std::abs(code));
}

}  // namespace overlay::control
