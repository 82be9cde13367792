// The whole list on one implementation: each case is held to float64 or is refused as the list
// says, and each op has run.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/ops/lane_case.h"

namespace parkd::testing {

// `then` is called with each case that ran, what it ran on and what it gave.
template <class Then>
void run_op_cases(const Implementation& implementation, uint64_t seed, const Then& then) {
  std::map<Op, int> n_run;
  for (size_t op = 0; op < std::size(kOpNames); ++op) {
    Errors errors(std::string(kOpNames[op]) + ", " + implementation.name);
    for (const OpCase& c : op_cases(static_cast<Op>(op))) {
      if (!implementation.runs(c)) continue;
      SCOPED_TRACE(std::string(kOpNames[op]) + ", " + c.name + ", " + implementation.name);
      LaneCase run(c, implementation, seed);
      ASSERT_EQ(run.refusal().ok(), !implementation.refuses(c)) << run.refusal().to_string();
      if (!run.refusal().ok()) continue;
      const OpRows rows = run.run(0);
      run.check(rows, errors);
      then(c, run, rows);
      if (::testing::Test::HasFatalFailure()) return;
      ++n_run[c.op];
    }
  }
  for (size_t op = 0; op < std::size(kOpNames); ++op) {
    if (implementation.only && *implementation.only != static_cast<Op>(op)) continue;
    EXPECT_GT(n_run[static_cast<Op>(op)], 0)
        << "no case of " << kOpNames[op] << " ran on " << implementation.name;
  }
}

}  // namespace parkd::testing
