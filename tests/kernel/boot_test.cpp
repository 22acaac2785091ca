// First in the run (doctest goes by file name): the kernel as it is after boot.

#include "kernel/lab.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace overlay;
using namespace overlay::test;

namespace {

std::string loaded_modules() {
    std::ifstream file{"/proc/modules"};
    std::string names;
    for (std::string line; std::getline(file, line);) {
        names += line.substr(0, line.find(' ')) + "\n";
    }
    return names;
}

}  // namespace

TEST_SUITE("a fresh kernel") {

TEST_CASE("a snapshot loads no module and writes nothing") {
    Lab lab;
    const std::string before = loaded_modules();
    for (const auto* name : {"fou", "ip_gre", "wireguard", "nf_tables"}) {
        CAPTURE(name);
        REQUIRE(before.find(std::string{name} + "\n") == std::string::npos);
    }

    const KernelState state = lab.snapshot();

    CHECK(lab.kernel().writes() == 0);
    CHECK(loaded_modules() == before);
    CHECK(state.links.contains(if_name("lo")));
    CHECK_FALSE(state.modules.contains("wireguard"));
}

TEST_CASE("strace sees a snapshot send requests of reading only, and write no file") {
    const std::string log = "/run/strace.log";
    (void)output_of({"strace", "-f", "--seccomp-bpf", "-E", "OVERLAY_TEST_CHILD=1", "-E",
                     "ASAN_OPTIONS=detect_leaks=0", "-e", "trace=sendto,sendmsg,openat2,openat",
                     "-o", log, std::filesystem::read_symlink("/proc/self/exe"),
                     "-tc=helper: one snapshot"});
    std::ifstream file{log};
    std::size_t requests = 0;
    for (std::string line; std::getline(file, line);) {
        CAPTURE(line);
        CHECK(line.find("O_WRONLY") == std::string::npos);
        CHECK(line.find("O_RDWR") == std::string::npos);
        if (line.find("nlmsg_type=") == std::string::npos) continue;
        ++requests;
        const bool reads = line.find("NLM_F_DUMP") != std::string::npos ||
                           line.find("NLM_F_REQUEST|0x300") != std::string::npos ||   // generic
                           line.find("RTM_GET") != std::string::npos ||
                           line.find("nlmsg_type=ethtool") != std::string::npos;   // the string set
        CHECK(reads);
    }
    CHECK(requests >= 6);
}

TEST_CASE("helper: one snapshot" * doctest::skip(std::getenv("OVERLAY_TEST_CHILD") == nullptr)) {
    auto kernel = netlink::Kernel::open();
    REQUIRE(kernel);
    Secrets secrets;
    REQUIRE(kernel->snapshot(secrets));
}

TEST_CASE("steps of a missing feature are refused as unsupported, with a hint, before its module") {
    Lab lab;

    const Error fou = lab.refusal(AddFouPort{{.port = 5555}});
    CHECK(fou.kind == Error::Kind::Unsupported);
    CHECK(fou.hint.find("kmod-fou") != std::string::npos);
    const Error peer = lab.refusal(SetPeer{.link = if_name("wg0"), .to = WireguardPeer{}});
    CHECK(peer.kind == Error::Kind::Unsupported);
    CHECK(peer.hint.find("kmod-wireguard") != std::string::npos);
}

TEST_CASE("modules are loaded, seen, counted, and loaded no second time") {
    Lab lab;
    const std::vector<std::string> names{"fou", "fou6", "ip_gre", "ip6_gre", "wireguard", "bridge",
                                         "nf_tables", "8021q", "tun"};

    lab.load(names);

    const auto writes = lab.kernel().writes();
    const std::string loaded = loaded_modules();
    const auto present = lab.snapshot().modules;
    for (const auto& name : names) {
        CAPTURE(name);
        CHECK(loaded.find(name + "\n") != std::string::npos);
        CHECK(present.contains(name));
    }
    lab.load(names);
    CHECK(lab.kernel().writes() == writes);
}

TEST_CASE("a module that does not exist is unsupported") {
    Lab lab;

    const Error error = lab.refusal(LoadModule{"no_such_module"});

    CHECK(error.kind == Error::Kind::Unsupported);
    CHECK(error.doing == "load module no_such_module");
}

}
