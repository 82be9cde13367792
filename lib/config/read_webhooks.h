// The list daemon.webhooks. Private to lib/config.
#pragma once

#include "lib/config/config.h"
#include "lib/config/yaml_reader.h"

namespace parkd {

void read_webhooks(const YamlSection& daemon_section, DaemonConfig& daemon);

}  // namespace parkd
