#include "daemon/lab/lab_ping.hpp"

#include "daemon/io/files.hpp"
#include "daemon/lab/lab_echo.hpp"
#include "netlink/addresses.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <map>
#include <thread>

namespace overlay::lab {
namespace {

using netlink::Namespace;
using SteadyTime = std::chrono::steady_clock::time_point;

/// How long one request waits for its answer.
constexpr std::chrono::seconds patience{2};
/// A question waits this long before it is asked again, so that one that fails at once (no route
/// yet) does not spin.
constexpr std::chrono::milliseconds pause{250};
/// As long as what `ping` sends when it is told nothing: 56 bytes behind the headers.
constexpr Mtu small_ipv4{84};
constexpr Mtu small_ipv6{104};

/// One question that is asked until it is answered.
struct Question {
    std::string host;
    IpAddress address;
    Mtu size;
    Answer* answer = nullptr;
};

/// Asks questions all at once, over one socket per host and family.
class Asker {
  public:
    Asker(const LabPlan& plan, const PingOptions& options, SteadyTime deadline)
        : plan_{plan}, options_{options}, deadline_{deadline} {}

    Result<void> add(const Question& question) {
        const auto key = std::pair{question.host, question.address.family()};
        auto source = by_key_.find(key);
        if (source == by_key_.end()) {
            const auto there = Namespace::open(plan_.namespace_of(question.host));
            if (!there) return pass_on(there);
            auto socket = EchoSocket::open(*there, question.address.family());
            if (!socket) return pass_on(socket);
            sources_.push_back({std::move(*socket), {}});
            source = by_key_.emplace(key, sources_.size() - 1).first;
        }
        Source& from = sources_[source->second];
        OVERLAY_ASSERT(from.questions.size() < 65536);
        waiting_.push_back({source->second, static_cast<std::uint16_t>(from.questions.size()), {}});
        from.questions.push_back(question);
        return {};
    }

    void run() {
        while (!waiting_.empty() || !on_the_way_.empty()) {
            give_up(std::chrono::steady_clock::now());
            ask(std::chrono::steady_clock::now());
            std::vector<pollfd> polls;
            for (const Source& each : sources_) polls.push_back({each.socket.fd(), POLLIN, 0});
            (void)::poll(polls.data(), polls.size(), 50);
            for (std::size_t i = 0; i < polls.size(); ++i) {
                if (polls[i].revents != 0 || sources_[i].socket.has_complaints()) listen(i);
            }
        }
    }

  private:
    struct Source {
        EchoSocket socket;
        std::vector<Question> questions;  ///< by the sequence number of their requests
    };
    /// A question, by its source and sequence, and when it is next to be looked at.
    struct Turn {
        std::size_t source = 0;
        std::uint16_t sequence = 0;
        SteadyTime when;
    };

    Answer& answer_of(const Turn& turn) {
        return *sources_[turn.source].questions[turn.sequence].answer;
    }

    /// After the deadline, only what was never asked still is.
    void ask(SteadyTime now) {
        for (std::size_t left = waiting_.size(); left > 0; --left) {
            if (on_the_way_.size() >= options_.at_once) return;
            Turn next = waiting_.front();
            waiting_.pop_front();
            if (answer_of(next).asked && now >= deadline_) continue;
            if (now < next.when) {
                waiting_.push_back(next);
                continue;
            }
            Source& source = sources_[next.source];
            const Question& question = source.questions[next.sequence];
            question.answer->asked = true;
            question.answer->reason = "no answer";
            source.socket.ask(question.address, next.sequence, question.size);
            next.when = now + patience;
            on_the_way_.push_back(next);
        }
    }

    void listen(std::size_t source) {
        while (const auto heard = sources_[source].socket.hear()) {
            const auto turn =
                std::find_if(on_the_way_.begin(), on_the_way_.end(), [&](const Turn& each) {
                    return each.source == source && each.sequence == heard->sequence;
                });
            if (turn == on_the_way_.end()) continue;  // a second answer, or one too late
            Answer& answer = answer_of(*turn);
            answer.ok = heard->complaint.empty();
            answer.reason = heard->complaint;
            if (!answer.ok) ask_later(*turn);
            on_the_way_.erase(turn);
        }
    }

