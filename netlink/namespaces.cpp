#include "netlink/namespaces.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace overlay::netlink {
namespace {

Error error_now(std::string_view doing) {
    const int saved = errno;
    const bool is_privilege = saved == EPERM || saved == EACCES;
    Error::Kind kind = is_privilege ? Error::Kind::NotPermitted : Error::Kind::Failed;
    if (saved == ENOENT) kind = Error::Kind::NotFound;
    if (saved == EEXIST) kind = Error::Kind::Conflict;
    return Error{kind, std::string{doing}, std::strerror(saved), saved, {}};
}

std::string path_of(const std::string& name) {
    return std::string{namespace_directory} + "/" + name;
}

/// /run/netns must be a shared mount, so that a namespace removed here vanishes from the mount
/// namespaces of others too and is not kept alive by them (as iproute2's ip/ipnetns.c does).
Result<void> prepare_directory() {
    const char* const directory = namespace_directory;
    if (::mkdir(directory, 0755) != 0 && errno != EEXIST) {
        return fail(error_now(std::string{"create "} + directory));
    }
    if (::mount("", directory, "none", MS_SHARED | MS_REC, nullptr) == 0) return {};
    if (errno != EINVAL) return fail(error_now(std::string{"share the mount "} + directory));
    if (::mount(directory, directory, "none", MS_BIND | MS_REC, nullptr) != 0) {
        return fail(error_now(std::string{"bind "} + directory));
    }
    if (::mount("", directory, "none", MS_SHARED | MS_REC, nullptr) != 0) {
        return fail(error_now(std::string{"share the mount "} + directory));
    }
    return {};
}

}   // namespace

Result<Namespace> Namespace::open(const std::string& name) {
    UniqueFd fd{::open(path_of(name).c_str(), O_RDONLY | O_CLOEXEC)};
    if (!fd) return fail(error_now("open network namespace " + name));
    return Namespace{std::move(fd), name};
}

Result<Namespace> Namespace::current() {
    UniqueFd fd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
    if (!fd) return fail(error_now("open the current network namespace"));
    return Namespace{std::move(fd), "(current)"};
}

Result<void> Namespace::enter() const {
    if (::setns(fd_.get(), CLONE_NEWNET) != 0)
        return fail(error_now("enter network namespace " + name_));
    return {};
}

bool Namespace::holds(pid_t process) const {
    struct stat mine {};
    struct stat its {};
    const std::string path = "/proc/" + std::to_string(process) + "/ns/net";
    if (::fstat(fd_.get(), &mine) != 0 || ::stat(path.c_str(), &its) != 0) return false;
    return mine.st_dev == its.st_dev && mine.st_ino == its.st_ino;
}

Result<void> make_namespace(const std::string& name) {
    if (const auto prepared = prepare_directory(); !prepared) return prepared;
    const std::string doing = "make network namespace " + name;
    const auto here = Namespace::current();
    if (!here) return pass_on(here);
    {
        const UniqueFd file{
            ::open(path_of(name).c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0)};
        if (!file) return fail(error_now(doing));
    }
    Result<void> made;
    if (::unshare(CLONE_NEWNET) != 0) {
        made = fail(error_now(doing));
    } else {
        if (::mount("/proc/thread-self/ns/net", path_of(name).c_str(), "none", MS_BIND, nullptr) !=
            0) {
            made = fail(error_now(doing));
        }
        OVERLAY_ASSERT(here->enter());
    }
    if (!made) ::unlink(path_of(name).c_str());
    return made;
}

Result<void> remove_namespace(const std::string& name) {
    const std::string path = path_of(name);
    if (::umount2(path.c_str(), MNT_DETACH) != 0 && errno != ENOENT && errno != EINVAL) {
        return fail(error_now("unmount network namespace " + name));
    }
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
        return fail(error_now("remove network namespace " + name));
    }
    return {};
}

bool namespace_exists(const std::string& name) {
    return ::access(path_of(name).c_str(), F_OK) == 0;
}

Result<void> enter_for_good(const Namespace& there) {
    if (const auto entered = there.enter(); !entered) return entered;
    if (::unshare(CLONE_NEWNS) != 0) return fail(error_now("unshare the mounts"));
    if (::mount("", "/", "none", MS_SLAVE | MS_REC, nullptr) != 0) {
        return fail(error_now("keep the mounts of /sys from others"));
    }
    // Read-only stays read-only: a container's sysfs must not become writable by the way.
    struct statvfs found {};
    const bool is_known = ::statvfs("/sys", &found) == 0;
    const unsigned long flags = is_known && (found.f_flag & ST_RDONLY) != 0 ? MS_RDONLY : 0;
    (void)::umount2("/sys", MNT_DETACH);
    if (::mount("sysfs", "/sys", "sysfs", flags, nullptr) != 0)
        return fail(error_now("mount /sys"));
    return {};
}

}   // namespace overlay::netlink
