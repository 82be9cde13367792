// The keys of daemon that TCP has. Private to lib/config.
#pragma once

#include "lib/config/config.h"
#include "lib/config/yaml_reader.h"

namespace parkd {

void read_tcp(const YamlSection& section, DaemonConfig& daemon);

}  // namespace parkd
