#pragma once
// Typed reading from the JSON tree: each value is asked for by key and type, and whatever does not
// fit becomes a finding while the reading goes on, so that one run shows them all. A field keeps
// its default when its value was refused; the findings then keep the topology from being used.

#include "topology/json_document.hpp"
#include "topology/topology.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace overlay {

/// One value of the file and what messages call it: "spokes.office.link.ttl".
struct Item {
    const JsonValue* value = nullptr;
    std::string path;
    [[nodiscard]] const Span& at() const { return value->at; }
};

/// Collects what is wrong.
class Findings {
  public:
    explicit Findings(std::string_view file_name) : file_name_{file_name} {}

    void error(const Span& at, std::string_view path, std::string message, std::string hint = {});
    void warning(const Span& at, std::string_view path, std::string message, std::string hint = {});
    /// "home.json:33:17", for the other place of a conflict.
    [[nodiscard]] std::string place(const Span& at) const;
    [[nodiscard]] std::vector<Diagnostic> take() { return std::exchange(found_, {}); }
    [[nodiscard]] bool is_full() const { return found_.size() >= max_findings; }

  private:
    std::string file_name_;
    std::vector<Diagnostic> found_;
};

/// Both ends belong to the range.
struct Range {
    std::int64_t least = 0;
    std::int64_t most = 0;
};

/// From text to value, or the reason why not. Specialised in reader.cpp for each type of the file.
template <class T>
std::optional<T> read_text(Findings& findings, const Item& item);
template <>
std::optional<std::string> read_text(Findings& findings, const Item& item);
template <>
std::optional<IpAddress> read_text(Findings& findings, const Item& item);
template <>
std::optional<IpPrefix> read_text(Findings& findings, const Item& item);
template <>
std::optional<MacAddress> read_text(Findings& findings, const Item& item);
template <>
std::optional<IfName> read_text(Findings& findings, const Item& item);
template <>
std::optional<PublicKey> read_text(Findings& findings, const Item& item);
template <>
std::optional<Endpoint> read_text(Findings& findings, const Item& item);
template <>
std::optional<Family> read_text(Findings& findings, const Item& item);
template <>
std::optional<LinkType> read_text(Findings& findings, const Item& item);

/// A file's text as a message may show it: in quotes, cut when long.
[[nodiscard]] std::string quoted(std::string_view text);
/// "a, b and c"
[[nodiscard]] std::string listed(const std::vector<std::string>& words);

[[nodiscard]] bool expect(Findings& findings, const Item& item, JsonValue::Kind kind);
[[nodiscard]] std::optional<bool> read_boolean(Findings& findings, const Item& item);
[[nodiscard]] std::optional<std::int64_t> read_integer(Findings& findings, const Item& item,
                                                       Range range);

/// What a setting may be besides a word.
struct Alternative {
    JsonValue::Kind kind = JsonValue::Kind::Integer;
    std::string_view word;
};
[[nodiscard]] bool expect_setting(Findings& findings, const Item& item, const Alternative& other);

template <class T>
std::optional<T> read_value(Findings& findings, const Item& item) {
    if constexpr (std::is_same_v<T, bool>)
        return read_boolean(findings, item);
    else
        return read_text<T>(findings, item);
}

/// Two words for on and off.
struct Switch {
    std::string_view on;
    std::string_view off;
};
[[nodiscard]] bool read_switch(Findings& findings, const Item& item, const Switch& words,
                               bool fallback);

/// "hub" and "bridge" → "hub.bridge"
[[nodiscard]] std::string joined(const std::string& path, std::string_view key);

/// Which keys an object may have, and why others that exist elsewhere in the file do not belong
/// here.
struct KeyTable {
    std::vector<std::string> allowed;
    std::map<std::string, std::string, std::less<>> misplaced;  ///< key → message
};

enum class ListForm { List, OneOrList };
enum class Empty { Allowed, Refused };

/// An object of the file. Unknown and misplaced keys are reported when it is opened.
class ObjectReader {
  public:
    ObjectReader(Findings& findings, const Item& item, const KeyTable& keys);

    [[nodiscard]] bool is_object() const { return item_.value->kind == JsonValue::Kind::Object; }
    [[nodiscard]] const Span& at() const { return item_.value->at; }
    [[nodiscard]] const std::string& path() const { return item_.path; }
    [[nodiscard]] Findings& findings() const { return findings_; }

    [[nodiscard]] bool has(std::string_view key) const { return find(key).has_value(); }
    [[nodiscard]] std::optional<Item> find(std::string_view key) const;
    /// As find(), but a finding when it is absent.
    std::optional<Item> require(std::string_view key, std::string hint = {}) const;

