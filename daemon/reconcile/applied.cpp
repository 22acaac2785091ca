// One small JSON file per network: <state>/<network>/applied.json.

#include "daemon/reconcile/applied.hpp"

#include "daemon/io/files.hpp"
#include "topology/state_json.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <unistd.h>

namespace overlay {

namespace {

using Json = nlohmann::ordered_json;

std::string path(const std::string& state_directory, const std::string& network) {
    return fmt::format("{}/{}/applied.json", state_directory, network);
}

}  // namespace

Result<void> save_applied(const std::string& state_directory, const std::string& network,
                          const Applied& applied) {
    const Json json{{"version", 1},
                    {"file", applied.file_name},
                    {"node", applied.node},
                    {"source", applied.source}};
    const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
    const std::string to = path(state_directory, network);
    const auto before = io::read_file(to, text.size());
    if (before && *before == text) return {};
    if (auto made = io::make_directories(fmt::format("{}/{}", state_directory, network), 0700);
        !made)
        return made;
    return io::replace_file(to, text, 0600);
}

Result<std::optional<Applied>> load_applied(const std::string& state_directory,
                                            const std::string& network) {
    constexpr std::size_t max_bytes = 16 * 1024 * 1024;
    const std::string from = path(state_directory, network);
    const auto text = io::read_file(from, max_bytes);
    if (!text && text.error().kind == Error::Kind::NotFound) return std::optional<Applied>{};
    if (!text) return pass_on(text);
    try {  // nlohmann says "missing" and "wrong type" by exception only
        const auto json = nlohmann::json::parse(*text);
        return std::optional<Applied>{Applied{json.at("file"), json.at("node"), json.at("source")}};
    } catch (const std::exception& e) {
        return fail(Error::Kind::Invalid, "read " + from, "damaged: " + fault_of_json(e));
    }
}

Result<void> forget_applied(const std::string& state_directory, const std::string& network) {
    auto removed = io::remove_file(path(state_directory, network));
    if (removed) (void)::rmdir(fmt::format("{}/{}", state_directory, network).c_str());
    return removed;
}

}  // namespace overlay
