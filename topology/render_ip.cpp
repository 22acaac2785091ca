// What a person would type to build the node by hand. The order is the planner's (plan.hpp, Phase):
// the firewall stands before the first packet can pass, accept_ra before forwarding, parents before
// children, everything complete before it goes up.

#include "topology/render.hpp"

#include "topology/step.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {

namespace {

/// One word for a POSIX shell, whatever its bytes.
std::string quote(std::string_view word) {
    const auto is_plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view{"_-./:@%+=,"}.find(c) != std::string_view::npos;
    };
    if (!word.empty() && std::all_of(word.begin(), word.end(), is_plain)) return std::string{word};
    std::string out = "'";
    for (const char c : word) out += c == '\'' ? std::string{"'\\''"} : std::string{c};
    return out + "'";
}

std::string quote(const IfName& name) { return quote(name.str()); }

/// Relative names are relative to the topology file's directory, wherever that is on the node.
std::string key_file(const std::string& name) {
    return name.starts_with('/') ? quote(name) : "\"$KEY_DIR\"/" + quote(name);
}

const char* family_flag(Family family) { return family == Family::Ipv4 ? "-4" : "-6"; }

/// "encap-csum" or "noencap-csum".
std::string flag(std::string_view name, bool on) {
    return fmt::format(" {}{}", on ? "" : "no", name);
}

std::string direction(char which, const GreDirection& half) {
    std::string out =
        half.key ? fmt::format(" {}key {}", which, *half.key) : fmt::format(" no{}key", which);
    out += flag(fmt::format("{}csum", which), half.checksum);
    return out + flag(fmt::format("{}seq", which), half.sequence);
}

std::string encapsulation(const GreEncap& encap) {
    if (encap.type == GreEncap::Type::None) return " noencap";
    std::string out = encap.type == GreEncap::Type::Gue ? " encap gue" : " encap fou";
    out += encap.source_port == 0 ? " encap-sport auto"
                                  : fmt::format(" encap-sport {}", encap.source_port);
    out += fmt::format(" encap-dport {}", encap.destination_port);
    // `ip link help` and listings say encap-csum6, but only this word is understood
    // (ip/link_gre.c, 6.1).
    return out + flag("encap-csum", encap.checksum) + flag("encap-udp6-csum", encap.checksum6) +
           flag("encap-remcsum", encap.remote_checksum);
}

/// iproute2 reads tos, tclass and flowlabel as hexadecimal (ip/iplink_gre.c, link_gre6.c in 6.1).
std::string tunnel_parameters(const GretapAttributes& gretap) {
    const bool ipv4 = gretap.local.family() == Family::Ipv4;
    std::string out = fmt::format("local {} remote {}", text(gretap.local), text(gretap.remote));
    if (!gretap.device.empty()) out += " dev " + quote(gretap.device);
    if (ipv4) {
        out += fmt::format(" ttl {} tos {:#04x}", gretap.ttl, gretap.tos);
        out += flag("pmtudisc", gretap.pmtudisc) + flag("ignore-df", gretap.ignore_df);
    } else {
        out += fmt::format(" hoplimit {} tclass {:#04x} flowlabel {:#07x} encaplimit {}",
                           gretap.ttl, gretap.tos, gretap.flow_label,
                           gretap.encap_limit ? std::to_string(*gretap.encap_limit) : "none");
    }
    out += " \\\n   " + direction('i', gretap.input) + direction('o', gretap.output);
    return out + " \\\n   " + encapsulation(gretap.encap);
}

/// What of the state is written when: a sysctl of an interface that we make must wait for it.
class Script {
  public:
    explicit Script(const NodeIntent& intent) : intent_{intent}, desired_{intent.desired} {}

    std::string write() {
        head();
        preconditions();
        modules();
        firewall();
        sysctls(When::BeforeLinks);
        fou_ports();
        links();
        attributes();
        masters();
        addresses();
        peers();
        up();
        routes();
        return std::move(out_);
    }

  private:
    enum class When { BeforeLinks, AfterLinks };

    template <class... Arguments>
    void line(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
        out_ += fmt::format(format, std::forward<Arguments>(arguments)...) + "\n";
    }
    void section(std::string_view title) { line("\n# ---- {}", title); }
    [[nodiscard]] bool is_borrowed(const IfName& name) const {
        return intent_.borrowed.contains(name);
    }

    template <class Each>
    void own_links(LinkKind kind, Each&& each) const {
        for (const auto& [name, link] : desired_.links) {
            if (link.kind == kind && !is_borrowed(name)) each(link);
        }
    }

