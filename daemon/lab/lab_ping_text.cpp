#include "daemon/lab/lab_ping.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

namespace overlay::lab {
namespace {

using Json = nlohmann::json;

struct Cell {
    char ipv4 = '.', ipv6 = '.', full = '.';
    [[nodiscard]] std::string letters() const { return {ipv4, ipv6, full}; }
    [[nodiscard]] bool failed() const { return letters().find('x') != std::string::npos; }
};

using Cells = std::map<std::pair<std::string, std::string>, Cell>;

Cells cells_of(const std::vector<PairResult>& results) {
    Cells out;
    for (const PairResult& each : results) {
        Cell& cell = out[{each.pair.from, each.pair.to}];
        if (!each.pair.expected) continue;
        const bool is_v4 = each.pair.family == Family::Ipv4;
        (is_v4 ? cell.ipv4 : cell.ipv6) = each.small.ok ? (is_v4 ? '4' : '6') : 'x';
        if (cell.full != 'x') cell.full = each.full.ok ? 'M' : 'x';
    }
    return out;
}

std::string painted(const Cell& cell, Marks marks) {
    if (marks == Marks::Plain || cell.letters() == "...") return cell.letters();
    return fmt::format("\x1b[{}m{}\x1b[0m", cell.failed() ? 31 : 32, cell.letters());
}

std::string table(const LabPlan& plan, const Cells& cells, Marks marks) {
    const auto hosts = matrix_hosts(plan);
    std::size_t width = 4;
    for (const std::string& host : hosts) width = std::max(width, host.size());
    std::string out = fmt::format("{:<{}}", "from\\to", width + 2);
    for (const std::string& to : hosts) out += fmt::format("  {}", to);
    out += "\n";
    for (const std::string& from : hosts) {
        out += fmt::format("{:<{}}", from, width + 2);
        for (const std::string& to : hosts) {
            const auto cell = cells.find({from, to});
            const std::size_t column = std::max<std::size_t>(to.size(), 3);
            out += "  " + (cell == cells.end() ? std::string{"   "} : painted(cell->second, marks));
            out += std::string(column - 3, ' ');
        }
        while (!out.empty() && out.back() == ' ') out.pop_back();
        out += "\n";
    }
    return out;
}

std::string failures(const std::vector<PairResult>& results) {
    std::string out;
    for (const PairResult& each : results) {
        const LabPair& pair = each.pair;
        if (!pair.expected) continue;
        const std::string who =
            fmt::format("{} -> {} ({})", pair.from, pair.to,
                        each.address.empty() ? std::string{text(pair.family)} : each.address);
        if (!each.small.ok)
            out += fmt::format("FAILED {}: {}\n", who, each.small.reason);
        else if (!each.full.ok) {
            out += fmt::format("FAILED {} with {} bytes: {}\n", who, pair.mtu.bytes(),
                               each.full.reason);
        }
    }
    return out;
}

/// How many of the reasons a person reads.
constexpr std::size_t most_reasons = 12;

/// One line per reason: a masqueraded site gives the same one for everybody who asks.
std::string not_expected(const std::vector<PairResult>& results) {
    std::map<std::string, std::size_t> counts;
    for (const PairResult& each : results) {
        if (!each.pair.expected) ++counts[each.pair.reason];
    }
    if (counts.empty()) return "";
    std::vector<std::pair<std::string, std::size_t>> reasons{counts.begin(), counts.end()};
    std::stable_sort(reasons.begin(), reasons.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    std::string out = "not expected to answer, by the file (pairs, first reason):\n";
    std::size_t rest = 0;
    for (std::size_t i = 0; i < reasons.size(); ++i) {
        const auto& [reason, count] = reasons[i];
        if (i < most_reasons)
            out += fmt::format("  {:>3}  {}\n", count, reason);
        else
            rest += count;
    }
    if (rest != 0) {
        out += fmt::format("  {:>3}  for {} more reasons, which --json has\n", rest,
                           reasons.size() - most_reasons);
    }
    return out;
}

}   // namespace

std::string text(const LabPlan& plan, const std::vector<PairResult>& results, Marks marks) {
    std::size_t expected = 0;
    std::size_t good = 0;
    for (const PairResult& each : results) {
        if (!each.pair.expected) continue;
        ++expected;
        if (each.small.ok && each.full.ok) ++good;
    }
    std::string out = table(plan, cells_of(results), marks);
    out += "4 IPv4, 6 IPv6, M full MTU unfragmented, x no answer, . not expected\n";
    out += not_expected(results);
    out += failures(results);
    out += fmt::format("{} of {} pairs answer\n", good, expected);
    return out;
}

std::string to_json(const LabPlan& plan, const std::vector<PairResult>& results) {
    Json pairs = Json::array();
    for (const PairResult& each : results) {
        Json pair = {{"from", each.pair.from},
                     {"to", each.pair.to},
                     {"family", std::string{text(each.pair.family)}},
                     {"expected", each.pair.expected}};
        if (each.pair.expected) {
            pair["address"] = each.address;
            pair["mtu"] = each.pair.mtu.bytes();
            pair["answers"] = each.small.ok;
            pair["full_mtu_answers"] = each.full.ok;
            if (!each.small.ok)
                pair["reason"] = each.small.reason;
            else if (!each.full.ok)
                pair["reason"] = each.full.reason;
        } else {
            pair["reason"] = each.pair.reason;
        }
        pairs.push_back(std::move(pair));
    }
    const Json out = {{"network", plan.network},
                      {"hosts", matrix_hosts(plan)},
                      {"all_answer", all_answer(results)},
                      {"pairs", std::move(pairs)}};
    return out.dump(2) + "\n";
}

}   // namespace overlay::lab
