// Three requests of nfnetlink (Linux net/netfilter/nf_tables_api.c): the ruleset's generation, as a
// question whether nf_tables is there, and dumps of the tables' names and flags and of the chains'
// hooks and policies.

#include "netlink/nft_tables.hpp"

#include <fmt/format.h>
#include <libkmod.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include <endian.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace overlay::netlink {

namespace {

constexpr std::size_t buffer_bytes = 32768;   // the kernel's largest dump message (netlink(7))
constexpr std::uint32_t flag_persist = 4;     // NFT_TABLE_F_PERSIST, Linux ≥ 6.9

Error failed(std::string_view doing, int code) {
    const auto kind = code == EPERM ? Error::Kind::NotPermitted : Error::Kind::Failed;
    return {kind, std::string{doing}, std::strerror(code), code,
            code == EPERM ? "root or CAP_NET_ADMIN is needed" : ""};
}

bool is_built_in(const char* module_name) {
    kmod_ctx* context = kmod_new(nullptr, nullptr);
    if (context == nullptr) return false;
    kmod_module* module = nullptr;
    bool built_in = false;
    if (kmod_module_new_from_name(context, module_name, &module) == 0) {
        built_in = kmod_module_get_initstate(module) == KMOD_MODULE_BUILTIN;
        kmod_module_unref(module);
    }
    kmod_unref(context);
    return built_in;
}

Result<void> send_request(const UniqueFd& fd, int message, std::uint16_t flags,
                          std::string_view doing) {
    std::array<char, 64> buffer{};
    nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
    header->nlmsg_type = static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | message);
    header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg));   // all families: AF_UNSPEC is 0
    if (::send(fd.get(), header, header->nlmsg_len, 0) < 0) return fail(failed(doing, errno));
    return {};
}

/// One datagram into `buffer`; its size.
Result<int> receive(const UniqueFd& fd, std::vector<char>& buffer, std::string_view doing) {
    const ssize_t size_bytes = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (size_bytes < 0) return fail(failed(doing, errno));
    return static_cast<int>(size_bytes);
}

/// 0: an acknowledgement, or the end of a dump.
int error_code(const nlmsghdr* header) {
    int code = 0;
    if (mnl_nlmsg_get_payload_len(header) >= sizeof code) {
        std::memcpy(&code, mnl_nlmsg_get_payload(header), sizeof code);
    }
    return -code;
}

/// A kernel without loadable modules: it knows the request, or has no such subsystem (EINVAL).
Result<NfTables> ask_monolithic_kernel() {
    constexpr std::string_view doing = "ask the kernel for nf_tables";
    const auto fd = open_netfilter_socket();
    if (!fd && fd.error().code == EPROTONOSUPPORT) return NfTables::Absent;
    if (!fd) return pass_on(fd);
    if (const auto sent = send_request(*fd, NFT_MSG_GETGEN, 0, doing); !sent) return pass_on(sent);
    std::vector<char> buffer(buffer_bytes);
    const auto size_bytes = receive(*fd, buffer, doing);
    if (!size_bytes) return pass_on(size_bytes);
    const auto* header = static_cast<const nlmsghdr*>(static_cast<const void*>(buffer.data()));
    if (!mnl_nlmsg_ok(header, *size_bytes)) return fail(failed(doing, EBADMSG));
    if (header->nlmsg_type != NLMSG_ERROR) return NfTables::Present;
    const int code = error_code(header);
    if (code == EINVAL) return NfTables::Absent;
    return fail(failed(doing, code));
}

std::string family_name(std::uint8_t family) {
    switch (family) {
        case NFPROTO_INET: return "inet";
        case NFPROTO_IPV4: return "ip";
        case NFPROTO_ARP: return "arp";
        case NFPROTO_NETDEV: return "netdev";
        case NFPROTO_BRIDGE: return "bridge";
        case NFPROTO_IPV6: return "ip6";
        default: return fmt::format("family {}", family);
    }
}

int take_attribute(const nlattr* attribute, void* into) {
    auto& out = *static_cast<TableHeader*>(into);
    const auto type = mnl_attr_get_type(attribute);
    if (type == NFTA_TABLE_NAME && mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0) {
        out.table.name = mnl_attr_get_str(attribute);
    }
    if (type == NFTA_TABLE_FLAGS && mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0) {
        out.flags = be32toh(mnl_attr_get_u32(attribute));
    }
    return MNL_CB_OK;
}

TableHeader table_header(const nlmsghdr* header) {
    TableHeader out;
    const auto* body = static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(header));
    out.table.family = family_name(body->nfgen_family);
    mnl_attr_parse(header, sizeof(nfgenmsg), take_attribute, &out);
    return out;
}

int take_hook_attribute(const nlattr* attribute, void* into) {
    if (mnl_attr_get_type(attribute) == NFTA_HOOK_HOOKNUM &&
        mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0) {
        *static_cast<std::optional<std::uint32_t>*>(into) = be32toh(mnl_attr_get_u32(attribute));
    }
    return MNL_CB_OK;
}

/// Before it is known whether the chain stands at a hook.
struct Chain {
    BaseChain base;
    std::optional<std::uint32_t> hook;
};

