#include "daemon/io/unix_address.hpp"

#include <cerrno>

#include <fcntl.h>

namespace overlay::io {

Result<UnixAddress> UnixAddress::of(const std::string& path) {
    UnixAddress out;
    std::string shown = path;
    if (path.size() >= sizeof out.address_.sun_path) {
        out.directory_ = UniqueFd{::open(directory_of(path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (!out.directory_) return fail(system_error("open " + directory_of(path), errno));
        shown = "/proc/self/fd/" + std::to_string(out.directory_.get()) + "/" +
                path.substr(path.rfind('/') + 1);
    }
    if (shown.size() >= sizeof out.address_.sun_path)
        return fail(Error::Kind::Invalid, "use " + path, "the name is too long for a socket", ENAMETOOLONG);
    shown.copy(out.address_.sun_path, shown.size());
    return out;
}

}  // namespace overlay::io
