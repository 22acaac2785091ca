// Carries the links that a JSON file describes, until SIGTERM; then says what went through. SIGHUP: the file has
// changed. A driver of the data path for tests and measurements that want no control plane.
//
//     carry FILE
//     {"offload": "auto" | "none" | "device-tso,udp-gro", "threads": 2, "endpoints": [
//       {"local": "10.9.0.1", "port": 5555, "links": [
//         {"device": "gt", "remote": "10.9.0.2", "remote_port": 5555, "key": 77}]},
//       {"private_key": "base64", "port": 51820, "mtu": 1420, "tun": "wg", "stamp_file": "/…", "peers": [
//         {"public_key": "base64", "preshared_key": "base64", "endpoint": "10.9.0.2:51820",
//          "allowed_ips": ["10.7.0.2/32"], "persistent_keepalive": 25}], "links": [
//         {"device": "gt", "local": "10.7.0.1", "remote": "10.7.0.2", "key": 77}]}]}

#include "daemon/datapath/engine.hpp"
#include "daemon/io/own_pages.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <csignal>
#include <cstdio>

#include <sys/signalfd.h>
#include <unistd.h>

namespace overlay {

namespace {

using Json = nlohmann::json;

IpAddress address_of(const Json& json, const char* key) {
    return IpAddress::parse(json.at(key).get<std::string>()).value();
}

std::optional<std::uint32_t> gre_key(const Json& link) {
    return link.contains("key") ? std::optional{link.at("key").get<std::uint32_t>()} : std::nullopt;
}

wireguard::Secret32 secret(const Json& json, const char* key) {
    const std::string bytes = base64_decode(json.at(key).get<std::string>()).value();
    return wireguard::Secret32{std::as_bytes(std::span{bytes})};
}

datapath::GueEndpointConfig gue_of(const Json& json) {
    datapath::GueEndpointConfig out;
    out.socket.local = address_of(json, "local");
    out.socket.family = out.socket.local->family();
    out.socket.port = json.at("port");
    for (const Json& link : json.at("links")) {
        out.links.push_back({.device = IfName::from_kernel(link.at("device").get<std::string>()),
                             .remote = address_of(link, "remote"),
                             .remote_port = link.at("remote_port"),
                             .key = gre_key(link)});
    }
    return out;
}

wireguard::PeerChange peer_of(const Json& json) {
    wireguard::PeerChange out;
    out.key = PublicKey::parse(json.at("public_key").get<std::string>()).value();
    if (json.contains("preshared_key")) out.preshared_key = secret(json, "preshared_key");
    if (json.contains("endpoint"))
        out.endpoint = parse_endpoint(json.at("endpoint").get<std::string>()).value();
    for (const Json& prefix : json.at("allowed_ips"))
        out.allowed_ips.push_back(IpPrefix::parse(prefix.get<std::string>()).value());
    if (json.contains("persistent_keepalive"))
        out.persistent_keepalive = std::chrono::seconds{json.at("persistent_keepalive").get<int>()};
    return out;
}

datapath::WireguardEndpointConfig wireguard_of(const Json& json) {
    datapath::WireguardEndpointConfig out;
    out.private_key = secret(json, "private_key");
    out.listen.port = json.value("port", std::uint16_t{0});
    if (json.contains("local")) out.listen.local = address_of(json, "local");
    out.mtu_bytes = json.value("mtu", std::size_t{1420});
    out.stamp_file = json.value("stamp_file", "");
    if (json.contains("tun")) out.tun = IfName::from_kernel(json.at("tun").get<std::string>());
    for (const Json& peer : json.at("peers")) out.peers.push_back(peer_of(peer));
    for (const Json& link : json.value("links", Json::array())) {
        out.links.push_back({.device = IfName::from_kernel(link.at("device").get<std::string>()),
                             .address = {.local = address_of(link, "local"),
                                         .remote = address_of(link, "remote"),
                                         .key = gre_key(link)}});
    }
    return out;
}

int complain(const Error& error) {
    fmt::print(stderr, "carry: {}\n", text(error));
    return 1;
}

/// Endpoints as the file has them; those that it no longer has go.
class Config final : public io::Reader {
  public:
    Config(datapath::Engine& engine, std::string path, int hangups)
        : engine_{engine}, path_{std::move(path)}, hangups_{hangups} {}

