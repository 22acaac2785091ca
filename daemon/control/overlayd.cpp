#include "daemon/control/overlayd.hpp"

#include "daemon/control/kept.hpp"
#include "topology/state_json.hpp"

#include <nlohmann/json.hpp>
#include <openssl/crypto.h>

namespace overlay::control {

namespace {

/// Text that may hold keys.
class Wiped {
  public:
    explicit Wiped(std::string text) : text_{std::move(text)} {}
    Wiped(const Wiped&) = delete;
    Wiped& operator=(const Wiped&) = delete;
    ~Wiped() { OPENSSL_cleanse(text_.data(), text_.size()); }
    [[nodiscard]] const std::string& text() const { return text_; }

  private:
    std::string text_;
};

std::string state_of(const Link& link) {
    KernelState state;
    state.links.emplace(link.name, Link{.name = link.name, .kind = link.kind, .gretap = link.gretap});
    return to_json(state);
}

std::string state_of(const FouPort& port) {
    KernelState state;
    state.fou_ports.insert(port);
    return to_json(state);
}

}  // namespace

// ---- reading ------------------------------------------------------------------------------------

Result<Client*> Overlayd::client() {
    if (client_ && client_->is_open()) return &*client_;
    auto connected = Client::connect(run_directory_);
    if (!connected) return pass_on(connected);
    if (connected->is_elsewhere()) {   // it carries nothing here, and must not be told to
        return fail(Error::Kind::NotFound, "connect to overlayd",
                    "the one of " + run_directory_ + " lives in another network namespace");
    }
    client_.emplace(std::move(*connected));
    return &*client_;
}

Result<void> Overlayd::add_to(KernelState& state, Secrets& secrets) {
    devices_.clear();
    links_.clear();
    for (const auto& [name, link] : state.links) {
        if (link.kind == LinkKind::Tun) devices_.insert(name);
    }
    const auto peer = client();
    if (!peer && peer.error().kind == Error::Kind::NotFound) return {};
    if (!peer) return pass_on(peer);
    const auto answered = (*peer)->ask({"state", "", ""});
    if (!answered) return pass_on(answered);
    auto carried = state_from_json(*answered);
    if (!carried) return pass_on(carried);
    state.overlayd = true;
    for (auto& [name, link] : carried->links) {
        const auto found = state.links.find(name);
        if (found == state.links.end()) continue;
        links_.insert_or_assign(name, link);
        found->second.gretap = std::move(link.gretap);
    }
    state.fou_ports.merge(carried->fou_ports);
    for (const auto& [name, none] : carried->wireguard) {
        auto told = (*peer)->ask({"uapi", name.str(), std::string{get_device}});
        if (!told) return pass_on(told);
        const Wiped text{std::move(*told)};
        auto device = device_of(text.text(), secrets);
        if (!device) return pass_on(device);
        state.wireguard.insert_or_assign(name, std::move(device->device));
    }
    return {};
}

Result<void> Overlayd::add_to(netlink::Activity& activity) {
    const auto peer = client();
    if (!peer && peer.error().kind == Error::Kind::NotFound) return {};
    if (!peer) return pass_on(peer);
    for (const IfName& name : devices_) {
        auto told = (*peer)->ask({"uapi", name.str(), std::string{get_device}});
        if (!told) continue;   // somebody else's TUN
        const Wiped text{std::move(*told)};
        Secrets none;
        auto device = device_of(text.text(), none);
        if (!device) return pass_on(device);
        activity.peers.insert_or_assign(name, std::move(device->activity));
    }
    return {};
}

Result<Overlayd::Reports> Overlayd::reports() {
    Reports out;
    const auto peer = client();
    if (!peer && peer.error().kind == Error::Kind::NotFound) return out;
    if (!peer) return pass_on(peer);
    const auto told = (*peer)->ask({"counters", "", ""});
    if (!told) return pass_on(told);
    try {   // the library says "missing" and "wrong type" by exception only
        const auto all = nlohmann::json::parse(*told);
        for (const auto& [name, link] : all.items()) {
            LinkReport& report = out.links[IfName::from_kernel(name)];
            link.at("drops").get_to(report.drops);
            // An overlayd that was started by an older overlayctl does not tell.
            if (link.contains("offloads")) link.at("offloads").get_to(report.offloads);
        }
    } catch (const nlohmann::json::exception& error) {
        return fail(Error::Kind::Invalid, "read overlayd's counters", error.what());
    }
    if (const auto added = add_strays_to(out); !added) return pass_on(added);
    return out;
}

Result<void> Overlayd::add_strays_to(Reports& out) {
    const auto told = (*client())->ask({"strays", "", ""});
    if (!told && told.error().kind == Error::Kind::Invalid) return {};   // started by an older overlayctl
    if (!told) return pass_on(told);
    try {
        for (const auto& [name, drops] : nlohmann::json::parse(*told).get<std::map<std::string, Drops>>()) {
            const auto link = out.links.find(IfName::from_kernel(name));
            Drops& sum = link == out.links.end() ? out.ports[name] : link->second.drops;
            for (const auto& [reason, count] : drops) sum[reason] += count;
        }
    } catch (const nlohmann::json::exception& error) {
        return fail(Error::Kind::Invalid, "read what overlayd dropped", error.what());
    }
    return {};
}

// ---- changing -----------------------------------------------------------------------------------

bool Overlayd::carries(const Step& step) const {
    return std::visit(
        Overloaded{
            [](const RunOverlayd&) { return true; },
            [](const AddFouPort& s) { return s.port.datapath == Datapath::Userspace; },
            [](const RemoveFouPort& s) { return s.port.datapath == Datapath::Userspace; },
            [](const CreateLink& s) { return is_userspace(s.link.kind); },
            [](const DeleteLink& s) { return is_userspace(s.link.kind); },
            [&](const RenameLink& s) { return links_.contains(s.from) || devices_.contains(s.from); },
            [](const ChangeLink& s) { return s.to.kind == LinkKind::Tap && s.to.gretap.has_value(); },
            [&](const SetWireguard& s) { return devices_.contains(s.link); },
            [&](const SetPeer& s) { return devices_.contains(s.link); },
            [](const auto&) { return false; },
        },
        step);
}

Result<void> Overlayd::carry_out(const Step& step, const Secrets& secrets) {
    return std::visit(
        Overloaded{
            [&](const RunOverlayd& s) { return run(s); },
            [&](const AddFouPort& s) { return change({"add-port", "", state_of(s.port)}); },
            [&](const RemoveFouPort& s) { return change({"remove-port", "", state_of(s.port)}); },
            [&](const CreateLink& s) { return take(s.link); },
            [&](const DeleteLink& s) { return forget(s.link.name); },
            [&](const ChangeLink& s) { return take(s.to); },
            [&](const SetWireguard& s) {
                return configure(s.link, set_text(s, secrets), describe(step));
            },
            [&](const SetPeer& s) {
                return configure(s.link, set_text(s, secrets), describe(step));
            },
            [](const auto&) { return Result<void>{}; },
        },
        step);
}

Result<void> Overlayd::change(Request request) {
    const auto peer = client();
    if (!peer) return pass_on(peer);
    ++writes_;
    const auto answered = (*peer)->ask(request);
    return answered ? Result<void>{} : pass_on(answered);
}

Result<void> Overlayd::run(const RunOverlayd& step) {
    client_.reset();
    ++writes_;
    if (!step.from) {
        if (const auto kept = keep_only(run_directory_, step.ports, step.links); !kept) return kept;
    }
    if (step.to) return start_overlayd(run_directory_, state_directory_);
    return step.from ? stop_overlayd(run_directory_) : Result<void>{};
}

Result<void> Overlayd::take(const Link& link) {
    links_.insert_or_assign(link.name, link);
    if (link.kind == LinkKind::Tap) return set_link(link);
    devices_.insert(link.name);
    return change({"add-device", link.name.str(), ""});
}

/// What made the device below may have died before it told overlayd.
Result<void> Overlayd::set_link(const Link& link) {
    const auto set = change({"set-link", "", state_of(link)});
    const bool lacks = !set && set.error().kind == Error::Kind::NotFound;
    if (!lacks || !link.gretap || !devices_.contains(link.gretap->device)) return set;
    if (const auto added = change({"add-device", link.gretap->device.str(), ""}); !added) return added;
    return change({"set-link", "", state_of(link)});
}

/// What it does not know (any more) is forgotten already.
Result<void> Overlayd::forget(const IfName& name) {
    devices_.erase(name);
    links_.erase(name);
    const auto done = change({"remove", name.str(), ""});
    if (!done && done.error().kind == Error::Kind::NotFound) return {};
    return done;
}

Result<Overlayd::Lifted> Overlayd::lift(const IfName& name) {
    Lifted out;
    const auto known = links_.find(name);
    if (known != links_.end()) out.link = known->second;
    out.link.kind = devices_.contains(name) ? LinkKind::Tun : LinkKind::Tap;
    if (out.link.kind == LinkKind::Tun) {
        const auto peer = client();
        if (!peer) return pass_on(peer);
        auto told = (*peer)->ask({"uapi", name.str(), std::string{get_device}});
        if (!told) return pass_on(told);
        out.settings = settings_of(Wiped{std::move(*told)}.text());
        for (const auto& [other, link] : links_) {
            if (link.gretap && link.gretap->device == name) out.inside.push_back(link);
        }
    }
    if (const auto forgotten = forget(name); !forgotten) return pass_on(forgotten);
    return out;
}

Result<void> Overlayd::put_down(const IfName& name, Lifted lifted) {
    lifted.link.name = name;
    if (const auto taken = take(lifted.link); !taken || lifted.settings.empty()) return taken;
    for (Link& link : lifted.inside) {
        link.gretap->device = name;
        if (const auto taken = take(link); !taken) return taken;
    }
    return configure(name, std::move(lifted.settings), "configure " + name.str());
}

Result<void> Overlayd::configure(const IfName& device, Result<std::string> text,
                                 std::string_view doing) {
    if (!text) return pass_on(text);
    const Wiped set{*std::move(text)};
    const auto peer = client();
    if (!peer) return pass_on(peer);
    ++writes_;
    auto answered = (*peer)->ask({"uapi", device.str(), set.text()});
    if (!answered && answered.error().kind == Error::Kind::NotFound) {   // it was started after us
        if (const auto added = change({"add-device", device.str(), ""}); !added) return added;
        answered = (*peer)->ask({"uapi", device.str(), set.text()});
    }
    if (!answered) return pass_on(answered);
    return outcome_of(*answered, doing);
}

}  // namespace overlay::control