    void head() {
        line("#!/bin/sh");
        line("# Node {} of network {}, for a machine that has nothing of it yet. Run as root.",
             intent_.node, intent_.network);
        line("#");
        line(
            "# The alias of a link, the comment of a firewall rule and \"proto {}\" of a route "
            "mark what belongs to",
            route_protocol);
        line(
            "# the network. A FOU port has no place for a mark: before `overlayctl apply` takes "
            "over from this");
        line(
            "# script, remove it (ip fou del). Sysctls and offloads, too, will be taken as found.");
        line("\nset -e");
        const auto relative = [](const auto& entry) { return !entry.second.starts_with('/'); };
        const auto& keys = intent_.private_key_files;
        const auto& preshared = intent_.preshared_key_files;
        if (std::any_of(keys.begin(), keys.end(), relative) ||
            std::any_of(preshared.begin(), preshared.end(), relative)) {
            line(
                "\n# Where key files with a relative name are: the directory of the topology "
                "file.");
            line("KEY_DIR=${{KEY_DIR:-.}}");
        }
    }

    void preconditions() {
        if (intent_.borrowed.empty()) return;
        section("made by somebody else; must be there");
        for (const IfName& name : intent_.borrowed)
            line("ip link show dev {} >/dev/null", quote(name));
    }

    void modules() {
        if (desired_.modules.empty()) return;
        section("modules");
        for (const std::string& module : desired_.modules) line("modprobe {}", quote(module));
    }

    void firewall() {
        const std::string rules = render_nft(intent_);
        if (rules.empty()) return;
        section("firewall");
        line("nft -f - <<'EOF'\n{}EOF", rules);
    }

    // ---- sysctls -------------------------------------------------------------------------------

    [[nodiscard]] When time_of(const std::string& key) const {
        for (const auto& [name, link] : desired_.links) {
            if (is_borrowed(name)) continue;
            for (const Family family : {Family::Ipv4, Family::Ipv6}) {
                if (key.starts_with(conf_sysctl(family, name.str(), ""))) return When::AfterLinks;
            }
        }
        return When::BeforeLinks;
    }

    /// accept_ra first, or the node loses its default route when it begins to forward; then `all`,
    /// which writes every interface; then single interfaces.
    void sysctls(When when) {
        const auto rank = [](const std::string& key) {
            return key.ends_with(".accept_ra") ? 0 : key.ends_with(".conf.all.forwarding") ? 1 : 2;
        };
        std::vector<std::pair<std::string, std::string>> chosen;
        for (const auto& entry : desired_.sysctls) {
            if (time_of(entry.first) == when) chosen.push_back(entry);
        }
        if (chosen.empty()) return;
        std::stable_sort(chosen.begin(), chosen.end(), [&](const auto& a, const auto& b) {
            return rank(a.first) < rank(b.first);
        });
        section(when == When::BeforeLinks ? "host settings" : "settings of our interfaces");
        for (const auto& [key, value] : chosen) line("sysctl -w {}", quote(key + "=" + value));
    }

    // ---- links ---------------------------------------------------------------------------------

    void fou_ports() {
        if (desired_.fou_ports.empty()) return;
        section("UDP encapsulation ports");
        for (const FouPort& port : desired_.fou_ports) {
            const std::string type = port.type == GreEncap::Type::Gue
                                         ? "gue"
                                         : fmt::format("ipproto {}", port.ip_protocol);
            line("ip fou add port {} {}{}", port.port, type,
                 port.family == Family::Ipv6 ? " -6" : "");
        }
    }

    void links() {
        section("links");
        own_links(LinkKind::Bridge, [&](const Link& link) { bridge(link); });
        own_links(LinkKind::Wireguard, [&](const Link& link) {
            line("ip link add dev {}{} type wireguard", quote(link.name), mac_and_mtu(link));
            alias(link);
        });
        for (const LinkKind kind : {LinkKind::Gretap, LinkKind::Ip6gretap}) {
            own_links(kind, [&](const Link& link) {
                line("ip link add dev {}{} type {} \\\n    {}", quote(link.name), mac_and_mtu(link),
                     text(kind), tunnel_parameters(*link.gretap));
                alias(link);
            });
        }
    }

    static std::string mac_and_mtu(const Link& link) {
        std::string out = link.mac ? " address " + text(*link.mac) : "";
        if (link.mtu) out += fmt::format(" mtu {}", link.mtu->bytes());
        return out;
    }

    void alias(const Link& link) {
        if (link.alias) line("ip link set dev {} alias {}", quote(link.name), quote(*link.alias));
    }

