// Key files: what two links of one node read from one file would be one key, and the public keys in
// the topology say that there are two.

#include "topology/validate_parts.hpp"

#include <algorithm>
#include <string_view>

namespace overlay {
namespace {

/// "./a.key" and "a.key" are one file, "/a.key" is another.
std::string same_path(std::string_view file) {
    std::string out{file.starts_with('/') ? "/" : ""};
    while (!file.empty()) {
        const std::string_view part = file.substr(0, file.find('/'));
        file.remove_prefix(std::min(part.size() + 1, file.size()));
        if (part.empty() || part == ".") continue;
        if (!out.empty() && out.back() != '/') out += '/';
        out += part;
    }
    return out;
}

Claim private_key_claim(const Node& spoke, const LinkSpec& link) {
    const std::string path = link_path(spoke, link);
    if (!link.private_key_file) return Claim{path, path, link.at, true};
    return Claim{path, path + ".private_key_file", link.private_key_file->at, false};
}

void check_private_keys(const Topology& topology, const Node& spoke, Findings& findings) {
    Register<std::string> files{findings, "the file with the private key of",
                                "every link has a key pair of its own, in a file of its own"};
    for (const LinkSpec& link : spoke.links) {
        if (!uses_wireguard(link)) continue;
        const std::string file = private_key_file(topology, link);
        files.claim(same_path(file), file, private_key_claim(spoke, link));
    }
}

/// A preshared key is known to both ends; a private key to one.
void check_preshared_key(const Topology& topology, const Node& spoke, const LinkSpec& link,
                         Findings& findings) {
    if (!uses_wireguard(link) || !link.preshared_key_file) return;
    const auto& shared = *link.preshared_key_file;
    const auto report = [&](const std::string& owner, const Span& at) {
        findings.error(shared.at, link_path(spoke, link) + ".preshared_key_file",
                       fmt::format("{} is already the file with the private key of {} ({})",
                                   shared.value, owner, findings.place(at)),
                       "a preshared key is a third secret, which both ends know");
    };
    const auto& device = topology.hub.wireguard;
    if (device && same_path(device->private_key_file.value) == same_path(shared.value)) {
        return report("the hub", device->private_key_file.at);
    }
    for (const LinkSpec& other : spoke.links) {
        if (!uses_wireguard(other)) continue;
        if (same_path(private_key_file(topology, other)) != same_path(shared.value)) continue;
        const Claim owner = private_key_claim(spoke, other);
        return report(owner.owner, owner.at);
    }
}

/// The later of two links is told what the earlier one is.
void report_second(const Node& spoke, const LinkSpec& a, const LinkSpec& b, std::string_view what,
                   std::string hint, Findings& findings) {
    const LinkSpec& kept = a.at <= b.at ? a : b;
    const LinkSpec& second = a.at <= b.at ? b : a;
    findings.error(second.type.at, link_path(spoke, second) + ".type",
                   fmt::format("a spoke has one link of type {}{}, and {} is one ({})",
                               text(second.type.value), what, link_path(spoke, kept),
                               findings.place(kept.type.at)),
                   std::move(hint));
}

/// The hub sends a LAN's packets to one peer.
void check_one_routed_link(const Node& spoke, Findings& findings) {
    const LinkSpec* first = routed_link(spoke);
    for (const LinkSpec& link : spoke.links) {
        if (is_gretap(link) || &link == first) continue;
        report_second(spoke, *first, link, "",
                      "each network is routed one way; make it two spokes, or a gretap link",
                      findings);
    }
}

/// The kernel has one way to the hub's address inside WireGuard: it would send what belongs to one
/// tunnel by the device of the other, with an address that the hub does not expect from there.
void check_ways_inside(const Topology& topology, const Node& spoke, Findings& findings) {
    for (const Family family : {Family::Ipv4, Family::Ipv6}) {
        const LinkSpec* first = nullptr;
        for (const LinkSpec& link : spoke.links) {
            if (link.type.value != LinkType::GretapWireguard ||
                !has_family_inside(topology, spoke, link, family))
                continue;
            if (first != nullptr) {
                report_second(spoke, *first, link,
                              family == Family::Ipv4 ? " with IPv4 inside" : " with IPv6 inside",
                              "both would lead to one address of the hub; make one of them "
                              "gretap-gue, or give each an \"address\" of another family",
                              findings);
                return;
            }
            first = &link;
        }
    }
}

}  // namespace

void validate_key_files(const Topology& topology, Findings& findings) {
    for (const Node& spoke : topology.spokes) {
        check_private_keys(topology, spoke, findings);
        check_one_routed_link(spoke, findings);
        check_ways_inside(topology, spoke, findings);
    }
    for_each_link(topology, [&](const Node& spoke, const LinkSpec& link) {
        check_preshared_key(topology, spoke, link, findings);
    });
}

}  // namespace overlay
