#include "daemon/io/offloads.hpp"

#include <fmt/format.h>

#include <cstring>

namespace overlay::io {

namespace {

std::string why(const Offload& offload) {
    switch (offload.state) {
        case Offload::State::On:
        case Offload::State::Off: return "not asked for";
        case Offload::State::Lacking: return "this kernel has none";
        case Offload::State::Broken: return "what is sent to ourselves does not arrive as it was sent";
        case Offload::State::Refused: return fmt::format("refused: {}", std::strerror(offload.error_number));
    }
    OVERLAY_UNREACHABLE("an offload in no state");
}

/// Switches on what the word names; false: it names nothing.
bool add(std::string_view word, Offloads& to) {
    bool is_known = false;
    for (const auto& [name, which] : offload_names) {
        const bool is_meant = word == name || (word == "device" && name.starts_with("device-")) ||
                              (word == "socket" && name.starts_with("udp-"));
        if (is_meant) to.*which = {};
        is_known = is_known || is_meant;
    }
    return is_known;
}

}  // namespace

std::string_view text(Offload::State state) {
    constexpr std::array<std::string_view, 5> names{"on", "off", "lacking", "broken", "refused"};
    return names.at(static_cast<std::size_t>(state));
}

Offloads Offloads::none() {
    constexpr Offload off{.state = Offload::State::Off};
    return {off, off, off, off};
}

Result<Offloads> Offloads::parse(std::string_view words) {
    if (words == "auto") return Offloads{};
    Offloads out = none();
    if (words == "none") return out;
    for (;;) {
        const std::string_view word = words.substr(0, words.find(','));
        if (!add(word, out)) {
            return fail(Error::Kind::Invalid, "read \"offload\"",
                        fmt::format("\"{}\" is neither auto nor none, nor one of device, socket, device-tso, "
                                    "device-gro, udp-gso and udp-gro with commas between", word));
        }
        if (word.size() == words.size()) return out;
        words.remove_prefix(word.size() + 1);
    }
}

std::vector<std::string> news(const Offloads& before, const Offloads& now) {
    std::vector<std::string> out;
    for (const auto& [name, which] : offload_names) {
        if ((before.*which).is_on() && !(now.*which).is_on())
            out.push_back(fmt::format("{} is off: {}", name, why(now.*which)));
    }
    return out;
}

}  // namespace overlay::io
