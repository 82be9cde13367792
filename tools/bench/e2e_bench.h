#pragma once

#include "tools/bench/report.h"

namespace parkd::bench {

// 64 jobs through a real daemon: HTTP submit on the socket, durable queue, engine, mailbox.
void run_e2e_benchmarks(const Settings& settings);

}  // namespace parkd::bench
