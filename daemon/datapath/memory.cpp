#include "daemon/datapath/memory.hpp"

#include <fmt/format.h>

namespace overlay::datapath {

Result<Memory> Memory::parse(std::string_view word) {
    if (word == "default") return default_memory;
    if (word == "small") return small_memory;
    return fail(Error::Kind::Invalid, "read the size of memory",
                fmt::format("\"{}\" is neither default nor small", word));
}

}  // namespace overlay::datapath