int take_chain_attribute(const nlattr* attribute, void* into) {
    auto& out = *static_cast<Chain*>(into);
    const auto type = mnl_attr_get_type(attribute);
    const bool is_text = mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0;
    if (type == NFTA_CHAIN_TABLE && is_text) out.base.table.name = mnl_attr_get_str(attribute);
    if (type == NFTA_CHAIN_NAME && is_text) out.base.name = mnl_attr_get_str(attribute);
    if (type == NFTA_CHAIN_POLICY && mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0) {
        out.base.drops = be32toh(mnl_attr_get_u32(attribute)) == NF_DROP;
    }
    if (type == NFTA_CHAIN_HOOK) mnl_attr_parse_nested(attribute, take_hook_attribute, &out.hook);
    return MNL_CB_OK;
}

std::optional<BaseChain> base_chain(const nlmsghdr* header) {
    Chain out;
    const auto* body = static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(header));
    out.base.table.family = family_name(body->nfgen_family);
    mnl_attr_parse(header, sizeof(nfgenmsg), take_chain_attribute, &out);
    if (!out.hook) return std::nullopt;
    const bool has_forward_hook = body->nfgen_family == NFPROTO_INET ||
                                  body->nfgen_family == NFPROTO_IPV4 ||
                                  body->nfgen_family == NFPROTO_IPV6 ||
                                  body->nfgen_family == NFPROTO_BRIDGE;
    out.base.forward = has_forward_hook && *out.hook == NF_INET_FORWARD;   // = NF_BR_FORWARD
    return std::move(out.base);
}

enum class Dumped { Complete, Interrupted };

/// `take` is called with each message of the dump.
template <class Take>
Result<Dumped> dump_once(const UniqueFd& fd, int message, std::string_view doing, Take&& take) {
    if (const auto sent = send_request(fd, message, NLM_F_DUMP, doing); !sent) {
        return pass_on(sent);
    }
    std::vector<char> buffer(buffer_bytes);
    auto outcome = Dumped::Complete;
    for (;;) {
        const auto received = receive(fd, buffer, doing);
        if (!received) return pass_on(received);
        int left_bytes = *received;
        const auto* header = static_cast<const nlmsghdr*>(static_cast<const void*>(buffer.data()));
        for (; mnl_nlmsg_ok(header, left_bytes); header = mnl_nlmsg_next(header, &left_bytes)) {
            if ((header->nlmsg_flags & NLM_F_DUMP_INTR) != 0) outcome = Dumped::Interrupted;
            if (header->nlmsg_type == NLMSG_ERROR || header->nlmsg_type == NLMSG_DONE) {
                const int code = error_code(header);
                if (code != 0) return fail(failed(doing, code));
                return outcome;
            }
            if (mnl_nlmsg_get_payload_len(header) < sizeof(nfgenmsg)) continue;
            take(header);
        }
    }
}

/// Until nobody has changed the tables meanwhile. `start` is called before each attempt.
template <class Start, class Take>
Result<void> dump(const UniqueFd& fd, int message, std::string_view doing, Start&& start,
                  Take&& take) {
    constexpr int attempts = 10;
    for (int attempt = 0; attempt < attempts; ++attempt) {
        start();
        const auto outcome = dump_once(fd, message, doing, take);
        if (!outcome) return pass_on(outcome);
        if (*outcome == Dumped::Complete) return {};
    }
    return fail(Error::Kind::Busy, std::string{doing}, "the tables never stop changing");
}

}  // namespace

Result<NfTables> nf_tables_presence() {
    if (::access("/sys/module/nf_tables", F_OK) == 0) return NfTables::Present;
    if (::access("/proc/modules", F_OK) != 0) return ask_monolithic_kernel();
    return is_built_in("nf_tables") ? NfTables::Present : NfTables::Absent;
}

std::string flags_text(std::uint32_t flags) {
    std::string out = "flags";
    const auto take = [&](std::uint32_t flag, std::string_view name) {
        if ((flags & flag) == 0) return;
        out += fmt::format(" {}", name);
        flags &= ~flag;
    };
    take(NFT_TABLE_F_DORMANT, "dormant");
    take(NFT_TABLE_F_OWNER, "owner");
    take(flag_persist, "persist");
    if (flags != 0) out += fmt::format(" {:#x}", flags);
    return out;
}

Result<UniqueFd> open_netfilter_socket() {
    UniqueFd fd{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)};
    if (!fd) return fail(failed("open a netfilter socket", errno));
    constexpr timeval deadline{5, 0};   // the kernel answers at once or never
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    return fd;
}

Result<std::vector<TableHeader>> dump_tables(const UniqueFd& fd) {
    std::vector<TableHeader> out;
    const auto done =
        dump(fd, NFT_MSG_GETTABLE, "list nft tables", [&] { out.clear(); },
             [&](const nlmsghdr* header) { out.push_back(table_header(header)); });
    if (!done) return pass_on(done);
    return out;
}

Result<std::vector<BaseChain>> dump_base_chains(const UniqueFd& fd) {
    std::vector<BaseChain> out;
    const auto done = dump(fd, NFT_MSG_GETCHAIN, "list nft chains", [&] { out.clear(); },
                           [&](const nlmsghdr* header) {
                               if (auto chain = base_chain(header)) out.push_back(std::move(*chain));
                           });
    if (!done) return pass_on(done);
    return out;
}

}  // namespace overlay::netlink
