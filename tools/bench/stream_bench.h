// Benchmarks stream.*: what the doors cost a daemon with many clients that listen or wait.
#pragma once

#include "tools/bench/report.h"

namespace parkd::bench {

void run_stream_benchmarks(const Settings& settings);

}  // namespace parkd::bench
