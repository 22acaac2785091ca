// Holds the order of the story; each part decides nothing that belongs to another.

#include "daemon/reconcile/reconcile.hpp"

#include "daemon/io/held_signals.hpp"
#include "daemon/reconcile/live_kernel.hpp"
#include "netlink/modules.hpp"
#include "netlink/udp_sockets.hpp"
#include "topology/attributes.hpp"
#include "topology/datapath.hpp"
#include "topology/derive.hpp"
#include "topology/render_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace overlay {

namespace {

Outcome failed(Outcome::Verdict verdict, Error error) {
    Outcome out;
    out.verdict = verdict;
    out.error = std::move(error);
    return out;
}

/// Who holds a port costs a walk through /proc, so only a refusal asks.
void name_port_owners(Plan& plan) {
    for (Refusal& refusal : plan.refusals) {
        unsigned port = 0;
        if (std::sscanf(refusal.reason.c_str(), "UDP port %u", &port) != 1) continue;
        const Family family =
            refusal.reason.find("ipv6") == std::string::npos ? Family::Ipv4 : Family::Ipv6;
        const std::string owner =
            netlink::owner_of_udp_port(family, static_cast<std::uint16_t>(port));
        if (!owner.empty()) refusal.reason += " by " + owner;
    }
}

/// Where a missing module comes from is the distribution's matter, and netlink/ knows it.
void name_packages(Plan& plan, const NodeIntent& intent) {
    for (Refusal& refusal : plan.refusals) {
        for (const std::string& module : intent.desired.modules) {
            if (refusal.object == object_of(LoadModule{module}))
                refusal.hint = netlink::package_hint(module);
        }
    }
}

/// What of the plan's objects is not as it was before: empty after a complete rollback. A step whose
/// start is the work of an earlier step (a link made anew) tells nothing: the earlier one does.
std::vector<std::string> differences(const Prepared& prepared, const KernelState& now) {
    std::vector<std::string> out;
    for (const PlannedStep& planned : prepared.plan.steps) {
        const bool was = is_undone(planned.step, prepared.found);
        if (was && !is_undone(planned.step, now)) out.push_back(planned.object);
    }
    return out;
}

Result<KernelState> snapshot_of(Prepared& prepared) {
    return LiveKernel{prepared.kernel, prepared.overlayd, prepared.secrets}.snapshot();
}

std::uint64_t writes_of(const Prepared& prepared) {
    return prepared.kernel.writes() + prepared.overlayd.writes();
}

Outcome rolled_back(Prepared& prepared, Report report, const LedgerStore& store) {
    Outcome out;
    out.error = std::move(report.failure);
    out.error_origin = std::move(report.failure_origin);
    const auto now = snapshot_of(prepared);
    out.left_over =
        now ? differences(prepared, *now)
            : std::vector<std::string>{"the kernel's state cannot be read: " + text(now.error())};
    for (const Error& error : report.lost_because) out.left_over.push_back(text(error));
    out.verdict =
        out.left_over.empty() ? Outcome::Verdict::RolledBack : Outcome::Verdict::RolledBackInPart;
    if (out.left_over.empty()) {
        if (const auto saved = store.save(prepared.ledger); !saved) {
            out.left_over.push_back(text(saved.error()));
            out.verdict = Outcome::Verdict::RolledBackInPart;
        }
    }
    out.writes = writes_of(prepared);
    out.plan = std::move(prepared.plan);
    return out;
}

/// What could not be put back now may come back later, as long as there is something of ours here.
void remember_lost(Prepared& prepared, Report& report) {
    for (const Error& error : report.lost_because)
        prepared.plan.notes.push_back("somebody else's, and lost with something of ours: " + text(error));
    if (!prepared.intent.desired.links.empty()) prepared.plan.ledger_after.bystanders = std::move(report.lost);
}

/// The kernel said yes to every step; does the world agree?
Report verify(Prepared& prepared) {
    Report report;
    const auto now = snapshot_of(prepared);
    if (!now) {
        report.failure = now.error();
        return report;
    }
    NodeIntent wanted = prepared.intent;
    wanted.desired = with_roamed_endpoints(std::move(wanted.desired), *now);
    const Plan rest = plan(wanted, *now, prepared.plan.ledger_after, prepared.neighbours);
    if (rest.is_empty() && rest.refusals.empty()) return report;
    const std::string object =
        rest.is_empty() ? rest.refusals.front().object : rest.steps.front().object;
    std::string detail;
    if (!rest.is_empty()) {
        for (const AttributeChange& change : attribute_changes(rest.steps.front().step)) {
            detail += fmt::format("; {}: found \"{}\", want \"{}\"", change.name, change.before,
                                  change.after);
        }
    }
    report.failure = Error{Error::Kind::Failed,
                           "verify " + object,
                           "the kernel accepted every step, yet it is not as planned" + detail,
                           0,
                           {}};
    return report;
}

bool is_refused(const Prepared& prepared, const ApplyOptions& options, Outcome& out) {
    if (!prepared.plan.refusals.empty()) return true;
    if (options.reviewed_plan && *options.reviewed_plan != plan_json(prepared.plan, "")) {
        out.error = Error{Error::Kind::Conflict, "compare with the reviewed plan",
                          "the plan is stale: the kernel or the file has changed since", 0,
                          "review a new one: overlayctl diff FILE --out PLAN"};
        return true;
    }
    if (options.disruption == ApplyOptions::Disruption::Allowed) return false;
    for (const PlannedStep& step : prepared.plan.steps) {
        if (step.impact == Impact::Live) continue;
        out.error = Error{Error::Kind::Conflict, describe(step.step),
                          fmt::format("would disrupt traffic ({}), and --no-disrupt was given",
                                      text(step.impact)),
                          0, "apply without --no-disrupt when a disruption is acceptable"};
        return true;
    }
    return false;
}

/// The ledger of the machine that a state was read on is not here, and FOU ports bear no mark: where links bear
/// ours, the ports that the file wants are taken for ours, too.
Ledger with_ports_of_elsewhere(Ledger ledger, const NodeIntent& intent, const KernelState& found) {
    const std::string mark = ownership_mark(intent.network, "");
    const bool is_applied = std::any_of(found.links.begin(), found.links.end(), [&](const auto& link) {
        return link.second.alias && link.second.alias->starts_with(mark);
    });
    if (!is_applied || !ledger.is_empty()) return ledger;
    std::set_intersection(intent.desired.fou_ports.begin(), intent.desired.fou_ports.end(),
                          found.fou_ports.begin(), found.fou_ports.end(),
                          std::inserter(ledger.fou_ports, ledger.fou_ports.end()));
    return ledger;
}

std::optional<Error> asked_to_end(const io::HeldSignals& signals) {
    const auto name = signals.first();
    if (!name) return std::nullopt;
    return Error{Error::Kind::Failed, "interrupted", *name, 0, {}};
}

}  // namespace

