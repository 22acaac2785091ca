// What we have written to disk and read again, after a hand or a fault has changed it: a snapshot, a ledger. The
// input is a byte for which of them, and a text.
//
// Whatever it says: what is taken is written as a text that is taken, too, and means the same. A bug aborts.

#include "daemon/reconcile/ledger_store.hpp"
#include "fuzz.hpp"
#include "topology/state_json.hpp"

using namespace overlay;
using fuzz::demand;

namespace {

void snapshot(std::string_view source) {
    const auto state = state_from_json(source);
    if (!state) return demand(!state.error().reason.empty(), "refused without a reason");
    const std::string written = to_json(*state);
    const auto again = state_from_json(written);
    demand(again.has_value(), "a snapshot of ours is refused");
    demand(*again == *state, "a snapshot of ours says something else");
    demand(to_json(*again) == written, "equal states, but not equal text");
}

void ledger(const std::string& source) {
    const auto stored = ledger_from_json(source);
    if (!stored) return demand(!stored.error().reason.empty(), "refused without a reason");
    const std::string written = ledger_to_json(stored->ledger, stored->boot_id);
    const auto again = ledger_from_json(written);
    demand(again.has_value(), "a ledger of ours is refused");
    demand(again->ledger == stored->ledger && again->boot_id == stored->boot_id,
           "a ledger of ours says something else");
}

Ledger remembered() {
    const IfName bridge = IfName::from_kernel("br0"), uplink = IfName::from_kernel("eth0");
    Ledger out{.network = "home", .node = "hub"};
    out.links[bridge] = {.name = bridge, .kind = LinkKind::Bridge};
    out.fou_ports.insert({.port = 5555});
    out.tables.insert({"inet", "overlay_home"});
    out.sysctls["net.ipv4.conf.all.forwarding"] = {"0", "1", ""};
    out.offloads[{uplink, "lro"}] = {true, false, "net.ipv4.conf.all.forwarding"};
    out.borrowed[uplink] = {{.name = uplink, .mtu = Mtu{1500}}, {.name = uplink, .mtu = Mtu{1400}}, {}};
    out.moved_routes.insert({.destination = *IpPrefix::parse("10.0.0.0/8"),
                             .protocol = 3,
                             .hops = {{.gateway = IpAddress::parse("fe80::9"), .device = uplink, .weight = 256}}});
    out.moved_neighbours.insert({.link = uplink,
                                 .address = *IpAddress::parse("fe80::9"),
                                 .mac = MacAddress::parse("02:00:00:00:0a:09")});
    return out;
}

KernelState found() {
    const IfName tunnel = IfName::from_kernel("gre"), device = IfName::from_kernel("wg0");
    KernelState out;
    out.links[tunnel] = {.name = tunnel, .kind = LinkKind::Gretap, .mtu = Mtu{1400}};
    out.links[tunnel].gretap = GretapAttributes{.local = *IpAddress::parse("192.0.2.1"),
                                                .remote = *IpAddress::parse("192.0.2.2")};
    out.links[tunnel].port = BridgePort{};
    out.addresses.insert({tunnel, *IpPrefix::parse("10.0.0.1/8"), true, false});
    out.routes.insert({.destination = *IpPrefix::parse("2001:db8::/32"), .device = device, .metrics = {{"mtu", 1400}}});
    out.wireguard[device].peers[*PublicKey::parse("m84oJmrE7NEb+ZyPkKPpelkRQSzsvUm4QprxoTL9rRE=")] = {
        .endpoint = Endpoint{*IpAddress::parse("192.0.2.9"), 51820}, .allowed_ips = {*IpPrefix::parse("::/0")}};
    out.tables.push_back({.name = "overlay_home",
                          .mark = "overlay:home",
                          .chains = {{.name = "clamp",
                                      .type = "filter",
                                      .hook = "forward",
                                      .rules = {rule::Masquerade{.out = device}, rule::ClampMssToRoute{},
                                                rule::DropDhcp{tunnel}, rule::Unknown{"{}"}}}}});
    out.overlayd = true;
    out.udp_sockets.insert({.port = 53, .owner = "pid 1 (dnsmasq)"});
    return out;
}

}  // namespace

void fuzz::run(wire::Bytes input) {
    if (input.empty()) return;
    const std::string source{text_of(input.subspan(1))};
    if (wire::load8(input, 0) % 2 == 0) snapshot(source);
    else ledger(source);
}

std::vector<std::byte> fuzz::make_up(wireguard::SeededRandom& random) {
    static const std::array<std::string, 2> texts{to_json(found()), ledger_to_json(remembered(), "this-boot")};
    const std::uint64_t which = random.next() % 2;
    return bytes_of(std::string(1, static_cast<char>(which)) + worn(texts.at(which), random));
}
