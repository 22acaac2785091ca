// Carries the gretap-over-GUE links that a JSON file describes, until SIGTERM; then says what went through.
// A driver of the data path for measurements, until overlayd carries links by itself.
//
//     carry FILE
//     {"offload": "auto" | "none", "endpoints": [{"local": "10.9.0.1", "port": 5555, "links": [
//         {"device": "gt", "remote": "10.9.0.2", "remote_port": 5555, "key": 77}]}]}

#include "daemon/datapath/engine.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <csignal>
#include <cstdio>

#include <sys/signalfd.h>

namespace overlay {

namespace {

using Json = nlohmann::json;

IpAddress address_of(const Json& json, const char* key) {
    return IpAddress::parse(json.at(key).get<std::string>()).value();
}

std::vector<datapath::GueEndpointConfig> endpoints_of(const Json& json, bool offload) {
    using Offload = io::UdpOptions::Offload;
    std::vector<datapath::GueEndpointConfig> out;
    for (const Json& endpoint : json.at("endpoints")) {
        datapath::GueEndpointConfig one;
        one.socket.local = address_of(endpoint, "local");
        one.socket.family = one.socket.local->family();
        one.socket.port = endpoint.at("port");
        one.socket.offload = offload ? Offload::Auto : Offload::None;
        for (const Json& link : endpoint.at("links")) {
            datapath::GretapLinkConfig made;
            made.device = IfName::from_kernel(link.at("device").get<std::string>());
            made.remote = address_of(link, "remote");
            made.remote_port = link.at("remote_port");
            if (link.contains("key")) made.key = link.at("key").get<std::uint32_t>();
            one.links.push_back(std::move(made));
        }
        out.push_back(std::move(one));
    }
    return out;
}

int complain(const Error& error) {
    fmt::print(stderr, "carry: {}\n", text(error));
    return 1;
}

io::UniqueFd end_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    return io::UniqueFd{::signalfd(-1, &signals, SFD_CLOEXEC)};
}

int run(const std::string& path) {
    const auto content = io::read_file(path, 1 << 20);
    if (!content) return complain(content.error());
    const Json json = Json::parse(*content);
    datapath::EngineOptions options;
    const bool offload = json.value("offload", "auto") != "none";
    if (!offload) {
        options.device_offload = io::TapOptions::Offload::None;
        options.merging = datapath::Coalescer::Merging::Off;
    }
    const io::UniqueFd stop = end_signals();
    auto engine = datapath::Engine::open(endpoints_of(json, offload), options);
    if (!engine) return complain(engine.error());
    const auto ran = engine->run(stop.get());
    for (const auto& [name, c] : engine->counters()) {
        fmt::print(stderr, "{}: sent {} frames {} bytes, received {} frames {} bytes, lost {}\n",
                   name.str(), c.sent_frames, c.sent_bytes, c.received_frames, c.received_bytes,
                   c.lost_datagrams);
    }
    return ran ? 0 : complain(ran.error());
}

}  // namespace

}  // namespace overlay

int main(int argc, char** argv) { return argc == 2 ? overlay::run(argv[1]) : 1; }
