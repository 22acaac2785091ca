#include "daemon/overlayd/service.hpp"

#include "daemon/control/kept.hpp"
#include "daemon/control/uapi_text.hpp"
#include "daemon/io/clock.hpp"
#include "topology/state_json.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace overlay::overlayd {

namespace {

using Json = nlohmann::ordered_json;

void say(const std::string& what) { std::fputs(("overlayd: " + what + "\n").c_str(), stderr); }

std::string_view view(const wireguard::SecretText& text) { return {text.data(), text.size()}; }

tl::unexpected<Error> invalid(std::string_view what) {
    return fail(Error::Kind::Invalid, "serve a request", what, EINVAL);
}

}  // namespace

// ---- wg -----------------------------------------------------------------------------------------

/// Where `wg` finds one device.
class Service::WgSocket final : public io::Reader {
  public:
    static Result<std::unique_ptr<WgSocket>> open(Service& service, const IfName& device) {
        auto answer = [&service, device](std::string_view request) {
            const auto endpoint = service.carried_.device(device);
            if (!endpoint) return wireguard::SecretText{};
            wireguard::SecretText out = endpoint->answer(request);
            if (!request.starts_with("get=1")) service.keep();
            return out;
        };
        io::UapiSocketOptions options;
        options.folder = service.options_.uapi_directory;
        auto socket = io::UapiSocket::open(device, options, std::move(answer));
        if (!socket) return pass_on(socket);
        std::unique_ptr<WgSocket> out{new WgSocket{std::move(*socket)}};
        auto watch = service.engine_.loop().watch(out->socket_.fd(), *out);
        if (!watch) return pass_on(watch);
        out->watch_ = std::move(*watch);
        return out;
    }
    void on_readable() override { socket_.on_readable(io::now().monotonic); }
    void on_time() { socket_.on_time(io::now().monotonic); }

  private:
    explicit WgSocket(io::UapiSocket socket) : socket_{std::move(socket)} {}
    io::UapiSocket socket_;
    io::Watch watch_;
};

/// Not to be reachable for `wg` is no reason not to carry: in another network namespace, but the same file
/// system, somebody else can have a device of this name, and keeps it. A descriptor or the folder that was
/// missing may come.
void Service::serve_wg(const IfName& device) {
    if (wg_sockets_.contains(device)) return;
    auto socket = WgSocket::open(*this, device);
    const bool was_awaited = without_wg_.erase(device) != 0;
    if (socket) {
        wg_sockets_.emplace(device, std::move(*socket));
        if (was_awaited) say("wg reaches " + device.str() + " now");
        return;
    }
    const bool is_taken = socket.error().kind == Error::Kind::Conflict;
    if (!is_taken) without_wg_.insert(device);
    if (is_taken || !was_awaited) say(text(socket.error()));
}

Result<std::string> Service::uapi(const std::string& name, std::string_view request) {
    const auto device = carried_.device(IfName::from_kernel(name));
    if (!device)
        return fail(Error::Kind::NotFound, "configure " + name, "no WireGuard device of ours", ENODEV);
    const wireguard::SecretText answer = device->answer(request);
    if (answer.empty()) return invalid("neither get=1 nor set=1");
    return std::string{answer.begin(), answer.end()};
}

// ---- requests -----------------------------------------------------------------------------------

Service::Service(datapath::Engine& engine, ServiceOptions options, std::function<void()> stop,
                 std::function<void()> soon)
    : engine_{engine},
      options_{std::move(options)},
      stop_{std::move(stop)},
      soon_{std::move(soon)},
      carried_{engine, options_.state_directory} {}

Service::~Service() = default;

Result<std::string> Service::serve(const control::Request& request) {
    if (request.verb == "state") return to_json(carried_.state());
    if (request.verb == "counters") return counters();
    if (request.verb == "strays") return Json(engine_.strays()).dump();
    if (request.verb == "uapi" && request.body.starts_with("get=1"))
        return uapi(request.argument, request.body);
    if (request.verb == "stop") {
        (void)io::remove_file(control::kept_path(options_.run_directory));
        stop_();
        return std::string{};
    }
    auto done = change(request);
    if (done) keep();
    return done;
}

