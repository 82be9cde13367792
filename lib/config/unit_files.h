// What the files of systemd's unit parkd.service say, as far as a configuration hangs on it. Reads
// files, keeps nothing; any thread.
#pragma once

#include <string>

namespace parkd {

// Why a parkd that systemd runs cannot be reached by TCP: the unit is installed under `root` (""
// is this machine's), lets it have Unix sockets alone, and no drop-in says otherwise. Empty where
// that is not so, or there is no such unit.
std::string unit_keeps_tcp_out(const std::string& root);
// The same of webhooks that are to be sent: which has to be let out.
std::string unit_keeps_webhooks_in(const std::string& root);

}  // namespace parkd
