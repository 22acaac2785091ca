// From a finding to what a person reads: place, path and message on one line, then the line of the
// file with a caret under the fault, then the hint. The file is not trusted: whatever could steer a
// terminal is shown as an escape, and a line of a megabyte is shown as the part around the fault.

#include "topology/diagnostic.hpp"

#include "topology/key_text.hpp"
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

/// Finds the byte where a column begins. It walks forward where it can, so that many findings on
/// one long line cost one pass.
class Columns {
  public:
    explicit Columns(std::string_view line = {}) : line_{line} {}

    /// Columns count code points from 0; the end of the line if it has fewer.
    [[nodiscard]] std::size_t offset_of(std::size_t column) {
        if (column < column_) column_ = offset_ = 0;
        for (; column_ < column && offset_ < line_.size(); ++column_)
            offset_ += next_code_point(line_, offset_).size_bytes;
        return offset_;
    }

  private:
    std::string_view line_;
    std::size_t column_ = 0, offset_ = 0;
};

struct Line {
    std::string_view text;
    std::size_t indentation = 0;  // blanks are one byte each
    Columns fault, window;        // both are asked for ever greater columns
};

/// Walks the lines of a file forward only, so that many findings cost one pass.
class Lines {
  public:
    explicit Lines(std::string_view source) : source_{without_secrets(source)}, rest_{source_} {
        enter();
    }

    /// Line numbers must not fall from call to call.
    [[nodiscard]] Line& line(std::uint32_t number) {
        for (; number_ < number; ++number_) {
            const std::size_t end = rest_.find('\n');
            rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
            enter();
        }
        return line_;
    }

  private:
    void enter() {
        std::string_view text = rest_.substr(0, rest_.find('\n'));
        if (text.ends_with('\r')) text.remove_suffix(1);
        line_ = Line{text, std::min(text.find_first_not_of(" \t"), text.size()), Columns{text},
                     Columns{text}};
    }

    std::string source_;
    std::string_view rest_;
    std::uint32_t number_ = 1;
    Line line_;
};

/// Without its indentation, cut to a window around the fault, escaped; widths follow the escapes.
ShownLine shown(Line& line, const Span& at) {
    const std::size_t column = at.column > 0 ? at.column - 1 : 0;
    const std::size_t trimmed = std::min(line.indentation, column);
    const std::size_t fault = line.fault.offset_of(column);
    // A line of usual length is shown whole; of a longer one, half a window before the fault.
    const bool whole = line.text.size() - trimmed <= max_shown_columns ||
                       column - trimmed <= max_shown_columns / 2;
    const std::size_t before = whole ? column - trimmed : max_shown_columns / 2;
    const std::size_t begin = line.window.offset_of(column - before);
    Columns behind{line.text.substr(fault)};
    const std::size_t end = fault + behind.offset_of(max_shown_columns - before);

    ShownLine out;
    if (begin > trimmed) out.text = "…";
    std::size_t columns = begin > trimmed ? 1 : 0;
    std::size_t index = 0;  // code points since the fault
    for (std::size_t offset = begin; offset < end;) {
        const CodePoint point = next_code_point(line.text, offset);
        if (offset == fault) out.caret = columns;
        std::string piece;
        append_escaped(piece, line.text, offset, point);
        const std::size_t width = count_code_points(piece);
        out.text += piece;
        columns += width;
        if (offset >= fault && index++ < at.length) out.length += width;
        offset += point.size_bytes;
    }
    if (fault >= end) out.caret = columns;  // the fault is the end of the line
    if (end < line.text.size()) out.text += "…";
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
    if (at.line > 0 && !lines.line(at.line).text.empty()) {
        const ShownLine seen = shown(lines.line(at.line), at);
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
    if (diagnostics.empty()) return out;
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
