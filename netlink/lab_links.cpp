#include "netlink/lab_links.hpp"

#include "netlink/message.hpp"
#include "netlink/nft_tables.hpp"
#include "netlink/socket.hpp"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <nftables/libnftables.h>
#include <nlohmann/json.hpp>

#include <memory>

namespace overlay::netlink {
namespace {

using Json = nlohmann::json;

void put_end(Message& request, const VethEnd& end, Mtu mtu) {
    request.put_c_string(IFLA_IFNAME, end.name.str());
    request.put_u32(IFLA_MTU, mtu.bytes());
    request.put_u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(end.where.fd()));
}

Json chain(const char* name, const char* hook, int priority) {
    return {{"add",
             {{"chain",
               {{"family", "ip"},
                {"table", "lab_nat"},
                {"name", name},
                {"type", "nat"},
                {"hook", hook},
                {"prio", priority},
                {"policy", "accept"}}}}}};
}

Json rule(const char* in_chain, Json expressions) {
    return {{"add",
             {{"rule",
               {{"family", "ip"},
                {"table", "lab_nat"},
                {"chain", in_chain},
                {"expr", std::move(expressions)}}}}}};
}

Json equals(Json left, Json right) {
    return {{"match", {{"op", "=="}, {"left", std::move(left)}, {"right", std::move(right)}}}};
}

Json nat_commands(const IfName& out, const std::vector<PortForward>& forwards) {
    Json commands = Json::array();
    commands.push_back({{"add", {{"table", {{"family", "ip"}, {"name", "lab_nat"}}}}}});
    // Priorities of dstnat and srcnat (Linux include/uapi/linux/netfilter_ipv4.h).
    commands.push_back(chain("forwards", "prerouting", -100));
    commands.push_back(chain("masquerade", "postrouting", 100));
    const Json leaving = equals({{"meta", {{"key", "oifname"}}}}, out.str());
    commands.push_back(rule("masquerade", Json::array({leaving, {{"masquerade", nullptr}}})));
    for (const PortForward& forward : forwards) {
        const Json arriving = equals({{"meta", {{"key", "iifname"}}}}, out.str());
        const Json to_port =
            equals({{"payload", {{"protocol", "udp"}, {"field", "dport"}}}}, forward.port);
        const Json translate = {
            {"dnat", {{"addr", text(forward.to.address)}, {"port", forward.to.port}}}};
        commands.push_back(rule("forwards", Json::array({arriving, to_port, translate})));
    }
    return {{"nftables", std::move(commands)}};
}

}   // namespace

Result<void> create_veth(const VethEnd& near, const VethEnd& far, Mtu mtu) {
    auto socket = Socket::open(NETLINK_ROUTE);
    if (!socket) return pass_on(socket);
    Message request{RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL};
    request.fixed_header<ifinfomsg>();
    put_end(request, near, mtu);
    request.nest(IFLA_LINKINFO, [&] {
        request.put_c_string(IFLA_INFO_KIND, "veth");
        request.nest(IFLA_INFO_DATA, [&] {
            request.nest(VETH_INFO_PEER, [&] {
                // The peer is a whole link message inside the attribute (Linux drivers/net/veth.c).
                mnl_nlmsg_put_extra_header(request.header(), sizeof(ifinfomsg));
                put_end(request, far, mtu);
            });
        });
    });
    return socket->change(request, "create cable " + near.name.str() + " -- " + far.name.str());
}

Result<void> install_nat(const IfName& out, const std::vector<PortForward>& forwards) {
    // nft_ctx_new() ends the process where there is no such socket (libnftables 1.0.6, src/mnl.c).
    if (const auto possible = open_netfilter_socket(); !possible) return pass_on(possible);
    const std::unique_ptr<nft_ctx, void (*)(nft_ctx*)> context{nft_ctx_new(NFT_CTX_DEFAULT),
                                                               &nft_ctx_free};
    if (!context) return fail(Error::Kind::Failed, "translate addresses", "no nftables context");
    // With JSON output asked for, the input is read as JSON too (nftables 1.0.6 src/libnftables.c).
    nft_ctx_output_set_flags(context.get(), NFT_CTX_OUTPUT_JSON);
    nft_ctx_buffer_output(context.get());
    nft_ctx_buffer_error(context.get());
    const std::string commands = nat_commands(out, forwards).dump();
    if (nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0) return {};
    const char* const said = nft_ctx_get_error_buffer(context.get());
    return fail(Error::Kind::Failed, "translate addresses on " + out.str(),
                said != nullptr ? said : "");
}

}   // namespace overlay::netlink
