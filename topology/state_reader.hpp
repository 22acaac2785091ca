#pragma once
// Strict reading of JSON into our values: a number is range-checked before it is narrowed
// (nlohmann 3.11 would wrap 70000 to 4464), an unknown or missing key is a mistake, and the first
// mistake is kept with its place. Private to state_from_json.cpp, which reads the objects; here are
// the leaves.

#include "topology/kernel_text.hpp"
#include "topology/state.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>

namespace overlay::reading {

using Json = nlohmann::json;

/// Where the first mistake is kept. Reading goes on with default values, which nobody will see.
class Complaint {
  public:
    void add(std::string_view path, std::string_view what) {
        if (!first_.empty()) return;
        first_ = path.empty() ? std::string{what} : fmt::format("{}: {}", path, what);
    }
    [[nodiscard]] const std::string& first() const { return first_; }

  private:
    std::string first_;
};

/// A value and its place.
struct At {
    const Json& value;
    std::string path;
    Complaint& complaint;

    void wrong(std::string_view what) const { complaint.add(path, what); }
    [[nodiscard]] At item(std::size_t index) const {
        return {value[index], fmt::format("{}[{}]", path, index), complaint};
    }
};

// ---- leaves ------------------------------------------------------------------------------------

inline void read(const At& at, bool& out) {
    if (!at.value.is_boolean()) return at.wrong("not true or false");
    out = at.value.get<bool>();
}

template <class T>
requires std::is_integral_v<T>
inline void read(const At& at, T& out) {
    using Limits = std::numeric_limits<T>;
    constexpr auto low = std::int64_t{Limits::min()}, high = std::int64_t{Limits::max()};
    // A value beyond int64 is kept as unsigned and would come out negative.
    const bool fits = at.value.is_number_integer() &&
                      !(at.value.is_number_unsigned() &&
                        at.value.get<std::uint64_t>() > std::uint64_t{Limits::max()});
    const std::int64_t value = fits ? at.value.get<std::int64_t>() : 0;
    if (!fits || value < low || value > high) {
        return at.wrong(fmt::format("not a number from {} to {}", low, high));
    }
    out = static_cast<T>(value);
}

inline void read(const At& at, std::string& out) {
    if (!at.value.is_string()) return at.wrong("not a string");
    out = utf8_to_bytes(at.value.get_ref<const std::string&>());
}

inline IfName interface_name(std::string_view utf8, const At& at) {
    constexpr std::size_t max_bytes = 15;  // IFNAMSIZ less the NUL
    const std::string bytes = utf8_to_bytes(utf8);
    if (bytes.empty() || bytes.size() > max_bytes || bytes.find('\0') != std::string::npos) {
        at.wrong("not an interface name");
        return {};
    }
    return IfName::from_kernel(bytes);
}

/// null: none.
inline void read(const At& at, IfName& out) {
    if (at.value.is_null()) {
        out = IfName{};
    } else if (at.value.is_string()) {
        out = interface_name(at.value.get_ref<const std::string&>(), at);
    } else {
        at.wrong("not a string or null");
    }
}

template <class T, class Parse>
void parse_string(const At& at, T& out, const char* what, Parse&& parse) {
    std::optional<T> value;
    if (at.value.is_string()) value = parse(at.value.get_ref<const std::string&>());
    value ? void(out = *value) : at.wrong(fmt::format("not {}", what));
}

inline void read(const At& at, IpAddress& out) {
    parse_string(at, out, "an address", IpAddress::parse);
}
inline void read(const At& at, IpPrefix& out) {
    parse_string(at, out, "an address/length", IpPrefix::parse);
}
inline void read(const At& at, MacAddress& out) {
    parse_string(at, out, "a MAC address", MacAddress::parse);
}
/// A file may not say port 0, but a kernel may: a FOU port bound to a peer's address alone.
inline std::optional<Endpoint> parse_found_endpoint(const std::string& text) {
    const bool portless = text.ends_with(":0");
    auto endpoint = parse_endpoint(portless ? text.substr(0, text.size() - 1) + "1" : text);
    if (endpoint && portless) endpoint->port = 0;
    return endpoint;
}
inline void read(const At& at, Endpoint& out) {
    parse_string(at, out, "an address:port", parse_found_endpoint);
}
inline void read(const At& at, Mtu& out) {
    std::uint32_t bytes = 0;
    read(at, bytes);
    out = Mtu{bytes};
}

template <class T>
requires requires {
    T::parse(std::string_view{});
    T{}.data();
}
void read_or_none(const At& at, T& out, const char* what) {  // the all-zero value is "none"
    if (!at.value.is_null()) parse_string(at, out, what, T::parse);
}
inline void read(const At& at, PublicKey& out) {
    read_or_none(at, out, "a public key in base64, or null");
}
inline void read(const At& at, Fingerprint& out) {
    read_or_none(at, out, "64 hex digits, or null");
}

template <class Enum>
using Words = std::vector<std::pair<std::string_view, Enum>>;

template <class Enum>
void read_word(const At& at, Enum& out, const Words<Enum>& words) {
    std::vector<std::string_view> names;
    for (const auto& [name, value] : words) {
        if (at.value.is_string() && at.value.get_ref<const std::string&>() == name) {
            out = value;
            return;
        }
        names.push_back(name);
    }
    at.wrong(fmt::format("not one of {}", fmt::join(names, ", ")));
}

inline void read(const At& at, Family& out) {
    read_word(at, out, {{"ipv4", Family::Ipv4}, {"ipv6", Family::Ipv6}});
}
inline void read(const At& at, TableFamily& out) {
    read_word(at, out, {{"inet", TableFamily::Inet}, {"bridge", TableFamily::Bridge}});
}
inline void read(const At& at, RouteType& out) {
    Words<RouteType> words;
    for (const RouteType type : {RouteType::Unicast, RouteType::Multicast, RouteType::Blackhole,
                                 RouteType::Unreachable, RouteType::Prohibit, RouteType::Throw}) {
        words.emplace_back(text(type), type);
    }
    read_word(at, out, words);
}
inline void read(const At& at, GreEncap::Type& out) {
    using Type = GreEncap::Type;
    read_word(at, out, {{"none", Type::None}, {"fou", Type::Fou}, {"gue", Type::Gue}});
}
inline void read(const At& at, Datapath& out) {
    read_word(at, out, {{"kernel", Datapath::Kernel}, {"userspace", Datapath::Userspace}});
}
inline void read(const At& at, LinkKind& out) {
    Words<LinkKind> words;
    for (const LinkKind kind : {LinkKind::Bridge, LinkKind::Gretap, LinkKind::Ip6gretap,
                                LinkKind::Wireguard, LinkKind::Tap, LinkKind::Tun, LinkKind::Veth,
                                LinkKind::Other}) {
        words.emplace_back(text(kind), kind);
    }
    read_word(at, out, words);
}

// ---- objects -----------------------------------------------------------------------------------

/// One JSON object, key by key. Whatever was not asked for by finish() is unknown.
class Object {
  public:
    explicit Object(const At& at) : at_{at} {
        if (!at.value.is_object()) at.wrong("not an object");
    }

