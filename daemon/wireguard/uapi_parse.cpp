// From the text of a request to what it asks for. Nothing is changed here.
//
//   lines ──▶ key, value ──▶ of the device, until the first public_key ──▶ UapiSet
//                        └─▶ of that peer, from there on ───────────────▶ its PeerChanges

#include "daemon/wireguard/uapi.hpp"

#include <cerrno>
#include <charconv>
#include <limits>

namespace overlay::wireguard {

namespace {

using Mode = PeerChange::AllowedIpsMode;
using Action = PeerChange::Action;

template <class Number>
std::optional<Number> decimal(std::string_view text) {
    Number value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end) return std::nullopt;
    return value;
}

std::optional<unsigned> hex_digit(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return std::nullopt;
}

std::optional<Secret32> hex_key(std::string_view text) {
    if (text.size() != 64) return std::nullopt;
    Secret32 out;
    for (std::size_t i = 0; i < 32; ++i) {
        const auto high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (!high || !low) return std::nullopt;
        out.bytes()[i] = static_cast<std::byte>(*high << 4 | *low);
    }
    return out;
}

/// Host bits are allowed, and so is "/08": both are what wireguard-go takes.
std::optional<IpPrefix> prefix_of(std::string_view text) {
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const auto address = IpAddress::parse(text.substr(0, slash));
    const auto length = decimal<std::uint8_t>(text.substr(slash + 1));
    if (!address || !length || *length > address->max_prefix_length()) return std::nullopt;
    return IpPrefix::of(*address, *length);
}

struct Line {
    std::string_view key, value;
};

class Parser {
  public:
    explicit Parser(const UapiHost& host) : host_{host} {}

    /// 0, or an errno.
    [[nodiscard]] int take(std::string_view text) {
        const auto equals = text.find('=');
        if (equals == std::string_view::npos) return EPROTO;
        const Line line{text.substr(0, equals), text.substr(equals + 1)};
        if (line.key == "public_key") return begin_peer(line.value) ? 0 : EINVAL;
        const bool is_good = section_ == no_peer ? device_line(line) : peer_line(line);
        return is_good ? 0 : EINVAL;
    }
    [[nodiscard]] UapiSet take_result() { return std::move(out_); }

  private:
    static constexpr std::size_t no_peer = std::numeric_limits<std::size_t>::max();

    bool device_line(const Line& line) {
        if (line.key == "private_key") return put(hex_key(line.value), out_.private_key);
        if (line.key == "listen_port") {
            return put(decimal<std::uint16_t>(line.value), out_.listen_port);
        }
        if (line.key == "fwmark") return put(decimal<std::uint32_t>(line.value), out_.fwmark);
        if (line.key != "replace_peers" || line.value != "true") return false;
        out_.peers_mode = UapiSet::Peers::Replace;
        return true;
    }

    bool begin_peer(std::string_view value) {
        const std::optional<Secret32> key = hex_key(value);
        if (!key) return false;
        section_ = out_.peers.size();
        is_removed_ = false;
        out_.peers.push_back({.key = PublicKey::from_bytes(key->bytes().data())});
        return true;
    }

    bool peer_line(const Line& line) {
        if (line.key == "remove") return line.value == "true" && remove();
        if (line.key == "update_only") return line.value == "true" && update_only();
        if (line.key == "replace_allowed_ips") return line.value == "true" && drop_allowed_ips();
        if (line.key == "allowed_ip") return allowed_ip(line.value);
        if (line.key == "endpoint") return endpoint(line.value);
        if (line.key == "preshared_key") return put(hex_key(line.value), peer().preshared_key);
        if (line.key == "persistent_keepalive_interval") return keepalive(line.value);
        return line.key == "protocol_version" && line.value == "1";
    }

    template <class T>
    static bool put(std::optional<T> value, std::optional<T>& place) {
        if (!value) return false;
        place = *value;
        return true;
    }

    /// Where a line goes. Lines of a peer that is removed are checked, and forgotten.
    PeerChange& peer() { return is_removed_ ? forgotten_ : out_.peers.back(); }

    /// What follows is one change more, and not of a peer that is gone by then.
    PeerChange& next_change(Mode mode) {
        if (is_removed_) return forgotten_;
        const PublicKey key = peer().key;
        out_.peers.push_back({.key = key, .action = Action::SetIfThere, .allowed_ips_mode = mode});
        return peer();
    }

    bool remove() {
        const PublicKey key = out_.peers[section_].key;
        out_.peers.erase(out_.peers.begin() + static_cast<std::ptrdiff_t>(section_),
                         out_.peers.end());
        out_.peers.push_back({.key = key, .action = Action::Remove});
        is_removed_ = true;
        return true;
    }

    bool update_only() {
        if (!is_removed_) out_.peers[section_].action = Action::SetIfThere;
        return true;
    }

    bool drop_allowed_ips() {
        if (peer().allowed_ips.empty()) {
            peer().allowed_ips_mode = Mode::Replace;
        } else {
            (void)next_change(Mode::Replace);
        }
        return true;
    }

    /// "-" before a prefix takes it away: wireguard-tools since 2025.
    bool allowed_ip(std::string_view value) {
        const bool is_removal = value.starts_with('-');
        if (is_removal) value.remove_prefix(1);
        const std::optional<IpPrefix> prefix = prefix_of(value);
        if (!prefix) return false;
        const bool fits = (peer().allowed_ips_mode == Mode::Remove) == is_removal;
        PeerChange& change = fits ? peer() : next_change(is_removal ? Mode::Remove : Mode::Add);
        change.allowed_ips.push_back(*prefix);
        return true;
    }

    bool endpoint(std::string_view value) {
        const auto colon = value.rfind(':');
        if (colon == std::string_view::npos) return false;
        std::string_view host = value.substr(0, colon);
        const bool has_brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
        if (has_brackets) host = host.substr(1, host.size() - 2);
        const auto percent = host.find('%');
        const auto address = IpAddress::parse(host.substr(0, percent));
        const auto port = decimal<std::uint16_t>(value.substr(colon + 1));
        if (!address || !port || has_brackets != (address->family() == Family::Ipv6)) return false;
        std::uint32_t interface = 0;
        if (percent != std::string_view::npos) {
            if (!has_brackets) return false;
            interface = zone(host.substr(percent + 1));
            if (interface == 0) return false;
        }
        peer().endpoint = Endpoint{*address, *port};
        peer().endpoint_interface = interface;
        return true;
    }

    /// RFC 4007 §11: the name or the index of an interface.
    [[nodiscard]] std::uint32_t zone(std::string_view text) const {
        if (const auto index = decimal<std::uint32_t>(text)) return *index;
        return host_.interface_index(std::string{text});
    }

    bool keepalive(std::string_view value) {
        const auto seconds = decimal<std::uint16_t>(value);
        if (!seconds) return false;
        peer().persistent_keepalive = std::chrono::seconds{*seconds};
        return true;
    }

    const UapiHost& host_;
    UapiSet out_;
    std::size_t section_ = no_peer;  ///< the first change of the peer that lines are of
    bool is_removed_ = false;
    PeerChange forgotten_{};
};

}  // namespace

UapiResult<UapiSet> parse_uapi_set(std::string_view lines, const UapiHost& host) {
    Parser parser{host};
    while (!lines.empty()) {
        const std::string_view line = lines.substr(0, lines.find('\n'));
        lines.remove_prefix(std::min(line.size() + 1, lines.size()));
        if (const int error = parser.take(line); error != 0) return tl::unexpected{error};
    }
    return parser.take_result();
}

}  // namespace overlay::wireguard
