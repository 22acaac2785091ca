// A topology file, as somebody wrote it, mistyped it or made it to do harm. The input is the file's bytes.
//
// Whatever it says: every finding has a place inside the file and words; no text of ours hands a control character
// of the file on to a terminal; a file without errors compiles for each of its nodes, is told in every format, and
// the state that it asks for is read back from JSON as the same state. A bug aborts.

#include "fuzz.hpp"
#include "topology/datapath.hpp"
#include "topology/derive.hpp"
#include "topology/key_text.hpp"
#include "topology/plan.hpp"
#include "topology/render.hpp"
#include "topology/render_plan.hpp"
#include "topology/state_json.hpp"
#include "topology/topology.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

using namespace overlay;
using fuzz::demand;

namespace {

std::vector<std::string_view> lines_of(std::string_view source) {
    std::vector<std::string_view> out;
    for (;;) {
        const std::size_t end = source.find('\n');
        out.push_back(source.substr(0, end));
        if (end == std::string_view::npos) return out;
        source.remove_prefix(end + 1);
    }
}

/// Tabs and newlines are ours; an escape sequence never is.
bool is_fit_for_a_terminal(std::string_view text) {
    return std::ranges::none_of(text, [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
    });
}

/// A code point is one byte or more, so bytes are the upper bound of columns. A finding at the end of a line, or of
/// the file, stands one column behind it; a token that goes on over lines counts them, too.
bool is_inside(const Span& at, const std::vector<std::string_view>& lines, std::string_view source) {
    if (at.line == 0) return at.column == 0 && at.length == 0;
    if (at.line > lines.size() || at.column == 0) return false;
    const std::string_view line = lines[at.line - 1];
    if (at.column > line.size() + 1) return false;
    const auto left = static_cast<std::size_t>(source.data() + source.size() - line.data());
    return at.column - 1 + at.length <= std::max<std::size_t>(left, at.column);
}

void judge(const ParsedFile& parsed, std::string_view source) {
    const std::vector<std::string_view> lines = lines_of(source);
    for (const Diagnostic& each : parsed.diagnostics) {
        const bool is_the_limit = each.message.starts_with("too many findings");
        demand(is_the_limit || each.at.line > 0, "a finding without a place");
        demand(is_inside(each.at, lines, source), "a finding outside of the file");
        demand(!each.message.empty(), "a finding without words");
    }
    const std::string told = text(parsed.diagnostics, "file.json", source);
    demand(is_fit_for_a_terminal(told), "a finding that steers the terminal");
    demand(told.empty() == parsed.diagnostics.empty(), "findings that are not told");
    demand(parsed.topology || has_errors(parsed.diagnostics), "a file that is neither right nor wrong");
    const std::string starred = without_secrets(source);
    demand(std::ranges::count(starred, '\n') == std::ranges::count(source, '\n'), "stars moved the lines");
}

void build(const Topology& topology, const Node& node) {
    const NodeIntent intent = compile(topology, node, {});
    demand(state_from_json(to_json(intent.desired)) == intent.desired, "a state that is not read back");
    for (const std::string& told : {render_ip(intent), render_nft(intent), render_wg(intent), render_json(intent)})
        demand(is_fit_for_a_terminal(told), "a rendering that steers the terminal");
    for (const auto& [device, wireguard] : intent.desired.wireguard) (void)render_wg_quick(intent, device);

    const Plan first = plan(intent, KernelState{}, Ledger{.network = intent.network});
    const std::string told = plan_text(first, "file.json", Colour::Off);
    demand(is_fit_for_a_terminal(told), "a plan that steers the terminal");
    (void)plan_json(first, "file.json");
    demand(!first.refusals.empty() || !first.is_empty() || intent.desired == KernelState{},
           "nothing to do on an empty kernel");
}

}  // namespace

void fuzz::run(wire::Bytes input) {
    const std::string_view source = text_of(input);
    const ParsedFile parsed = parse_topology(source, "file.json");
    judge(parsed, source);
    if (!parsed.topology || has_errors(parsed.diagnostics)) return;
    for (const std::string& name : parsed.topology->node_names()) {
        const Node* const node = parsed.topology->find(name);
        demand(node != nullptr, "a node without its name");
        build(*parsed.topology, *node);
    }
    demand(is_fit_for_a_terminal(render_radvd(*parsed.topology)), "an advertisement that steers the terminal");
}

std::vector<std::byte> fuzz::make_up(wireguard::SeededRandom& random) {
    static const std::string home = [] {
        std::ifstream file{OVERLAY_SOURCE_DIR "/examples/home.json"};
        return std::string{std::istreambuf_iterator<char>{file}, {}};
    }();
    return bytes_of(worn(home, random));
}
