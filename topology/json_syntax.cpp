// A walk over JSON text (RFC 8259) with comments. Sizes of tokens follow the grammar exactly, so
// that what stands behind a number such as "01" is seen as the fault that it is.

#include "topology/json_syntax.hpp"

#include "topology/characters.hpp"
#include "topology/utf8.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace overlay {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

std::size_t digits_at(std::string_view text, std::size_t at) {
    const std::size_t from = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    return at - from;
}

/// RFC 8259 §6. The longest beginning that is a number; 0 if none is.
std::size_t number_size(std::string_view text) {
    std::size_t at = text.starts_with('-') ? 1 : 0;
    const std::size_t whole = digits_at(text, at);
    if (whole == 0) return 0;
    at += text[at] == '0' ? 1 : whole;
    if (at < text.size() && text[at] == '.') {
        const std::size_t fraction = digits_at(text, at + 1);
        if (fraction == 0) return at;
        at += 1 + fraction;
    }
    if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
        const bool sign = at + 1 < text.size() && (text[at + 1] == '+' || text[at + 1] == '-');
        const std::size_t exponent = digits_at(text, at + (sign ? 2 : 1));
        if (exponent > 0) at += (sign ? 2 : 1) + exponent;
    }
    return at;
}

/// With its quotes; the whole rest when it is not closed.
std::size_t string_size(std::string_view text) {
    for (std::size_t at = 1; at < text.size(); ++at) {
        if (text[at] == '\\')
            ++at;
        else if (text[at] == '"')
            return at + 1;
    }
    return text.size();
}

std::size_t word_size(std::string_view text) {
    std::size_t at = 0;
    while (at < text.size() && (is_letter(text[at]) || is_digit(text[at]))) ++at;
    return at;
}

std::size_t token_size(std::string_view text) {
    if (text.empty()) return 0;
    if (text[0] == '"') return string_size(text);
    if (text[0] == '-' || is_digit(text[0])) return std::max<std::size_t>(number_size(text), 1);
    return std::max<std::size_t>(word_size(text), 1);
}

}  // namespace

Span TokenWalker::take(std::size_t bytes) {
    Span covered{line_, column_, 0};
    const std::size_t end = std::min(source_.size(), offset_ + bytes);
    while (offset_ < end) {
        const char first = source_[offset_];
        const bool ascii = static_cast<std::uint8_t>(first) < 0x80;
        offset_ += ascii ? 1 : next_code_point(source_, offset_).size_bytes;
        ++covered.length;
        ++column_;
        if (first != '\n') continue;
        ++line_;
        column_ = 1;
    }
    return covered;
}

bool TokenWalker::skip_blanks() {
    while (!at_end()) {
        const std::string_view text = rest();
        const std::size_t run = std::min(text.find_first_not_of(blanks), text.size());
        if (run > 0) {
            take(run);
        } else if (text.starts_with("//")) {
            take(std::min(text.find('\n'), text.size()));
        } else if (text.starts_with("/*")) {
            const std::size_t end = text.find("*/", 2);
            if (end == std::string_view::npos) return false;
            take(end + 2);
        } else {
            return text[0] != '/';
        }
    }
    return true;
}

Span TokenWalker::next_token() {
    while (skip_blanks() && (peek() == ',' || peek() == ':')) take(1);
    last_text_ = rest().substr(0, token_size(rest()));
    last_ = take(last_text_.size());
    return last_;
}

