#pragma once
// Explicit congestion notification across a tunnel (RFC 6040): what the outer header says on the way in,
// and what the inner one has to hear on the way out.

#include <cstdint>
#include <optional>

namespace overlay::wire {

enum class Ecn : std::uint8_t { NotCapable = 0, Capable1 = 1, Capable0 = 2, Congested = 3 };

[[nodiscard]] constexpr Ecn ecn_of(std::uint8_t traffic_class) {
    return static_cast<Ecn>(traffic_class & 3U);
}

/// Traffic class of the outer header: the link's own DSCP, the inner packet's ECN, where "congested" becomes
/// "capable" (Linux include/net/inet_ecn.h, INET_ECN_encapsulate).
[[nodiscard]] constexpr std::uint8_t outer_traffic_class(std::uint8_t own, std::uint8_t inner) {
    const Ecn ecn = ecn_of(inner) == Ecn::Congested ? Ecn::Capable0 : ecn_of(inner);
    return static_cast<std::uint8_t>((own & ~3U) | static_cast<std::uint8_t>(ecn));
}

/// What the inner packet shall say from now on; nullopt: it is to be dropped. The sixteen cases of RFC 6040
/// §4.2, figure 4 (Linux 6.1 include/net/inet_ecn.h, INET_ECN_decapsulate).
[[nodiscard]] constexpr std::optional<Ecn> decapsulate_ecn(Ecn outer, Ecn inner) {
    if (inner == Ecn::NotCapable)
        return outer == Ecn::Congested ? std::nullopt : std::optional{inner};
    if (outer == Ecn::Congested) return outer;
    const bool learns = outer == Ecn::Capable1 && inner == Ecn::Capable0;
    return learns ? outer : inner;
}

}  // namespace overlay::wire
