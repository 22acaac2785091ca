// What doctor reads of a full kernel, privileged and in a user namespace of one's own.

#include "daemon/doctor/doctor.hpp"
#include "kernel/lab.hpp"

#include <cstdlib>
#include <filesystem>

using namespace overlay;
using namespace overlay::test;

TEST_SUITE("doctor on a kernel") {

TEST_CASE("everything is present or loadable on Debian's kernel, and root may do all of it") {
    Lab lab;
    (void)output_of({"modprobe", "bridge"});

    const auto facts = doctor::read_host_facts({});

    REQUIRE(facts);
    CHECK(facts->kernel_release + "\n" == output_of({"uname", "-r"}));
    CHECK(facts->present_modules.contains("bridge"));
    for (const char* module : {"fou", "fou6", "ip_gre", "ip6_gre", "nf_tables", "wireguard"}) {
        CAPTURE(module);
        CHECK((facts->present_modules.contains(module) || facts->loadable_modules.contains(module)));
    }
    CHECK(facts->has_net_admin);
    CHECK(facts->in_initial_user_namespace);
    CHECK(facts->sysctls_are_writable);
}

TEST_CASE("in a user namespace of one's own the initial privilege is missing") {
    (void)output_of({"unshare", "-Urn", "env", "OVERLAY_TEST_CHILD=1",
                     std::filesystem::read_symlink("/proc/self/exe"), "-tc=helper: rootless"});
}

TEST_CASE("helper: rootless" * doctest::skip(std::getenv("OVERLAY_TEST_CHILD") == nullptr)) {
    const auto facts = doctor::read_host_facts({});
    REQUIRE(facts);
    CHECK(facts->has_net_admin);
    CHECK_FALSE(facts->in_initial_user_namespace);
    auto kernel = netlink::Kernel::open();
    REQUIRE(kernel);
    const Secrets none;
    const auto refused = kernel->execute(AddFouPort{{.port = 5555}}, none);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind != Error::Kind::Failed);
    CHECK(refused.error().hint.size() > 0);
}

TEST_CASE("br_netfilter that filters bridged frames is seen") {
    Lab lab;
    CHECK_FALSE(doctor::read_host_facts({})->bridged_frames_meet_iptables);
    (void)output_of({"modprobe", "br_netfilter"});

    CHECK(doctor::read_host_facts({})->bridged_frames_meet_iptables);
    CHECK(lab.snapshot().sysctls.at("net.bridge.bridge-nf-call-iptables") == "1");
    (void)output_of({"sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"});
    (void)output_of({"sysctl", "-qw", "net.bridge.bridge-nf-call-ip6tables=0"});
    CHECK_FALSE(doctor::read_host_facts({})->bridged_frames_meet_iptables);
}

TEST_CASE("forward chains that drop are named, others are not") {
    Lab lab;
    (void)output_of({"nft", "add table ip filter; add chain ip filter FORWARD "
                            "{ type filter hook forward priority 0; policy drop; }; "
                            "add chain ip filter INPUT "
                            "{ type filter hook input priority 0; policy drop; }; "
                            "add chain ip filter DOCKER-USER; "
                            "add table bridge mine; add chain bridge mine forward "
                            "{ type filter hook forward priority 0; policy accept; }"});

    CHECK(doctor::read_host_facts({})->dropping_forward_chains ==
          std::vector<std::string>{"ip filter FORWARD"});
}

}
