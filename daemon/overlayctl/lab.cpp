// overlayctl lab: the whole network of one file on this machine, in network namespaces.

#include "daemon/lab/lab_features.hpp"
#include "daemon/lab/lab_keys.hpp"
#include "daemon/lab/lab_ping.hpp"
#include "daemon/lab/lab_processes.hpp"
#include "daemon/lab/lab_up.hpp"
#include "daemon/overlayctl/command.hpp"
#include "netlink/namespaces.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <unistd.h>

namespace overlay {

namespace {

namespace po = boost::program_options;
using lab::LabPlan;
using lab::LabRecord;
using lab::LabState;

constexpr const char* usage =
    "usage: overlayctl lab up   FILE [--keys DIR] [--underlay-only] [--dry-run] [--state DIR]\n"
    "       overlayctl lab ping FILE [--json] [--timeout SECONDS] [--state DIR]\n"
    "       overlayctl lab exec FILE HOST [--state DIR] -- COMMAND…\n"
    "       overlayctl lab down FILE [--state DIR]\n"
    "\n"
    "The whole network of one file on this machine: each node, the Internet between them, NAT "
    "routers\n"
    "and LAN hosts are network namespaces, named NETWORK.HOST. docs/lab.md has the picture.\n";

/// Where nobody else writes, and which ends with the machine where the user has such a place.
std::string default_state() {
    const auto is_set = [](const char* value) { return value != nullptr && *value != '\0'; };
    const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
    const char* const home = std::getenv("HOME");
    if (::geteuid() != 0 && is_set(runtime)) return std::string{runtime} + "/overlay/lab";
    if (::geteuid() != 0 && is_set(home)) return std::string{home} + "/.local/state/overlay/lab";
    return "/run/overlay/lab";
}

void add_state_option(CommandLine& command) {
    command.options().add_options()(
        "state", po::value<std::string>()->value_name("DIR")->default_value(default_state()),
        "where the records of labs live");
}

/// A file that was read, the lab that it describes, and where its record is.
struct Lab {
    CheckedFile file;
    LabPlan plan;
    LabState state;
};

/// Warnings belong to `validate`, `diff` and `apply`.
OrExit<Lab> open_lab(const CommandLine& command) {
    auto file = read_topology(command.text_of("FILE"), Warnings::Hidden);
    if (const Exit* over = std::get_if<Exit>(&file)) return *over;
    CheckedFile& checked = std::get<CheckedFile>(file);
    LabPlan plan = lab::make_lab_plan(checked.topology);
    LabState state{command.text_of("state"), checked.topology.network};
    return Lab{std::move(checked), std::move(plan), std::move(state)};
}

/// Root's power over the namespaces of a lab, or that of the user namespace which the lab is in.
std::optional<Exit> gain_power(const Lab& lab, const std::optional<LabRecord>& record) {
    if (record && record->holder && is_alive(*record->holder)) {
        const auto joined = lab::join(*record->holder);
        if (!joined) return complain(joined.error());
    }
    const bool is_of_root = record && !record->holder;
    if (!is_of_root || ::geteuid() == 0) return std::nullopt;
    complain(fmt::format("the lab of {} was made by root (hint: sudo)", lab.file.topology.network));
    return exit_refused;
}

/// A lab that is up; says so and how to get one when it is not.
OrExit<LabRecord> running(const Lab& lab) {
    auto record = lab.state.load();
    if (!record) return complain(record.error());
    if (const auto over = gain_power(lab, *record)) return *over;
    const std::string& network = lab.file.topology.network;
    if (!*record || !(*record)->complete) {
        return complain(fmt::format("the lab of {} is not up (hint: overlayctl lab up {})", network,
                                    lab.file.name));
    }
    if ((*record)->holder && !is_alive(*(*record)->holder)) {
        return complain(fmt::format(
            "the lab of {} has ended with the process that kept its namespaces (hint: overlayctl "
            "lab down {})",
            network, lab.file.name));
    }
    return std::move(**record);
}

/// The namespaces of a lab that is being made without root. They end with this, unless the lab is
/// up.
class Keeper {
  public:
    Keeper() = default;
    Keeper(const Keeper&) = delete;
    Keeper& operator=(const Keeper&) = delete;
    ~Keeper() {
        if (holder_ && !is_kept_) (void)lab::end_holder(*holder_);
    }

    Result<void> start() {
        const bool is_inside = ::geteuid() == 0;  // of a lab that was cleared away just now
        auto started = lab::start_holder();
        if (!started) return pass_on(started);
        holder_ = *started;
        return is_inside ? Result<void>{} : lab::join(*holder_);
    }
    void keep() { is_kept_ = true; }
    [[nodiscard]] const std::optional<lab::LabHolder>& holder() const { return holder_; }

