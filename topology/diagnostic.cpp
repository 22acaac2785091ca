// From a finding to what a person reads: place, path and message on one line, then the line of the
// file with a caret under the fault, then the hint. The file is not trusted: whatever could steer a
// terminal is shown as an escape, and a line of a megabyte is shown as the part around the fault.

#include "topology/diagnostic.hpp"

#include "topology/utf8.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay {
namespace {

constexpr std::size_t max_shown_columns = 100;
constexpr std::size_t max_word_bytes = 64;  // did-you-mean: longer words are not slips of the pen

struct ShownLine {
    std::string text;
    std::size_t caret = 0;   // columns before the caret
    std::size_t length = 0;  // of what the caret underlines
};

void append_escaped(std::string& out, std::string_view text, std::size_t offset, CodePoint point) {
    if (point.value == '\t') {
        out += ' ';
    } else if (is_unprintable(point.value)) {
        out += fmt::format("\\u{:04x}", point.value);
    } else {
        const bool valid = decode_utf8(text, offset).size_bytes > 0;
        out += valid ? text.substr(offset, point.size_bytes) : std::string_view{"\xef\xbf\xbd"};
    }
}

std::string escaped(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint point = next_code_point(text, at);
        append_escaped(out, text, at, point);
        at += point.size_bytes;
    }
    return out;
}

bool looks_like_a_key(std::string_view text) {
    constexpr std::string_view letters =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    return text.size() == 44 && text.find_first_not_of(letters) == 43 && text[43] == '=';
}

/// Stars over what may be a secret: the string behind a secret's key, and whatever looks like a
/// WireGuard key but is not called a public one.
std::string without_secrets(std::string_view line) {
    std::string out;
    std::string_view before;  // the string before this one
    while (true) {
        const std::size_t open = std::min(line.find('"'), line.size());
        out += line.substr(0, open);
        if (open == line.size()) return out;
        std::size_t close = open + 1;
        while (close < line.size() && line[close] != '"') close += line[close] == '\\' ? 2U : 1U;
        close = std::min(close, line.size());
        const std::string_view content = line.substr(open + 1, close - open - 1);
        const bool secret = !secret_reference(before).empty() ||
                            (looks_like_a_key(content) && before != "public_key");
        out += '"';
        out += secret ? std::string(count_code_points(content), '*') : std::string{content};
        if (close < line.size()) out += '"';
        before = content;
        line.remove_prefix(std::min(close + 1, line.size()));
    }
}

/// Walks the lines of a file forward only, so that many findings cost one pass.
class Lines {
  public:
    explicit Lines(std::string_view source) : rest_{source} {}

    /// Line numbers must not fall from call to call.
    [[nodiscard]] std::string_view line(std::uint32_t number) {
        for (; number_ < number; ++number_) {
            const std::size_t end = rest_.find('\n');
            if (end == std::string_view::npos) return {};
            rest_.remove_prefix(end + 1);
        }
        std::string_view found = rest_.substr(0, rest_.find('\n'));
        if (found.ends_with('\r')) found.remove_suffix(1);
        return found;
    }

  private:
    std::string_view rest_;
    std::uint32_t number_ = 1;
};

/// Byte offset of a column that counts code points from 0; the end of the line if it has fewer.
std::size_t offset_of(std::string_view line, std::size_t column) {
    std::size_t at = 0;
    for (; column > 0 && at < line.size(); --column) at += next_code_point(line, at).size_bytes;
    return at;
}

/// Without its indentation, cut to a window around the fault, escaped; widths follow the escapes.
ShownLine shown(std::string_view line, const Span& at) {
    std::size_t column = at.column > 0 ? at.column - 1 : 0;
    const std::size_t blank = std::min(line.find_first_not_of(" \t"), line.size());
    const std::size_t trimmed = std::min(blank, column);
    line.remove_prefix(trimmed);  // blanks are one byte each
    column -= trimmed;

    ShownLine out;
    const std::size_t fault = offset_of(line, column);
    // A line of usual length is shown whole; of a longer one, half a window before the fault.
    const bool whole = line.size() <= max_shown_columns || column <= max_shown_columns / 2;
    const std::size_t before = whole ? column : max_shown_columns / 2;
    const std::size_t begin = offset_of(line, column - before);
    const std::size_t room = max_shown_columns - before;
    const std::size_t end = fault + offset_of(line.substr(fault), room);
    if (begin > 0) out.text = "…";
    std::size_t columns = begin > 0 ? 1 : 0;
    std::size_t index = 0;  // code points since the fault
    for (std::size_t offset = begin; offset < end;) {
        const CodePoint point = next_code_point(line, offset);
        if (offset == fault) out.caret = columns;
        const std::size_t size_before = count_code_points(out.text);
        append_escaped(out.text, line, offset, point);
        const std::size_t width = count_code_points(out.text) - size_before;
        columns += width;
        if (offset >= fault && index++ < at.length) out.length += width;
        offset += point.size_bytes;
    }
    if (fault >= end) out.caret = columns;  // the fault is the end of the line
    if (end < line.size()) out.text += "…";
    return out;
}

