// Steps that belong to one object are told together, at the place of the first of them.

#include "topology/render_plan.hpp"

#include "topology/attributes.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

namespace overlay {

namespace {

using Json = nlohmann::ordered_json;

struct Group {
    std::string object;
    Action action{};
    Impact impact{};
    Origin origin;
    std::vector<std::string> whys;
    std::vector<AttributeChange> attributes;
};

/// A removal with parts says how many parts; a change says the worst of its steps.
void join(Group& group, const PlannedStep& step) {
    group.impact = std::max(group.impact, step.impact);
    const bool part_of_removal = object_of(step.step) != step.object;
    if (part_of_removal) {
        if (std::holds_alternative<ChangeLink>(step.step)) {
            const auto& change = std::get<ChangeLink>(step.step);
            if (change.from.master) {
                group.attributes.push_back({"releases", change.from.name.str(), ""});
            }
            return;
        }
        group.attributes.push_back({"with", object_of(step.step), ""});
        return;
    }
    if (!step.why.empty() &&
        std::find(group.whys.begin(), group.whys.end(), step.why) == group.whys.end()) {
        group.whys.push_back(step.why);
    }
    for (AttributeChange change : attribute_changes(step.step)) {
        const auto same = std::find_if(
            group.attributes.begin(), group.attributes.end(),
            [&](const AttributeChange& a) { return a.name == change.name && a.name != "rule"; });
        if (same == group.attributes.end()) {
            group.attributes.push_back(std::move(change));
        } else {  // removed and added again: one line, old to new
            if (!change.after.empty()) same->after = change.after;
            if (same->before.empty()) same->before = change.before;
        }
    }
}

std::vector<Group> groups_of(const Plan& plan) {
    std::vector<Group> out;
    std::map<std::string, std::size_t> index;
    for (const PlannedStep& step : plan.steps) {
        const auto [place, is_new] = index.emplace(step.object, out.size());
        if (is_new) out.push_back({step.object, step.action, step.impact, step.origin, {}, {}});
        join(out[place->second], step);
    }
    return out;
}

std::string_view sign(Action action) {
    switch (action) {
        case Action::Add: return "+";
        case Action::Change: return "~";
        case Action::Recreate: return "±";
        case Action::Remove: return "-";
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

std::string_view colour_of(Action action) {
    switch (action) {
        case Action::Add: return "\x1b[32m";
        case Action::Change: return "\x1b[33m";
        case Action::Recreate: return "\x1b[35m";
        case Action::Remove: return "\x1b[31m";
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

std::string place(const Origin& origin, std::string_view file_name) {
    return origin.at.line == 0
               ? ""
               : fmt::format("{}:{}:{}", file_name, origin.at.line, origin.at.column);
}

std::string attribute_text(const AttributeChange& change) {
    if (change.before.empty()) return fmt::format("{} {}", change.name, change.after);
    if (change.after.empty()) return fmt::format("{} {}", change.name, change.before);
    return fmt::format("{} {} -> {}", change.name, change.before, change.after);
}

/// Attributes of a new object share lines; changes get one line each.
std::string attributes_text(const Group& group) {
    constexpr std::size_t max_line = 92;
    std::string out, line;
    for (const AttributeChange& change : group.attributes) {
        const bool alone = group.action != Action::Add || change.name == "rule";
        const std::string item = attribute_text(change);
        if (!line.empty() && (alone || line.size() + item.size() + 2 > max_line)) {
            out += "      " + line + "\n";
            line.clear();
        }
        line += (line.empty() ? "" : ", ") + item;
        if (alone) {
            const std::string_view mark = group.action == Action::Add || change.name != "rule" ? ""
                                          : change.before.empty() ? "+ "
                                                                  : "- ";
            out += fmt::format("      {}{}\n", mark, line);
            line.clear();
        }
    }
    if (!line.empty()) out += "      " + line + "\n";
    return out;
}

Json origin_json(const Origin& origin, std::string_view file_name) {
    if (origin.at.line == 0) return nullptr;
    return {{"file", file_name},
            {"line", origin.at.line},
            {"column", origin.at.column},
            {"path", origin.path}};
}

}  // namespace

std::string_view text(Action action) {
    switch (action) {
        case Action::Add: return "add";
        case Action::Change: return "change";
        case Action::Recreate: return "recreate";
        case Action::Remove: return "remove";
    }
    OVERLAY_UNREACHABLE("not an enumerator");
}

PlanCounts count(const Plan& plan) {
    PlanCounts out;
    for (const Group& group : groups_of(plan)) {
        switch (group.action) {
            case Action::Add: ++out.add; break;
            case Action::Change: ++out.change; break;
            case Action::Recreate: ++out.recreate; break;
            case Action::Remove: ++out.remove; break;
        }
    }
    return out;
}

Impact worst_impact(const Plan& plan) {
    Impact worst = Impact::Live;
    for (const PlannedStep& step : plan.steps) worst = std::max(worst, step.impact);
    return worst;
}

std::string plan_text(const Plan& plan, std::string_view file_name, Colour colour) {
    std::string out;
    for (const Refusal& refusal : plan.refusals) {
        const std::string where = place(refusal.origin, file_name);
        out += fmt::format("! {}{}: {}\n", where.empty() ? "" : where + ": ", refusal.object,
                           refusal.reason);
        if (!refusal.hint.empty()) out += fmt::format("      hint: {}\n", refusal.hint);
    }
    for (const Group& group : groups_of(plan)) {
        const bool on = colour == Colour::On;
        const std::string tail =
            fmt::format("{}  [{}]", place(group.origin, file_name), text(group.impact));
        out += fmt::format("{}{} {}{}", on ? colour_of(group.action) : "", sign(group.action),
                           group.object, on ? "\x1b[0m" : "");
        const std::size_t width = group.object.size() + 2;
        out += fmt::format("{}{}\n", std::string(width < 60 ? 60 - width : 1, ' '), tail);
        for (const std::string& why : group.whys) out += fmt::format("      ({})\n", why);
        out += attributes_text(group);
    }
    for (const std::string& note : plan.notes) out += "note: " + note + "\n";
    const PlanCounts counts = count(plan);
    out += fmt::format(
        "{} to add, {} to change, {} to recreate, {} to remove; {} foreign object{} left alone\n",
        counts.add, counts.change, counts.recreate, counts.remove, plan.foreign_objects,
        plan.foreign_objects == 1 ? "" : "s");
    return out;
}

std::string plan_json(const Plan& plan, std::string_view file_name) {
    Json changes = Json::array(), refusals = Json::array();
    for (const Group& group : groups_of(plan)) {
        Json attributes = Json::array();
        for (const AttributeChange& change : group.attributes) {
            attributes.push_back(
                {{"name", change.name},
                 {"old", change.before.empty() ? Json(nullptr) : Json(change.before)},
                 {"new", change.after.empty() ? Json(nullptr) : Json(change.after)}});
        }
        changes.push_back({{"object", group.object},
                           {"action", text(group.action)},
                           {"impact", text(group.impact)},
                           {"why", group.whys},
                           {"attributes", attributes},
                           {"source", origin_json(group.origin, file_name)}});
    }
    for (const Refusal& refusal : plan.refusals) {
        refusals.push_back({{"object", refusal.object},
                            {"reason", refusal.reason},
                            {"hint", refusal.hint},
                            {"source", origin_json(refusal.origin, file_name)}});
    }
    const PlanCounts counts = count(plan);
    const Json json{{"version", 1},
                    {"changes", changes},
                    {"refusals", refusals},
                    {"notes", plan.notes},
                    {"summary",
                     {{"add", counts.add},
                      {"change", counts.change},
                      {"recreate", counts.recreate},
                      {"remove", counts.remove},
                      {"foreign", plan.foreign_objects}}}};
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace overlay