    template <class T>
    void required(const char* key, T& out) {
        if (const Json* value = find(key)) return read(inside(key, *value), out);
        at_.wrong(fmt::format("{} is missing", key));
    }
    [[nodiscard]] bool has(const char* key) { return find(key) != nullptr; }
    /// Absent: as it is.
    template <class T>
    void if_there(const char* key, T& out) {
        if (const Json* value = find(key)) read(inside(key, *value), out);
    }
    /// Absent: nullopt.
    template <class T>
    void optional(const char* key, std::optional<T>& out) {
        if (const Json* value = find(key)) read(inside(key, *value), out.emplace());
    }
    /// null: nullopt.
    template <class T>
    void nullable(const char* key, std::optional<T>& out) {
        const Json* value = find(key);
        if (value == nullptr) return at_.wrong(fmt::format("{} is missing", key));
        if (!value->is_null()) read(inside(key, *value), out.emplace());
    }
    template <class Each>
    void list(const char* key, Each&& each) {
        const Json* value = find(key);
        if (value == nullptr) return at_.wrong(fmt::format("{} is missing", key));
        const At at = inside(key, *value);
        if (!value->is_array()) return at.wrong("not a list");
        for (std::size_t i = 0; i < value->size(); ++i) each(at.item(i));
    }
    template <class Each>
    void map(const char* key, Each&& each) {
        const Json* value = find(key);
        if (value == nullptr) return at_.wrong(fmt::format("{} is missing", key));
        const At at = inside(key, *value);
        if (!value->is_object()) return at.wrong("not an object");
        for (const auto& [name, member] : value->items()) {
            each(name, At{member, fmt::format("{}.{}", at.path, name), at_.complaint});
        }
    }
    void finish() {
        if (!at_.value.is_object()) return;
        for (const auto& [key, value] : at_.value.items()) {
            const bool known = std::find(seen_.begin(), seen_.end(), key) != seen_.end();
            if (!known) inside(key, value).wrong("unknown key");
        }
    }

  private:
    const Json* find(const char* key) {
        seen_.emplace_back(key);
        if (!at_.value.is_object()) return nullptr;
        const auto found = at_.value.find(key);
        return found == at_.value.end() ? nullptr : &*found;
    }
    [[nodiscard]] At inside(std::string_view key, const Json& value) const {
        return {value, at_.path.empty() ? std::string{key} : fmt::format("{}.{}", at_.path, key),
                at_.complaint};
    }

    At at_;
    std::vector<std::string> seen_;
};

}  // namespace overlay::reading
