// radvd.conf(5) for the hub. Everything is spelled, so that a change of radvd's defaults changes
// nothing.

#include "topology/mtu.hpp"
#include "topology/render.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

namespace {

constexpr std::size_t addresses_per_rdnss =
    3;  // radvd 2.19 gram.y: "too many addresses in RDNSS section"

const char* on_off(bool value) { return value ? "on" : "off"; }

std::string lifetime(std::uint32_t seconds) {  // all ones is infinity (RFC 4861 §4.6.2)
    return seconds == 0xffffffffU ? "infinity" : std::to_string(seconds);
}

std::string prefix_block(const AdvertisedPrefix& prefix) {
    return fmt::format(
        "\tprefix {}\n\t{{\n\t\tAdvOnLink {};\n\t\tAdvAutonomous {};\n\t\tAdvRouterAddr {};\n"
        "\t\tAdvValidLifetime {};\n\t\tAdvPreferredLifetime {};\n\t}};\n",
        // With the R flag a router says its whole address (RFC 6275 §7.2); radvd puts it in by
        // itself.
        text(prefix.prefix.value.network()), on_off(prefix.on_link), on_off(prefix.autonomous),
        on_off(prefix.router_address), lifetime(prefix.valid_seconds.value),
        lifetime(prefix.preferred_seconds.value));
}

std::string rdnss_blocks(const std::vector<Located<IpAddress>>& servers) {
    std::string out;
    for (std::size_t i = 0; i < servers.size(); ++i) {
        const bool first = i % addresses_per_rdnss == 0;
        const bool last = i + 1 == servers.size() || (i + 1) % addresses_per_rdnss == 0;
        out += fmt::format("{} {}{}", first ? "\tRDNSS" : "", text(servers[i].value),
                           last ? "\n\t{\n\t};\n" : "");
    }
    return out;
}

}  // namespace

std::string render_radvd(const Topology& topology) {
    const auto& advert = topology.hub.router_advertisement;
    if (!advert || !topology.hub.bridge) return {};
    std::string out = fmt::format("interface {}\n{{\n\tAdvSendAdvert on;\n",
                                  topology.hub.bridge->name.value.str());
    out += fmt::format(
        "\tMinRtrAdvInterval {};\n\tMaxRtrAdvInterval {};\n\tAdvDefaultLifetime {};\n",
        advert->min_interval_seconds.value, advert->max_interval_seconds.value,
        advert->lifetime_seconds.value);
    out += fmt::format("\tAdvManagedFlag {};\n\tAdvOtherConfigFlag {};\n", on_off(advert->managed),
                       on_off(advert->other_config));
    if (const auto mtu = MtuEngine{topology}.advertised()) out += fmt::format("\tAdvLinkMTU {};\n", mtu->bytes());
    for (const AdvertisedPrefix& prefix : advert->prefixes) out += prefix_block(prefix);
    out += rdnss_blocks(advert->rdnss);
    if (!advert->dnssl.empty()) {
        out += "\tDNSSL";
        for (const auto& domain : advert->dnssl) out += " " + domain.value;
        out += "\n\t{\n\t};\n";
    }
    return out + "};\n";
}

}  // namespace overlay