std::string one_finding(const Diagnostic& diagnostic, std::string_view file_name, Lines& lines) {
    std::string out = escaped(file_name);
    const Span& at = diagnostic.at;
    if (at.line > 0) out += fmt::format(":{}:{}", at.line, at.column);
    out += ": ";
    if (diagnostic.severity == Diagnostic::Severity::Warning) out += "warning: ";
    if (!diagnostic.path.empty()) out += escaped(diagnostic.path) + ": ";
    out += escaped(diagnostic.message) + "\n";
    const std::string line = at.line > 0 ? without_secrets(lines.line(at.line)) : std::string{};
    if (!line.empty()) {
        const ShownLine seen = shown(line, at);
        out += "    " + seen.text + "\n    " + std::string(seen.caret, ' ') + '^';
        if (seen.length > 1) out += std::string(seen.length - 1, '~');
        out += "\n";
    }
    if (!diagnostic.hint.empty()) out += "    hint: " + escaped(diagnostic.hint) + "\n";
    return out;
}

}  // namespace

std::string text(const Diagnostic& diagnostic, std::string_view file_name,
                 std::string_view source) {
    Lines lines{source};
    return one_finding(diagnostic, file_name, lines);
}

std::string text(std::vector<Diagnostic> diagnostics, std::string_view file_name,
                 std::string_view source) {
    std::stable_sort(diagnostics.begin(), diagnostics.end(),
                     [](const Diagnostic& a, const Diagnostic& b) { return a.at < b.at; });
    std::string out;
    Lines lines{source};
    for (const Diagnostic& diagnostic : diagnostics) {
        out += one_finding(diagnostic, file_name, lines);
    }
    return out;
}

bool has_errors(const std::vector<Diagnostic>& diagnostics) {
    return std::any_of(diagnostics.begin(), diagnostics.end(), [](const Diagnostic& diagnostic) {
        return diagnostic.severity == Diagnostic::Severity::Error;
    });
}

std::string_view secret_reference(std::string_view key) {
    if (key.size() > max_word_bytes) return {};
    std::string plain;
    for (const char c : key) {
        if (c == '_' || c == '-') continue;
        plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    if (plain == "presharedkey" || plain == "psk") return "preshared_key_file";
    const bool secret = plain == "privatekey" || plain == "secretkey" || plain == "secret" ||
                        plain == "password" || plain == "passphrase";
    return secret ? "private_key_file" : "";
}

namespace {

/// Upper and lower case count as the same letter, and so do '-' and '_': "MTU" is no typing error.
char folded(char letter) {
    if (letter >= 'A' && letter <= 'Z') return static_cast<char>(letter - 'A' + 'a');
    return letter == '-' ? '_' : letter;
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> two_up(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        two_up = above;
        above = row;
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const bool same = folded(a[i - 1]) == folded(b[j - 1]);
            row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (same ? 0U : 1U)});
            const bool swapped = i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) &&
                                 folded(a[i - 2]) == folded(b[j - 1]);
            if (swapped) row[j] = std::min(row[j], two_up[j - 2] + 1);
        }
    }
    return row[b.size()];
}

}  // namespace

std::string closest(std::string_view word, const std::vector<std::string>& candidates) {
    if (word.empty() || word.size() > max_word_bytes) return {};
    std::string best;
    std::size_t smallest = 2 + word.size() / 4;
    for (const std::string& candidate : candidates) {
        const std::size_t apart = distance(word, candidate);
        if (apart >= smallest || apart >= candidate.size()) continue;
        smallest = apart;
        best = candidate;
    }
    return best;
}

}  // namespace overlay