namespace {

Span span_of(TokenWalker walker, std::size_t bytes) { return walker.take(bytes); }

/// A text that the lexer refused: find the first thing in it that is not allowed.
SyntaxFault explain_string(TokenWalker walker) {
    const std::string_view text = walker.rest();
    const std::size_t line_size = std::min(text.find('\n'), text.size());
    const auto fault = [&](std::size_t at, std::size_t size, std::string message) {
        TokenWalker there = walker;
        there.take(at);
        return SyntaxFault{there.take(size), std::move(message), {}};
    };
    bool high_surrogate = false;  // the escape just before was the first half of a pair
    for (std::size_t at = 1; at < line_size && text[at] != '"'; ++at) {
        if (static_cast<std::uint8_t>(text[at]) < 0x20) {
            return fault(at, 1,
                         fmt::format("a control character in a string is written as \\u{:04x}",
                                     static_cast<std::uint8_t>(text[at])));
        }
        const char escape = text[at] == '\\' && at + 1 < line_size ? text[at + 1] : '\0';
        std::uint32_t unit = 0;
        if (escape == 'u') {
            const std::string_view hex = text.substr(at + 2, 4);
            if (hex.size() < 4 || hex.find_first_not_of("0123456789abcdefABCDEF") != hex.npos) {
                return fault(at, 2, "\\u needs four hexadecimal digits");
            }
            unit = static_cast<std::uint32_t>(std::stoul(std::string{hex}, nullptr, 16));
        } else if (text[at] == '\\' && std::string_view{"\"\\/bfnrt"}.find(escape) == text.npos) {
            return fault(at, 2, "no such escape; a backslash itself is written as \\\\");
        }
        const bool low_surrogate = unit >= 0xdc00 && unit <= 0xdfff;
        if (high_surrogate != low_surrogate) {
            const std::size_t half = high_surrogate ? at - 6 : at;
            return fault(half, 6, "half of a surrogate pair; write the character itself");
        }
        high_surrogate = unit >= 0xd800 && unit <= 0xdbff;
        if (text[at] == '\\') at += escape == 'u' ? 5 : 1;
    }
    if (high_surrogate) {
        return fault(std::min(text.find('"', 1), line_size) - 6, 6,
                     "half of a surrogate pair; write the character itself");
    }
    std::string_view line = text.substr(0, line_size);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return SyntaxFault{
        span_of(walker, line.size()), "this string has no closing '\"' on its line", {}};
}

/// Only what resembles a literal is repeated: any other word may be a secret, or the beginning of one.
SyntaxFault unknown_word(const Span& at, std::string_view word) {
    const std::string known = closest(word, {"true", "false", "null"});
    if (known.empty()) {
        return SyntaxFault{at, "this is no JSON value", "strings stand in double quotes"};
    }
    return SyntaxFault{at, fmt::format("'{}' is no JSON value", word),
                       fmt::format("did you mean {}?", known)};
}

SyntaxFault explain_word(TokenWalker walker) {
    const std::string_view word = walker.rest().substr(0, word_size(walker.rest()));
    return unknown_word(span_of(walker, word.size()), word);
}

/// What stands where a value should.
SyntaxFault explain_value(TokenWalker walker, std::string_view expected) {
    if (walker.at_end()) {
        return SyntaxFault{
            walker.take(0), fmt::format("the file ends here; expected {}", expected), {}};
    }
    const char c = walker.peek();
    if (c == '"') return explain_string(walker);
    if (is_letter(c)) return explain_word(walker);
    if (c == '-' || is_digit(c)) {
        const std::size_t size = number_size(walker.rest());
        const std::string_view behind = walker.rest().substr(size);
        if (size == 0) return SyntaxFault{span_of(walker, 1), "a '-' needs digits behind it", {}};
        if (!behind.empty() && std::string_view{".eE"}.find(behind[0]) != std::string_view::npos) {
            return SyntaxFault{span_of(walker, size + 1),
                               fmt::format("a number needs digits behind '{}'", behind[0]),
                               {}};
        }
        return SyntaxFault{span_of(walker, size), "this number does not fit in 64 bits", {}};
    }
    std::string hint = c == '\'' ? "strings stand in double quotes" : "";
    const std::size_t size = next_code_point(walker.rest(), 0).size_bytes;
    return SyntaxFault{span_of(walker, size), fmt::format("expected {} here", expected),
                       std::move(hint)};
}

SyntaxFault explain_key(TokenWalker walker, std::string_view expected) {
    if (walker.at_end() || walker.peek() == '"') return explain_value(walker, expected);
    const std::size_t word = word_size(walker.rest());
    const std::size_t size = std::max(word, next_code_point(walker.rest(), 0).size_bytes);
    return SyntaxFault{span_of(walker, size), fmt::format("expected {} here", expected),
                       word > 0 || walker.peek() == '\'' ? "keys stand in double quotes" : ""};
}

SyntaxFault explain_bad_comment(TokenWalker walker) {
    const bool open = walker.rest().starts_with("/*");
    return SyntaxFault{
        span_of(walker, open ? 2 : 1),
        open ? "this comment is never closed with */" : "a comment begins with // or /*",
        {}};
}

/// The lexer ends a value where it is complete; what was glued to it is the fault then.
std::optional<SyntaxFault> explain_glued(const TokenWalker& walker) {
    const std::string_view last = walker.last_text();
    if (last == "0" && is_digit(walker.peek())) {
        return SyntaxFault{walker.last_token(), "a number has no leading zeros", {}};
    }
    if (last.empty() || !is_letter(last[0]) || last == "true" || last == "false" ||
        last == "null") {
        return std::nullopt;
    }
    return unknown_word(walker.last_token(), last);
}

/// A value is complete: a comma and more, or the closing bracket, must follow.
SyntaxFault explain_after_value(TokenWalker walker, Inside inside) {
    const char closing = inside == Inside::Array ? ']' : '}';
    if (walker.peek() != ',') {
        if (std::optional<SyntaxFault> fault = explain_glued(walker)) return std::move(*fault);
        const std::string wanted = fmt::format("expected ',' or '{}' after this value", closing);
        if (!walker.at_end()) return SyntaxFault{walker.last_token(), wanted, {}};
        return SyntaxFault{walker.take(0), "the file ends here; " + wanted, {}};
    }
    const Span comma = walker.take(1);
    if (!walker.skip_blanks()) return explain_bad_comment(walker);
    if (walker.peek() == closing) {
        return SyntaxFault{comma, fmt::format("no comma may stand before '{}'", closing),
                           "remove the comma"};
    }
    return inside == Inside::Array ? explain_value(walker, "a value")
                                   : explain_key(walker, "a key in double quotes");
}

}  // namespace

SyntaxFault explain_syntax(TokenWalker walker, SyntaxState state, Inside inside) {
    if (!walker.skip_blanks()) return explain_bad_comment(walker);
    switch (state) {
        case SyntaxState::Start: return explain_value(walker, "'{' and a topology");
        case SyntaxState::Opened:
            return inside == Inside::Array ? explain_value(walker, "a value or ']'")
                                           : explain_key(walker, "a key in double quotes or '}'");
        case SyntaxState::Key: {
            if (walker.peek() != ':') {
                return SyntaxFault{
                    walker.last_token(), "expected ':' and a value after this key", {}};
            }
            walker.take(1);
            if (!walker.skip_blanks()) return explain_bad_comment(walker);
            return explain_value(walker, "a value");
        }
        case SyntaxState::Value: return explain_after_value(walker, inside);
        case SyntaxState::Done: break;
    }
    const std::size_t line = std::min(walker.rest().find('\n'), walker.rest().size());
    return SyntaxFault{walker.take(line), "nothing may follow the end of the JSON object", {}};
}

}  // namespace overlay
