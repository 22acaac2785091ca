#include "netlink/ethtool.hpp"

#include <linux/ethtool.h>
#include <linux/ethtool_netlink.h>
#include <linux/genetlink.h>

#include <algorithm>
#include <cstring>

namespace overlay::netlink {

namespace {

/// What `ethtool -K` means by its old short words (ethtool 6.1 common.c, off_flag_def).
struct Group {
    std::string_view name;
    std::vector<std::string_view> features;
};

const std::vector<Group>& groups() {
    static const std::vector<Group> all{
        {"tx", {"tx-checksum-ipv4", "tx-checksum-ip-generic", "tx-checksum-ipv6",
                "tx-checksum-fcoe-crc", "tx-checksum-sctp"}},
        {"rx", {"rx-checksum"}},
        {"tso", {"tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation",
                 "tx-tcp6-segmentation"}},
        {"gso", {"tx-generic-segmentation"}},
        {"gro", {"rx-gro"}},
        {"lro", {"rx-lro"}},
    };
    return all;
}

/// It rewrites IP identifiers: a network card's driver leaves it off, virtual devices, which segment as the
/// kernel does in software, have it on from birth. Each is left or brought back as it was born.
constexpr std::string_view rewrites_identifiers = "tx-tcp-mangleid-segmentation";
/// What only devices of the kernel's own segmentation take (NETIF_F_GSO_SOFTWARE, netdev_features.h).
constexpr std::string_view segments_in_software = "tx-sctp-segmentation";

/// A compact bitset: 32-bit words in host order, bit 0 first.
class Bits {
  public:
    explicit Bits(std::size_t size_bits) : words_((size_bits + 31) / 32) {}
    static Bits read(const Attributes& parent, std::uint16_t type) {
        Bits bits{0};
        const auto bitset = parent.nest(type);
        if (!bitset) return bits;
        const auto value = bitset->bytes(ETHTOOL_A_BITSET_VALUE);
        const std::size_t words = value.size() / sizeof(std::uint32_t);
        bits.words_.resize(words);
        if (words > 0) {
            std::memcpy(bits.words_.data(), value.data(), words * sizeof(std::uint32_t));
        }
        return bits;
    }
    [[nodiscard]] bool has(std::size_t bit) const {
        return bit / 32 < words_.size() && (words_[bit / 32] >> (bit % 32) & 1U) != 0;
    }
    void add(std::size_t bit) { words_[bit / 32] |= 1U << (bit % 32); }
    [[nodiscard]] bool is_empty() const {
        return std::ranges::all_of(words_, [](std::uint32_t word) { return word == 0; });
    }
    [[nodiscard]] std::span<const std::uint8_t> bytes() const {
        return {static_cast<const std::uint8_t*>(static_cast<const void*>(words_.data())),
                words_.size() * sizeof(std::uint32_t)};
    }

