// The section daemon. Private to lib/config.
#pragma once

#include "lib/config/config.h"
#include "lib/config/yaml_reader.h"

namespace parkd {

DaemonConfig read_daemon(const YamlSection& section);

}  // namespace parkd