Result<std::string> Service::change(const control::Request& request) {
    let_go_of_broken();   // one that is gone must not be in the way of another
    const IfName name = IfName::from_kernel(request.argument);
    if (request.verb == "uapi") return uapi(request.argument, request.body);
    Result<void> done = {};
    if (request.verb == "add-device") {
        done = add_device(name);
    } else if (request.verb == "remove") {
        done = remove(name);
    } else {
        done = set(request);
    }
    if (!done) return pass_on(done);
    return std::string{};
}

Result<void> Service::remove(const IfName& name) {
    wg_sockets_.erase(name);
    without_wg_.erase(name);
    const bool was_awaited = awaited_.devices.erase(name) + awaited_.links.erase(name) > 0;
    std::erase_if(awaited_.links, [&](const auto& link) { return link.second.device == name; });
    auto removed = carried_.remove(name);
    if (!removed && was_awaited) return {};
    return removed;
}

Result<void> Service::add_device(const IfName& name) {
    if (const auto added = carried_.add_device(name); !added) return added;
    awaited_.devices.erase(name);
    carried_.device(name)->tell_of_events([this] { soon_(); });
    serve_wg(name);
    return {};
}

/// The verbs whose body is state with one object.
Result<void> Service::set(const control::Request& request) {
    const auto state = state_from_json(request.body);
    if (!state) return pass_on(state);
    if (request.verb == "set-link") {
        const bool has_one = state->links.size() == 1 && state->links.begin()->second.gretap;
        if (!has_one) return invalid("set-link takes one TAP with its gretap attributes");
        const auto& [name, link] = *state->links.begin();
        auto done = carried_.set_link(name, *link.gretap);
        if (done) awaited_.links.erase(name);
        return done;
    }
    if (request.verb != "add-port" && request.verb != "remove-port")
        return invalid(fmt::format("\"{}\" is none of the verbs", request.verb));
    if (state->fou_ports.size() != 1) return invalid(request.verb + " takes one fou port");
    const FouPort& port = *state->fou_ports.begin();
    const bool was_awaited = awaited_.ports.erase(port) > 0;
    if (request.verb == "add-port") return carried_.add_port(port);
    auto removed = carried_.remove_port(port);
    if (!removed && was_awaited) return {};
    return removed;
}

std::string Service::counters() const {
    Json out = Json::object();
    for (const auto& [name, counters, offloads] : engine_.reports()) {
        Json& link = out[name.str()];
        link = {{"tx_packets", counters.sent_frames},     {"tx_bytes", counters.sent_bytes},
                {"rx_packets", counters.received_frames}, {"rx_bytes", counters.received_bytes},
                {"lost_datagrams", counters.lost_datagrams}};
        std::map<std::string, std::uint64_t> drops;
        counters.add_drops_to(drops);
        link["drops"] = drops;
        for (const auto& [offload, which] : io::offload_names)
            link["offloads"][std::string{offload}] = text((offloads.*which).state);
    }
    return out.dump();
}

/// Of each link once, however often it happens.
void Service::tell_of_offloads() {
    std::map<IfName, io::Offloads> now;
    for (const auto& report : engine_.reports()) {
        const auto told = told_.find(report.name);
        const io::Offloads& before = told == told_.end() ? engine_.offloads() : told->second;
        for (const std::string& each : io::news(before, report.offloads)) say(report.name.str() + ": " + each);
        now.emplace(report.name, report.offloads);
    }
    told_ = std::move(now);
}

// ---- what must not be forgotten -----------------------------------------------------------------

