// The lexer hands over one value after the other; behind it the walker goes over the same bytes
// once more to find where each token began, in lines and code points. When the lexer gives up, we
// look at what stands after the last good token and say in our own words what should have stood
// there.

#include "topology/json_document.hpp"

#include "topology/json_syntax.hpp"
#include "topology/utf8.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace overlay {
namespace {

/// An object or array that is not closed yet.
struct Open {
    JsonValue value;
    std::string key;  // of the member that is being read
    Span key_at;
    bool key_refused = false;
};

/// nlohmann's SAX events become a tree. Returning false stops the lexer.
class Builder {
  public:
    Builder(std::string_view source, std::string_view file_name, const JsonLimits& limits)
        : file_name_{file_name}, limits_{limits}, walker_{source} {}

    bool null() { return add(JsonValue{.at = token()}); }
    bool boolean(bool value) {
        return add(JsonValue{.kind = JsonValue::Kind::Boolean, .at = token(), .boolean = value});
    }
    bool number_integer(std::int64_t value) {
        return add(JsonValue{.kind = JsonValue::Kind::Integer, .at = token(), .integer = value});
    }
    bool number_unsigned(std::uint64_t value) {
        if (value > static_cast<std::uint64_t>(INT64_MAX)) return refused_number("");
        return number_integer(static_cast<std::int64_t>(value));
    }
    bool number_float(double, const std::string& digits) { return refused_number(digits); }
    bool string(std::string& value) {
        const Span at = token();
        if (!check_string(value, at)) {
            return add(JsonValue{.kind = JsonValue::Kind::Refused, .at = at});
        }
        return add(
            JsonValue{.kind = JsonValue::Kind::String, .at = at, .string = std::move(value)});
    }
    bool binary(std::vector<std::uint8_t>&) { return false; }  // JSON text has none
    bool start_object(std::size_t) { return open(JsonValue::Kind::Object); }
    bool start_array(std::size_t) { return open(JsonValue::Kind::Array); }
    bool end_object() {
        mark_repeated(stack_.back().value.members);
        return close();
    }
    bool end_array() { return close(); }
    bool key(std::string& value) {
        Open& object = stack_.back();
        object.key_at = token();
        last_ = SyntaxState::Key;
        object.key.clear();
        object.key_refused = !check_string(value, object.key_at);
        object.key = object.key_refused ? beginning(value) : std::move(value);
        return true;
    }
    template <class Exception>
    bool parse_error(std::size_t, const std::string&, const Exception&) {
        const bool in_array = !stack_.empty() && stack_.back().value.kind == JsonValue::Kind::Array;
        SyntaxFault fault =
            explain_syntax(walker_, last_, in_array ? Inside::Array : Inside::Object);
        report(fault.at, "", std::move(fault.message), std::move(fault.hint));
        return false;
    }

    [[nodiscard]] JsonDocument finish(bool complete) {
        JsonDocument out;
        if (complete) out.root = std::move(root_);
        out.diagnostics = std::move(diagnostics_);
        return out;
    }

  private:
    Span token() { return walker_.next_token(); }

    void report(Span at, std::string path, std::string message, std::string hint = {}) {
        if (diagnostics_.size() >= max_findings) return;
        diagnostics_.push_back(Diagnostic{.at = at,
                                          .path = std::move(path),
                                          .message = std::move(message),
                                          .hint = std::move(hint)});
    }

    /// Of the value that is being read.
    [[nodiscard]] std::string path() const {
        std::string out;
        for (const Open& open : stack_) {
            if (open.value.kind == JsonValue::Kind::Array) {
                out += fmt::format("[{}]", open.value.elements.size());
            } else {
                out += (out.empty() ? "" : ".") + open.key;
            }
        }
        return out;
    }

    bool stop(Span at, std::string message) {
        report(at, stack_.empty() ? "" : path(), std::move(message));
        return false;
    }

