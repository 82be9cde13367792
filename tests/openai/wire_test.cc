#include "lib/openai/wire.h"

#include <gtest/gtest.h>

#include <string>

namespace parkd {
namespace {

TEST(Wire, a_batchs_member_is_of_priority_low_where_none_is_given) {
  const auto priority_of = [](const std::string& more) {
    return parse_submit(R"({"body":{"messages":[]})" + more + "}", {}).value().jobs.at(0).priority;
  };
  EXPECT_EQ(priority_of(""), Priority::normal);
  EXPECT_EQ(priority_of(R"(,"batch_id":"b")"), Priority::low);
  EXPECT_EQ(priority_of(R"(,"priority":"high","batch_id":"b")"), Priority::high);
}

}  // namespace
}  // namespace parkd
