#include "daemon/lab/lab_ping.hpp"

#include "netlink/fd.hpp"
#include "netlink/kernel.hpp"
#include "netlink/namespaces.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <thread>

namespace overlay::lab {
namespace {

using netlink::Namespace;
using netlink::UniqueFd;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr std::uint32_t icmp_header_bytes = 8;

/// One question that is asked until it is answered.
struct Question {
    std::string host;
    Family family = Family::Ipv4;
    std::string address;
    std::optional<Mtu> full;   ///< nullopt: the small one
    Answer* answer = nullptr;
};

struct Child {
    pid_t pid = 0;
    UniqueFd output;
    std::string said;
    Question question;
};

std::vector<std::string> ping_arguments(const Question& question) {
    std::vector<std::string> out = {
        "ping", question.family == Family::Ipv4 ? "-4" : "-6", "-n", "-c", "1", "-W", "2"};
    if (question.full) {
        const std::uint32_t ip_header_bytes = question.family == Family::Ipv4 ? 20 : 40;
        const std::uint32_t size = question.full->bytes() - ip_header_bytes - icmp_header_bytes;
        out.insert(out.end(), {"-M", "do", "-s", std::to_string(size)});
    }
    out.push_back(question.address);
    return out;
}

/// What a person wants to know out of ping's talk: the kernel's or a router's complaint.
std::string reason_in(const std::string& said) {
    std::size_t start = 0;
    while (start < said.size()) {
        const std::size_t end = std::min(said.find('\n', start), said.size());
        const std::string line = said.substr(start, end - start);
        start = end + 1;
        const bool is_complaint = line.rfind("From ", 0) == 0 || line.rfind("ping: ", 0) == 0;
        if (is_complaint) return line;
    }
    return "no answer";
}

Result<Child> start(const LabPlan& plan, Question question) {
    const auto there = Namespace::open(plan.namespace_of(question.host));
    if (!there) return pass_on(there);
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return fail(Error::Kind::Failed, "make a pipe", std::strerror(errno), errno);
    }
    UniqueFd from_child{ends[0]};
    const UniqueFd to_parent{ends[1]};
    auto arguments = ping_arguments(question);
    std::vector<char*> pointers;
    for (std::string& each : arguments) pointers.push_back(each.data());
    pointers.push_back(nullptr);
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) return fail(Error::Kind::Failed, "fork", std::strerror(errno), errno);
    if (pid == 0) {
        ::dup2(to_parent.get(), STDOUT_FILENO);
        ::dup2(to_parent.get(), STDERR_FILENO);
        ::setenv("LC_ALL", "C", 1);
        if (there->enter()) ::execvp("ping", pointers.data());
        std::fprintf(stderr, "ping: %s\n", std::strerror(errno));
        ::_exit(127);
    }
    return Child{pid, std::move(from_child), "", std::move(question)};
}

/// True when the child has ended.
bool read_some(Child& child) {
    std::array<char, 2048> buffer{};
    const ssize_t got = ::read(child.output.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) return false;
    if (got > 0) child.said.append(buffer.data(), static_cast<std::size_t>(got));
    return got <= 0;
}

void finish(const Child& child) {
    int status = 0;
    while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {}
    Answer& answer = *child.question.answer;
    answer.asked = true;
    answer.ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    answer.reason = answer.ok ? "" : reason_in(child.said);
}

/// A question waits this long before it is asked again, so that one that fails at once (no route
/// yet) does not spin.
constexpr std::chrono::milliseconds pause{250};

struct Waiting {
    Question question;
    SteadyTime not_before;
};