    void bridge(const Link& link) {
        std::string mac = link.mac ? " address " + text(*link.mac) : "";
        if (intent_.uplink_move && intent_.uplink_move->bridge == link.name) {
            // Providers let only the uplink's own address pass.
            mac = fmt::format(" address \"$(cat /sys/class/net/{}/address)\"",
                              quote(intent_.uplink_move->uplink));
        }
        std::string attributes;
        const auto attribute = [&](std::string_view name, const std::optional<bool>& value) {
            if (value) attributes += fmt::format(" {} {}", name, *value ? 1 : 0);
        };
        const BridgeAttributes wanted = link.bridge.value_or(BridgeAttributes{});
        attribute("stp_state", wanted.stp);
        attribute("mcast_snooping", wanted.multicast_snooping);
        attribute("vlan_filtering", wanted.vlan_filtering);
        line("ip link add dev {}{} type bridge{}", quote(link.name), mac, attributes);
        alias(link);
        constexpr Mtu at_creation{1500};
        if (link.mtu) pin_mtu(link.name, at_creation, *link.mtu);
    }

    /// A bridge follows its lowest port until its MTU has been *changed*; setting the value that it
    /// has is no change (Linux net/bridge/br_device.c, br_change_mtu; net/core/dev.c,
    /// dev_set_mtu_ext). `from`: nullopt: not known here.
    void pin_mtu(const IfName& name, std::optional<Mtu> from, Mtu to) {
        if (from.value_or(to) == to) {
            line("ip link set dev {} mtu {}   # changed once, it stays", quote(name),
                 to.bytes() + 1);
        }
        line("ip link set dev {} mtu {}", quote(name), to.bytes());
    }

    void attributes() {
        const auto has_mtu = [&](const IfName& name) {
            return desired_.links.at(name).mtu.has_value();
        };
        const auto& borrowed = intent_.borrowed;
        const bool any = !desired_.wireguard.empty() || !desired_.offloads.empty() ||
                         std::any_of(borrowed.begin(), borrowed.end(), has_mtu);
        if (any) section("attributes");
        for (const auto& [name, device] : desired_.wireguard) {
            std::string settings;
            if (device.listen_port) settings += fmt::format(" listen-port {}", *device.listen_port);
            if (device.fwmark != 0) settings += fmt::format(" fwmark {:#x}", device.fwmark);
            const auto file = intent_.private_key_files.find(name);
            if (file != intent_.private_key_files.end())
                settings += " private-key " + key_file(file->second);
            if (!settings.empty()) line("wg set {}{}", quote(name), settings);
        }
        for (const auto& [key, on] : desired_.offloads) {
            line("ethtool -K {} {} {}", quote(key.link), quote(key.feature), on ? "on" : "off");
        }
        for (const IfName& name : intent_.borrowed) {
            const Link& link = desired_.links.at(name);
            if (link.mtu) pin_mtu(name, std::nullopt, *link.mtu);
        }
        sysctls(When::AfterLinks);
    }

    void masters() {
        bool first = true;
        for (const auto& [name, link] : desired_.links) {
            if (!link.master || link.master->empty()) continue;
            if (std::exchange(first, false)) section("ports of the bridge");
            line("ip link set dev {} master {}", quote(name), quote(*link.master));
        }
    }

    // ---- addresses -----------------------------------------------------------------------------

    void addresses() {
        if (!desired_.addresses.empty() || intent_.uplink_move) section("addresses");
        for (const Address& address : desired_.addresses) {
            // A borrowed interface may have the address already.
            line("ip addr {} {} dev {}{}", is_borrowed(address.link) ? "replace" : "add",
                 text(address.prefix), quote(address.link),
                 address.no_prefix_route ? " noprefixroute" : "");
        }
        if (intent_.uplink_move) move_uplink(*intent_.uplink_move);
    }

    /// Routes are remembered first, since some go with the addresses. Autoconfigured IPv6 addresses
    /// and routes make themselves again on the bridge.
    void move_uplink(const UplinkMove& move) {
        const std::string from = quote(move.uplink), to = quote(move.bridge);
        for (const Family family : {Family::Ipv4, Family::Ipv6}) {
            const char* version = family_flag(family);
            line(
                "routes{}=$(ip {} route show dev {} | grep -v -e 'proto kernel' -e 'proto ra' || "
                ":)",
                version[1], version, from);
            line("neighbours{0}=$(ip {1} neigh show dev {2} nud permanent; ip {1} neigh show proxy dev {2})",
                 version[1], version, from);
            line("ip -o {} addr show dev {} scope global{} | while read -r _ _ _ prefix _; do",
                 version, from, family == Family::Ipv6 ? " permanent" : "");
            line("    ip addr add \"$prefix\" dev {}\n    ip addr del \"$prefix\" dev {}\ndone", to,
                 from);
        }
    }

    // ---- WireGuard peers -----------------------------------------------------------------------

    void peers() {
        bool first = true;
        for (const auto& [name, device] : desired_.wireguard) {
            for (const auto& [key, peer] : device.peers) {
                if (std::exchange(first, false)) section("WireGuard peers");
                line("wg set {} peer {}{}", quote(name), quote(text(key)),
                     peer_settings(name, key, peer));
            }
        }
    }

