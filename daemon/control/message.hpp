#pragma once
// How overlayctl and overlayd talk, over a unix socket at <run>/control.sock. One request, one answer:
//
//     VERB[ ARGUMENT] SIZE\n BODY          "set-link 412\n{…"
//     ok SIZE\n BODY                       error KIND CODE SIZE\n REASON
//
// A body that holds state is kernel state as JSON (topology/state_json.hpp) with just the objects that are meant;
// one of `uapi` is WireGuard's cross-platform text, and may hold keys: whoever has it wipes it.
//
//     state                 → state: every TAP's gretap attributes, ports
//     add-port, remove-port   state with one fou port
//     set-link                state with one TAP: opened when it is new, else changed
//     add-device NAME         a TUN that becomes a WireGuard device
//     remove NAME             forgets a TAP or TUN
//     uapi NAME               set=1 or get=1
//     counters              → JSON: of each link
//     strays                → JSON: of each GUE port and WireGuard device, what came and is of no link
//     stop

#include "topology/result.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace overlay::control {

inline constexpr std::size_t max_head_bytes = 128;
inline constexpr std::size_t max_body_bytes = 8 * 1024 * 1024;

struct Request {
    std::string verb;
    std::string argument;
    std::string body;
};

[[nodiscard]] std::string to_text(const Request& request);
[[nodiscard]] std::string answer(std::string_view body);
[[nodiscard]] std::string answer(const Error& error);

/// Takes one whole request off the front of what has come; nullopt: more must come.
/// Errors: Invalid (not a request, or larger than we take).
[[nodiscard]] Result<std::optional<Request>> take_request(std::string& received);
/// The same for an answer: its body, or the error that it carries.
struct Answer {
    bool complete = false;
    Result<std::string> body;
};
[[nodiscard]] Answer take_answer(std::string& received);

/// <run>/control.sock
[[nodiscard]] std::string socket_path(const std::string& run_directory);
/// <run>/overlayd.lock, which overlayd holds as long as it lives: one per directory.
[[nodiscard]] std::string worker_lock(const std::string& run_directory);
/// <run>/supervisor.lock, which whoever starts another worker when one dies holds as long as it lives.
[[nodiscard]] std::string supervisor_lock(const std::string& run_directory);

}  // namespace overlay::control
