#include "daemon/lab/lab_radvd.hpp"

#include <fmt/format.h>

namespace overlay::lab {

std::string radvd_configuration(const LabAdvert& advert) {
    // The shortest interval that RFC 4861 §6.2.1 allows: whoever joins the bridge hears it soon.
    std::string out = fmt::format(
        "interface {}\n{{\n  AdvSendAdvert on;\n  MinRtrAdvInterval 3;\n  MaxRtrAdvInterval 4;\n",
        text(advert.interface));
    for (const IpPrefix& prefix : advert.prefixes) {
        out += fmt::format("  prefix {}\n  {{\n    AdvOnLink on;\n    AdvAutonomous on;\n  }};\n",
                           text(prefix));
    }
    return out + "};\n";
}

}   // namespace overlay::lab
