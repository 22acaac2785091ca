#include "netlink/modules.hpp"

#include "netlink/socket.hpp"

#include <libkmod.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <unistd.h>

namespace overlay::netlink {

namespace {

struct Known {
    std::string module;
    std::string symbol;    ///< a function that only this module has (Linux 4.19 … 6.18)
    std::string openwrt;   ///< package; empty: in every OpenWrt kernel
};

const std::vector<Known>& known() {
    static const std::vector<Known> all{
        {"bridge", "br_add_if", ""},
        {"fou", "fou_build_header", "kmod-fou"},
        {"fou6", "gue6_build_header", "kmod-fou6"},
        {"ip_gre", "ipgre_changelink", "kmod-gre"},
        {"ip6_gre", "ip6gre_tap_init", "kmod-gre6"},
        {"wireguard", "wg_set_device", "kmod-wireguard"},
        {"nf_tables", "nf_tables_newtable", "kmod-nft-core"},
        {"8021q", "vlan_dev_init", ""},
        {"tun", "tun_chr_open", "kmod-tun"},
    };
    return all;
}

/// Functions in /proc/kallsyms are "address type name" when built in; a module's have "[module]" too.
std::set<std::string> read_built_in() {
    std::set<std::string> found;
    std::ifstream symbols{"/proc/kallsyms"};
    std::string line;
    while (std::getline(symbols, line)) {
        if (line.find('\t') != std::string::npos) continue;
        const auto space = line.rfind(' ');
        if (space == std::string::npos) continue;
        const std::string_view symbol = std::string_view{line}.substr(space + 1);
        const auto one = std::ranges::find(known(), symbol, &Known::symbol);
        if (one != known().end()) found.insert(one->module);
    }
    return found;
}

using Module = std::unique_ptr<kmod_module, decltype(&kmod_module_unref)>;
using ModuleList = std::unique_ptr<kmod_list, decltype(&kmod_module_unref_list)>;

Module module_named(kmod_ctx* context, const std::string& name) {
    kmod_module* module = nullptr;
    (void)kmod_module_new_from_name(context, name.c_str(), &module);
    return {module, kmod_module_unref};
}

/// On disk or built in, through aliases too; empty when kmod knows nothing of that name.
ModuleList look_up(kmod_ctx* context, const std::string& name) {
    kmod_list* list = nullptr;
    (void)kmod_module_new_from_lookup(context, name.c_str(), &list);
    return {list, kmod_module_unref_list};
}

}  // namespace

const std::vector<std::string>& known_modules() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> out;
        for (const Known& one : known()) out.push_back(one.module);
        return out;
    }();
    return names;
}

std::string package_hint(std::string_view module) {
    const auto one = std::ranges::find(known(), module, &Known::module);
    std::string hint = "this kernel needs the module ";
    hint.append(module).append(" (Debian: linux-image-amd64 or linux-modules-$(uname -r)");
    if (one != known().end() && !one->openwrt.empty()) hint += "; OpenWrt: " + one->openwrt;
    return hint + ")";
}

void Modules::Unreference::operator()(kmod_ctx* context) const { kmod_unref(context); }

Result<Modules> Modules::open() {
    kmod_ctx* const context = kmod_new(nullptr, nullptr);
    if (context == nullptr) return fail(Error::Kind::Failed, "open libkmod", "out of memory", ENOMEM);
    // libkmod would write to stderr by itself; what matters comes back as a value.
    kmod_set_log_fn(context, [](void*, int, const char*, int, const char*, const char*, va_list) {},
                    nullptr);
    return Modules{context};
}

bool Modules::is_present(const std::string& name) const {
    const Module module = module_named(context_.get(), name);
    if (!module) return false;
    const int state = kmod_module_get_initstate(module.get());
    // COMING is also what a directory in /sys/module without a state means: built in (libkmod 30).
    return state == KMOD_MODULE_BUILTIN || state == KMOD_MODULE_LIVE || state == KMOD_MODULE_COMING;
}

/// Whether libkmod has the index of what is built into this kernel; else the kernel itself is asked.
bool Modules::knows_built_in() const {
    const std::string index = std::string{kmod_get_dirname(context_.get())} + "/modules.builtin.bin";
    return ::access(index.c_str(), R_OK) == 0;
}

std::set<std::string> Modules::present() {
    std::set<std::string> found;
    for (const auto& name : known_modules()) {
        if (is_present(name)) found.insert(name);
    }
    if (knows_built_in()) return found;
    if (!built_in_) built_in_ = read_built_in();
    found.insert(built_in_->begin(), built_in_->end());
    return found;
}

bool Modules::is_loadable(const std::string& name) const {
    return look_up(context_.get(), name) != nullptr;
}

std::set<std::string> Modules::missing(const std::set<std::string>& present) const {
    std::set<std::string> out;
    for (const auto& name : known_modules()) {
        if (!present.contains(name) && !is_loadable(name)) out.insert(name);
    }
    return out;
}

Result<void> Modules::load(const std::string& name) {
    const std::string doing = "load module " + name;
    if (present().contains(name)) return {};
    const ModuleList modules = look_up(context_.get(), name);
    if (!modules) {
        Error error{Error::Kind::Unsupported, doing, "there is no such module for this kernel",
                    ENOENT, package_hint(name)};
        return fail(std::move(error));
    }
    for (kmod_list* at = modules.get(); at != nullptr; at = kmod_list_next(modules.get(), at)) {
        const Module module{kmod_module_get_module(at), kmod_module_unref};
        ++writes_;
        const int answer = kmod_module_probe_insert_module(
            module.get(), KMOD_PROBE_APPLY_BLACKLIST_ALIAS_ONLY, nullptr, nullptr, nullptr, nullptr);
        if (answer >= 0 || answer == -EEXIST) continue;
        Error error = error_of_errno(doing, -answer);
        if (error.kind == Error::Kind::NotPermitted) {
            error.hint = "loading a module takes root (CAP_SYS_MODULE); or load it at boot, with a "
                         "line in /etc/modules-load.d/overlay.conf";
        } else {
            error.kind = Error::Kind::Unsupported;
            error.hint = package_hint(name);
        }
        return fail(std::move(error));
    }
    return {};
}

}  // namespace overlay::netlink
