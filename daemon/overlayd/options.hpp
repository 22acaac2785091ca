#pragma once
// What overlayd is told at its start: on the command line, and in a file, which holds for one that overlayctl starts,
// too. A line of the file is the long name of an option and its value; the command line has the last word.
//
//     # /etc/overlay/overlayd.conf
//     offload = device

#include "daemon/overlayd/service.hpp"

#include <string>
#include <vector>

namespace overlay::overlayd {

struct Options {
    ServiceOptions service;
    io::Offloads offloads;
    datapath::Memory memory = datapath::default_memory;
    unsigned threads = 1;   ///< 1 to Engine::max_threads
    int ready_fd = -1;
    bool supervise = false;
    bool version = false;   ///< is all that is asked for
    std::string help;       ///< the text, if that is all that is asked for
};

/// `words`: without the program's name. Errors: Invalid, naming the option, or the file and its line; those of
/// read_file. Whom to tell of a mistake in the file, `out` knows all the same.
[[nodiscard]] Result<void> read_options(const std::vector<std::string>& words, Options& out);

}  // namespace overlay::overlayd
