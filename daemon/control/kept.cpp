#include "daemon/control/kept.hpp"

#include "daemon/io/files.hpp"
#include "topology/state_json.hpp"

#include <nlohmann/json.hpp>
#include <openssl/crypto.h>

namespace overlay::control {

std::string kept_path(const std::string& run_directory) { return run_directory + "/overlayd.json"; }

Result<void> keep_only(const std::string& run_directory, const std::set<FouPort>& ports,
                       const std::set<IfName>& links) {
    using Json = nlohmann::json;
    const std::string path = kept_path(run_directory);
    auto text = io::read_file(path, max_kept_bytes);
    if (!text && text.error().kind == Error::Kind::NotFound) return {};
    if (!text) return pass_on(text);
    Json all = Json::parse(*text, nullptr, false);
    OPENSSL_cleanse(text->data(), text->size());
    const bool is_readable =
        all.is_object() && all.contains("state") && all.value("devices", Json::object()).is_object();
    auto state = is_readable ? state_from_json(all["state"].dump()) : Result<KernelState>{};
    if (!is_readable || !state) return io::remove_file(path);
    std::erase_if(state->fou_ports, [&](const FouPort& port) { return !ports.contains(port); });
    std::erase_if(state->links, [&](const auto& link) { return !links.contains(link.first); });
    std::erase_if(state->wireguard, [&](const auto& device) { return !links.contains(device.first); });
    const Json former = all.value("devices", Json::object());
    Json devices = Json::object();
    for (const auto& [name, settings] : former.items()) {
        if (links.contains(IfName::from_kernel(name))) devices[name] = settings;
    }
    const bool is_empty = state->fou_ports.empty() && state->links.empty() && devices.empty();
    if (is_empty) return io::remove_file(path);
    all["state"] = Json::parse(to_json(*state));
    all["devices"] = std::move(devices);
    std::string left = all.dump(1) + "\n";
    auto written = io::replace_file(path, left, 0600);
    OPENSSL_cleanse(left.data(), left.size());
    return written;
}

}  // namespace overlay::control
