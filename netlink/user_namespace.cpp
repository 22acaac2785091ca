#include "netlink/user_namespace.hpp"

#include "netlink/namespaces.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>

namespace overlay::netlink {
namespace {

constexpr const char* run_directory = "/run";

Error error_now(const std::string& doing) {
    return Error{Error::Kind::Failed, doing, std::strerror(errno), errno, {}};
}

Result<void> write_once(const char* path, const std::string& content) {
    const UniqueFd file{::open(path, O_WRONLY | O_CLOEXEC)};
    const auto size = static_cast<ssize_t>(content.size());
    if (!file || ::write(file.get(), content.data(), content.size()) != size) {
        return fail(error_now(std::string{"write "} + path));
    }
    return {};
}

/// user_namespaces(7): who maps a group without privilege must give up setgroups(2) first.
Result<void> map_to_root(uid_t user, gid_t group) {
    if (auto done = write_once("/proc/self/setgroups", "deny"); !done) return done;
    const std::string user_line = "0 " + std::to_string(user) + " 1\n";
    if (auto done = write_once("/proc/self/uid_map", user_line); !done) return done;
    return write_once("/proc/self/gid_map", "0 " + std::to_string(group) + " 1\n");
}

/// Best effort: a lab needs little of /run, and what cannot be shown here is missed by nobody.
void show(const UniqueFd& old, const std::string& name) {
    const std::string from = "/proc/self/fd/" + std::to_string(old.get()) + "/" + name;
    const std::string to = std::string{run_directory} + "/" + name;
    struct stat found {};
    if (::fstatat(old.get(), name.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (S_ISLNK(found.st_mode)) {
        std::array<char, 4096> target{};
        const auto size = ::readlinkat(old.get(), name.c_str(), target.data(), target.size() - 1);
        if (size > 0) std::ignore = ::symlink(target.data(), to.c_str());
        return;
    }
    if (S_ISDIR(found.st_mode))
        (void)::mkdir(to.c_str(), 0755);
    else
        UniqueFd{::open(to.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)};
    (void)::mount(from.c_str(), to.c_str(), nullptr, MS_BIND | MS_REC, nullptr);
}

/// Nobody but root writes to /run, and namespaces have their names there.
Result<void> make_own_run() {
    const UniqueFd old{::open(run_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!old) return fail(error_now("open /run"));
    if (::mount("tmpfs", run_directory, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") != 0) {
        return fail(error_now("mount a /run of our own"));
    }
    const std::unique_ptr<DIR, int (*)(DIR*)> entries{::fdopendir(::dup(old.get())), &::closedir};
    if (!entries) return fail(error_now("read /run"));
    while (const dirent* entry = ::readdir(entries.get())) {
        const std::string name = entry->d_name;
        const bool is_left_out =
            name == "." || name == ".." || "/run/" + name == namespace_directory;
        if (!is_left_out) show(old, name);
    }
    return {};
}

}  // namespace

Result<void> enter_own_user_namespace() {
    const uid_t user = ::geteuid();
    const gid_t group = ::getegid();
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0) {
        Error error = error_now("make a user namespace");
        error.kind = Error::Kind::Unsupported;
        return fail(std::move(error));
    }
    if (auto mapped = map_to_root(user, group); !mapped) return mapped;
    if (::mount("", "/", "none", MS_SLAVE | MS_REC, nullptr) != 0) {
        return fail(error_now("keep our mounts from others"));
    }
    return make_own_run();
}

Result<void> join_namespaces_of(const UniqueFd& process) {
    // All at once with a pidfd: Linux ≥ 5.8.
    if (::setns(process.get(), CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) == 0) return {};
    return fail(error_now("enter the user namespace of the lab"));
}

bool in_initial_user_namespace() {
    constexpr std::uint64_t initial = 0xeffffffd;   // Linux include/linux/proc_ns.h, PROC_USER_INIT_INO
    return user_namespace_of(::getpid()) == initial;
}

std::optional<std::uint64_t> user_namespace_of(pid_t process) {
    struct stat found {};
    const std::string path = "/proc/" + std::to_string(process) + "/ns/user";
    if (::stat(path.c_str(), &found) != 0) return std::nullopt;
    return found.st_ino;
}

}  // namespace overlay::netlink