    /// False: it cannot be used, and that was said.
    bool check_string(const std::string& value, Span at) {
        const bool too_long = value.size() > limits_.string_bytes;
        if (!too_long && value.find('\0') == std::string::npos) return true;
        report(at, stack_.empty() ? "" : path(),
               too_long ? fmt::format("this string has {} bytes; at most {} are allowed",
                                      value.size(), limits_.string_bytes)
                        : "a NUL character (\\u0000) is not allowed in a string");
        return false;
    }

    /// What findings in the value behind a refused key call it.
    static std::string beginning(const std::string& key) {
        constexpr std::size_t shown_bytes = 16;
        std::size_t end = std::min({key.size(), key.find('\0'), shown_bytes});
        while (end > 0 && end < key.size() && (static_cast<unsigned char>(key[end]) & 0xc0U) == 0x80)
            --end;  // not in the middle of a code point
        return key.substr(0, end) + "…";
    }

    bool refused_number(const std::string& digits) {
        const Span at = token();
        const bool fraction = digits.find_first_of(".eE") != std::string::npos;
        report(at, path(),
               fraction ? "only whole numbers are allowed, without '.' or exponent"
                        : "this number does not fit in 64 bits");
        return add(JsonValue{.kind = JsonValue::Kind::Refused, .at = at});
    }

    /// Counts a value against the limits before it goes into the tree.
    bool admit(const Span& at) {
        if (++values_ > limits_.values) {
            return stop(at, fmt::format("the file has more than {} values", limits_.values));
        }
        if (stack_.empty()) return true;
        const JsonValue& parent = stack_.back().value;
        if (parent.elements.size() + parent.members.size() < limits_.members) return true;
        const std::string_view kind = parent.kind == JsonValue::Kind::Array
                                          ? "array has more than {} elements"
                                          : "object has more than {} keys";
        return stop(at, "this " + fmt::format(fmt::runtime(kind), limits_.members));
    }

    bool add(JsonValue value) {
        if (!admit(value.at)) return false;
        put(std::move(value));
        return true;
    }

    void put(JsonValue value) {
        last_ = SyntaxState::Value;
        if (stack_.empty()) {
            root_ = std::move(value);
            last_ = SyntaxState::Done;
        } else if (Open& parent = stack_.back(); parent.value.kind == JsonValue::Kind::Array) {
            parent.value.elements.push_back(std::move(value));
        } else {
            parent.value.members.push_back(JsonMember{.key = std::exchange(parent.key, {}),
                                                      .key_at = parent.key_at,
                                                      .value = std::move(value),
                                                      .key_refused = parent.key_refused});
        }
    }

    bool open(JsonValue::Kind kind) {
        const Span at = token();
        if (!admit(at)) return false;
        if (stack_.size() >= limits_.depth) {
            return stop(at, fmt::format("nested deeper than {} levels", limits_.depth));
        }
        stack_.push_back(Open{.value = JsonValue{.kind = kind, .at = at}, .key = {}, .key_at = {}});
        last_ = SyntaxState::Opened;
        return true;
    }

    bool close() {
        JsonValue value = std::move(stack_.back().value);
        value.end = token();
        stack_.pop_back();
        put(std::move(value));
        return true;
    }

    /// Sorting, not hashing: keys chosen to collide cost nothing extra.
    void mark_repeated(std::vector<JsonMember>& members) {
        std::vector<std::size_t> order(members.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            return members[a].key < members[b].key;
        });
        std::size_t first = 0;  // index into `order` of the first member with this key
        for (std::size_t i = 1; i < order.size(); ++i) {
            JsonMember& member = members[order[i]];
            const JsonMember& original = members[order[first]];
            if (member.key != original.key) {
                first = i;
                continue;
            }
            member.occurrence = i - first;
            members[order[i - 1]].is_last = false;
            if (member.key_refused || diagnostics_.size() >= max_findings) continue;
            stack_.back().key = member.key;
            report(member.key_at, path(),
                   fmt::format("this key stands twice in the object, first at {}:{}:{}", file_name_,
                               original.key_at.line, original.key_at.column));
        }
    }