    void give_up(SteadyTime now) {
        while (!on_the_way_.empty() && on_the_way_.front().when <= now) {
            ask_later(on_the_way_.front());
            on_the_way_.pop_front();
        }
    }

    void ask_later(Turn turn) {
        turn.when = std::chrono::steady_clock::now() + pause;
        waiting_.push_back(turn);
    }

    const LabPlan& plan_;
    const PingOptions& options_;
    SteadyTime deadline_;
    std::vector<Source> sources_;
    std::map<std::pair<std::string, Family>, std::size_t> by_key_;
    std::deque<Turn> waiting_;
    std::deque<Turn> on_the_way_;  ///< the one whose patience ends first in front
};

/// The address of the target that the host answers to by now; "": none yet.
Result<std::string> usable_address(const LabPlan& plan, const std::string& host,
                                   const LabTarget& target) {
    const auto there = Namespace::open(plan.namespace_of(host));
    if (!there) return pass_on(there);
    const auto addresses = netlink::run_inside(*there, netlink::usable_addresses);
    if (!addresses) return pass_on(addresses);
    for (const Address& each : *addresses) {
        const IpAddress& address = each.prefix.address();
        const bool is_it = target.by_advertisement
                               ? each.link == target.interface && target.prefix.contains(address)
                               : address == target.prefix.address();
        if (is_it) return text(address);
    }
    return std::string{};
}

/// Waits, as long as the deadline allows, for the addresses that only the kernels know, and for
/// each to be its host's own: asked earlier, a router would send the question out on the address's
/// link, and perhaps tell the asker of an MTU that it then remembers for minutes.
Result<void> find_addresses(const LabPlan& plan, std::vector<PairResult>& results,
                            SteadyTime deadline) {
    std::map<std::pair<std::string, IpPrefix>, std::string> known;
    for (PairResult& each : results) {
        if (!each.pair.expected) continue;
        const LabTarget& target = each.pair.target;
        if (!target.by_advertisement) each.address = text(target.prefix.address());
        if (each.pair.family == Family::Ipv4) continue;
        const auto key = std::pair{each.pair.to, target.prefix};
        while (!known.contains(key)) {
            auto found = usable_address(plan, each.pair.to, target);
            if (!found) return pass_on(found);
            if (!found->empty() || std::chrono::steady_clock::now() >= deadline)
                known[key] = *found;
            else
                std::this_thread::sleep_for(pause);
        }
        if (target.by_advertisement) each.address = known[key];
    }
    return {};
}

}  // namespace

Result<std::vector<PairResult>> ping_pairs(const LabPlan& plan, std::vector<LabPair> pairs,
                                           const PingOptions& options) {
    const SteadyTime start_time = std::chrono::steady_clock::now();
    std::vector<PairResult> results;
    for (LabPair& pair : pairs) results.push_back({std::move(pair), "", {}, {}});
    // Half of the time for addresses to appear, the rest for the answers.
    if (auto found = find_addresses(plan, results, start_time + options.deadline / 2); !found) {
        return pass_on(found);
    }
    io::allow_many_descriptors();   // two sockets for each host, and there may be a thousand
    Asker asker{plan, options, start_time + options.deadline};
    for (PairResult& each : results) {
        if (!each.pair.expected) continue;
        const LabPair& pair = each.pair;
        if (each.address.empty()) {
            const std::string reason = pair.to + " got no address by router advertisement";
            each.small = each.full = {true, false, reason};
            continue;
        }
        const IpAddress to = *IpAddress::parse(each.address);
        const Mtu small = pair.family == Family::Ipv4 ? small_ipv4 : small_ipv6;
        if (auto added = asker.add({pair.from, to, small, &each.small}); !added)
            return pass_on(added);
        if (auto added = asker.add({pair.from, to, pair.mtu, &each.full}); !added)
            return pass_on(added);
    }
    asker.run();
    return results;
}

bool all_answer(const std::vector<PairResult>& results) {
    return std::all_of(results.begin(), results.end(), [](const PairResult& each) {
        return !each.pair.expected || (each.small.ok && each.full.ok);
    });
}

}  // namespace overlay::lab
