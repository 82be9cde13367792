#pragma once

#include "tools/bench/report.h"

namespace parkd::bench {

// Submits one by one, with 64 open, in bulk; claims and finishes. Prints one result each.
void run_store_benchmarks(const Settings& settings);

}  // namespace parkd::bench
