#pragma once
// Typed reading from the JSON tree: each value is asked for by key and type, and whatever does not
// fit becomes a finding while the reading goes on, so that one run shows them all. Where a value
// was refused, a stand-in of the present reading goes into the field (stand_in.hpp); the findings
// then keep the topology from being used.

#include "topology/json_document.hpp"
#include "topology/stand_in.hpp"
#include "topology/topology.hpp"

#include <deque>
#include <map>
#include <set>
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

/// A value that is one of several that the file states for the same thing.
struct Alternative {
    Span begin, end;         ///< both belong to it
    std::size_t number = 0;  ///< of those before it
};

/// Collects what is wrong, in one reading of the file.
class Findings {
  public:
    explicit Findings(std::string_view file_name, Reading reading = {})
        : file_name_{file_name}, reading_{reading} {}

    /// Keys in the texts are starred out (key_text.hpp).
    void error(const Span& at, std::string_view path, std::string message, std::string hint = {});
    void warning(const Span& at, std::string_view path, std::string message, std::string hint = {});
    /// "home.json:33:17", for the other place of a conflict.
    [[nodiscard]] std::string place(const Span& at) const;
    [[nodiscard]] std::vector<Diagnostic> take() { return std::exchange(found_, {}); }
    [[nodiscard]] bool is_full() const { return found_.size() >= max_findings; }

    [[nodiscard]] const Reading& reading() const { return reading_; }
    [[nodiscard]] const std::vector<Alternative>& alternatives() const { return alternatives_; }
    void add(const Alternative& alternative) { alternatives_.push_back(alternative); }

  private:
    std::string file_name_;
    Reading reading_;
    std::vector<Diagnostic> found_;
    std::vector<Alternative> alternatives_;
};

/// The members of an object that count in this reading: each key once.
[[nodiscard]] std::vector<const JsonMember*> members_of(Findings& findings, const JsonValue& object);

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
template <>
std::optional<DatapathChoice> read_text(Findings& findings, const Item& item);

/// A file's text as a message may show it: in quotes, cut when long.
[[nodiscard]] std::string in_quotes(std::string_view text);
/// "a, b and c"
[[nodiscard]] std::string listed(const std::vector<std::string>& words);

[[nodiscard]] bool expect(Findings& findings, const Item& item, JsonValue::Kind kind);
[[nodiscard]] std::optional<bool> read_boolean(Findings& findings, const Item& item);
[[nodiscard]] std::optional<std::int64_t> read_integer(Findings& findings, const Item& item,
                                                       Range range);

/// What a setting may be: a value, or a word.
struct SettingForm {
    JsonValue::Kind kind = JsonValue::Kind::Integer;
    std::string_view word;
};
[[nodiscard]] bool expect_setting(Findings& findings, const Item& item, const SettingForm& form);

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
[[nodiscard]] bool read_switch(Findings& findings, const Item& item, const Switch& words);

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

/// An object of the file. Unknown and misplaced keys are reported when it is opened. What is no
/// object was refused and is read as one that may have any key: all of them are absent in the first
/// guess and refused values in the others. So is a key that is missing, or that another was perhaps
/// meant to be.
class ObjectReader {
  public:
    ObjectReader(Findings& findings, const Item& item, const KeyTable& keys);

    [[nodiscard]] bool is_object() const { return item_.value->kind == JsonValue::Kind::Object; }
    [[nodiscard]] const Span& at() const { return item_.value->at; }
    [[nodiscard]] const std::string& path() const { return item_.path; }
    [[nodiscard]] Findings& findings() const { return findings_; }

