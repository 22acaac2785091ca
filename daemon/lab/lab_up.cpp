#include "daemon/lab/lab_up.hpp"

#include "daemon/control/client.hpp"
#include "daemon/io/files.hpp"
#include "daemon/lab/lab_apply.hpp"
#include "daemon/lab/lab_hosts.hpp"
#include "daemon/lab/lab_processes.hpp"
#include "daemon/lab/lab_radvd.hpp"
#include "netlink/namespaces.hpp"
#include "netlink/user_namespace.hpp"
#include "topology/render.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace overlay::lab {
namespace {

class Up {
  public:
    explicit Up(const UpRequest& request) : request_{request} {}

    Result<void> run() {
        record_.network = request_.plan.network;
        record_.source = request_.source;
        record_.holder = request_.holder;
        for (const LabHost& host : request_.plan.hosts) {
            record_.namespaces.push_back(request_.plan.namespace_of(host.name));
        }
        // Before the record claims them: what is on record is removed without a further look.
        for (const std::string& name : record_.namespaces) {
            if (!netlink::namespace_exists(name)) continue;
            return fail(Error{Error::Kind::Conflict, "make the lab",
                              "a network namespace " + name + " exists already", 0,
                              "ip netns delete " + name});
        }
        if (auto saved = request_.state.save(record_); !saved) return saved;
        auto done = make_all();
        if (done) return done;
        const auto undone = take_down(request_.state, record_);
        if (undone) return done;
        Error error = done.error();
        error.hint = "and not all of it went away again: " + text(undone.error());
        return fail(std::move(error));
    }

  private:
    Result<void> make_all() {
        if (auto made = make_hosts(request_.plan); !made) return made;
        request_.progress(fmt::format("{} hosts, {} cables", request_.plan.hosts.size(),
                                      request_.plan.cables.size()));
        if (auto started = start_provider_adverts(); !started) return started;
        if (request_.overlay == Overlay::Apply) {
            if (auto applied = apply_all(); !applied) return applied;
            if (auto started = start_hub_adverts(); !started) return started;
        }
        record_.applied = request_.overlay == Overlay::Apply;
        record_.complete = true;
        return request_.state.save(record_);
    }

    Result<void> apply_all() {
        for (const std::string& node : request_.topology.node_names()) {
            const NodeToApply what{request_.topology, node, request_.state.of_host(node)};
            auto applied =
                run_in_child(request_.plan.namespace_of(node), [&] { return apply_here(what); });
            if (!applied) return pass_on(applied);
            if (applied->code != 0) {
                return fail(Error::Kind::Failed, "apply " + node,
                            fmt::format("exit code {}\n{}", applied->code, applied->output));
            }
            request_.progress(fmt::format("{}: {}", node, last_line(applied->output)));
        }
        return {};
    }

    static std::string last_line(std::string output) {
        while (!output.empty() && output.back() == '\n') output.pop_back();
        const std::size_t start = output.rfind('\n');
        return start == std::string::npos ? output : output.substr(start + 1);
    }

    Result<void> start_provider_adverts() {
        for (const LabHost& host : request_.plan.hosts) {
            if (!host.advert) continue;
            if (auto started = start_radvd(host.name, radvd_configuration(*host.advert));
                !started) {
                return started;
            }
        }
        return {};
    }

    Result<void> start_hub_adverts() {
        const Node& hub = request_.topology.hub;
        if (!hub.router_advertisement || !hub.bridge) return {};
        return start_radvd(hub.name, render_radvd(request_.topology));
    }

    Result<void> start_radvd(const std::string& host, const std::string& configuration) {
        const std::string base = (request_.state.directory() / ("radvd." + host)).string();
        if (auto written = io::replace_file(base + ".conf", configuration, 0644); !written)
            return written;
        Daemon daemon{request_.plan.namespace_of(host), host, {}, base + ".log"};
        daemon.arguments = {"radvd",     "--nodaemon",  "--config",    base + ".conf",
                            "--pidfile", base + ".pid", "--logmethod", "stderr"};
        auto started = start_daemon(daemon);
        if (!started) {
            Error error = started.error();
            if (error.hint.empty()) error.hint = "apt install radvd";
            return fail(std::move(error));
        }
        record_.processes.push_back(*started);
        request_.progress(host + ": radvd sends router advertisements");
        return request_.state.save(record_);
    }

    const UpRequest& request_;
    LabRecord record_;
};

std::string namespace_of(const LabRecord& record, const std::string& host) {
    return record.network + "." + host;
}

}   // namespace

Result<void> bring_up(const UpRequest& request) { return Up{request}.run(); }

Result<void> take_down(const LabState& state, const LabRecord& record) {
    Result<void> first;
    const auto keep = [&](Result<void> done) {
        if (!done && first) first = std::move(done);
    };
    const bool has_ended = record.holder && !is_alive(*record.holder);
    for (const std::string& name : record.namespaces) {   // where a node's apply has started one
        const std::string host = name.substr(record.network.size() + 1);
        keep(control::stop_overlayd((state.of_host(host) / "run").string()));
    }
    for (const LabProcess& process : record.processes) {
        keep(end_process(process, [&] {
            // Without the holder its namespaces have no names any more.
            if (has_ended) {
                return netlink::user_namespace_of(process.pid) == record.holder->user_namespace;
            }
            const auto there = netlink::Namespace::open(namespace_of(record, process.host));
            return there && there->holds(process.pid);
        }));
    }
    if (!has_ended) keep(remove_hosts(record.namespaces));
    if (record.holder && first) keep(end_holder(*record.holder));
    // The record goes last: what could not be removed is still known to the next `lab down`.
    if (first) keep(state.remove());
    return first;
}

}   // namespace overlay::lab
