#include "netlink/sysctl.hpp"

#include "netlink/socket.hpp"

#include <linux/openat2.h>

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace overlay::netlink {

namespace {

/// Opens below `root` and nowhere else. Errors leave errno set.
UniqueFd open_beneath(int root, const std::string& path, int flags) {
    open_how how{};
    how.flags = static_cast<__u64>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
    // Before Linux 5.6. The path has no ".." (path_of_sysctl), and /proc/sys has no links.
    if (fd < 0 && errno == ENOSYS) {
        return UniqueFd{::openat(root, path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW)};
    }
    return UniqueFd{static_cast<int>(fd)};
}

std::vector<std::string> keys_of(std::string_view interface) {
    return {conf_sysctl(Family::Ipv4, interface, "forwarding"),
            conf_sysctl(Family::Ipv4, interface, "rp_filter"),
            conf_sysctl(Family::Ipv4, interface, "promote_secondaries"),
            conf_sysctl(Family::Ipv6, interface, "forwarding"),
            conf_sysctl(Family::Ipv6, interface, "accept_ra"),
            conf_sysctl(Family::Ipv6, interface, "disable_ipv6")};
}

}  // namespace

std::optional<std::string> path_of_sysctl(std::string_view key) {
    if (!key.starts_with("net.")) return std::nullopt;
    if (key.find('\0') != std::string_view::npos) return std::nullopt;   // "/..\0" is none of the parts below
    std::string path{key};
    for (char& c : path) {
        if (c == '.') c = '/';
        else if (c == '/') c = '.';
    }
    const std::string rooted = "/" + path + "/";
    for (const auto* part : {"//", "/./", "/../"}) {
        if (rooted.find(part) != std::string::npos) return std::nullopt;
    }
    return path;
}

Result<Sysctls> Sysctls::open() {
    UniqueFd root{::open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!root) return fail(error_of_errno("open /proc/sys", errno));
    return Sysctls{std::move(root)};
}

Result<std::optional<std::string>> Sysctls::read(std::string_view key) const {
    const std::string doing = "read sysctl " + std::string{key};
    const auto path = path_of_sysctl(key);
    if (!path) return fail(Error::Kind::Invalid, doing, "not a key below net");
    const UniqueFd file = open_beneath(root_.get(), *path, O_RDONLY);
    if (!file && errno == ENOENT) return std::nullopt;
    if (!file) return fail(error_of_errno(doing, errno));
    std::array<char, 256> buffer{};   // every value that we know is a small number
    const auto got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0) return fail(error_of_errno(doing, errno));
    std::string value{buffer.data(), static_cast<std::size_t>(got)};
    while (!value.empty() && (value.back() == '\n' || value.back() == ' ')) value.pop_back();
    return value;
}

Result<void> Sysctls::write(std::string_view key, std::string_view value) {
    const std::string doing = "set sysctl " + std::string{key} + " to " + std::string{value};
    const auto path = path_of_sysctl(key);
    if (!path) return fail(Error::Kind::Invalid, doing, "not a key below net");
    const UniqueFd file = open_beneath(root_.get(), *path, O_WRONLY);
    if (!file) {
        Error error = error_of_errno(doing, errno);
        if (error.code == EROFS) error.hint = "/proc/sys is mounted read-only here (a container?)";
        return fail(std::move(error));
    }
    ++writes_;
    const auto put = ::write(file.get(), value.data(), value.size());
    if (put != static_cast<ssize_t>(value.size())) {
        return fail(error_of_errno(doing, put < 0 ? errno : EIO));
    }
    return {};
}

Result<std::map<std::string, std::string>> Sysctls::snapshot(
    const std::map<IfName, Link>& links) const {
    std::vector<std::string> keys{"net.ipv4.conf.all.accept_redirects",
                                  "net.ipv4.conf.all.send_redirects",
                                  "net.bridge.bridge-nf-call-iptables",
                                  "net.bridge.bridge-nf-call-ip6tables"};
    const auto add = [&](std::string_view interface) {
        for (auto& key : keys_of(interface)) keys.push_back(std::move(key));
    };
    add("all");
    add("default");
    for (const auto& [name, link] : links) add(name.str());

    std::map<std::string, std::string> found;
    for (const auto& key : keys) {
        auto value = read(key);
        if (!value) return pass_on(value);
        if (*value) found.emplace(key, **std::move(value));
    }
    return found;
}

Result<void> Sysctls::set(const SetSysctl& step) {
    if (const auto written = write(step.key, step.to); !written) return written;
    for (const SysctlValue& value : step.cascade) {
        const auto now = read(value.key);
        if (!now) return pass_on(now);
        // A key that is gone went with its interface.
        if (!*now || **now == value.to) continue;
        if (const auto written = write(value.key, value.to); !written) return written;
    }
    return {};
}

}  // namespace overlay::netlink
