// Our tables as text. Declaring a table and deleting it first makes the file work whether the table
// was there or not, in the one transaction that `nft -f` is.

#include "topology/attributes.hpp"
#include "topology/render.hpp"

#include <fmt/format.h>

#include <utility>
#include <variant>
#include <vector>

namespace overlay {

namespace {

/// As apply writes it: a masquerade is a rule for each of its sources.
std::vector<FirewallRule> rules_of_nft(const FirewallRule& rule) {
    const auto* masquerade = std::get_if<rule::Masquerade>(&rule);
    if (masquerade == nullptr || masquerade->sources.empty()) return {rule};
    std::vector<FirewallRule> out;
    for (const IpPrefix& source : masquerade->sources) {
        rule::Masquerade single = *masquerade;
        single.sources = {source};
        out.emplace_back(std::move(single));
    }
    return out;
}

}  // namespace

std::string render_nft(const NodeIntent& intent) {
    std::string out;
    for (const FirewallTable& table : intent.desired.tables) {
        const std::string name = fmt::format("table {} {}", text(table.family), table.name);
        if (!out.empty()) out += "\n";
        out += fmt::format("{}\ndelete {}\n{} {{\n", name, name, name);
        for (const FirewallChain& chain : table.chains) {
            out += fmt::format("\tchain {} {{\n\t\ttype {} hook {} priority {}; policy {};\n",
                               chain.name, chain.type, chain.hook, chain.priority,
                               chain.accept ? "accept" : "drop");
            for (const FirewallRule& rule : chain.rules) {
                for (const FirewallRule& single : rules_of_nft(rule)) {
                    out += fmt::format("\t\t{} comment \"{}\"\n", rule_text(single), table.mark);
                }
            }
            out += "\t}\n";
        }
        out += "}\n";
    }
    return out;
}

}  // namespace overlay
