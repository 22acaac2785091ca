// Runs JSON commands through libnftables. What they say is firewall_write.cpp's and
// firewall_read.cpp's work; this file knows when asking is harmless, in which namespace to ask, and
// how to repeat the library's complaint.
//
// libnftables opens its netlink socket with its context, which loads nfnetlink, and any question
// loads nf_tables (Linux net/netfilter/nfnetlink.c, nfnetlink_rcv_msg). So the context is made on
// first use.

#include "netlink/firewall.hpp"

#include "netlink/fd.hpp"
#include "netlink/firewall_json.hpp"
#include "netlink/nft_tables.hpp"

#include <fmt/format.h>
#include <nftables/libnftables.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

namespace overlay::netlink {

namespace {

constexpr std::string_view our_prefix = "overlay_";

constexpr const char* own_namespace = "/proc/thread-self/ns/net";

/// "internal:0:0-0: Error: Could not process rule: No such file or directory\n…" without the
/// places, which mean nothing for JSON, and without repetitions: one faulty rule fails all after
/// it.
std::string complaint(std::string_view text) {
    std::vector<std::string> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        constexpr std::string_view mark = "Error: ";
        if (const auto at = line.rfind(mark); at != std::string_view::npos) {
            line.remove_prefix(at + mark.size());
        }
        if (line.empty() || std::find(lines.begin(), lines.end(), line) != lines.end()) continue;
        lines.emplace_back(line);
    }
    if (lines.empty()) return "libnftables does not say why";
    return fmt::format("{}", fmt::join(lines, "; "));
}

Error::Kind kind_of(std::string_view complaint) {
    const auto says = [complaint](std::string_view words) {
        return complaint.find(words) != std::string_view::npos;
    };
    if (says("Operation not permitted")) return Error::Kind::NotPermitted;
    if (says("File exists")) return Error::Kind::Conflict;
    if (says("not supported")) return Error::Kind::Unsupported;
    return Error::Kind::Failed;
}

}  // namespace

struct Firewall::Context {
    UniqueFd home{::open(own_namespace, O_RDONLY | O_CLOEXEC)};   ///< where we were made
    UniqueFd tables;            ///< for dump_tables()
    nft_ctx* nft = nullptr;

    Context() = default;
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    ~Context() {
        if (nft != nullptr) nft_ctx_free(nft);
    }

    [[nodiscard]] Result<void> open();
    [[nodiscard]] Result<std::string> run(const std::string& json, std::string_view doing);
    [[nodiscard]] Result<FoundFirewall> list();

  private:
    [[nodiscard]] Result<void> make();
    [[nodiscard]] Result<FirewallTable> list_table(const TableHeader& header);
};

/// The sockets must belong to the namespace that we were made in, wherever the thread is by now.
Result<void> Firewall::Context::open() {
    if (nft != nullptr) return {};
    constexpr std::string_view doing = "open nftables";
    struct stat then {}, now{};
    if (!home || ::fstat(home.get(), &then) != 0 || ::stat(own_namespace, &now) != 0) {
        return fail(Error::Kind::Failed, doing, "the network namespace cannot be told");
    }
    if (then.st_ino == now.st_ino) return make();
    const UniqueFd here{::open(own_namespace, O_RDONLY | O_CLOEXEC)};
    if (!here || ::setns(home.get(), CLONE_NEWNET) != 0) {
        const int saved = errno;
        return fail(Error::Kind::NotPermitted, doing, std::strerror(saved), saved);
    }
    const auto made = make();
    OVERLAY_ASSERT(::setns(here.get(), CLONE_NEWNET) == 0);   // else every later step goes astray
    return made;
}

Result<void> Firewall::Context::make() {
    // First, because nft_ctx_new() ends the process where there is no such socket (libnftables
    // 1.0.6, src/mnl.c, nft_mnl_socket_open).
    auto socket = open_netfilter_socket();
    if (!socket) return pass_on(socket);
    tables = std::move(*socket);
    nft = nft_ctx_new(NFT_CTX_DEFAULT);
    if (nft == nullptr) {
        return fail(Error::Kind::Failed, "open nftables", "libnftables gives no context");
    }
    nft_ctx_output_set_flags(nft, NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_STATELESS);
    nft_ctx_buffer_output(nft);
    nft_ctx_buffer_error(nft);
    return {};
}

