#pragma once
// A fresh network namespace with a Kernel in it, and the words that tests of steps are written in.
// Runs as root, in the kernel lab (README.md beside this file).

#include "netlink/kernel.hpp"
#include "support/run_command.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <optional>
#include <sched.h>
#include <string>
#include <vector>

template <>
struct doctest::StringMaker<const char*> {
    static doctest::String convert(const char* text) { return text; }
};

namespace overlay::test {

/// What an independent judge (ip, wg, bridge, ethtool) prints; it must succeed.
inline std::string output_of(const std::vector<std::string>& words) {
    const auto result = support::run_command(words, {.timeout = std::chrono::seconds{120}});
    std::string line;
    for (const auto& word : words) line += word + " ";
    CAPTURE(line);
    CAPTURE(result.output);
    CAPTURE(result.errors);
    REQUIRE(result.ok());
    return result.output;
}

inline nlohmann::json json_of(const std::vector<std::string>& words) {
    const std::string text = output_of(words);
    return text.empty() ? nlohmann::json::array() : nlohmann::json::parse(text);
}

/// The parts in which two states differ, by name; "" when they are equal.
inline std::string differences(const KernelState& left, const KernelState& right) {
    std::string parts;
    const auto compare = [&](const auto& a, const auto& b, const char* name) {
        if (a != b) parts.append(name).append(" ");
    };
    compare(left.links, right.links, "links");
    compare(left.addresses, right.addresses, "addresses");
    compare(left.routes, right.routes, "routes");
    compare(left.fou_ports, right.fou_ports, "fou_ports");
    compare(left.wireguard, right.wireguard, "wireguard");
    compare(left.sysctls, right.sysctls, "sysctls");
    compare(left.offloads, right.offloads, "offloads");
    compare(left.modules, right.modules, "modules");
    compare(left.tables, right.tables, "tables");
    compare(left.all_tables, right.all_tables, "all_tables");
    compare(left.udp_sockets, right.udp_sockets, "udp_sockets");
    compare(left.alternative_names, right.alternative_names, "alternative_names");
    return parts;
}

class Lab {
  public:
    Lab() {
        REQUIRE_MESSAGE(::unshare(CLONE_NEWNET) == 0, "a namespace of one's own takes root");
        auto opened = netlink::Kernel::open();
        REQUIRE(opened);
        kernel_.emplace(*std::move(opened));
        (void)output_of({"ip", "link", "set", "lo", "up"});
    }

    netlink::Kernel& kernel() { return *kernel_; }
    Secrets& secrets() { return secrets_; }

    KernelState snapshot() {
        auto state = kernel_->snapshot(secrets_);
        INFO((state ? "" : text(state.error())));
        REQUIRE(state);
        return *std::move(state);
    }

    void execute(const Step& step) {
        const auto done = kernel_->execute(step, secrets_);
        INFO((done ? "" : text(done.error())));
        REQUIRE(done);
    }

    /// The error of a step that must fail.
    Error refusal(const Step& step) {
        const auto done = kernel_->execute(step, secrets_);
        REQUIRE_FALSE(done);
        return done.error();
    }

    /// Carries the step out, lets `judge` look, undoes it, and compares with the state before.
    template <class Judge>
    void there_and_back(const Step& step, Judge&& judge) {
        CAPTURE(describe(step));
        const KernelState before = snapshot();
        execute(step);
        judge();
        execute(inverse(step));
        CHECK(differences(snapshot(), before) == "");
    }

    /// Modules first, so that the devices that they bring along are there before a comparison.
    void load(const std::vector<std::string>& modules) {
        for (const auto& name : modules) execute(LoadModule{name});
    }

    Link link(const std::string& name) {
        const KernelState state = snapshot();
        const auto found = state.links.find(IfName::from_kernel(name));
        REQUIRE(found != state.links.end());
        return found->second;
    }

  private:
    std::optional<netlink::Kernel> kernel_;
    Secrets secrets_;
};

inline IfName if_name(const char* name) { return IfName::from_kernel(name); }
inline IpAddress ip(const char* address) {
    const auto parsed = IpAddress::parse(address);
    REQUIRE(parsed);
    return *parsed;
}
inline IpPrefix prefix(const char* words) {
    const auto parsed = IpPrefix::parse(words);
    REQUIRE(parsed);
    return *parsed;
}
inline MacAddress mac(const char* words) {
    const auto parsed = MacAddress::parse(words);
    REQUIRE(parsed);
    return *parsed;
}

inline Link bridge(const char* name) {
    return {.name = if_name(name),
            .kind = LinkKind::Bridge,
            .alias = "overlay:test:bridge",
            .mac = mac("02:00:00:00:00:01"),
            .mtu = Mtu{1500},
            .bridge = BridgeAttributes{.stp = false, .multicast_snooping = false,
                                       .vlan_filtering = false}};
}

inline Link gretap_over_gue(const char* name) {
    GretapAttributes tunnel;
    tunnel.local = ip("192.0.2.1");
    tunnel.remote = ip("198.51.100.7");
    tunnel.input.key = 0x01020304;
    tunnel.output.key = 0x01020304;
    tunnel.ttl = 225;
    tunnel.encap = {.type = GreEncap::Type::Gue,
                    .source_port = 5555,
                    .destination_port = 5556,
                    .checksum = true};
    return {.name = if_name(name),
            .kind = LinkKind::Gretap,
            .alias = "overlay:test:home",
            .mac = mac("02:00:00:00:00:02"),
            .mtu = Mtu{1446},
            .gretap = tunnel};
}

inline Link wireguard(const char* name) {
    return {.name = if_name(name), .kind = LinkKind::Wireguard, .alias = "overlay:test:wg",
            .mtu = Mtu{1420}};
}

/// What `ip` says of one link.
inline nlohmann::json ip_link(const std::string& name) {
    return json_of({"ip", "-j", "-d", "link", "show", "dev", name}).at(0);
}

}  // namespace overlay::test
