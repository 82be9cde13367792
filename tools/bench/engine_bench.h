#pragma once

#include "tools/bench/report.h"

namespace parkd::bench {

// 1, 8 and 64 jobs of 128 prompt + 128 output tokens on a real model. Prints one result each, with
// the share of the measured integer-dot peak that the products alone account for.
void run_engine_benchmarks(const Settings& settings);

}  // namespace parkd::bench
