// The words of the findings about single values live here: one sentence that names what was
// expected, and a hint where the slip is a common one.

#include "topology/reader.hpp"

#include "topology/key_text.hpp"
#include "topology/utf8.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace overlay {

void Findings::error(const Span& at, std::string_view path, std::string message, std::string hint) {
    if (is_full()) return;
    found_.push_back(Diagnostic{.severity = Diagnostic::Severity::Error,
                                .at = at,
                                .path = without_keys(std::string{path}),
                                .message = without_keys(std::move(message)),
                                .hint = without_keys(std::move(hint))});
}

void Findings::warning(const Span& at, std::string_view path, std::string message,
                       std::string hint) {
    if (is_full()) return;
    error(at, path, std::move(message), std::move(hint));
    found_.back().severity = Diagnostic::Severity::Warning;
}

std::string Findings::place(const Span& at) const {
    return fmt::format("{}:{}:{}", file_name_, at.line, at.column);
}

std::vector<const JsonMember*> members_of(Findings& findings, const JsonValue& object) {
    const std::size_t occurrence = findings.reading().occurrence;
    std::vector<const JsonMember*> out;
    for (const JsonMember& member : object.members) {
        const bool repeated = member.occurrence > 0 || !member.is_last;
        const Span end = std::max(member.value.at, member.value.end);
        if (repeated) findings.add(Alternative{member.key_at, end, member.occurrence});
        if (member.stands_for(occurrence)) out.push_back(&member);
    }
    return out;
}

std::string in_quotes(std::string_view file_text) {
    constexpr std::size_t max_shown = 48;
    const std::string starred = without_keys(std::string{file_text});  // before a cut hides one's end
    const std::string_view text = starred;
    std::size_t end = 0;
    for (std::size_t shown = 0; shown < max_shown && end < text.size(); ++shown) {
        end += next_code_point(text, end).size_bytes;
    }
    return fmt::format("\"{}{}\"", text.substr(0, end), end < text.size() ? "…" : "");
}

std::string listed(const std::vector<std::string>& words) {
    std::string out;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (i > 0) out += i + 1 == words.size() ? " and " : ", ";
        out += words[i];
    }
    return out;
}

// ---- kinds --------------------------------------------------------------------------------------

bool expect(Findings& findings, const Item& item, JsonValue::Kind kind) {
    const JsonValue::Kind found = item.value->kind;
    if (found == kind) return true;
    if (found == JsonValue::Kind::Refused) return false;  // reported with the number itself
    std::string hint;
    if (found == JsonValue::Kind::String && kind != JsonValue::Kind::Array &&
        kind != JsonValue::Kind::Object) {
        hint = "write it without quotes";
    }
    findings.error(item.at(), item.path,
                   fmt::format("expected {}, not {}", text(kind), text(found)), std::move(hint));
    return false;
}

bool expect_setting(Findings& findings, const Item& item, const SettingForm& form) {
    const JsonValue::Kind found = item.value->kind;
    if (found == form.kind) return true;
    if (found == JsonValue::Kind::Refused) return false;
    findings.error(item.at(), item.path,
                   fmt::format("expected {} or \"{}\", not {}", text(form.kind), form.word,
                               found == JsonValue::Kind::String ? in_quotes(item.value->string)
                                                                : std::string{text(found)}));
    return false;
}

std::optional<bool> read_boolean(Findings& findings, const Item& item) {
    if (!expect(findings, item, JsonValue::Kind::Boolean)) return std::nullopt;
    return item.value->boolean;
}

std::optional<std::int64_t> read_integer(Findings& findings, const Item& item, Range range) {
    if (!expect(findings, item, JsonValue::Kind::Integer)) return std::nullopt;
    const std::int64_t value = item.value->integer;
    if (value >= range.least && value <= range.most) return value;
    findings.error(
        item.at(), item.path,
        fmt::format("{} is out of range; {} to {} is allowed", value, range.least, range.most));
    return std::nullopt;
}

// ---- texts --------------------------------------------------------------------------------------

namespace {

void refuse(Findings& findings, const Item& item, std::string_view what, std::string hint) {
    findings.error(item.at(), item.path,
                   fmt::format("{} is not {}", in_quotes(item.value->string), what), std::move(hint));
}

template <class T>
struct Word {
    std::string_view text;
    T value;
};

/// One of a few words.
template <class T, std::size_t N>
std::optional<T> read_word(Findings& findings, const Item& item,
                           const std::array<Word<T>, N>& words) {
    if (!expect(findings, item, JsonValue::Kind::String)) return std::nullopt;
    std::vector<std::string> known, shown;
    for (const Word<T>& word : words) {
        if (item.value->string == word.text) return word.value;
        known.emplace_back(word.text);
        shown.push_back(in_quotes(word.text));
    }
    const std::string near = closest(item.value->string, known);
    findings.error(item.at(), item.path,
                   fmt::format("{} is not known here; expected one of {}",
                               in_quotes(item.value->string), listed(shown)),
                   near.empty() ? "" : fmt::format("did you mean \"{}\"?", near));
    return std::nullopt;
}

}  // namespace

