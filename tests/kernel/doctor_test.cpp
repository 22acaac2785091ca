// What doctor finds on a full kernel, privileged and in a rootless namespace.

#include "kernel/lab.hpp"
#include "netlink/doctor.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

using namespace overlay;
using namespace overlay::test;
using netlink::Ability;

TEST_SUITE("doctor on a kernel") {

TEST_CASE("everything is present or loadable on Debian's kernel, and root may do all of it") {
    Lab lab;
    (void)output_of({"modprobe", "bridge"});

    const auto report = netlink::examine_host();

    REQUIRE(report);
    CHECK(report->kernel_release + "\n" == output_of({"uname", "-r"}));
    for (const auto& feature : report->features) {
        CAPTURE(feature.name);
        CHECK(feature.ability != Ability::Missing);
        CHECK(feature.hint.empty());
    }
    CHECK(std::ranges::find(report->features, "bridge", &netlink::Feature::name)->ability ==
          Ability::Present);
    CHECK(report->net_admin);
    CHECK(report->net_admin_initial);
    CHECK(report->sysctls_writable);
}

TEST_CASE("in a user namespace of one's own the initial privilege is missing") {
    (void)output_of({"unshare", "-Urn", "env", "OVERLAY_TEST_CHILD=1",
                     std::filesystem::read_symlink("/proc/self/exe"), "-tc=helper: rootless"});
}

TEST_CASE("helper: rootless" * doctest::skip(std::getenv("OVERLAY_TEST_CHILD") == nullptr)) {
    const auto report = netlink::examine_host();
    REQUIRE(report);
    CHECK(report->net_admin);
    CHECK_FALSE(report->net_admin_initial);
    auto kernel = netlink::Kernel::open();
    REQUIRE(kernel);
    const Secrets none;
    const auto refused = kernel->execute(AddFouPort{{.port = 5555}}, none);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind != Error::Kind::Failed);
    CHECK(refused.error().hint.size() > 0);
}

TEST_CASE("br_netfilter that filters bridged frames comes with a hint") {
    Lab lab;
    CHECK_FALSE(netlink::examine_host()->bridge_netfilter.iptables.has_value());
    (void)output_of({"modprobe", "br_netfilter"});

    const auto on = netlink::examine_host();
    CHECK(on->bridge_netfilter.iptables == true);
    CHECK(on->bridge_netfilter.hint.find("DOCKER-USER") != std::string::npos);
    CHECK(lab.snapshot().sysctls.at("net.bridge.bridge-nf-call-iptables") == "1");
    (void)output_of({"sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"});
    (void)output_of({"sysctl", "-qw", "net.bridge.bridge-nf-call-ip6tables=0"});
    CHECK(netlink::examine_host()->bridge_netfilter.hint.empty());
}

}
