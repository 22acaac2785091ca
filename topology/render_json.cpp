// The intent for programs: the desired state in snapshot's own format, and why each object is in
// it.

#include "topology/render.hpp"

#include "topology/state_json.hpp"

#include <nlohmann/json.hpp>

namespace overlay {

namespace {

using Json = nlohmann::ordered_json;

Json origin_json(const Origin& origin) {
    Json out{{"path", origin.path}};
    if (origin.at.line != 0) {
        out["line"] = origin.at.line;
        out["column"] = origin.at.column;
    }
    return out;
}

Json pins_json(const std::vector<PinnedHost>& pins) {
    Json out = Json::array();
    for (const PinnedHost& pin : pins) {
        Json one{{"host", text(pin.host)}};
        one["gateway"] = pin.gateway ? Json(text(*pin.gateway)) : Json(nullptr);
        one["device"] = pin.device.empty() ? Json(nullptr) : Json(pin.device.str());
        out.push_back(std::move(one));
    }
    return out;
}

}  // namespace

std::string render_json(const NodeIntent& intent) {
    Json out{{"version", 1}, {"network", intent.network}, {"node", intent.node}};
    out["desired"] = Json::parse(to_json(intent.desired));
    Json& borrowed = out["borrowed"] = Json::array();
    for (const IfName& name : intent.borrowed) borrowed.push_back(name.str());
    out["pinned"] = pins_json(intent.pinned);
    out["uplink_move"] = nullptr;
    if (intent.uplink_move) {
        out["uplink_move"] = Json{{"uplink", intent.uplink_move->uplink.str()},
                                  {"bridge", intent.uplink_move->bridge.str()}};
    }
    Json& keys = out["private_key_files"] = Json::object();
    for (const auto& [device, file] : intent.private_key_files) keys[device.str()] = file;
    Json& preshared = out["preshared_key_files"] = Json::array();
    for (const auto& [peer, file] : intent.preshared_key_files) {
        preshared.push_back(
            Json{{"device", peer.first.str()}, {"peer", text(peer.second)}, {"file", file}});
    }
    Json& origins = out["origins"] = Json::object();
    for (const auto& [object, origin] : intent.origins) origins[object] = origin_json(origin);
    out["notes"] = intent.notes;
    return out.dump(2) + "\n";
}

}  // namespace overlay