  private:
    std::vector<std::uint32_t> words_;
};

struct DeviceFeatures {
    Bits hardware, wanted, active, fixed;
    static DeviceFeatures read(const Attributes& attributes) {
        return {Bits::read(attributes, ETHTOOL_A_FEATURES_HW),
                Bits::read(attributes, ETHTOOL_A_FEATURES_WANTED),
                Bits::read(attributes, ETHTOOL_A_FEATURES_ACTIVE),
                Bits::read(attributes, ETHTOOL_A_FEATURES_NOCHANGE)};
    }
    [[nodiscard]] bool can_change(std::size_t bit) const {
        return hardware.has(bit) && !fixed.has(bit);
    }
    [[nodiscard]] bool is_on_against_request(std::size_t bit) const { return active.has(bit) && !wanted.has(bit); }
};

std::vector<std::size_t> bits_of(const Group& group, const FeatureNames& names) {
    std::vector<std::size_t> bits;
    for (std::size_t bit = 0; bit < names.size(); ++bit) {
        if (std::ranges::find(group.features, names[bit]) != group.features.end()) {
            bits.push_back(bit);
        }
    }
    return bits;
}

/// Whether a feature is for nobody but those who ask for it by its own name.
bool is_opt_in(const DeviceFeatures& device, const FeatureNames& names, std::size_t bit) {
    if (names[bit] != rewrites_identifiers) return false;
    const auto software = std::ranges::find(names, segments_in_software);
    return software == names.end() ||
           !device.can_change(static_cast<std::size_t>(software - names.begin()));
}

/// Whether all that the device can change of a group is requested, or none of it; nullopt: some is, or is on against
/// the request (let_go_of_unwanted()).
std::optional<bool> is_requested(const DeviceFeatures& device, const FeatureNames& names,
                                 const std::vector<std::size_t>& bits) {
    const auto can_change = [&](std::size_t bit) { return device.can_change(bit); };
    if (std::ranges::none_of(bits, can_change)) {
        return std::ranges::any_of(bits, [&](std::size_t bit) { return device.active.has(bit); });
    }
    bool any = false, all = true;
    for (const std::size_t bit : bits) {
        if (!can_change(bit)) continue;
        any = any || device.wanted.has(bit) || device.active.has(bit);
        all = all && (device.wanted.has(bit) || is_opt_in(device, names, bit));
    }
    return any == all ? std::optional{any} : std::nullopt;
}

Message features_request(std::uint16_t family, std::uint8_t command, const IfName& link) {
    Message request = generic_request(family, command, 0);
    request.nest(ETHTOOL_A_FEATURES_HEADER | NLA_F_NESTED, [&] {
        if (!link.empty()) request.put_c_string(ETHTOOL_A_HEADER_DEV_NAME, link.str());
        request.put_u32(ETHTOOL_A_HEADER_FLAGS,
                        ETHTOOL_FLAG_COMPACT_BITSETS | ETHTOOL_FLAG_OMIT_REPLY);
    });
    return request;
}

void keep_names(const nlattr& strings, FeatureNames& names) {
    for_each_inside(strings, [&](const nlattr& element) {
        const auto one = Attributes::inside(element);
        const auto bit = one.u32(ETHTOOL_A_STRING_INDEX);
        const auto name = one.string(ETHTOOL_A_STRING_VALUE);
        constexpr std::uint32_t sane_bits = 1024;   // Linux 6.1 has 64
        if (!bit || !name || *bit >= sane_bits) return;
        if (names.size() <= *bit) names.resize(*bit + 1);
        names[*bit] = std::string{*name};
    });
}

struct Wish {
    const Bits& value;
    const Bits& mask;
    std::size_t size_bits;
};

Result<void> change_features(Socket& generic, std::uint16_t family, const IfName& link, const Wish& wish,
                             std::string_view doing) {
    Message request = features_request(family, ETHTOOL_MSG_FEATURES_SET, link);
    request.nest(ETHTOOL_A_FEATURES_WANTED | NLA_F_NESTED, [&] {
        request.put_u32(ETHTOOL_A_BITSET_SIZE, static_cast<std::uint32_t>(wish.size_bits));
        request.put_bytes(ETHTOOL_A_BITSET_VALUE, wish.value.bytes());
        request.put_bytes(ETHTOOL_A_BITSET_MASK, wish.mask.bytes());
    });
    return generic.change(request, doing);
}

Result<DeviceFeatures> read_features(Socket& generic, std::uint16_t family, const IfName& link,
                                     std::string_view doing) {
    Message request = features_request(family, ETHTOOL_MSG_FEATURES_GET, link);
    const auto replies = generic.ask(request, doing);
    if (!replies) return pass_on(replies);
    std::optional<DeviceFeatures> found;
    replies->for_each([&](const nlmsghdr& message) {
        found = DeviceFeatures::read(Attributes::of(message, sizeof(genlmsghdr)));
    });
    if (!found) return fail(Error::Kind::Failed, doing, "the kernel's answer is empty");
    return *std::move(found);
}

}  // namespace

Result<FeatureNames> read_feature_names(Socket& generic, std::uint16_t family) {
    Message request = generic_request(family, ETHTOOL_MSG_STRSET_GET, 0);
    request.nest(ETHTOOL_A_STRSET_HEADER | NLA_F_NESTED, [] {});   // no device: the general set
    request.nest(ETHTOOL_A_STRSET_STRINGSETS | NLA_F_NESTED, [&] {
        request.nest(ETHTOOL_A_STRINGSETS_STRINGSET | NLA_F_NESTED, [&] {
            request.put_u32(ETHTOOL_A_STRINGSET_ID, ETH_SS_FEATURES);
        });
    });
    const auto replies = generic.ask(request, "read the names of offload features");
    if (!replies) return pass_on(replies);
    FeatureNames names;
    replies->for_each([&](const nlmsghdr& message) {
        const auto attributes = Attributes::of(message, sizeof(genlmsghdr));
        const auto sets = attributes.nest(ETHTOOL_A_STRSET_STRINGSETS);
        const auto set = sets ? sets->nest(ETHTOOL_A_STRINGSETS_STRINGSET) : std::nullopt;
        const nlattr* const strings = set ? set->find(ETHTOOL_A_STRINGSET_STRINGS) : nullptr;
        if (strings != nullptr) keep_names(*strings, names);
    });
    return names;
}

std::map<OffloadKey, bool> decode_offloads(const Attributes& attributes,
                                           const FeatureNames& names) {
    std::map<OffloadKey, bool> found;
    const auto header = attributes.nest(ETHTOOL_A_FEATURES_HEADER);
    const auto name = header ? link_name(*header, ETHTOOL_A_HEADER_DEV_NAME) : std::nullopt;
    if (!name) return found;
    const auto device = DeviceFeatures::read(attributes);
    for (const Group& group : groups()) {
        const auto bits = bits_of(group, names);
        if (bits.empty()) continue;
        // No device of ours has it, and the kernel takes it only from those that can do without.
        const bool switchable = std::ranges::any_of(
            bits, [&](std::size_t bit) { return device.can_change(bit); });
        if (group.name == "lro" && !switchable) continue;
        const auto requested = is_requested(device, names, bits);
        // Neither on nor off: left out, and so unlike whatever the file says (plan_offloads.cpp).
        if (!requested) continue;
        found.emplace(OffloadKey{*name, std::string{group.name}}, *requested);
    }
    return found;
}

Result<std::map<OffloadKey, bool>> snapshot_offloads(Socket& generic, std::uint16_t family,
                                                     const FeatureNames& names) {
    Message request = features_request(family, ETHTOOL_MSG_FEATURES_GET, IfName{});
    const auto replies = generic.dump(request, "list offload features");
    if (!replies) return pass_on(replies);
    std::map<OffloadKey, bool> found;
    replies->for_each([&](const nlmsghdr& message) {
        found.merge(decode_offloads(Attributes::of(message, sizeof(genlmsghdr)), names));
    });
    return found;
}

Result<void> set_offload(Socket& generic, std::uint16_t family, const FeatureNames& names,
                         const OffloadChange& change) {
    const auto& [key, to] = change;
    const std::string doing = "set offload " + key.feature + " of " + key.link.str();
    const auto group = std::ranges::find(groups(), key.feature, &Group::name);
    if (group == groups().end()) {
        return fail(Error::Kind::Unsupported, doing, "there is no such group of features");
    }
    const auto device = read_features(generic, family, key.link, doing);
    if (!device) return pass_on(device);

    Bits mask{names.size()};
    Bits value{names.size()};
    Bits stuck{names.size()};
    bool any = false;
    const auto bits = bits_of(*group, names);
    for (const std::size_t bit : bits) {
        if (!device->can_change(bit)) continue;
        if (to && is_opt_in(*device, names, bit)) continue;
        any = true;
        mask.add(bit);
        if (to) value.add(bit);
        else if (device->is_on_against_request(bit)) stuck.add(bit);
    }
    if (!any && is_requested(*device, names, bits) == to) return {};
    if (!any) return fail(Error::Kind::Unsupported, doing, "the device cannot change it");

    const auto ask = [&](const Bits& to_what, const Bits& of_what) {
        return change_features(generic, family, key.link, {to_what, of_what, names.size()}, doing);
    };
    if (!stuck.is_empty()) {
        if (auto on = ask(stuck, stuck); !on) return on;
    }
    return ask(value, mask);
}

Result<void> let_go_of_unwanted(Socket& generic, std::uint16_t family, const FeatureNames& names,
                                const IfName& link) {
    const std::string doing = "keep offloads of " + link.str() + " off";
    const auto device = read_features(generic, family, link, doing);
    if (!device) return pass_on(device);
    Bits stuck{names.size()};
    for (std::size_t bit = 0; bit < names.size(); ++bit) {
        if (device->can_change(bit) && device->is_on_against_request(bit)) stuck.add(bit);
    }
    if (stuck.is_empty()) return {};
    if (auto on = change_features(generic, family, link, {stuck, stuck, names.size()}, doing); !on) return on;
    return change_features(generic, family, link, {Bits{names.size()}, stuck, names.size()}, doing);
}

}  // namespace overlay::netlink
