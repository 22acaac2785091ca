// A key is 32 bytes: 43 letters of base64 and '=', or 64 hexadecimal digits. Base64 has '/' among its
// letters, so a path can look like a key that lost its '='; of 43 letters that are a key, some are
// large, some are small, and the last has two bits that are zero.

#include "topology/key_text.hpp"

#include "topology/characters.hpp"
#include "topology/diagnostic.hpp"
#include "topology/utf8.hpp"

#include <algorithm>

namespace overlay {
namespace {

constexpr std::size_t base64_letters = 43;
constexpr std::size_t hex_digits = 64;

bool is_small(char c) { return c >= 'a' && c <= 'z'; }
bool is_large(char c) { return c >= 'A' && c <= 'Z'; }
bool is_base64(char c) {
    return is_small(c) || is_large(c) || is_digit(c) || c == '+' || c == '/';
}
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_word(char c) { return is_small(c) || is_large(c) || is_digit(c) || c == '_' || c == '-'; }

/// Letters of base64 that go on as far as they can; `next` is what stands behind them.
bool is_key(std::string_view letters, char next) {
    if (letters.size() < base64_letters) return false;
    if (next == '=') return true;  // with letters of something else glued to its front, perhaps
    if (letters.size() == hex_digits) return std::all_of(letters.begin(), letters.end(), is_hex);
    constexpr std::string_view last = "AEIMQUYcgkosw048";
    return letters.size() == base64_letters && last.find(letters.back()) != last.npos &&
           std::any_of(letters.begin(), letters.end(), is_small) &&
           std::any_of(letters.begin(), letters.end(), is_large);
}

/// Calls `visit(offset, size)` for each key. The '=' belongs to it.
template <class Visit>
void for_each_key(std::string_view text, Visit visit) {
    for (std::size_t at = 0; at < text.size();) {
        if (!is_base64(text[at])) {
            ++at;
            continue;
        }
        std::size_t end = at;
        while (end < text.size() && is_base64(text[end])) ++end;
        const char next = end < text.size() ? text[end] : '\0';
        if (is_key(text.substr(at, end - at), next)) visit(at, end - at + (next == '=' ? 1 : 0));
        at = end;
    }
}

/// Goes over a file word by word and copies it, with stars where a secret may stand.
class Starrer {
  public:
    explicit Starrer(std::string_view source) : source_{source} {}

    [[nodiscard]] std::string run() {
        while (at_ < source_.size()) {
            if (!is_word(source_[at_])) {
                copy(at_ + 1);
                continue;
            }
            std::size_t end = at_;
            while (end < source_.size() && is_word(source_[end])) ++end;
            const bool secret = !secret_reference(source_.substr(at_, end - at_)).empty();
            copy(end);
            if (secret) star_value();
        }
        return std::move(out_);
    }

  private:
    [[nodiscard]] char peek() const { return at_ < source_.size() ? source_[at_] : '\0'; }

    void copy(std::size_t end) {
        out_ += source_.substr(at_, end - at_);
        at_ = end;
    }

    /// A star for each code point.
    void star(std::size_t end) {
        out_.append(count_code_points(source_.substr(at_, end - at_)), '*');
        at_ = end;
    }

    /// Behind a secret's key: the string in quotes, or what stands there without, to its end or the
    /// line's; of an object or a list, the rest of the line.
    void star_value() {
        constexpr std::string_view quotes = "\"'";
        const auto skip = [&](std::string_view skipped) {
            copy(std::min(source_.find_first_not_of(skipped, at_), source_.size()));
        };
        if (quotes.find(peek()) != quotes.npos && peek() != '\0') copy(at_ + 1);
        skip(" \t\r\n");
        if (peek() != ':' && peek() != '=') return;  // no value follows
        skip(":= \t\r\n");
        const char open = peek();
        if (open == '\0') return;
        if (quotes.find(open) == quotes.npos) {
            const bool nested = open == '{' || open == '[';
            return star(end_of_any(nested ? "\r\n" : ",}] \t\r\n\"'"));
        }
        copy(at_ + 1);
        std::size_t end = at_;
        const auto goes_on = [&] {
            return end < source_.size() && source_[end] != '\n' && source_[end] != '\r';
        };
        while (goes_on() && source_[end] != open) {
            const bool escape = source_[end] == '\\';
            ++end;
            if (escape && goes_on()) ++end;
        }
        star(end);
    }

    [[nodiscard]] std::size_t end_of_any(std::string_view stops) const {
        return std::min(source_.find_first_of(stops, at_), source_.size());
    }

    std::string_view source_;
    std::size_t at_ = 0;
    std::string out_;
};

/// Whether the string that begins at `offset` is the value of "public_key".
bool is_called_public(std::string_view text, std::size_t offset) {
    if (offset == 0 || text[offset - 1] != '"') return false;
    std::string_view before = text.substr(0, offset - 1);
    const auto trim = [&] {
        before = before.substr(0, before.find_last_not_of(blanks) + 1);
    };
    trim();
    if (!before.ends_with(':')) return false;
    before.remove_suffix(1);
    trim();
    return before.ends_with("\"public_key\"");
}

}  // namespace

bool holds_a_key(std::string_view text) {
    bool found = false;
    for_each_key(text, [&](std::size_t, std::size_t) { found = true; });
    return found;
}

std::string without_keys(std::string text) {
    for_each_key(text, [&](std::size_t at, std::size_t size) { text.replace(at, size, size, '*'); });
    return text;
}

std::string without_secrets(std::string_view source) {
    std::string out = Starrer{source}.run();
    for_each_key(out, [&](std::size_t at, std::size_t size) {
        if (!is_called_public(out, at)) out.replace(at, size, size, '*');
    });
    return out;
}

}  // namespace overlay