    /// A value of its own place; the field's default, if it has none, is placed at this object.
    template <class T>
    void read(std::string_view key, Located<T>& field) const {
        field.at = at();
        if (const auto item = find(key)) store(*item, field);
    }
    template <class T>
    void read(std::string_view key, std::optional<Located<T>>& field) const {
        if (const auto item = find(key)) store(*item, field);
    }
    void read(std::string_view key, bool& field) const {
        if (const auto item = find(key)) field = read_boolean(findings_, *item).value_or(field);
    }
    template <class T>
    void require(std::string_view key, Located<T>& field, std::string hint = {}) const {
        field.at = at();
        if (const auto item = require(key, std::move(hint))) store(*item, field);
    }

    template <class T>
    void number(std::string_view key, Located<T>& field, Range range) const {
        field.at = at();
        if (const auto item = find(key)) store_number(*item, field, range);
    }
    template <class T>
    void number(std::string_view key, std::optional<Located<T>>& field, Range range) const {
        if (const auto item = find(key)) store_number(*item, field, range);
    }
    /// False: the key is absent.
    bool number(std::string_view key, std::uint32_t& field, Range range) const {
        const auto item = find(key);
        if (!item) return false;
        if (const auto value = read_integer(findings_, *item, range)) {
            field = static_cast<std::uint32_t>(*value);
        }
        return true;
    }

    /// A text or `word`, which leaves the matter to the kernel.
    template <class T>
    void setting(std::string_view key, Setting<T>& field, std::string_view word) const {
        setting_with(key, field, Alternative{JsonValue::Kind::String, word},
                     [&](const Item& item) { return read_text<T>(findings_, item); });
    }
    /// A number or `word`.
    template <class T>
    void setting(std::string_view key, Setting<T>& field, std::string_view word,
                 Range range) const {
        setting_with(
            key, field, Alternative{JsonValue::Kind::Integer, word},
            [&](const Item& item) { return narrow<T>(read_integer(findings_, item, range)); });
    }

    template <class T>
    void list(std::string_view key, std::vector<Located<T>>& field, ListForm form = ListForm::List,
              Empty empty = Empty::Allowed) const {
        for (const Item& item : elements(key, form, empty)) {
            if (auto value = read_value<T>(findings_, item)) {
                field.push_back(Located<T>{std::move(*value), item.at()});
            }
        }
    }
    /// The elements of a list; a single value counts as a list of one if `form` says so.
    [[nodiscard]] std::vector<Item> elements(std::string_view key, ListForm form,
                                             Empty empty) const;
    [[nodiscard]] std::vector<std::pair<Span, Item>> members()
        const;  ///< with the places of the keys

  private:
    template <class T, class Field>
    void store_value(std::optional<T> value, const Item& item, Field& field) const {
        if (value) field = Located<T>{std::move(*value), item.at()};
    }
    template <class T>
    void store(const Item& item, Located<T>& field) const {
        store_value(read_value<T>(findings_, item), item, field);
    }
    template <class T>
    void store(const Item& item, std::optional<Located<T>>& field) const {
        store_value(read_value<T>(findings_, item), item, field);
    }
    template <class T>
    void store_number(const Item& item, Located<T>& field, Range range) const {
        store_value(narrow<T>(read_integer(findings_, item, range)), item, field);
    }
    template <class T>
    void store_number(const Item& item, std::optional<Located<T>>& field, Range range) const {
        store_value(narrow<T>(read_integer(findings_, item, range)), item, field);
    }
    /// The range was checked before and fits the type.
    template <class T>
    static std::optional<T> narrow(std::optional<std::int64_t> value) {
        if (!value) return std::nullopt;
        if constexpr (std::is_same_v<T, Mtu>)
            return Mtu{static_cast<std::uint32_t>(*value)};
        else
            return static_cast<T>(*value);
    }
    template <class T, class Read>
    void setting_with(std::string_view key, Setting<T>& field, const Alternative& other,
                      Read read) const {
        field.at = at();
        const auto item = find(key);
        if (!item) return;
        field.at = item->at();
        if (item->value->kind == JsonValue::Kind::String && item->value->string == other.word) {
            field.mode = Setting<T>::Mode::Kernel;
        } else if (expect_setting(findings_, *item, other)) {
            auto value = read(*item);
            if (!value) return;
            field.mode = Setting<T>::Mode::Stated;
            field.value = std::move(*value);
        }
    }

    Findings& findings_;
    Item item_;
};

}  // namespace overlay