  private:
    std::optional<lab::LabHolder> holder_;
    bool is_kept_ = false;
};

// ---- up -----------------------------------------------------------------------------------------

/// The exit code when there is nothing to bring up; a lab that broke off is cleared away first.
std::optional<Exit> already_up(const Lab& lab, const std::optional<LabRecord>& record) {
    if (!record) return std::nullopt;
    const bool has_ended = record->holder && !is_alive(*record->holder);
    if (!record->complete || has_ended) {
        print(stdout, fmt::format("clearing away a lab that {}\n", has_ended ? "has ended" : "was not finished"));
        const auto cleared = lab::take_down(lab.state, *record);
        if (!cleared) return complain(cleared.error());
        return std::nullopt;
    }
    if (record->source == lab.file.source) {
        print(stdout, fmt::format("the lab of {} is up already\n", lab.file.topology.network));
        return exit_done;
    }
    return complain(
        fmt::format("a lab of {} is up, from a file with other content (hint: overlayctl lab "
                    "down {} first)",
                    lab.file.topology.network, lab.file.name));
}

std::optional<Exit> kernel_lacks(const Lab& lab, lab::Overlay overlay, const Keeper& keeper) {
    lab::Intents intents =
        overlay == lab::Overlay::Apply ? lab::compile_all(lab.file.topology) : lab::Intents{};
    if (const auto chosen = lab::choose_datapaths(intents); !chosen) return complain(chosen.error());
    const auto missing = lab::missing_features(lab.plan, intents);
    if (!missing) return complain(missing.error());
    if (missing->empty()) return std::nullopt;
    std::string message = "this kernel lacks what the lab needs:";
    for (const std::string& each : *missing) message += "\n    " + each;
    if (keeper.holder())
        message += "\n    hint: root may have it: sudo overlayctl lab up " + lab.file.name;
    message +=
        "\n    hint: the same on Debian's kernel under QEMU: tests/kernel/run.sh -- overlayctl lab "
        "up " +
        lab.file.name + ", or ./demo.sh";
    complain(message);
    return exit_refused;
}

int up(const Arguments& arguments) {
    CommandLine command{
        "lab up FILE [--keys DIR] [--underlay-only] [--dry-run] [--state DIR]",
        "Makes the lab and applies the file on each node, the hub first. Whatever fails, all of "
        "it\n"
        "goes away again. A lab that is up already from the same content is exit code 0."};
    command.positional("FILE");
    add_state_option(command);
    command.options().add_options()(
        "keys", po::value<std::string>()->value_name("DIR"),
        "the nodes' private keys, DIR/NODE.key; else the lab makes its own")(
        "underlay-only", "leave the overlay out: only what is there before any apply")(
        "dry-run", "print the plan of the lab and make nothing");
    if (const auto over = command.parse(arguments)) return *over;
    auto opened = open_lab(command);
    if (const Exit* over = std::get_if<Exit>(&opened)) return *over;
    Lab& lab = std::get<Lab>(opened);
    if (command.has("dry-run")) {
        print(stdout, text(lab.plan));
        return exit_done;
    }
    const lab::Overlay overlay =
        command.has("underlay-only") ? lab::Overlay::LeaveOut : lab::Overlay::Apply;
    const bool is_root = ::geteuid() == 0;
    const auto record = lab.state.load();
    if (!record) return complain(record.error());
    if (const auto over = gain_power(lab, *record)) return *over;
    if (const auto over = already_up(lab, *record)) return *over;
    Keeper keeper;
    if (!is_root) {
        if (const auto started = keeper.start(); !started) {
            complain(started.error());
            return exit_refused;
        }
    }
    if (const auto over = kernel_lacks(lab, overlay, keeper)) return *over;

    lab::KeySource keys{{}, lab.state.keys()};
    if (command.has("keys")) keys.given = command.text_of("keys");
    auto topology = lab::with_lab_keys(lab.file.topology, keys);
    if (!topology) {
        (void)lab.state.remove();
        return complain(topology.error());
    }
    if (!keys.given) print(stdout, fmt::format("keys: made for this lab, in place of the file's\n"));
    const auto say = [](const std::string& line) {
        print(stdout, fmt::format("{}\n", line));
        std::fflush(stdout);
    };
    const auto done = lab::bring_up(
        {*topology, lab.plan, lab.state, lab.file.source, overlay, keeper.holder(), say});
    if (!done) {
        // The keys, unless a record says that something could not be removed.
        const auto left = lab.state.load();
        if (left && !*left) (void)lab.state.remove();
        return complain(done.error());
    }
    keeper.keep();
    print(stdout, fmt::format("the lab of {} is up: overlayctl lab ping {}\n", lab.file.topology.network,
               lab.file.name));
    return exit_done;
}

// ---- down, exec, ping ---------------------------------------------------------------------------

int down(const Arguments& arguments) {
    CommandLine command{"lab down FILE [--state DIR]",
                        "Ends the lab's processes and removes its namespaces and its record. "
                        "Nothing to do is exit\n"
                        "code 0."};
    command.positional("FILE");
    add_state_option(command);
    if (const auto over = command.parse(arguments)) return *over;
    auto opened = open_lab(command);
    if (const Exit* over = std::get_if<Exit>(&opened)) return *over;
    const Lab& lab = std::get<Lab>(opened);
    const auto record = lab.state.load();
    if (!record) return complain(record.error());
    if (const auto over = gain_power(lab, *record)) return *over;
    if (!*record) {   // one that died before it had a record may have made keys
        if (const auto removed = lab.state.remove(); !removed) return complain(removed.error());
        print(stdout, fmt::format("no lab of {} is up\n", lab.file.topology.network));
        return exit_done;
    }
    const auto done = lab::take_down(lab.state, **record);
    if (!done) return complain(done.error());
    print(stdout, fmt::format("the lab of {} is gone\n", lab.file.topology.network));
    return exit_done;
}

int exec(const Arguments& arguments) {
    CommandLine command{
        "lab exec FILE HOST [--state DIR] -- COMMAND…",
        "Runs a command in a host of the lab, with that host's /sys; its exit code is ours."};
    command.positional("FILE");
    command.positional("HOST");
    add_state_option(command);
    // What stands behind -- is the command's alone: none of it is an option of ours.
    const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
    if (const auto over = command.parse({arguments.begin(), dashes})) return *over;
    if (dashes == arguments.end() || dashes + 1 == arguments.end()) {
        return complain("COMMAND is missing: overlayctl lab exec FILE HOST -- COMMAND…");
    }
    auto opened = open_lab(command);
    if (const Exit* over = std::get_if<Exit>(&opened)) return *over;
    const Lab& lab = std::get<Lab>(opened);
    const std::string host = command.text_of("HOST");
    if (lab.plan.find(host) == nullptr) {
        const auto names = lab.plan.host_names();
        const std::string near = closest(host, names);
        return complain(fmt::format("\"{}\" is no host of this lab{}; its hosts are: {}", host,
                                    near.empty() ? "" : ", did you mean \"" + near + "\"?",
                                    fmt::join(names, " ")));
    }
    const auto record = running(lab);
    if (const Exit* over = std::get_if<Exit>(&record)) return *over;
    return lab::become(lab.plan.namespace_of(host), {dashes + 1, arguments.end()});
}

int ping(const Arguments& arguments) {
    CommandLine command{"lab ping FILE [--json] [--timeout SECONDS] [--state DIR]",
                        "Pings between all nodes, LAN hosts and the host on the Internet: IPv4, "
                        "IPv6, and each with\n"
                        "the path's full MTU unfragmented. Which pairs should answer follows from "
                        "the file. Exit code\n"
                        "0 when all of these do, else 1."};
    command.positional("FILE");
    command.add_json_option();
    add_state_option(command);
    command.options().add_options()(
        "timeout", po::value<std::string>()->value_name("SECONDS")->default_value("30"),
        "how long to ask again before a pair has failed");
    if (const auto over = command.parse(arguments)) return *over;
    const std::string timeout = command.text_of("timeout");
    const bool is_number = !timeout.empty() && timeout.size() <= 4 &&
                           timeout.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number)
        return complain(fmt::format("--timeout: {} is not a number of seconds", timeout));
    auto opened = open_lab(command);
    if (const Exit* over = std::get_if<Exit>(&opened)) return *over;
    const Lab& lab = std::get<Lab>(opened);
    const auto loaded = running(lab);
    if (const Exit* over = std::get_if<Exit>(&loaded)) return *over;
    const LabRecord& record = std::get<LabRecord>(loaded);

