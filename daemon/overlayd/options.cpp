#include "daemon/overlayd/options.hpp"

#include "daemon/io/files.hpp"
#include "daemon/io/option_error.hpp"
#include "daemon/reconcile/reconcile.hpp"

#include <boost/program_options.hpp>
#include <fmt/ranges.h>

#include <charconv>
#include <sstream>

namespace overlay::overlayd {

namespace {

namespace po = boost::program_options;

constexpr const char* default_file = "/etc/overlay/overlayd.conf";
constexpr std::size_t max_file_bytes = 64 * 1024;

tl::unexpected<Error> wrong(std::string_view where, std::string_view why) {
    return fail(Error::Kind::Invalid, std::string{where}, why, EINVAL);
}

/// Those that a file may have, too.
po::options_description settings(Options& out) {
    const Directories defaults;
    const auto directory = [](std::string& to, const std::string& otherwise) {
        return po::value(&to)->default_value(otherwise)->value_name("DIR");
    };
    po::options_description settings{"Options, also lines of the file: NAME = VALUE"};
    settings.add_options()("run-dir", directory(out.service.run_directory, defaults.run),
                           "where the control socket is, and what is carried is kept")(
        "state-dir", directory(out.service.state_directory, defaults.state),
        "what must outlive a reboot: WireGuard's time stamps")(
        "uapi-dir", directory(out.service.uapi_directory, out.service.uapi_directory),
        "where `wg` looks for devices")(
        "offload", po::value<std::string>()->default_value("auto")->value_name("WORDS"),
        "auto, none, or some of device (device-tso, device-gro) and socket (udp-gso, udp-gro), with commas between")(
        "memory", po::value<std::string>()->default_value("default")->value_name("WORD"),
        "default, or small: for a router with a few links, less than 8 MiB at some cost of speed")(
        "threads", po::value<std::string>()->default_value("1")->value_name("N"),
        "that carry: links over GUE are spread over them, a WireGuard device is one thread's");
    return settings;
}

po::options_description of_the_command_line(Options& out) {
    po::options_description options{"Options"};
    options.add_options()("config", po::value<std::string>()->value_name("FILE"),
                          fmt::format("instead of {}, which need not be there", default_file).c_str())(
        "supervise", po::bool_switch(&out.supervise),
        "start another worker when one dies; for where no service manager does it")(
        "ready-fd", po::value<int>()->value_name("FD"),
        "a descriptor to write \"ready\" to, or why not")("help,h", "this text")(
        "version", po::bool_switch(), "the version");
    return options;
}

Result<unsigned> threads_of(const std::string& word) {
    unsigned out = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out);
    const bool is_number = error == std::errc{} && end == word.data() + word.size();
    if (is_number && out >= 1 && out <= datapath::Engine::max_threads) return out;
    return wrong("read the number of threads",
                 fmt::format("\"{}\" is no number from 1 to {}", word, datapath::Engine::max_threads));
}

/// Of the options whose values are words of our own. Errors: Invalid, naming the word.
Result<void> check_words(const std::string& option, const std::string& value) {
    if (option == "offload") {
        if (const auto parsed = io::Offloads::parse(value); !parsed) return pass_on(parsed);
    } else if (option == "memory") {
        if (const auto parsed = datapath::Memory::parse(value); !parsed) return pass_on(parsed);
    } else if (option == "threads") {
        if (const auto parsed = threads_of(value); !parsed) return pass_on(parsed);
    }
    return {};
}

/// Line by line, so that a mistake has a number.
Result<po::parsed_options> parse_file(const std::string& path, const std::string& content,
                                      const po::options_description& allowed) {
    po::parsed_options out{&allowed};
    std::istringstream lines{content};
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
        const std::string where = fmt::format("read {}, line {}", path, number);
        if (line.starts_with('[')) return wrong(where, "there are no sections");
        try {
            std::istringstream one{line};
            for (po::option& option : po::parse_config_file(one, allowed).options) {
                const auto checked = check_words(option.string_key, option.value.at(0));
                if (!checked) return wrong(where, checked.error().reason);
                out.options.push_back(std::move(option));
            }
        } catch (const po::error& error) {
            return wrong(where, io::reason_of(error, line));
        }
    }
    return out;
}

Result<void> add_file(po::variables_map& values, const po::options_description& allowed) {
    const bool is_named = values.count("config") != 0;
    const std::string path = is_named ? values["config"].as<std::string>() : default_file;
    const auto content = io::read_file(path, max_file_bytes);
    if (!content && content.error().kind == Error::Kind::NotFound && !is_named) return {};
    if (!content) return pass_on(content);
    const auto parsed = parse_file(path, *content, allowed);
    if (!parsed) return pass_on(parsed);
    try {
        po::store(*parsed, values);
    } catch (const po::error& error) {
        return wrong("read " + path, io::reason_of(error, *content));
    }
    return {};
}

}  // namespace

Result<void> read_options(const std::vector<std::string>& words, Options& out) {
    const po::options_description of_both = settings(out);
    po::options_description all;
    all.add(of_the_command_line(out)).add(of_both);
    po::variables_map values;
    try {
        po::store(po::command_line_parser(words).options(all).positional({}).run(), values);
        if (values.count("help") != 0) {
            std::ostringstream text;
            text << "usage: overlayd [OPTIONS]\n\n"
                    "Carries gretap, GUE and WireGuard in user space, as overlayctl tells it to.\n" << all;
            out.help = text.str();
            return {};
        }
        if (values["version"].as<bool>()) {
            out.version = true;
            return {};
        }
        if (values.count("ready-fd") != 0) out.ready_fd = values["ready-fd"].as<int>();
        for (const char* const option : {"offload", "memory", "threads"}) {
            const auto checked = check_words(option, values[option].as<std::string>());
            if (!checked) return wrong(std::string{"--"} + option, checked.error().reason);
        }
        if (const auto added = add_file(values, of_both); !added) return added;
        po::notify(values);
    } catch (const po::error& error) {
        return wrong("read the command line", io::reason_of(error, fmt::format("{}", fmt::join(words, " "))));
    }
    out.offloads = io::Offloads::parse(values["offload"].as<std::string>()).value();
    out.memory = datapath::Memory::parse(values["memory"].as<std::string>()).value();
    out.threads = threads_of(values["threads"].as<std::string>()).value();
    return {};
}

}  // namespace overlay::overlayd
