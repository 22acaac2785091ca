// Words and choices that are the same for every verb.

#include "daemon/overlayctl/command.hpp"

#include "daemon/io/files.hpp"
#include "daemon/io/option_error.hpp"
#include "topology/json_document.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>

#include <unistd.h>

namespace overlay {

namespace po = boost::program_options;

void print(std::FILE* to, std::string_view text) { std::fwrite(text.data(), 1, text.size(), to); }

// ---- the command line ---------------------------------------------------------------------------

CommandLine::CommandLine(std::string usage, std::string story)
    : usage_{std::move(usage)}, story_{std::move(story)} {
    options_.add_options()("help,h", "this text");
}

void CommandLine::positional(const std::string& name) {
    optional_positional(name);
    required_.push_back(name);
}

void CommandLine::optional_positional(const std::string& name) {
    hidden_.add_options()(name.c_str(), po::value<std::string>());
    positional_.add(name.c_str(), 1);
}

void CommandLine::add_node_option() {
    options_.add_options()("node,n", po::value<std::string>()->value_name("NODE"),
                           "the node (default: OVERLAY_NODE, /etc/overlay/node, the host name)");
}

void CommandLine::add_directory_options() {
    const Directories defaults;
    options_.add_options()(
        "state-dir", po::value<std::string>()->value_name("DIR")->default_value(defaults.state),
        "where the ledger lives")(
        "run-dir", po::value<std::string>()->value_name("DIR")->default_value(defaults.run),
        "where locks live");
}

void CommandLine::add_json_option() { options_.add_options()("json", "print JSON"); }

std::optional<Exit> CommandLine::parse(const Arguments& arguments) {
    po::options_description all;
    all.add(options_).add(hidden_);
    try {
        po::store(po::command_line_parser(arguments).options(all).positional(positional_).run(),
                  values_);
        po::notify(values_);
    } catch (const po::error& e) {
        const std::string reason = io::reason_of(e, fmt::format("{}", fmt::join(arguments, " ")));
        return complain(fmt::format("{}\nusage: overlayctl {}", reason, usage_));
    }
    if (has("help")) {
        std::ostringstream out;
        out << "usage: overlayctl " << usage_ << "\n\n" << story_ << "\n\n" << options_;
        print(stdout, out.str());
        return exit_done;
    }
    for (const std::string& name : required_) {
        if (!has(name))
            return complain(fmt::format("{} is missing\nusage: overlayctl {}", name, usage_));
    }
    return std::nullopt;
}

std::string CommandLine::text_of(const std::string& name) const {
    return has(name) ? values_[name].as<std::string>() : std::string{};
}

Directories CommandLine::directories() const { return {text_of("state-dir"), text_of("run-dir")}; }

// ---- the file and the node ---------------------------------------------------------------------

OrExit<std::string> read_source(const std::string& path) {
    auto source = io::read_file(path, JsonLimits{}.file_bytes);
    if (source) return std::move(*source);
    const Exit code = complain(source.error());
    return source.error().kind == Error::Kind::Invalid ? exit_invalid_file : code;
}

OrExit<CheckedFile> read_topology(const std::string& path, Warnings warnings) {
    auto read = read_source(path);
    if (const Exit* over = std::get_if<Exit>(&read)) return *over;
    std::string& source = std::get<std::string>(read);
    ParsedFile parsed = parse_topology(source, path);
    if (warnings == Warnings::Hidden) {
        std::erase_if(parsed.diagnostics, [](const Diagnostic& d) {
            return d.severity == Diagnostic::Severity::Warning;
        });
    }
    print(stderr, text(parsed.diagnostics, path, source));
    if (!parsed.topology || has_errors(parsed.diagnostics)) return exit_invalid_file;
    return CheckedFile{path, io::directory_of(path), std::move(source),
                       std::move(*parsed.topology)};
}

OrExit<const Node*> choose_node(const Topology& topology, const std::string& stated) {
    std::string name = stated;
    std::string from = "--node";
    if (name.empty()) {
        const char* environment = std::getenv("OVERLAY_NODE");  // NOLINT: no thread runs yet
        name = environment ? environment : "";
        from = "OVERLAY_NODE";
    }
    if (name.empty()) {
        from = "/etc/overlay/node";
        const auto stated_there = io::read_file(from, 256);
        if (!stated_there && stated_there.error().kind != Error::Kind::NotFound)
            return complain(stated_there.error());
        name = stated_there.value_or("");
        while (!name.empty() && std::isspace(static_cast<unsigned char>(name.back())) != 0)
            name.pop_back();
    }
    if (name.empty()) {
        std::string host(256, '\0');
        if (::gethostname(host.data(), host.size() - 1) == 0) name = host.c_str();
        from = "the host name";
    }
    if (const Node* node = topology.find(name)) return node;
    const std::vector<std::string> names = topology.node_names();
    const std::string near = closest(name, names);
    complain(fmt::format("\"{}\" ({}) is not a node of this file{}; its nodes are: {}", name, from,
                         near.empty() ? "" : ", did you mean \"" + near + "\"?",
                         fmt::join(names, " ")));
    return exit_error;
}

// ---- words --------------------------------------------------------------------------------------

Exit complain(const std::string& message) {
    print(stderr, "overlayctl: " + message + "\n");
    return exit_error;
}

Exit complain(const Error& error) {
    std::string message = error.doing + ": " + error.reason;
    if (!error.hint.empty()) message += "\n    hint: " + error.hint;
    return complain(message);
}

void print_diagnostics(const std::vector<Diagnostic>& diagnostics, const CheckedFile& file) {
    print(stderr, text(diagnostics, file.name, file.source));
}

Colour colour_of_stdout() {
    const char* no_colour = std::getenv("NO_COLOR");  // https://no-color.org: any value but empty
    const bool forbidden = no_colour != nullptr && *no_colour != '\0';
    return ::isatty(STDOUT_FILENO) == 1 && !forbidden ? Colour::On : Colour::Off;
}

Exit report(const Outcome& outcome, const OutcomeView& view) {
    using Verdict = Outcome::Verdict;
    const bool shows_plan = outcome.verdict != Verdict::Failed || outcome.plan.steps.size() > 0;
    if (shows_plan) {
        print(stdout, view.json ? plan_json(outcome.plan, view.file_name)
                                : plan_text(outcome.plan, view.file_name, colour_of_stdout()));
    }
    if (outcome.error) {
        const Span at = outcome.error_origin.at;
        Error error = *outcome.error;
        if (at.line != 0 && !view.file_name.empty()) {
            error.doing = fmt::format("{}:{}:{}: {}: {}", view.file_name, at.line, at.column,
                                      outcome.error_origin.path, error.doing);
        }
        complain(error);
    }
    switch (outcome.verdict) {
        case Verdict::Done: {
            const PlanCounts counts = count(outcome.plan);
            const std::size_t changes =
                counts.add + counts.change + counts.recreate + counts.remove;
            if (!view.json) {
                print(stdout, fmt::format("done: {} change{}, {} write{}\n", changes,
                                          changes == 1 ? "" : "s", outcome.writes,
                                          outcome.writes == 1 ? "" : "s"));
            }
            return exit_done;
        }
        case Verdict::Failed:
            complain("nothing was changed");
            if (outcome.error && outcome.error->kind == Error::Kind::Unsupported)
                return exit_refused;
            return exit_error;
        case Verdict::RolledBack:
            complain("rolled back: everything is as it was");
            return exit_rolled_back;
        case Verdict::RolledBackInPart:
            complain("rolled back in part; not as it was:");
            for (const std::string& object : outcome.left_over)
                print(stderr, "    " + object + "\n");
            return exit_rolled_back_in_part;
        case Verdict::Refused: complain("refused: nothing was changed"); return exit_refused;
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

}  // namespace overlay
