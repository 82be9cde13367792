#pragma once

#include "tools/bench/report.h"

namespace parkd::bench {

// Encodes and decodes mixed prose, code and digits with a real model's tokenizer.
void run_tokenizer_benchmarks(const Settings& settings);

}  // namespace parkd::bench
