// Offload features on a real kernel, judged by `ethtool -k`.

#include "kernel/lab.hpp"

using namespace overlay;
using namespace overlay::test;

namespace {

/// "on", "off", "off [requested on]", … as ethtool says it of one feature.
std::string ethtool(const std::string& link, const std::string& feature) {
    const std::string all = output_of({"ethtool", "-k", link});
    const auto at = all.find(feature + ": ");
    REQUIRE(at != std::string::npos);
    const auto start = at + feature.size() + 2;
    return all.substr(start, all.find('\n', start) - start);
}

}  // namespace

TEST_SUITE("offloads on a kernel") {

TEST_CASE("each group of a gretap is switched off and on again, and ethtool agrees") {
    Lab lab;
    lab.load({"ip_gre", "fou"});
    lab.execute(CreateLink{gretap_over_gue("gt0")});
    const IfName name = if_name("gt0");
    const std::string as_born = output_of({"ethtool", "-k", "gt0"});
    const auto one = [&](const char* group, const char* feature) {
        CAPTURE(group);
        CHECK(lab.snapshot().offloads.at({name, group}) == true);
        lab.there_and_back(SetOffload{{name, group}, true, false}, [&] {
            CHECK(ethtool("gt0", feature) == "off");
            CHECK(lab.snapshot().offloads.at({name, group}) == false);
        });
        CHECK(ethtool("gt0", feature) == "on");
        CHECK(output_of({"ethtool", "-k", "gt0"}) == as_born);
    };

    one("tx", "tx-checksum-ip-generic");
    one("tso", "tx-tcp-segmentation");
    one("gso", "generic-segmentation-offload");
    one("gro", "generic-receive-offload");
}

TEST_CASE("what is off stays off when the tunnel changes, and is found and switched off when somebody changed it") {
    Lab lab;
    lab.load({"ip_gre", "fou"});
    Link tunnel = gretap_over_gue("gt0");
    lab.execute(CreateLink{tunnel});
    const OffloadKey tso{tunnel.name, "tso"};
    lab.execute(SetOffload{tso, true, false});
    REQUIRE(ethtool("gt0", "tx-tcp-segmentation") == "off");

    Link changed{.name = tunnel.name, .kind = tunnel.kind, .gretap = tunnel.gretap};
    changed.gretap->input.key = changed.gretap->output.key = 77;
    lab.execute(ChangeLink{{.name = tunnel.name, .kind = tunnel.kind, .gretap = tunnel.gretap}, changed});
    CHECK(ethtool("gt0", "tx-tcp-segmentation") == "off");
    CHECK(lab.snapshot().offloads.at(tso) == false);

    (void)output_of({"ip", "link", "change", "gt0", "type", "gretap", "ttl", "9"});
    REQUIRE(ethtool("gt0", "tx-tcp-segmentation") == "on [requested off]");
    CHECK_FALSE(lab.snapshot().offloads.contains(tso));
    lab.execute(SetOffload{tso, true, false});
    CHECK(ethtool("gt0", "tx-tcp-segmentation") == "off");
    CHECK(lab.snapshot().offloads.at(tso) == false);
}

TEST_CASE("tx off takes TSO down with it, which is no drift") {
    Lab lab;
    (void)output_of({"ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"});
    const IfName name = if_name("v0");
    REQUIRE(lab.snapshot().offloads.at({name, "tso"}) == true);

    lab.execute(SetOffload{{name, "tx"}, true, false});

    CHECK(ethtool("v0", "tx-checksum-ip-generic") == "off");
    CHECK(ethtool("v0", "tx-tcp-segmentation") == "off [requested on]");
    const auto offloads = lab.snapshot().offloads;
    CHECK(offloads.at({name, "tx"}) == false);
    CHECK(offloads.at({name, "tso"}) == true);
}

TEST_CASE("what ethtool switches by its old words is found under the same words") {
    Lab lab;
    (void)output_of({"ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"});

    for (const auto* group : {"tx", "rx", "tso", "gso", "gro"}) {
        CAPTURE(group);
        (void)output_of({"ethtool", "-K", "v0", group, "off"});
        CHECK(lab.snapshot().offloads.at({if_name("v0"), group}) == false);
        (void)output_of({"ethtool", "-K", "v0", group, "on"});
        CHECK(lab.snapshot().offloads.at({if_name("v0"), group}) == true);
    }
}

TEST_CASE("a feature that the device cannot change is reported as it is, and a change is refused") {
    Lab lab;
    const OffloadKey key{if_name("lo"), "rx"};
    REQUIRE(ethtool("lo", "rx-checksumming") == "on [fixed]");

    CHECK(lab.snapshot().offloads.at(key) == true);
    const auto writes = lab.kernel().writes();
    lab.execute(SetOffload{key, false, true});
    CHECK(lab.kernel().writes() == writes);
    const Error error = lab.refusal(SetOffload{key, true, false});
    CHECK(error.kind == Error::Kind::Unsupported);
    CHECK(error.reason == "the device cannot change it");
    CHECK(lab.refusal(SetOffload{{if_name("gone"), "tx"}, true, false}).code == ENODEV);
}

}
