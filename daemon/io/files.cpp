// Whole files and locks. Nothing here knows what the bytes mean.

#include "daemon/io/files.hpp"

#include "daemon/io/process.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace overlay::io {

Error system_error(std::string doing, int error_number) {
    Error error{
        Error::Kind::Failed, std::move(doing), std::strerror(error_number), error_number, {}};
    if (error_number == ENOENT) error.kind = Error::Kind::NotFound;
    if (error_number == EACCES || error_number == EPERM) {
        error.kind = Error::Kind::NotPermitted;
        error.hint = "run as root";
    }
    if (error_number == ENOSPC || error_number == EDQUOT)
        error.hint = "make room on its file system (df -h, df -i), then again";
    return error;
}

namespace {

tl::unexpected<Error> failed(std::string doing) {
    const int saved = errno;
    return fail(system_error(std::move(doing), saved));
}

Result<void> write_all(int fd, const std::string& content, const std::string& path) {
    std::size_t done = 0;
    while (done < content.size()) {
        const ssize_t n = ::write(fd, content.data() + done, content.size() - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return failed("write " + path);
        done += static_cast<std::size_t>(n);
    }
    return {};
}

/// Hidden and with a word of ours, so that no bystander has the name: a left-over of a writer that died is
/// replaced, never added to.
std::string name_beside(const std::string& path) {
    const auto slash = path.rfind('/');
    const std::size_t start = slash == std::string::npos ? 0 : slash + 1;
    return path.substr(0, start) + "." + path.substr(start) + ".overlay-new";
}

/// A rename would put a file in the place of a device, a pipe or a link.
Result<void> check_replaceable(const std::string& path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode)) return {};
    return fail(Error::Kind::Invalid, "write " + path, "it exists and is not a regular file");
}

}  // namespace

std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

Result<std::string> read_file(const std::string& path, std::size_t max_bytes) {
    const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (fd.get() < 0) return failed("open " + path);
    std::string content;
    std::string chunk(64 * 1024, '\0');
    for (;;) {
        const ssize_t n = ::read(fd.get(), chunk.data(), chunk.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return failed("read " + path);
        if (n == 0) return content;
        content.append(chunk, 0, static_cast<std::size_t>(n));
        if (content.size() > max_bytes) {
            return fail(Error::Kind::Invalid, "read " + path,
                        fmt::format("larger than {} bytes", max_bytes));
        }
    }
}

Result<void> replace_file(const std::string& path, const std::string& content, unsigned mode) {
    if (auto possible = check_replaceable(path); !possible) return possible;
    const std::string beside = name_beside(path);
    (void)::unlink(beside.c_str());
    const UniqueFd fd{
        ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)};
    if (fd.get() < 0) return failed("create " + beside);
    auto put = write_all(fd.get(), content, beside);
    if (put && ::fsync(fd.get()) != 0) put = failed("sync " + beside);
    if (put && ::rename(beside.c_str(), path.c_str()) != 0)
        put = failed("rename " + beside + " to " + path);
    if (!put) {
        (void)::unlink(beside.c_str());
        return put;
    }
    const UniqueFd directory{
        ::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (directory.get() < 0 || ::fsync(directory.get()) != 0)
        return failed("sync " + directory_of(path));
    return {};
}

Result<void> make_directories(const std::string& path, unsigned mode) {
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
        const std::string parent = path.substr(0, slash);
        if (::mkdir(parent.c_str(), 0755) != 0 && errno != EEXIST)
            return failed("make directory " + parent);
    }
    if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
        return failed("make directory " + path);
    return {};
}

Result<void> remove_file(const std::string& path) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failed("remove " + path);
    return {};
}

void allow_many_descriptors() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

bool lock_within(int fd, std::chrono::milliseconds patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        const bool waits =
            errno == EWOULDBLOCK && std::chrono::steady_clock::now() < deadline;
        if (!waits) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
    }
    return true;
}

namespace {

/// The process id that the holder of a lock has written, or what was left of an earlier one.
std::string written_in(int fd) {
    std::string out(32, '\0');
    const ssize_t n = ::pread(fd, out.data(), out.size(), 0);
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
}

}  // namespace

Result<FileLock> FileLock::acquire(const std::string& path, std::chrono::milliseconds patience) {
    UniqueFd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (fd.get() < 0) return failed("open lock " + path);
    if (!lock_within(fd.get(), patience)) {
        if (errno != EWOULDBLOCK) return failed("lock " + path);
        const std::string holder = written_in(fd.get());
        return fail(
            Error::Kind::Busy, "lock " + path,
            "another overlayctl is at work" + (holder.empty() ? "" : " (pid " + holder + ")"));
    }
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) {
        return failed("write lock " + path);
    }
    return FileLock{std::move(fd)};
}

bool FileLock::is_held(const std::string& path) {
    const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
    return fd && ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

UniqueFd FileLock::holder(const std::string& path) {
    const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
    if (!fd || !is_held(path)) return {};
    UniqueFd process = open_process(static_cast<pid_t>(std::strtol(written_in(fd.get()).c_str(), nullptr, 10)));
    return is_held(path) ? std::move(process) : UniqueFd{};   // else its number may be another's by now
}

std::string FileLock::holder_id(const std::string& path) {
    const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
    return fd && is_held(path) ? written_in(fd.get()) : "";
}

}  // namespace overlay::io