Result<Prepared> prepare(NodeIntent intent, Secrets secrets, const Directories& directories) {
    auto kernel = netlink::Kernel::open();
    if (!kernel) return pass_on(kernel);
    const LedgerStore store{directories.state};
    auto ledger = store.load(intent.network);
    if (!ledger) return pass_on(ledger);
    auto neighbours = store.load_neighbours(intent.network);
    if (!neighbours) return pass_on(neighbours);
    control::Overlayd overlayd{directories.run, directories.state};
    auto found = LiveKernel{*kernel, overlayd, secrets}.snapshot();
    if (!found) return pass_on(found);
    choose_datapaths(intent, *found);
    Plan made = plan(intent, *found, *ledger, *neighbours);
    name_port_owners(made);
    name_packages(made, intent);
    return Prepared{std::move(*kernel),     std::move(overlayd), std::move(secrets), std::move(intent),
                    std::move(*ledger),     std::move(*neighbours),
                    std::move(*found),      std::move(made)};
}

Plan plan_against(NodeIntent intent, const KernelState& found, const Directories& directories) {
    choose_datapaths(intent, found);
    const LedgerStore store{directories.state};
    const auto ledger = store.load(intent.network);
    const auto neighbours = store.load_neighbours(intent.network);
    return plan(intent, found,
                with_ports_of_elsewhere(ledger ? *ledger : Ledger{.network = intent.network}, intent, found),
                neighbours ? *neighbours : std::vector<Ledger>{});
}

Outcome apply(NodeIntent intent, Secrets secrets, const ApplyOptions& options) {
    if (const auto made = io::make_directories(options.directories.run, 0755); !made) {
        return failed(Outcome::Verdict::Failed, made.error());
    }
    constexpr std::chrono::seconds patience{10};   // two networks may come up at boot
    const auto lock = io::FileLock::acquire(options.directories.run + "/lock", patience);
    if (!lock) return failed(Outcome::Verdict::Failed, lock.error());
    auto prepared = prepare(std::move(intent), std::move(secrets), options.directories);
    if (!prepared) return failed(Outcome::Verdict::Failed, prepared.error());

    Outcome out;
    if (is_refused(*prepared, options, out)) {
        out.verdict = Outcome::Verdict::Refused;
        out.plan = std::move(prepared->plan);
        return out;
    }
    const io::HeldSignals signals;   // until here nothing is changed, and whoever wants to end us may
    const LedgerStore store{options.directories.state};
    const bool remembers = prepared->plan.ledger_during != prepared->ledger;
    if (remembers) {
        if (const auto saved = store.save(prepared->plan.ledger_during); !saved) {
            return failed(Outcome::Verdict::Failed, saved.error());
        }
    }
    LiveKernel kernel{prepared->kernel, prepared->overlayd, prepared->secrets};
    Report report = execute(prepared->plan, kernel, [&] { return asked_to_end(signals); });
    if (report.failure) return rolled_back(*prepared, std::move(report), store);
    remember_lost(*prepared, report);
    if (!prepared->plan.is_empty()) report = verify(*prepared);
    if (report.failure) {
        undo_all(prepared->plan, prepared->plan.steps.size(), kernel, report);
        return rolled_back(*prepared, std::move(report), store);
    }
    if (prepared->plan.ledger_after != prepared->plan.ledger_during) {
        if (const auto saved = store.save(prepared->plan.ledger_after); !saved) {
            out.error = saved.error();
            out.verdict = Outcome::Verdict::Failed;
        }
    }
    out.writes = writes_of(*prepared);
    out.plan = std::move(prepared->plan);
    return out;
}

}  // namespace overlay
