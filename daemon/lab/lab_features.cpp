#include "daemon/lab/lab_features.hpp"

#include "netlink/fd.hpp"
#include "netlink/kernel.hpp"
#include "netlink/lab_links.hpp"
#include "netlink/namespaces.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace overlay::lab {
namespace {

using netlink::UniqueFd;

struct Needs {
    std::set<std::string> modules;
    std::map<std::string, Link> links;   ///< one of each kind, by its name for people
    std::map<std::string, FouPort> ports;
    bool nat = false;
    bool bridge = false;
    std::set<std::string> notes;   ///< why the kernel's own tunnels are not among the links
};

std::string link_feature(const Link& link) {
    std::string out{text(link.kind)};
    if (is_userspace(link.kind)) return out;
    if (link.gretap && link.gretap->encap.type == GreEncap::Type::Gue)
        out += " with GUE encapsulation";
    if (link.gretap && link.gretap->encap.type == GreEncap::Type::Fou)
        out += " with FOU encapsulation";
    return out;
}

Needs needs_of(const LabPlan& plan, const Intents& intents) {
    Needs out;
    out.nat = std::any_of(plan.hosts.begin(), plan.hosts.end(),
                          [](const LabHost& host) { return host.nat.has_value(); });
    out.bridge = std::any_of(plan.hosts.begin(), plan.hosts.end(),
                             [](const LabHost& host) { return !host.bridges.empty(); });
    for (const auto& [node, intent] : intents) {
        out.modules.insert(intent.desired.modules.begin(), intent.desired.modules.end());
        out.nat |= !intent.desired.tables.empty();
        if (intent.desired.overlayd) out.notes.insert(intent.notes.begin(), intent.notes.end());
        for (const auto& [name, link] : intent.desired.links) {
            const bool is_tunnel = link.gretap || is_wireguard(link.kind);
            if (!is_tunnel) continue;
            Link trial = link;
            // Two nodes may have given one name to links of two kinds.
            trial.name = IfName::from_kernel("trial" + std::to_string(out.links.size()));
            trial.alias.reset();
            trial.mtu.reset();
            // The trial namespace has no other link that it could hang on.
            if (trial.gretap) trial.gretap->device = IfName{};
            out.links.emplace(link_feature(link), trial);
        }
        for (const FouPort& port : intent.desired.fou_ports) {
            if (port.datapath == Datapath::Userspace) continue;
            FouPort trial = port;
            trial.local.reset();
            trial.peer.reset();
            trial.device = IfName{};
            out.ports.emplace(fmt::format("FOU ports over {}", text(port.family)), trial);
        }
    }
    return out;
}

class Trial {
  public:
    explicit Trial(netlink::Kernel kernel) : kernel_{std::move(kernel)} {}

    std::vector<std::string> run(const Needs& needs) {
        for (const std::string& module : needs.modules) {
            // What matters is whether the objects below can be made: a module may be built in, or
            // the kernel may load it by itself.
            (void)kernel_.execute(LoadModule{module}, none_);
        }
        attempt_cable();
        if (needs.bridge) {
            Link bridge{.name = *IfName::parse("bridge"), .kind = LinkKind::Bridge};
            attempt("bridges", CreateLink{bridge});
        }
        for (const auto& [feature, port] : needs.ports) attempt(feature, AddFouPort{port});
        bool has_taps = true;
        for (const auto& [feature, link] : needs.links)
            if (!attempt(feature, CreateLink{link}) && is_userspace(link.kind)) has_taps = false;
        if (!has_taps) missing_.insert(missing_.end(), needs.notes.begin(), needs.notes.end());
        if (needs.nat) {
            const auto done = netlink::install_nat(*IfName::parse("wan"), {});
            if (!done) missing_.push_back("nftables: " + done.error().reason);
        }
        return std::move(missing_);
    }

  private:
    void attempt_cable() {
        const auto here = netlink::Namespace::current();
        const auto done = here ? netlink::create_veth({*here, *IfName::parse("near")},
                                                      {*here, *IfName::parse("far")}, Mtu{1500})
                               : Result<void>{pass_on(here)};
        if (!done) missing_.push_back("veth: " + done.error().reason);
    }

    bool attempt(const std::string& feature, const Step& step) {
        const auto done = kernel_.execute(step, none_);
        if (!done) missing_.push_back(fmt::format("{}: {}", feature, done.error().reason));
        return done.has_value();
    }

    netlink::Kernel kernel_;
    Secrets none_;
    std::vector<std::string> missing_;
};

/// In the child: everything that is said goes to the pipe, a line each.
[[noreturn]] void try_out(const Needs& needs, int output) {
    const auto say = [&](const std::string& line) {
        return ::write(output, (line + "\n").c_str(), line.size() + 1) > 0;
    };
    if (::unshare(CLONE_NEWNET) != 0) {
        say(fmt::format("network namespaces: {}", std::strerror(errno)));
        ::_exit(0);
    }
    auto kernel = netlink::Kernel::open();
    if (!kernel) {
        say(text(kernel.error()));
        ::_exit(0);
    }
    for (const std::string& line : Trial{std::move(*kernel)}.run(needs)) say(line);
    ::_exit(0);
}

std::vector<std::string> lines_from(int fd) {
    std::string all;
    std::array<char, 4096> buffer{};
    for (;;) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        all.append(buffer.data(), static_cast<std::size_t>(got));
    }
    std::vector<std::string> out;
    for (std::size_t start = 0; start < all.size();) {
        const std::size_t end = std::min(all.find('\n', start), all.size());
        out.push_back(all.substr(start, end - start));
        start = end + 1;
    }
    return out;
}

}   // namespace

Result<std::vector<std::string>> missing_features(const LabPlan& plan, const Intents& intents) {
    const Needs needs = needs_of(plan, intents);
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return fail(Error::Kind::Failed, "make a pipe", std::strerror(errno), errno);
    }
    const UniqueFd from_child{ends[0]};
    UniqueFd to_parent{ends[1]};
    const pid_t child = ::fork();
    if (child < 0) return fail(Error::Kind::Failed, "fork", std::strerror(errno), errno);
    if (child == 0) try_out(needs, to_parent.get());
    to_parent = UniqueFd{};
    auto missing = lines_from(from_child.get());
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (!WIFEXITED(status)) {
        return fail(Error::Kind::Failed, "try what this kernel can do", "the trial was killed");
    }
    return missing;
}

}   // namespace overlay::lab