void Service::keep() {
    KernelState state = carried_.state();
    Json devices = Json::object();
    for (const auto& [name, none] : state.wireguard) {
        const auto answer = uapi(name.str(), control::get_device);
        if (answer) devices[name.str()] = control::settings_of(*answer);
    }
    for (const auto& [name, settings] : awaited_.devices) devices[name.str()] = view(settings);
    state.fou_ports.insert(awaited_.ports.begin(), awaited_.ports.end());
    for (const auto& [name, gretap] : awaited_.links)
        state.links.emplace(name, Link{.name = name, .kind = LinkKind::Tap, .gretap = gretap});
    // As text: with thousands of links, whoever tells of them one after the other would wait for the parser.
    const std::string all =
        fmt::format("{{\"version\": 1, \"devices\": {}, \"state\": {}}}\n", devices.dump(1), to_json(state));
    const auto kept = io::replace_file(control::kept_path(options_.run_directory), all, 0600);
    if (!kept && !is_unkept_) say(text(kept.error()));
    is_unkept_ = !kept;
}

void Service::on_time() {
    let_go_of_broken();
    (void)take_awaited();
    carried_.retake_tuns();
    bool has_moved = is_unkept_;
    for (const auto& [name, none] : carried_.state().wireguard) {
        for (const wireguard::Event& event : carried_.device(name)->take_events())
            has_moved = has_moved || event.kind == wireguard::Event::Kind::Moved ||
                        event.kind == wireguard::Event::Kind::SessionBegun;
    }
    if (has_moved) keep();
    carried_.follow_mtus();
    tell_of_offloads();
    for (const IfName& name : std::set{without_wg_}) serve_wg(name);
    for (const auto& [name, socket] : wg_sockets_) socket->on_time();
}

// ---- what cannot be carried now -------------------------------------------------------------------

void Service::let_go_of_broken() {
    for (auto& [name, gretap] : carried_.let_go_of_broken()) {
        say(name.str() + " is gone; it is carried when it is there again");
        awaited_.links.insert_or_assign(name, std::move(gretap));
    }
}

/// All of it or nothing: a device with half of its settings would be in nobody's file.
Result<void> Service::resume_device(const IfName& name, const wireguard::SecretText& settings) {
    if (const auto added = add_device(name); !added) return added;
    const auto device = carried_.device(name);
    const wireguard::SecretText answer = device->answer(view(settings));
    const auto done = control::outcome_of(view(answer), "configure " + name.str());
    if (!done) (void)remove(name);
    else device->call_peers();
    return done;
}

/// Why not, for each that is awaited on.
std::vector<Error> Service::take_awaited() {
    std::vector<Error> out;
    const Awaited wanted = std::exchange(awaited_, {});
    for (const auto& [name, settings] : wanted.devices) {
        if (const auto resumed = resume_device(name, settings); !resumed) {
            out.push_back(resumed.error());
            awaited_.devices.emplace(name, settings);
        }
    }
    for (const FouPort& port : wanted.ports) {
        if (const auto added = carried_.add_port(port); !added) {
            out.push_back(added.error());
            awaited_.ports.insert(port);
        }
    }
    for (const auto& [name, gretap] : wanted.links) {
        if (const auto set = carried_.set_link(name, gretap); !set) {
            out.push_back(set.error());
            awaited_.links.emplace(name, gretap);
        }
    }
    return out;
}

Result<void> Service::resume() {
    const auto kept = io::read_file(control::kept_path(options_.run_directory), control::max_kept_bytes);
    if (!kept && kept.error().kind == Error::Kind::NotFound) return {};
    if (!kept) return pass_on(kept);
    const Json all = Json::parse(*kept, nullptr, false);
    const auto state = all.is_object() && all.contains("state")
                           ? state_from_json(all["state"].dump())
                           : Result<KernelState>{invalid("not what an overlayd keeps")};
    if (!state) {   // no later start could read it either
        say(control::kept_path(options_.run_directory) + ": " + text(state.error()));
        return {};
    }
    const Json devices = all.value("devices", Json::object());
    for (const auto& [name, settings] : devices.items()) {
        if (!settings.is_string()) continue;
        const auto& text = settings.get_ref<const std::string&>();
        awaited_.devices.emplace(IfName::from_kernel(name), wireguard::SecretText{text.begin(), text.end()});
    }
    awaited_.ports = state->fou_ports;
    for (const auto& [name, link] : state->links) {
        if (link.gretap) awaited_.links.emplace(name, *link.gretap);
    }
    for (const Error& error : take_awaited()) say(text(error));
    return {};
}

}  // namespace overlay::overlayd