template <>
std::optional<std::string> read_text(Findings& findings, const Item& item) {
    if (!expect(findings, item, JsonValue::Kind::String)) return std::nullopt;
    return item.value->string;
}

template <>
std::optional<IpAddress> read_text(Findings& findings, const Item& item) {
    if (!expect(findings, item, JsonValue::Kind::String)) return std::nullopt;
    const std::string& text = item.value->string;
    const auto address = IpAddress::parse(text);
    if (address) return address;
    std::string hint = "such as \"192.0.2.1\" or \"2001:db8::1\"";
    if (IpPrefix::parse(text)) hint = "no prefix length belongs here";
    if (text.find('%') != std::string::npos) hint = "addresses with a zone (%…) are not supported";
    refuse(findings, item, "an IP address", std::move(hint));
    return std::nullopt;
}

template <>
std::optional<IpPrefix> read_text(Findings& findings, const Item& item) {
    if (!expect(findings, item, JsonValue::Kind::String)) return std::nullopt;
    const std::string& text = item.value->string;
    const auto prefix = IpPrefix::parse(text);
    if (prefix) return prefix;
    const auto address = IpAddress::parse(text);
    const int usual = address && address->family() == Family::Ipv6 ? 64 : 24;
    refuse(findings, item, "an address with a prefix length",
           address ? fmt::format("add the length, such as \"{}/{}\"", text, usual)
                   : "such as \"192.0.2.1/24\" or \"2001:db8::1/64\"");
    return std::nullopt;
}

template <>
std::optional<MacAddress> read_text(Findings& findings, const Item& item) {
    if (!expect(findings, item, JsonValue::Kind::String)) return std::nullopt;
    const auto mac = MacAddress::parse(item.value->string);
    if (!mac) {
        refuse(findings, item, "a MAC address",
               "six bytes such as \"02:00:5e:00:53:01\"; or \"kernel\"");
        return std::nullopt;
    }
    if (!mac->is_multicast() && !mac->is_zero()) return mac;
    refuse(findings, item, "the MAC address of an interface",
           mac->is_zero() ? "all zeros means \"none\""
                          : "the first byte is odd, which marks a group of receivers");
    return std::nullopt;
}

template <>
std::optional<IfName> read_text(Findings& findings, const Item& item) {
    if (!expect(findings, item, JsonValue::Kind::String)) return std::nullopt;
    const std::string& text = item.value->string;
    const auto name = IfName::parse(text);
    if (name) return name;
    const bool reserved = text == "all" || text == "default" || text == "lo";
    std::string hint = "letters and digits, then also '.', '_' and '-', at most 15 in all";
    if (text.size() > 15) hint = fmt::format("it has {} bytes; Linux allows 15", text.size());
    if (reserved) hint = "the kernel uses this name itself";
    refuse(findings, item, "the name of an interface", std::move(hint));
    return std::nullopt;
}

template <>
std::optional<PublicKey> read_text(Findings& findings, const Item& item) {
    if (!expect(findings, item, JsonValue::Kind::String)) return std::nullopt;
    const auto key = PublicKey::parse(item.value->string);
    if (key) return key;
    std::string hint = "44 characters of base64, as `wg pubkey` and `overlayctl pubkey` print it";
    if (const std::size_t size = item.value->string.size(); size != 44) {
        hint += fmt::format("; this has {}", size);
    }
    refuse(findings, item, "a public key", std::move(hint));
    return std::nullopt;
}

template <>
std::optional<Endpoint> read_text(Findings& findings, const Item& item) {
    if (!expect(findings, item, JsonValue::Kind::String)) return std::nullopt;
    const auto endpoint = parse_endpoint(item.value->string);
    if (endpoint) return endpoint;
    refuse(findings, item, "an address and a port",
           "such as \"192.0.2.1:51820\" or \"[2001:db8::1]:51820\"");
    return std::nullopt;
}

template <>
std::optional<Family> read_text(Findings& findings, const Item& item) {
    static constexpr std::array<Word<Family>, 2> words{
        {{"ipv4", Family::Ipv4}, {"ipv6", Family::Ipv6}}};
    return read_word(findings, item, words);
}

template <>
std::optional<LinkType> read_text(Findings& findings, const Item& item) {
    static constexpr std::array<Word<LinkType>, 3> words{
        {{"gretap-gue", LinkType::GretapGue},
         {"gretap-wireguard", LinkType::GretapWireguard},
         {"wireguard", LinkType::Wireguard}}};
    return read_word(findings, item, words);
}

