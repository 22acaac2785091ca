#pragma once
// The provider's router where the hub's uplink is a port of its bridge, as Debian's radvd plays it.
// (The hub's own advertisements are topology/render.hpp's.) Pure. Source: radvd.conf(5), 2.19.

#include "daemon/lab/lab_plan.hpp"

#include <string>

namespace overlay::lab {

[[nodiscard]] std::string radvd_configuration(const LabAdvert& advert);

}   // namespace overlay::lab
