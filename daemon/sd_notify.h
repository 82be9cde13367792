// sd_notify: tells systemd how the service fares (sd_notify(3)): a datagram to $NOTIFY_SOCKET.
// Does nothing where systemd did not start us. Any thread.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace parkd {

// `state` as sd_notify(3) has it: "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=...".
void sd_notify(std::string_view state);

// How often systemd wants WATCHDOG=1 at the latest; nothing when it does not watch us.
std::optional<std::chrono::microseconds> watchdog_interval();

}  // namespace parkd