    /// Whether the key really stands there.
    [[nodiscard]] bool has_own(std::string_view key) const {
        return item_.value->find(key) != nullptr;
    }
    [[nodiscard]] std::optional<Item> find(std::string_view key) const;
    /// As find(), but a finding when the object lacks it.
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
        if (const auto item = find(key)) field = value_or_stand_in<bool>(*item);
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
    /// A text or `word`, which leaves the matter to the kernel.
    template <class T>
    void setting(std::string_view key, Setting<T>& field, std::string_view word) const {
        setting_with(key, field, SettingForm{JsonValue::Kind::String, word},
                     [&](const Item& item) { return value_or_stand_in<T>(item); });
    }
    /// A number or `word`.
    template <class T>
    void setting(std::string_view key, Setting<T>& field, std::string_view word,
                 Range range) const {
        setting_with(key, field, SettingForm{JsonValue::Kind::Integer, word},
                     [&](const Item& item) { return number_or_stand_in<T>(item, range); });
    }

    template <class T>
    void list(std::string_view key, std::vector<Located<T>>& field, ListForm form = ListForm::List,
              Empty empty = Empty::Allowed) const {
        for (const Item& item : elements(key, form, empty)) {
            field.push_back(Located<T>{value_or_stand_in<T>(item), item.at()});
        }
    }
    /// As list(), of prefixes that may be asked whether they contain an address: what is refused
    /// contains every one of a family in some guesses.
    void reach(std::string_view key, std::vector<Located<IpPrefix>>& field,
               ListForm form = ListForm::List, Empty empty = Empty::Allowed) const;
    /// The elements of a list; a single value counts as a list of one if `form` says so. A refused
    /// list has one refused element.
    [[nodiscard]] std::vector<Item> elements(std::string_view key, ListForm form,
                                             Empty empty) const;
    /// With the places of the keys.
    [[nodiscard]] std::vector<std::pair<Span, Item>> members() const;

  private:
    template <class T>
    [[nodiscard]] T value_or_stand_in(const Item& item) const {
        auto value = read_value<T>(findings_, item);
        return value ? std::move(*value) : stand_in<T>(findings_.reading().guess, item.at());
    }
    template <class T>
    [[nodiscard]] T number_or_stand_in(const Item& item, Range range) const {
        const std::int64_t value =
            read_integer(findings_, item, range)
                .value_or(stand_in(findings_.reading().guess, item.at(), range));
        if constexpr (std::is_same_v<T, Mtu>)
            return Mtu{static_cast<std::uint32_t>(value)};
        else
            return static_cast<T>(value);  // the range fits the type
    }
    template <class T>
    void store(const Item& item, Located<T>& field) const {
        field = Located<T>{value_or_stand_in<T>(item), item.at()};
    }
    template <class T>
    void store(const Item& item, std::optional<Located<T>>& field) const {
        field = Located<T>{value_or_stand_in<T>(item), item.at()};
    }
    template <class T>
    void store_number(const Item& item, Located<T>& field, Range range) const {
        field = Located<T>{number_or_stand_in<T>(item, range), item.at()};
    }
    template <class T>
    void store_number(const Item& item, std::optional<Located<T>>& field, Range range) const {
        field = Located<T>{number_or_stand_in<T>(item, range), item.at()};
    }
    template <class T, class Read>
    void setting_with(std::string_view key, Setting<T>& field, const SettingForm& form,
                      Read read) const {
        field.at = at();
        const auto item = find(key);
        if (!item) return;
        field.at = item->at();
        if (item->value->kind == JsonValue::Kind::String && item->value->string == form.word) {
            field.mode = Setting<T>::Mode::Kernel;
            return;
        }
        const bool fits = expect_setting(findings_, *item, form);
        if (!fits && findings_.reading().guess == 0) return;
        field.mode = Setting<T>::Mode::Stated;
        field.value = read(fits ? *item : refused_item(key, item->at()));
    }

    [[nodiscard]] Item refused_item(std::string_view key, const Span& at) const;

    Findings& findings_;
    Item item_;
    mutable std::set<std::string, std::less<>> meant_;  ///< missing here, but not on purpose
    mutable std::deque<JsonValue> refused_;             ///< what items without a value point to
};

}  // namespace overlay