    [[nodiscard]] Result<void> apply() {
        const auto content = io::read_file(path_, 1 << 20);
        if (!content) return pass_on(content);
        std::size_t number = 0;
        const Json json = Json::parse(*content);
        for (const Json& each : json.at("endpoints")) {
            if (auto set = apply(each, std::to_string(number++)); !set) return set;
        }
        for (std::size_t n = number; n < count_; ++n) engine_.remove(std::to_string(n));
        count_ = number;
        return {};
    }
    void on_readable() override {
        signalfd_siginfo which{};
        if (::read(hangups_, &which, sizeof which) <= 0) return;
        if (const auto applied = apply(); !applied) complain(applied.error());
        fmt::print(stderr, "carry: the file was read again\n");
    }

  private:
    Result<void> apply(const Json& json, const std::string& name) {
        if (json.contains("private_key")) {
            auto config = wireguard_of(json);
            config.name = name;
            return engine_.set(config);
        }
        auto config = gue_of(json);
        config.name = name;
        return engine_.set(config);
    }

    datapath::Engine& engine_;
    std::string path_;
    int hangups_;
    std::size_t count_ = 0;
};

io::UniqueFd signals(std::initializer_list<int> which) {
    sigset_t set;
    sigemptyset(&set);
    for (const int each : which) sigaddset(&set, each);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    return io::UniqueFd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
}

void report(const datapath::LinkReport& link) {
    const auto& [name, c, offloads] = link;
    fmt::print(stderr, "{}: sent {} frames {} bytes, received {} frames {} bytes, lost {}\n",
               name.str(), c.sent_frames, c.sent_bytes, c.received_frames, c.received_bytes,
               c.lost_datagrams);
    for (std::size_t i = 0; i < wire::drop_reason_count; ++i) {
        if (c.drops[i] == 0) continue;
        fmt::print(stderr, "{}: dropped {} {}\n", name.str(), c.drops[i],
                   wire::text(static_cast<wire::DropReason>(i)));
    }
    for (const auto& [offload, which] : io::offload_names)
        fmt::print(stderr, "{}: {} {}\n", name.str(), offload, text((offloads.*which).state));
}

int run(const std::string& path) {
    const auto content = io::read_file(path, 1 << 20);
    if (!content) return complain(content.error());
    const Json json = Json::parse(*content);
    const auto offloads = io::Offloads::parse(json.value("offload", "auto"));
    if (!offloads) return complain(offloads.error());
    const io::UniqueFd stop = signals({SIGTERM, SIGINT}), hangups = signals({SIGHUP});
    const auto memory = datapath::Memory::parse(json.value("memory", "default"));
    if (!memory) return complain(memory.error());
    const auto made = datapath::Engine::make(*offloads, *memory, json.value("threads", 1U));
    if (!made) return complain(made.error());
    datapath::Engine& engine = **made;
    Config config{engine, path, hangups.get()};
    if (const auto applied = config.apply(); !applied) return complain(applied.error());
    if (!memory->keeps_start_pages) io::let_go_of_file_pages();
    const auto watch = engine.loop().watch(hangups.get(), config);
    if (!watch) return complain(watch.error());
    const auto ran = engine.run(stop.get());
    for (const auto& link : engine.reports()) report(link);
    return ran ? 0 : complain(ran.error());
}

}  // namespace

}  // namespace overlay

int main(int argc, char** argv) { return argc == 2 ? overlay::run(argv[1]) : 1; }