template <>
std::optional<DatapathChoice> read_text(Findings& findings, const Item& item) {
    static constexpr std::array<Word<DatapathChoice>, 3> words{
        {{"auto", DatapathChoice::Auto},
         {"kernel", DatapathChoice::Kernel},
         {"userspace", DatapathChoice::Userspace}}};
    return read_word(findings, item, words);
}

bool read_switch(Findings& findings, const Item& item, const Switch& words) {
    const std::array<Word<bool>, 2> known{{{words.on, true}, {words.off, false}}};
    return read_word(findings, item, known)
        .value_or(stand_in<bool>(findings.reading().guess, item.at()));
}

// ---- objects ------------------------------------------------------------------------------------

namespace {

/// Returns the key that was probably meant, or "".
std::string refuse_key(Findings& findings, const JsonMember& member, const std::string& path,
                       const KeyTable& keys) {
    if (findings.is_full()) return {};  // likeness to known keys costs time
    if (const std::string_view reference = secret_reference(member.key); !reference.empty()) {
        findings.error(
            member.key_at, path, fmt::format("secrets are file references only: use {}", reference),
            "keep the key in a file that only its owner can read, and treat one that stood "
            "here as known to others");
        return {};
    }
    if (const auto found = keys.misplaced.find(member.key); found != keys.misplaced.end()) {
        findings.error(member.key_at, path, found->second);
        return {};
    }
    std::string near = closest(member.key, keys.allowed);
    std::string hint = near.empty() ? "" : fmt::format("did you mean \"{}\"? ", near);
    hint += fmt::format("allowed here: {}", listed(keys.allowed));
    findings.error(member.key_at, path, fmt::format("unknown key {}", in_quotes(member.key)),
                   std::move(hint));
    return near;
}

}  // namespace

ObjectReader::ObjectReader(Findings& findings, const Item& item, const KeyTable& keys)
    : findings_{findings}, item_{item} {
    if (!expect(findings, item, JsonValue::Kind::Object)) return;
    for (const JsonMember* member : members_of(findings, *item.value)) {
        const bool known =
            std::find(keys.allowed.begin(), keys.allowed.end(), member->key) != keys.allowed.end();
        if (known || member->key_refused) continue;
        meant_.insert(refuse_key(findings, *member, item.path, keys));
    }
}

std::string joined(const std::string& path, std::string_view key) {
    return path.empty() ? std::string{key} : fmt::format("{}.{}", path, key);
}

Item ObjectReader::refused_item(std::string_view key, const Span& at) const {
    refused_.push_back(JsonValue{.kind = JsonValue::Kind::Refused, .at = at});
    return Item{&refused_.back(), joined(item_.path, key)};
}

std::optional<Item> ObjectReader::find(std::string_view key) const {
    const Reading& reading = findings_.reading();
    const JsonMember* member = is_object() ? item_.value->find(key, reading.occurrence) : nullptr;
    if (member != nullptr) return Item{&member->value, joined(item_.path, key)};
    const bool unknown = !is_object() || meant_.contains(key);
    if (!unknown || reading.guess == 0) return std::nullopt;
    return refused_item(key, at());
}

std::optional<Item> ObjectReader::require(std::string_view key, std::string hint) const {
    if (is_object() && item_.value->find(key) == nullptr) {
        findings_.error(at(), item_.path, fmt::format("the key \"{}\" is missing", key),
                        std::move(hint));
        meant_.emplace(key);
    }
    return find(key);
}

void ObjectReader::reach(std::string_view key, std::vector<Located<IpPrefix>>& field, ListForm form,
                         Empty empty) const {
    for (const Item& item : elements(key, form, empty)) {
        field.push_back({read_text<IpPrefix>(findings_, item)
                             .value_or(stand_in_that_reaches(findings_.reading().guess, item.at())),
                         item.at()});
    }
}

std::vector<Item> ObjectReader::elements(std::string_view key, ListForm form, Empty empty) const {
    const auto item = find(key);
    if (!item) return {};
    const bool is_list = item->value->kind == JsonValue::Kind::Array;
    if (!is_list && form == ListForm::OneOrList) return {*item};
    const bool fits = expect(findings_, *item, JsonValue::Kind::Array);
    const bool too_empty = fits && item->value->elements.empty() && empty == Empty::Refused;
    if (too_empty) {
        findings_.error(item->at(), item->path,
                        "this list is empty; it needs at least one element");
    }
    if (!fits || too_empty) return {refused_item(key, item->at())};
    std::vector<Item> out;
    for (const JsonValue& element : item->value->elements) {
        out.push_back(Item{&element, fmt::format("{}[{}]", item->path, out.size())});
    }
    return out;
}

std::vector<std::pair<Span, Item>> ObjectReader::members() const {
    std::vector<std::pair<Span, Item>> out;
    for (const JsonMember* member : members_of(findings_, *item_.value)) {
        out.emplace_back(member->key_at, Item{&member->value, joined(item_.path, member->key)});
    }
    return out;
}

}  // namespace overlay
