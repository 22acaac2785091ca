// Inverses and names of steps. Each visit lists every kind, so a new kind does not compile until it
// has both.

#include "topology/step.hpp"

#include <fmt/format.h>

namespace overlay {

Step inverse(const Step& step) {
    return std::visit(Overloaded{
                          [](const LoadModule& s) -> Step { return KeepModule{s.name}; },
                          [](const KeepModule& s) -> Step { return LoadModule{s.name}; },
                          [](const ReplaceTable& s) -> Step {
                              return ReplaceTable{s.to, s.from};
                          },
                          [](const SetSysctl& s) -> Step {
                              SetSysctl back{s.key, s.to, s.from, {}};
                              for (const SysctlValue& value : s.cascade) {
                                  back.cascade.push_back({value.key, value.to, value.from});
                              }
                              return back;
                          },
                          [](const AddFouPort& s) -> Step { return RemoveFouPort{s.port}; },
                          [](const RemoveFouPort& s) -> Step { return AddFouPort{s.port}; },
                          [](const CreateLink& s) -> Step { return DeleteLink{s.link}; },
                          [](const DeleteLink& s) -> Step { return CreateLink{s.link}; },
                          [](const RenameLink& s) -> Step {
                              return RenameLink{s.to, s.from};
                          },
                          [](const ChangeLink& s) -> Step {
                              return ChangeLink{s.to, s.from};
                          },
                          [](const AddAddress& s) -> Step { return RemoveAddress{s.address}; },
                          [](const RemoveAddress& s) -> Step { return AddAddress{s.address}; },
                          [](const AddRoute& s) -> Step { return RemoveRoute{s.route}; },
                          [](const RemoveRoute& s) -> Step { return AddRoute{s.route}; },
                          [](const AddNeighbour& s) -> Step { return RemoveNeighbour{s.neighbour}; },
                          [](const RemoveNeighbour& s) -> Step { return AddNeighbour{s.neighbour}; },
                          [](const SetWireguard& s) -> Step {
                              return SetWireguard{s.link, s.to, s.from};
                          },
                          [](const SetPeer& s) -> Step {
                              return SetPeer{s.link, s.peer, s.to, s.from};
                          },
                          [](const SetOffload& s) -> Step {
                              return SetOffload{s.key, s.to, s.from};
                          },
                          [](const RunOverlayd& s) -> Step {
                              return RunOverlayd{s.to, s.from, s.ports, s.links};
                          },
                      },
                      step);
}

std::string object_of(const Step& step) {
    const auto link = [](const IfName& name) { return fmt::format("link {}", name.str()); };
    const auto port = [](const FouPort& p) {
        return fmt::format("fou port {}/{}", p.port, text(p.family));
    };
    const auto address = [](const Address& a) {
        return fmt::format("address {} on {}", text(a.prefix), a.link.str());
    };
    const auto route = [](const Route& r) {
        const std::string to = fmt::format("route {}", text(r.destination));
        return r.device.empty() ? to : fmt::format("{} dev {}", to, r.device.str());
    };
    const auto neighbour = [](const Neighbour& n) {
        return fmt::format("{} {} dev {}", n.is_proxy ? "proxy for" : "neighbour", text(n.address), n.link.str());
    };
    return std::visit(
        Overloaded{
            [](const LoadModule& s) { return fmt::format("module {}", s.name); },
            [](const KeepModule& s) { return fmt::format("module {}", s.name); },
            [](const ReplaceTable& s) {
                const FirewallTable& table = s.to ? *s.to : *s.from;
                return fmt::format("nft table {} {}", text(table.family), table.name);
            },
            [](const SetSysctl& s) { return fmt::format("sysctl {}", s.key); },
            [&](const AddFouPort& s) { return port(s.port); },
            [&](const RemoveFouPort& s) { return port(s.port); },
            [&](const CreateLink& s) { return link(s.link.name); },
            [&](const DeleteLink& s) { return link(s.link.name); },
            [&](const RenameLink& s) { return link(s.to); },
            [&](const ChangeLink& s) { return link(s.to.name); },
            [&](const AddAddress& s) { return address(s.address); },
            [&](const RemoveAddress& s) { return address(s.address); },
            [&](const AddRoute& s) { return route(s.route); },
            [&](const RemoveRoute& s) { return route(s.route); },
            [&](const AddNeighbour& s) { return neighbour(s.neighbour); },
            [&](const RemoveNeighbour& s) { return neighbour(s.neighbour); },
            [](const SetWireguard& s) { return fmt::format("wireguard {}", s.link.str()); },
            [](const SetPeer& s) {
                return fmt::format("peer {} of {}", text(s.peer), s.link.str());
            },
            [](const SetOffload& s) {
                return fmt::format("offload {} of {}", s.key.feature, s.key.link.str());
            },
            [](const RunOverlayd&) { return std::string{"overlayd"}; },
        },
        step);
}

std::string describe(const Step& step) {
    const std::string_view verb = std::visit(
        Overloaded{
            [](const LoadModule&) { return "load"; },
            [](const KeepModule&) { return "keep"; },
            [](const ReplaceTable& s) { return !s.to     ? "remove"
                                               : !s.from ? "add"
                                                         : "replace"; },
            [](const SetSysctl&) { return "set"; },
            [](const AddFouPort&) { return "add"; },
            [](const RemoveFouPort&) { return "remove"; },
            [](const CreateLink&) { return "create"; },
            [](const DeleteLink&) { return "delete"; },
            [](const RenameLink&) { return "rename"; },
            [](const ChangeLink&) { return "change"; },
            [](const AddAddress&) { return "add"; },
            [](const RemoveAddress&) { return "remove"; },
            [](const AddRoute&) { return "add"; },
            [](const RemoveRoute&) { return "remove"; },
            [](const AddNeighbour&) { return "add"; },
            [](const RemoveNeighbour&) { return "remove"; },
            [](const SetWireguard&) { return "configure"; },
            [](const SetPeer& s) { return !s.to     ? "remove"
                                          : !s.from ? "add"
                                                    : "change"; },
            [](const SetOffload&) { return "set"; },
            [](const RunOverlayd& s) { return s.to ? "start" : "stop"; },
        },
        step);
    return fmt::format("{} {}", verb, object_of(step));
}

}  // namespace overlay
