#include "daemon/lab/lab_state.hpp"

#include "daemon/io/files.hpp"

#include <nlohmann/json.hpp>

namespace overlay::lab {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

/// The record holds the file's text twice over in escapes, and a few hundred names.
constexpr std::size_t max_record_bytes = 32 * 1024 * 1024;

LabRecord record_of(const Json& json) {
    LabRecord record;
    record.network = json.at("network").get<std::string>();
    record.complete = json.at("complete").get<bool>();
    record.applied = json.at("applied").get<bool>();
    record.source = json.at("source").get<std::string>();
    record.namespaces = json.at("namespaces").get<std::vector<std::string>>();
    for (const Json& each : json.at("processes")) {
        record.processes.push_back({each.at("pid").get<pid_t>(), each.at("host").get<std::string>(),
                                    each.at("executable").get<std::string>()});
    }
    if (const Json& holder = json.at("holder"); !holder.is_null()) {
        record.holder = LabHolder{holder.at("pid").get<pid_t>(),
                                  holder.at("user_namespace").get<std::uint64_t>()};
    }
    return record;
}

}   // namespace

Result<std::optional<LabRecord>> LabState::load() const {
    const fs::path path = directory_ / "lab.json";
    const auto content = io::read_file(path.string(), max_record_bytes);
    if (!content && content.error().kind == Error::Kind::NotFound)
        return std::optional<LabRecord>{};
    if (!content) return pass_on(content);
    const std::string doing = "read the lab's record " + path.string();
    try {
        return std::optional{record_of(Json::parse(*content))};
    } catch (const Json::exception& broken) {
        return fail(Error::Kind::Invalid, doing, broken.what());
    }
}

Result<void> LabState::save(const LabRecord& record) const {
    if (auto made = io::make_directories(directory_.string(), 0755); !made) return made;
    Json json = {{"network", record.network},
                 {"complete", record.complete},
                 {"applied", record.applied},
                 {"source", record.source},
                 {"namespaces", record.namespaces},
                 {"processes", Json::array()},
                 {"holder", nullptr}};
    for (const LabProcess& each : record.processes) {
        json["processes"].push_back(
            {{"pid", each.pid}, {"host", each.host}, {"executable", each.executable}});
    }
    if (record.holder) {
        json["holder"] = {{"pid", record.holder->pid},
                          {"user_namespace", record.holder->user_namespace}};
    }
    return io::replace_file((directory_ / "lab.json").string(), json.dump(2) + "\n", 0644);
}

Result<void> LabState::remove() const {
    std::error_code code;
    fs::remove_all(directory_, code);
    if (code) return fail(io::system_error("remove " + directory_.string(), code.value()));
    return {};
}

}   // namespace overlay::lab
