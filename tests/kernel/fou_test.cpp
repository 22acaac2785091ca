// FOU and GUE ports on a real kernel, judged by `ip fou show` and /proc/net/udp.

#include "kernel/lab.hpp"
#include "netlink/udp_sockets.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace overlay;
using namespace overlay::test;

namespace {

bool holds(const KernelState& state, Family family, std::uint16_t port) {
    return std::ranges::any_of(state.udp_sockets, [&](const UdpSocket& socket) {
        return socket.family == family && socket.port == port;
    });
}

}  // namespace

TEST_SUITE("fou ports on a kernel") {

TEST_CASE("ports of both types and families are added, read back and removed") {
    const std::vector<FouPort> ports{
        {.port = 5555},
        {.family = Family::Ipv6, .port = 5555},
        {.port = 5556, .type = GreEncap::Type::Fou, .ip_protocol = 47},
        {.port = 5557, .local = ip("192.0.2.1")},
        {.port = 5558, .local = ip("192.0.2.1"), .peer = Endpoint{ip("192.0.2.9"), 777}},
        {.port = 5559, .local = ip("192.0.2.1"), .device = if_name("u0")},
    };
    Lab lab;
    lab.load({"fou", "fou6"});
    (void)output_of({"ip", "link", "add", "u0", "up", "type", "dummy"});
    (void)output_of({"ip", "addr", "add", "192.0.2.1/24", "dev", "u0"});

    for (const FouPort& port : ports) {
        CAPTURE(port.port);
        lab.there_and_back(AddFouPort{port}, [&] {
            CHECK(lab.snapshot().fou_ports == std::set<FouPort>{port});
            auto judged = json_of({"ip", "-j", "fou", "show"}).at(0);
            CHECK(judged["port"] == port.port);
            CHECK(judged.contains("gue") == (port.type == GreEncap::Type::Gue));
            CHECK(judged["family"] == (port.family == Family::Ipv6 ? "inet6" : "inet"));
            CHECK(holds(lab.snapshot(), port.family, port.port));
        });
    }
}

TEST_CASE("a port that exists and a stranger's socket look the same: address in use") {
    Lab lab;
    lab.load({"fou"});
    lab.execute(AddFouPort{{.port = 5555}});
    CHECK(lab.refusal(AddFouPort{{.port = 5555}}).code == EADDRINUSE);

    const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(6666);
    REQUIRE(::bind(socket, static_cast<sockaddr*>(static_cast<void*>(&any)), sizeof any) == 0);
    const Error error = lab.refusal(AddFouPort{{.port = 6666}});
    ::close(socket);

    CHECK(error.kind == Error::Kind::Conflict);
    CHECK(error.reason == "Address already in use: the UDP port is held by pid " +
                              std::to_string(::getpid()) + " (kernel_tests)");
    CHECK(netlink::owner_of_udp_port(Family::Ipv4, 6666).empty());
}

TEST_CASE("removing a port that is not there is refused") {
    Lab lab;
    lab.load({"fou"});

    const Error error = lab.refusal(RemoveFouPort{{.port = 5555}});

    CHECK(error.doing == "remove fou port 5555/ipv4");
    CHECK(error.code == EINVAL);
}

}
