// The list of cases against lib/model/lane.h: each op that a step is made of is in it.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tests/layers/tree.h"
#include "tests/ops/op_cases.h"

namespace parkd::testing {
namespace {

// The virtual functions of lane.h between "The ops" and the end of a step, in order.
std::vector<std::string> ops_of(const std::string& header) {
  const size_t first = header.find("// The ops");
  const size_t last = header.find("virtual void sample(");
  if (first == std::string::npos || last == std::string::npos || last < first) return {};
  const std::string ops = header.substr(first, last - first);
  const std::regex declared("virtual\\s+\\w+\\s+(\\w+)\\(");
  std::vector<std::string> names;
  for (std::sregex_iterator at(ops.begin(), ops.end(), declared), end; at != end; ++at) {
    names.push_back((*at)[1]);
  }
  return names;
}

TEST(OpList, has_the_ops_of_the_lane_and_no_other) {
  const std::string header = tree_text("lib/model/lane.h");
  std::vector<std::string> declared = ops_of(header);
  ASSERT_FALSE(declared.empty()) << "lane.h does not look as it did";
  std::vector<std::string> listed(std::begin(kOpNames), std::end(kOpNames));
  std::sort(declared.begin(), declared.end());
  std::sort(listed.begin(), listed.end());
  EXPECT_EQ(declared, listed) << "an op of lane.h is not in tests/ops/op_cases.h, or is gone";
  // The rule would notice one.
  std::string more = header;
  more.insert(more.find("virtual void sample("), "virtual void halve(Buffer in) = 0;\n  ");
  EXPECT_EQ(ops_of(more).back(), "halve");
}

TEST(OpList, has_cases_of_each_op_that_both_backends_run_under_names_of_their_own) {
  for (size_t op = 0; op < std::size(kOpNames); ++op) {
    std::set<std::string> names;
    int n_of_both = 0;
    for (const OpCase& c : op_cases(static_cast<Op>(op))) {
      EXPECT_TRUE(names.insert(c.name).second) << kOpNames[op] << " has two cases " << c.name;
      n_of_both += c.refused_by == RefusedBy::none ? 1 : 0;
    }
    EXPECT_GT(n_of_both, 0) << kOpNames[op];
  }
}

TEST(OpList, measures_each_op_for_each_model) {
  for (const MeasuredModel& model : kMeasuredModels) {
    const std::vector<OpCase> cases = measured_op_cases(model);
    for (size_t op = 0; op < std::size(kOpNames); ++op) {
      EXPECT_TRUE(std::any_of(cases.begin(), cases.end(),
                              [op](const OpCase& c) { return c.op == static_cast<Op>(op); }))
          << kOpNames[op] << " of " << model.name;
    }
  }
}

}  // namespace
}  // namespace parkd::testing
