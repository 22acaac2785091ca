#pragma once
// What is wrong with a file, said to the person who can mend it: where, which object, what, and a hint.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace overlay {

/// A place in the file. Lines and columns count from 1; columns count code points, as
/// editors do. `length` is what the caret underlines. Line 0: no place (the command line, a default).
struct Span {
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    std::uint32_t length = 0;
    friend auto operator<=>(const Span&, const Span&) = default;
};

/// A value and where the file says it; of the enclosing object when the value is a default.
template <class T>
struct Located {
    T value{};
    Span at;
};

struct Diagnostic {
    enum class Severity { Error, Warning };
    Severity severity = Severity::Error;
    Span at;
    std::string path;      ///< "spokes.office.link.address"
    std::string message;   ///< without place and path
    std::string hint;      ///< may be empty
    friend bool operator==(const Diagnostic&, const Diagnostic&) = default;
};

/// "home.json:41:17: spokes.office.link.address: …", the source line, the caret, the hint; ends in \n.
/// Control characters of the file are shown escaped, never sent to the terminal.
[[nodiscard]] std::string text(const Diagnostic& diagnostic, std::string_view file_name,
                               std::string_view source);

/// Sorts by place and prints each.
[[nodiscard]] std::string text(std::vector<Diagnostic> diagnostics, std::string_view file_name,
                               std::string_view source);

[[nodiscard]] bool has_errors(const std::vector<Diagnostic>& diagnostics);

/// For a key that would hold a secret ("private_key", "PSK", …): the key of the file reference that belongs
/// in its place; else "". What stands behind such a key is never shown.
[[nodiscard]] std::string_view secret_reference(std::string_view key);

/// The candidate within a small edit distance of `word` (Damerau-Levenshtein, ≤ 1 + length/4), or "".
[[nodiscard]] std::string closest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace overlay