Result<void> ask(const LabPlan& plan, std::vector<Question> questions, const PingOptions& options,
                 SteadyTime deadline) {
    std::deque<Waiting> waiting;
    for (Question& each : questions) waiting.push_back({std::move(each), SteadyTime{}});
    std::vector<Child> children;
    while (!waiting.empty() || !children.empty()) {
        const SteadyTime now = std::chrono::steady_clock::now();
        for (std::size_t left = waiting.size(); left > 0 && children.size() < options.at_once;
             --left) {
            Waiting next = std::move(waiting.front());
            waiting.pop_front();
            if (next.question.answer->asked && now >= deadline) continue;
            if (now < next.not_before) {
                waiting.push_back(std::move(next));
                continue;
            }
            auto child = start(plan, std::move(next.question));
            if (!child) return pass_on(child);
            children.push_back(std::move(*child));
        }
        std::vector<pollfd> polls;
        for (const Child& child : children) polls.push_back({child.output.get(), POLLIN, 0});
        (void)::poll(polls.data(), polls.size(), 50);
        for (std::size_t i = polls.size(); i-- > 0;) {
            if (polls[i].revents == 0 || !read_some(children[i])) continue;
            finish(children[i]);
            if (!children[i].question.answer->ok) {
                waiting.push_back({children[i].question, std::chrono::steady_clock::now() + pause});
            }
            children.erase(children.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }
    return {};
}

/// The address that the host made itself from an advertised prefix; nullopt: none yet.
Result<std::optional<std::string>> advertised_address(const LabPlan& plan, const std::string& host,
                                                      const LabTarget& target) {
    const auto there = Namespace::open(plan.namespace_of(host));
    if (!there) return pass_on(there);
    auto state = netlink::run_inside(*there, []() -> Result<KernelState> {
        auto kernel = netlink::Kernel::open();
        if (!kernel) return pass_on(kernel);
        Secrets secrets;
        return kernel->snapshot(secrets);
    });
    if (!state) return pass_on(state);
    for (const Address& each : state->addresses) {
        const bool is_it =
            each.link == target.interface && target.prefix.contains(each.prefix.address());
        if (is_it) return std::optional{text(each.prefix.address())};
    }
    return std::optional<std::string>{};
}

/// Fills in what only the kernels know, as long as the deadline allows.
Result<void> find_addresses(const LabPlan& plan, std::vector<PairResult>& results,
                            SteadyTime deadline) {
    std::map<std::pair<std::string, IpPrefix>, std::string> known;
    for (PairResult& each : results) {
        if (!each.pair.expected) continue;
        if (!each.pair.target.by_advertisement) {
            each.address = text(each.pair.target.prefix.address());
            continue;
        }
        const auto key = std::pair{each.pair.to, each.pair.target.prefix};
        while (!known.contains(key)) {
            auto found = advertised_address(plan, each.pair.to, each.pair.target);
            if (!found) return pass_on(found);
            if (*found)
                known[key] = **found;
            else if (std::chrono::steady_clock::now() >= deadline)
                known[key] = "";
            else
                std::this_thread::sleep_for(pause);
        }
        each.address = known[key];
    }
    return {};
}

}   // namespace

Result<std::vector<PairResult>> ping_pairs(const LabPlan& plan, std::vector<LabPair> pairs,
                                           const PingOptions& options) {
    const SteadyTime start_time = std::chrono::steady_clock::now();
    std::vector<PairResult> results;
    for (LabPair& pair : pairs) results.push_back({std::move(pair), "", {}, {}});
    // Half of the time for addresses to appear, the rest for the answers.
    if (auto found = find_addresses(plan, results, start_time + options.deadline / 2); !found) {
        return pass_on(found);
    }
    std::vector<Question> questions;
    for (PairResult& each : results) {
        if (!each.pair.expected) continue;
        if (each.address.empty()) {
            const std::string reason = each.pair.to + " got no address by router advertisement";
            each.small = each.full = {true, false, reason};
            continue;
        }
        const LabPair& pair = each.pair;
        questions.push_back({pair.from, pair.family, each.address, {}, &each.small});
        questions.push_back({pair.from, pair.family, each.address, pair.mtu, &each.full});
    }
    if (auto asked = ask(plan, std::move(questions), options, start_time + options.deadline);
        !asked) {
        return pass_on(asked);
    }
    return results;
}

bool all_answer(const std::vector<PairResult>& results) {
    return std::all_of(results.begin(), results.end(), [](const PairResult& each) {
        return !each.pair.expected || (each.small.ok && each.full.ok);
    });
}

}   // namespace overlay::lab
