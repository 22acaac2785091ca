// Our tables as text. Declaring a table and deleting it first makes the file work whether the table
// was there or not, in the one transaction that `nft -f` is.

#include "topology/attributes.hpp"
#include "topology/render.hpp"

#include <fmt/format.h>

namespace overlay {

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
                out += fmt::format("\t\t{} comment \"{}\"\n", rule_text(rule), table.mark);
            }
            out += "\t}\n";
        }
        out += "}\n";
    }
    return out;
}

}  // namespace overlay
