#pragma once
// What the verbs share: options, the topology file, the choice of the node, words for errors, exit codes.

#include "daemon/overlayctl/verbs.hpp"
#include "daemon/reconcile/reconcile.hpp"
#include "topology/render_plan.hpp"
#include "topology/topology.hpp"

#include <boost/program_options.hpp>

#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace overlay {

/// docs/cli.md is the table for users.
enum Exit : int {
    exit_done = 0,
    exit_error = 1,
    exit_differences = 2,
    exit_invalid_file = 3,
    exit_rolled_back = 4,
    exit_rolled_back_in_part = 5,
    exit_refused = 6,
};

/// Either a value, or the exit code of a verb that is over (its message has been printed).
template <class T>
using OrExit = std::variant<T, Exit>;

/// One verb's command line: `overlayctl VERB POSITIONAL… [OPTIONS]`.
class CommandLine {
  public:
    /// `usage`: "apply FILE [--node NODE] …"; `story`: what the verb does, in a paragraph.
    CommandLine(std::string usage, std::string story);
    /// Add options here before parse().
    boost::program_options::options_description& options() { return options_; }
    /// A required positional argument, in order.
    void positional(const std::string& name);
    /// The last positional, which need not be given.
    void optional_positional(const std::string& name);

    void add_node_option();
    void add_directory_options();
    void add_json_option();

    /// The exit code when the verb is over: --help (printed), or a mistake (printed).
    [[nodiscard]] std::optional<Exit> parse(const Arguments& arguments);
    [[nodiscard]] bool has(const std::string& name) const { return values_.count(name) != 0; }
    [[nodiscard]] std::string text_of(const std::string& name) const;   ///< "" when not given
    [[nodiscard]] Directories directories() const;

  private:
    std::string usage_, story_;
    boost::program_options::options_description options_{"Options"};
    boost::program_options::options_description hidden_;
    boost::program_options::positional_options_description positional_;
    std::vector<std::string> required_;
    boost::program_options::variables_map values_;
};

/// A topology that has been read and is free of errors.
struct CheckedFile {
    std::string name;
    std::string directory;    ///< of the file; relative key paths start here
    std::string source;
    Topology topology;
};
/// The bytes of a topology file, or what stood in the way (too large is an invalid file).
[[nodiscard]] OrExit<std::string> read_source(const std::string& path);
/// Findings go to stderr: errors always, warnings unless they would only repeat what was said before.
enum class Warnings { Shown, Hidden };
[[nodiscard]] OrExit<CheckedFile> read_topology(const std::string& path,
                                                Warnings warnings = Warnings::Shown);

/// --node, else OVERLAY_NODE, else /etc/overlay/node, else the host name if it is a node of the file.
[[nodiscard]] OrExit<const Node*> choose_node(const Topology& topology, const std::string& stated);

/// What does not get through is told once, at the end of the program (main.cpp): an apply is not stopped
/// midway by a reader that goes away.
void print(std::FILE* to, std::string_view text);

/// Prints to stderr "overlayctl: …" and returns exit_error.
Exit complain(const Error& error);
Exit complain(const std::string& message);
/// As diagnostics of the file, to stderr.
void print_diagnostics(const std::vector<Diagnostic>& diagnostics, const CheckedFile& file);

/// Colour only on a terminal and never with NO_COLOR.
[[nodiscard]] Colour colour_of_stdout();

/// Prints an apply's or down's outcome and gives its exit code.
struct OutcomeView {
    std::string file_name;   ///< "" for down
    bool json = false;
};
Exit report(const Outcome& outcome, const OutcomeView& view);

}  // namespace overlay
