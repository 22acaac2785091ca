#pragma once
// Files as the rest of daemon/ sees them: whole, atomically replaced, with the errors of the kernel in words.

#include "netlink/fd.hpp"
#include "topology/result.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace overlay::io {

using netlink::UniqueFd;

/// errno → Error, with the kind and the hint that fit.
[[nodiscard]] Error system_error(std::string doing, int error_number);

/// The whole file, at most `max_bytes`. Errors: NotFound, NotPermitted, Failed (too large).
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t max_bytes);

/// Where relative paths in a file start: "." for a bare name, "/" for "/name".
[[nodiscard]] std::string directory_of(const std::string& path);

/// Writes beside, syncs file and directory, renames over; on failure nothing of it is left. What is there
/// must be a regular file. `mode` as for open(2).
[[nodiscard]] Result<void> replace_file(const std::string& path, const std::string& content, unsigned mode);

/// Makes the directory and its parents (0755 for parents).
[[nodiscard]] Result<void> make_directories(const std::string& path, unsigned mode);

[[nodiscard]] Result<void> remove_file(const std::string& path);   ///< a missing file is no error

/// As many as this process may have: the limit that it starts with is a lower one.
void allow_many_descriptors();

/// flock(2), exclusive, with a deadline. On failure, errno says why.
[[nodiscard]] bool lock_within(int fd, std::chrono::milliseconds patience);

/// An exclusive lock held until the object dies. Errors: Busy, naming the holder's process id.
class FileLock {
  public:
    /// Waits for `patience` while somebody else has it.
    [[nodiscard]] static Result<FileLock> acquire(const std::string& path,
                                                  std::chrono::milliseconds patience);
    /// By anybody. A lock that nobody has made is nobody's.
    [[nodiscard]] static bool is_held(const std::string& path);
    /// Who has it just now; empty: nobody, or nobody knows (see open_process). One in another pid namespace goes by
    /// another number there: then this is nobody, or a stranger.
    [[nodiscard]] static UniqueFd holder(const std::string& path);
    /// The process id that who has it calls itself; "": nobody has it.
    [[nodiscard]] static std::string holder_id(const std::string& path);

  private:
    explicit FileLock(UniqueFd fd) : fd_{std::move(fd)} {}
    UniqueFd fd_;
};

}  // namespace overlay::io