    std::string peer_settings(const IfName& device, const PublicKey& key,
                              const WireguardPeer& peer) const {
        std::string out;
        const auto secret = intent_.preshared_key_files.find({device, key});
        if (secret != intent_.preshared_key_files.end())
            out += " preshared-key " + key_file(secret->second);
        if (peer.endpoint) out += " endpoint " + quote(text(*peer.endpoint));
        if (peer.keepalive_seconds != 0) {
            out += fmt::format(" persistent-keepalive {}", peer.keepalive_seconds);
        }
        std::vector<std::string> allowed;
        for (const IpPrefix& prefix : peer.allowed_ips) allowed.push_back(text(prefix));
        return out + " allowed-ips " + quote(fmt::format("{}", fmt::join(allowed, ",")));
    }

    void up() {
        section("up");
        for (const auto& [name, link] : desired_.links) {
            if (link.up && *link.up) line("ip link set dev {} up", quote(name));
        }
    }

    // ---- routes --------------------------------------------------------------------------------

    void routes() {
        if (desired_.routes.empty() && intent_.pinned.empty() && !intent_.uplink_move) return;
        section("routes");
        if (intent_.uplink_move) moved_routes(*intent_.uplink_move);
        std::vector<PinnedHost> done;
        for (const PinnedHost& pin :
             intent_.pinned) {  // before the routes that would catch the tunnel itself
            const bool again = std::any_of(done.begin(), done.end(),
                                           [&](const PinnedHost& p) { return p.host == pin.host; });
            if (!again) pinned_host(pin);
            done.push_back(pin);
        }
        for (const Route& route : desired_.routes) {
            std::string words = text(route.destination);
            if (route.gateway) words += " via " + text(*route.gateway);
            words += " dev " + quote(route.device);
            if (route.table != 254) words += fmt::format(" table {}", route.table);
            if (route.metric != 0) words += fmt::format(" metric {}", route.metric);
            line("ip route add {} proto {}", words, route.protocol);
        }
    }

    void moved_routes(const UplinkMove& move) {
        for (const Family family : {Family::Ipv4, Family::Ipv6}) {
            const char* version = family_flag(family);
            line("printf '%s\\n' \"$routes{}\" | while read -r route; do", version[1]);
            line("    [ -z \"$route\" ] && continue");
            line(
                "    ip {} route del $route dev {} 2>/dev/null || :   # may have gone with its "
                "address",
                version, quote(move.uplink));
            line("    ip {} route add $route dev {}\ndone", version, quote(move.bridge));
            moved_neighbours(version[1], quote(move.bridge));
        }
        // With what the uplink learnt by router advertisement: the bridge learns it anew.
        line("sysctl -w {}",
             quote(conf_sysctl(Family::Ipv6, move.uplink.str(), "disable_ipv6") + "=1"));
    }

    void moved_neighbours(char version, const std::string& bridge) {
        line("printf '%s\\n' \"$neighbours{}\" | while read -r address words; do", version);
        line("    entry= more=\n    set -- $words\n    while [ $# -gt 0 ]; do\n        case $1 in");
        line("        lladdr) entry=\"$address nud permanent\" more=\"$more $1 $2\"; shift ;;");
        line("        proxy) entry=\"proxy $address\" ;;");
        line("        proto) more=\"$more $1 $2\"; shift ;;");
        line("        router | extern_learn) more=\"$more $1\" ;;\n        esac\n        shift\n    done");
        line("    [ -z \"$entry\" ] || ip neigh replace $entry dev {}$more\ndone", bridge);
    }

    /// What the file leaves open comes from the default route that is there now.
    void pinned_host(const PinnedHost& pin) {
        const char* version = family_flag(pin.host.family());
        std::string gateway = pin.gateway ? text(*pin.gateway) : "";
        std::string device = quote(pin.device);
        if (!pin.gateway || pin.device.empty()) {
            const std::string of_device = pin.device.empty() ? "" : " dev " + quote(pin.device);
            line("default=$(ip {} route show default{} | head -n 1)", version, of_device);
        }
        if (!pin.gateway) {
            line("gateway=$(printf '%s' \"$default\" | sed -n 's/.* via \\([^ ]*\\).*/\\1/p')");
            gateway = "\"${gateway:?no default route}\"";
        }
        if (pin.device.empty()) {
            line("device=$(printf '%s' \"$default\" | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')");
            device = "\"${device:?no default route}\"";
        }
        line("ip route add {} via {} dev {} proto {}", text(IpPrefix::host(pin.host)), gateway,
             device, route_protocol);
    }

    const NodeIntent& intent_;
    const KernelState& desired_;
    std::string out_;
};

}  // namespace

std::string render_ip(const NodeIntent& intent) { return Script{intent}.write(); }

}  // namespace overlay
