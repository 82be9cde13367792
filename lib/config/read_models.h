// The list models, each over the global parking_lot, and default_model. Private to lib/config.
#pragma once

#include "lib/config/config.h"
#include "lib/config/read_parking_lot.h"
#include "lib/config/yaml_reader.h"

namespace parkd {

// Into `config`, whose other sections are read.
void read_models(const YamlSection& root, const ParkingLotKeys& global, Config& config);

}  // namespace parkd
