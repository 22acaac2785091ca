#include "daemon/control/message.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

namespace overlay::control {

namespace {

using Kind = Error::Kind;

struct KindName {
    Kind kind;
    std::string_view name;
};
constexpr std::array kind_names{
    KindName{Kind::Failed, "failed"},           KindName{Kind::NotPermitted, "not-permitted"},
    KindName{Kind::Unsupported, "unsupported"}, KindName{Kind::NotFound, "not-found"},
    KindName{Kind::Invalid, "invalid"},         KindName{Kind::Conflict, "conflict"},
    KindName{Kind::Busy, "busy"}};

tl::unexpected<Error> garbled() {
    return fail(Kind::Invalid, "read from the control socket", "not a message of this protocol");
}

template <class Number>
std::optional<Number> number_of(std::string_view word) {
    Number value{};
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc{} || end != word.data() + word.size()) return std::nullopt;
    return value;
}

/// The words of the first line, the last of which is the size of the body.
struct Head {
    std::vector<std::string> words;
    std::size_t head_bytes = 0;
    std::size_t body_bytes = 0;
};

/// nullopt: more must come.
Result<std::optional<Head>> head_of(std::string_view received) {
    const std::size_t end = received.substr(0, max_head_bytes).find('\n');
    if (end == std::string_view::npos) {
        if (received.size() >= max_head_bytes) return garbled();
        return std::optional<Head>{};
    }
    Head head{{}, end + 1, 0};
    for (std::size_t at = 0; at <= end;) {
        const std::size_t stop = std::min(received.find(' ', at), end);
        head.words.emplace_back(received.substr(at, stop - at));
        at = stop + 1;
    }
    const auto size = number_of<std::size_t>(head.words.back());
    if (!size || *size > max_body_bytes) return garbled();
    head.words.pop_back();
    head.body_bytes = *size;
    return std::optional{std::move(head)};
}

std::string take_body(std::string& received, const Head& head) {
    std::string body = received.substr(head.head_bytes, head.body_bytes);
    received.erase(0, head.head_bytes + head.body_bytes);
    return body;
}

}  // namespace

std::string to_text(const Request& request) {
    const std::string argument = request.argument.empty() ? "" : " " + request.argument;
    return fmt::format("{}{} {}\n{}", request.verb, argument, request.body.size(), request.body);
}

std::string answer(std::string_view body) { return fmt::format("ok {}\n{}", body.size(), body); }

std::string answer(const Error& error) {
    const auto* kind = std::find_if(kind_names.begin(), kind_names.end(),
                                    [&](const KindName& each) { return each.kind == error.kind; });
    const std::string reason = error.doing + ": " + error.reason;
    return fmt::format("error {} {} {}\n{}", kind->name, error.code, reason.size(), reason);
}

Result<std::optional<Request>> take_request(std::string& received) {
    const auto head = head_of(received);
    if (!head) return pass_on(head);
    if (!*head || received.size() < (*head)->head_bytes + (*head)->body_bytes)
        return std::optional<Request>{};
    const std::vector<std::string>& words = (*head)->words;
    if (words.empty() || words.size() > 2 || words.front().empty()) return garbled();
    Request request{words.front(), words.size() == 2 ? words[1] : std::string{}, {}};
    request.body = take_body(received, **head);
    return std::optional{std::move(request)};
}

Answer take_answer(std::string& received) {
    const auto head = head_of(received);
    if (!head) return {true, pass_on(head)};
    if (!*head || received.size() < (*head)->head_bytes + (*head)->body_bytes)
        return {false, std::string{}};
    const std::vector<std::string>& words = (*head)->words;
    std::string body = take_body(received, **head);
    if (words.size() == 1 && words[0] == "ok") return {true, std::move(body)};
    const auto* kind = words.size() == 3
                           ? std::find_if(kind_names.begin(), kind_names.end(),
                                          [&](const KindName& each) { return each.name == words[1]; })
                           : kind_names.end();
    const auto code = words.size() == 3 ? number_of<int>(words[2]) : std::nullopt;
    if (kind == kind_names.end() || !code || words[0] != "error") return {true, garbled()};
    return {true, fail(Error{kind->kind, "overlayd", std::move(body), *code, {}})};
}

std::string socket_path(const std::string& run_directory) { return run_directory + "/control.sock"; }

std::string worker_lock(const std::string& run_directory) { return run_directory + "/overlayd.lock"; }

std::string supervisor_lock(const std::string& run_directory) {
    return run_directory + "/supervisor.lock";
}

}  // namespace overlay::control
