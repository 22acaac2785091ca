#pragma once
// Where tokens stand, and what is wrong when they stand wrong. The lexer (nlohmann's) knows a
// token's value but not its place, and says "unexpected end of input; expected ']'"; this file
// walks the same text for the place and for words that help the person who wrote it.

#include "topology/diagnostic.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace overlay {

/// Goes over JSON text once, from token to token, counting lines and code points.
class TokenWalker {
  public:
    explicit TokenWalker(std::string_view source) : source_{source} {}

    /// Skips blanks, comments, ',' and ':' and takes the token behind them, which the lexer has
    /// found good.
    Span next_token();

    /// Skips blanks and comments only. False at a '/' that begins no comment or one that never
    /// ends.
    bool skip_blanks();
    [[nodiscard]] bool at_end() const { return offset_ >= source_.size(); }
    /// The byte here, or '\0' at the end.
    [[nodiscard]] char peek() const { return at_end() ? '\0' : source_[offset_]; }
    [[nodiscard]] std::string_view rest() const { return source_.substr(offset_); }
    /// Goes on by this many bytes and says what they covered.
    Span take(std::size_t bytes);
    [[nodiscard]] const Span& last_token() const { return last_; }
    [[nodiscard]] std::string_view last_text() const { return last_text_; }

  private:
    std::string_view source_;
    std::size_t offset_ = 0;
    std::uint32_t line_ = 1;
    std::uint32_t column_ = 1;
    Span last_;
    std::string_view last_text_;
};

/// What the lexer had just read when it gave up.
enum class SyntaxState { Start, Opened, Key, Value, Done };
enum class Inside { Object, Array };

struct SyntaxFault {
    Span at;
    std::string message;
    std::string hint;
};

/// `walker` stands behind the last good token.
[[nodiscard]] SyntaxFault explain_syntax(TokenWalker walker, SyntaxState state, Inside inside);

}  // namespace overlay
