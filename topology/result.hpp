#pragma once
// How failure of the environment travels: as a value that says what we were doing, what the kernel or
// the C library answered, and what to try. The one file that names tl::expected.
// (A bug of ours is OVERLAY_ASSERT; hostile or mistaken input is a Diagnostic or a drop reason.)

#include <tl/expected.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

namespace overlay {

struct Error {
    enum class Kind {
        Failed,         ///< the environment said no
        NotPermitted,   ///< EPERM, EACCES: a privilege is missing
        Unsupported,    ///< this kernel or host lacks a feature
        NotFound,       ///< a thing that must exist does not
        Invalid,        ///< the input is wrong; the text says where
        Conflict,       ///< somebody else's object is in the way
        Busy,           ///< another writer is at work
    };
    Kind kind = Kind::Failed;
    std::string doing;    ///< "create link gretap_office"
    std::string reason;   ///< "No such device", with the kernel's extended-ACK text where it gave one
    int code = 0;         ///< errno, positive; 0 when no system call is to blame
    std::string hint;     ///< what to try; may be empty

    friend bool operator==(const Error&, const Error&) = default;
};

template <class T>
using Result = tl::expected<T, Error>;

[[nodiscard]] inline tl::unexpected<Error> fail(Error::Kind kind, std::string_view doing,
                                                std::string_view reason, int code = 0) {
    return tl::unexpected<Error>{Error{kind, std::string{doing}, std::string{reason}, code, {}}};
}

[[nodiscard]] inline tl::unexpected<Error> fail(Error error) {
    return tl::unexpected<Error>{std::move(error)};
}

/// Hands a failure on to our own caller, whatever type we would have returned.
template <class T>
[[nodiscard]] tl::unexpected<Error> pass_on(const Result<T>& result) {
    return tl::unexpected<Error>{result.error()};
}

/// "create link gretap_office: Operation not permitted (hint: run as root)"
[[nodiscard]] inline std::string text(const Error& error) {
    std::string out = error.doing + ": " + error.reason;
    if (!error.hint.empty()) out += " (hint: " + error.hint + ")";
    return out;
}

/// For bugs of ours only, never for input: says where and aborts, in release builds too.
#define OVERLAY_ASSERT(condition)                                                                  \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: bug: %s\n", __FILE__, __LINE__, #condition);              \
            std::abort();                                                                          \
        }                                                                                          \
    } while (false)

/// Where control cannot come unless we have a bug.
#define OVERLAY_UNREACHABLE(why)                                                                   \
    do {                                                                                           \
        std::fprintf(stderr, "%s:%d: bug: %s\n", __FILE__, __LINE__, why);                         \
        std::abort();                                                                              \
    } while (false)

template <class... Ts>
struct Overloaded : Ts... {
    using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace overlay