    std::string file_name_;
    JsonLimits limits_;
    TokenWalker walker_;
    SyntaxState last_ = SyntaxState::Start;
    std::vector<Open> stack_;
    JsonValue root_;
    std::size_t values_ = 0;
    std::vector<Diagnostic> diagnostics_;
};

std::optional<Diagnostic> unreadable(std::string_view source, const JsonLimits& limits) {
    const auto at = [](std::uint32_t line, std::uint32_t column, std::string message) {
        return Diagnostic{
            .at = {line, column, 1}, .path = {}, .message = std::move(message), .hint = {}};
    };
    if (source.size() > limits.file_bytes) {
        return at(0, 0,
                  fmt::format("the file has {} bytes; at most {} are allowed", source.size(),
                              limits.file_bytes));
    }
    if (source.starts_with("\xef\xbb\xbf")) {
        return at(1, 1, "the file begins with a byte order mark; save it as UTF-8 without one");
    }
    std::uint32_t line = 1, column = 1;
    for (std::size_t offset = 0; offset < source.size();) {
        const CodePoint point = decode_utf8(source, offset);
        if (point.size_bytes == 0) {
            return at(line, column,
                      fmt::format("byte 0x{:02x} is not UTF-8",
                                  static_cast<std::uint8_t>(source[offset])));
        }
        if (point.value == 0) return at(line, column, "a NUL byte; this is not a text file");
        offset += point.size_bytes;
        if (point.value == '\r' && source.substr(offset, 1) != "\n")   // where lines end, programs disagree
            return at(line, column, "a carriage return without a line feed; save it with line feeds");
        line += point.value == '\n' ? 1 : 0;
        column = point.value == '\n' ? 1 : column + 1;
    }
    return std::nullopt;
}

/// At an error the lexer spells out every control character since the last token, at a hundred
/// nanoseconds each: in a run of them, all but the first become blanks here. In a string the first
/// is refused; the first line feed ends a comment.
std::string without_control_runs(std::string_view source) {
    std::string out{source};
    for (std::size_t at = 1; at < source.size(); ++at) {
        const char c = source[at], before = source[at - 1];
        const bool after_one = before == '\n' || (c != '\n' && (before == '\t' || before == '\r'));
        if (after_one && (c == '\n' || c == '\t' || c == '\r')) out[at] = ' ';
    }
    return out;
}

}  // namespace

const JsonMember* JsonValue::find(std::string_view key, std::size_t occurrence) const {
    const auto found =
        std::find_if(members.begin(), members.end(), [&](const JsonMember& member) {
            return member.key == key && member.stands_for(occurrence);
        });
    return found == members.end() ? nullptr : &*found;
}

JsonDocument parse_json(std::string_view source, std::string_view file_name,
                        const JsonLimits& limits) {
    if (std::optional<Diagnostic> why = unreadable(source, limits)) {
        return JsonDocument{.root = std::nullopt, .diagnostics = {std::move(*why)}};
    }
    Builder builder{source, file_name, limits};
    const std::string lexed = without_control_runs(source);
    const bool complete = nlohmann::json::sax_parse(lexed.begin(), lexed.end(), &builder,
                                                    nlohmann::json::input_format_t::json,
                                                    /*strict=*/true, /*ignore_comments=*/true);
    return builder.finish(complete);
}

std::string_view text(JsonValue::Kind kind) {
    switch (kind) {
        case JsonValue::Kind::Null: return "null";
        case JsonValue::Kind::Boolean: return "true or false";
        case JsonValue::Kind::Integer: return "a number";
        case JsonValue::Kind::String: return "a string";
        case JsonValue::Kind::Array: return "a list";
        case JsonValue::Kind::Object: return "an object";
        case JsonValue::Kind::Refused: return "what was refused";
    }
    return "?";
}

}  // namespace overlay
