#pragma once
// JSON text as a tree that knows where each key and value stands. nlohmann's SAX parser is the
// lexer; we add the places, the limits that keep a hostile file from costing time or memory, and
// messages of our own.
//
// Refused here: what is not JSON, not UTF-8, not an integer where a number stands, said twice in
// one object, or too big. What can be read on behind is kept, so that the rest of the file is
// judged, too. What the keys mean is parse.cpp's business.

#include "topology/diagnostic.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace overlay {

struct JsonMember;

struct JsonValue {
    enum class Kind {
        Null,
        Boolean,
        Integer,
        String,
        Array,
        Object,
        Refused,  ///< something stands here, and why it is wrong was said: say nothing more
    };
    Kind kind = Kind::Null;
    Span at;   ///< of the whole token; of the bracket for arrays and objects
    Span end;  ///< of the closing bracket
    bool boolean = false;
    std::int64_t integer = 0;
    std::string string;
    std::vector<JsonValue> elements;  ///< of an array
    std::vector<JsonMember> members;  ///< of an object, in order of the file

    /// Of a key that is repeated, the given occurrence, or the last if there are fewer.
    [[nodiscard]] const JsonMember* find(std::string_view key, std::size_t occurrence = 0) const;
};

struct JsonMember {
    std::string key;
    Span key_at;
    JsonValue value;
    bool key_refused = false;     ///< the key is a piece of one that was refused, and that was said
    std::size_t occurrence = 0;   ///< how many members before this one have the same key
    bool is_last = true;          ///< none behind it has

    [[nodiscard]] bool stands_for(std::size_t wanted) const {
        return occurrence == wanted || (is_last && occurrence < wanted);
    }
};

/// A file with more findings is mended faster from the first ones; and a hostile one costs no more.
inline constexpr std::size_t max_findings = 200;

struct JsonLimits {
    std::size_t file_bytes = 1U << 20U;  ///< a node is some 300 bytes
    std::size_t depth = 32;
    std::size_t members = 4096;  ///< of one object or array
    std::size_t values = 65536;  ///< in the whole file
    std::size_t string_bytes = 4096;
};

struct JsonDocument {
    std::optional<JsonValue> root;  ///< absent when the text is not JSON
    std::vector<Diagnostic> diagnostics;
};

/// Linear in the size of the text, without recursion. Stops at the first syntax error and at a
/// broken limit of depth or number; repeated keys, and strings and numbers that are not allowed, are
/// collected.
[[nodiscard]] JsonDocument parse_json(std::string_view source, std::string_view file_name,
                                      const JsonLimits& limits = {});

/// "an object", "a string", …
[[nodiscard]] std::string_view text(JsonValue::Kind kind);

}  // namespace overlay
