// The back ends of the queue and the mailbox: one each for a daemon. Private to lib/config.
#pragma once

#include <string>

#include "lib/config/config.h"
#include "lib/config/read_parking_lot.h"
#include "lib/config/yaml_reader.h"

namespace parkd {

QueueConfig read_queue(const YamlSection& section, const std::string& state_dir);

// The two go in pairs; `queue` gets the URL that is written here only.
MailboxConfig read_mailbox(const YamlSection& section, const YamlSection& queue_section,
                           QueueConfig& queue, const ParkingLotKeys& keys);

// A model's queue and mailbox back ends are the daemon's: a different one is refused, not ignored.
void check_model_backends(const YamlSection& queue, const YamlSection& mailbox,
                          const Config& config);

}  // namespace parkd