    lab::Intents intents = record.applied ? lab::compile_all(lab.file.topology) : lab::Intents{};
    if (const auto chosen = lab::choose_datapaths(intents); !chosen) return complain(chosen.error());
    auto pairs = lab::make_pairs(lab.plan, lab.file.topology, intents);
    lab::PingOptions options;
    options.deadline = std::chrono::seconds{std::stoi(timeout)};
    const auto results = lab::ping_pairs(lab.plan, std::move(pairs), options);
    if (!results) return complain(results.error());
    const bool colour = colour_of_stdout() == Colour::On;
    const std::string out =
        command.has("json")
            ? to_json(lab.plan, *results)
            : text(lab.plan, *results, colour ? lab::Marks::Colour : lab::Marks::Plain);
    print(stdout, out);
    return all_answer(*results) ? exit_done : exit_error;
}

}  // namespace

int run_lab(const Arguments& arguments) {
    const std::string verb = arguments.empty() ? "" : arguments.front();
    if (verb == "--help" || verb == "-h") {
        print(stdout, usage);
        return exit_done;
    }
    const Arguments rest{arguments.empty() ? arguments.begin() : arguments.begin() + 1,
                         arguments.end()};
    if (verb == "up") return up(rest);
    if (verb == "down") return down(rest);
    if (verb == "exec") return exec(rest);
    if (verb == "ping") return ping(rest);
    fmt::print(stderr, "overlayctl: lab needs up, down, exec or ping{}\n{}",
               verb.empty() ? "" : ", not \"" + verb + "\"", usage);
    return exit_error;
}

}  // namespace overlay
