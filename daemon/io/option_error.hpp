#pragma once
// What Boost.Program_options says of a mistake, for both programs.

#include <boost/program_options/errors.hpp>

#include <string>
#include <string_view>

namespace overlay::io {

/// `read`: what the mistake is in. Boost puts parts of it in place of %mark%s of its sentence, for ever where a part
/// has such a mark in it (1.74, error_with_option_name::replace_token): of what has a "%" we say but our own words.
[[nodiscard]] inline std::string reason_of(const boost::program_options::error& error, std::string_view read) {
    if (read.find('%') == std::string_view::npos) return error.what();
    return "unknown, incomplete, or said twice (there is a \"%\", which nothing here needs)";
}

}  // namespace overlay::io