Result<std::string> Firewall::Context::run(const std::string& json, std::string_view doing) {
    if (const auto opened = open(); !opened) return pass_on(opened);
    const int outcome = nft_run_cmd_from_buffer(nft, json.c_str());
    // Both buffers are emptied by reading them, whichever of them we need.
    std::string output = nft_ctx_get_output_buffer(nft);
    const std::string errors = complaint(nft_ctx_get_error_buffer(nft));
    if (outcome != 0) return fail(kind_of(errors), doing, errors);
    return output;
}

Result<FoundFirewall> Firewall::Context::list() {
    if (const auto opened = open(); !opened) return pass_on(opened);
    const auto headers = dump_tables(tables);
    if (!headers) return pass_on(headers);
    FoundFirewall found;
    for (const TableHeader& header : *headers) {
        found.all.insert(header.table);
        const bool ours = header.table.name.starts_with(our_prefix) &&
                          (header.table.family == text(TableFamily::Inet) ||
                           header.table.family == text(TableFamily::Bridge));
        if (!ours) continue;
        auto table = list_table(header);
        if (!table) return pass_on(table);
        found.tables.push_back(std::move(*table));
    }
    std::sort(found.tables.begin(), found.tables.end(), [](const auto& a, const auto& b) {
        return std::tie(a.family, a.name) < std::tie(b.family, b.name);
    });
    return found;
}

/// A table with flags cannot be listed as a whole (see nft_tables.hpp), so its chains are, one by
/// one. Its sets go unseen: the flags are drift enough to replace all of it.
Result<FirewallTable> Firewall::Context::list_table(const TableHeader& header) {
    const FoundTable& table = header.table;
    const std::string doing = fmt::format("list nft table {} {}", table.family, table.name);
    if (header.flags == 0) {
        const auto listing = run(list_table_as_nft_json(table), doing);
        if (!listing) return pass_on(listing);
        return table_from_nft_json(table, {*listing});
    }
    const auto chains = run(list_chains_as_nft_json(table.family), doing);
    if (!chains) return pass_on(chains);
    const auto names = chain_names_from_nft_json(table, *chains);
    if (!names) return pass_on(names);
    std::vector<std::string> listings;
    for (const std::string& name : *names) {
        auto listing = run(list_chain_as_nft_json(table, name), doing);
        if (!listing) return pass_on(listing);
        listings.push_back(std::move(*listing));
    }
    auto found = table_from_nft_json(table, listings);
    if (found) found->extras.push_back(flags_text(header.flags));
    return found;
}

Firewall::Firewall() : context_{std::make_unique<Context>()} {}
Firewall::Firewall(Firewall&&) noexcept = default;
Firewall& Firewall::operator=(Firewall&&) noexcept = default;
Firewall::~Firewall() = default;

Result<FoundFirewall> Firewall::snapshot() {
    const auto presence = nf_tables_presence();
    if (!presence) return pass_on(presence);
    if (*presence == NfTables::Absent) return FoundFirewall{};
    // A table may go between the list of names and the list of its content.
    constexpr int attempts = 3;
    auto found = context_->list();
    for (int attempt = 1; !found && attempt < attempts; ++attempt) {
        if (found.error().kind == Error::Kind::NotPermitted) break;
        found = context_->list();
    }
    return found;
}

Result<void> Firewall::replace(const std::optional<FirewallTable>& from,
                               const std::optional<FirewallTable>& to) {
    if (!from && !to) return {};
    const FirewallTable& named = to ? *to : *from;
    const std::string_view verb = !to ? "remove" : from ? "replace" : "add";
    const auto done = context_->run(
        replace_as_nft_json(from, to),
        fmt::format("{} nft table {} {}", verb, text(named.family), named.name));
    if (!done) return pass_on(done);
    return {};
}

}  // namespace overlay::netlink
