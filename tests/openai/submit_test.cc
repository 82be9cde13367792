#include "lib/openai/submit.h"

#include <gtest/gtest.h>

#include <string>

namespace parkd {
namespace {

TEST(Submit, a_batchs_member_is_of_priority_low_where_none_is_given) {
  const auto priority_of = [](const std::string& more) {
    return parse_submit(R"({"body":{"messages":[]})" + more + "}", {}).value().jobs.at(0).priority;
  };
  EXPECT_EQ(priority_of(""), Priority::normal);
  EXPECT_EQ(priority_of(R"(,"batch_id":"b")"), Priority::low);
  EXPECT_EQ(priority_of(R"(,"priority":"high","batch_id":"b")"), Priority::high);
}

Status refusal_of(const std::string& more) {
  return parse_submit(R"({"body":{"messages":[]},)" + more + "}", {}).status();
}

TEST(Submit, an_endpoint_and_a_url_that_differ_are_refused_with_both) {
  const Status refused = refusal_of(R"("endpoint":"/v1/embeddings","url":"/v1/chat/completions")");
  EXPECT_EQ(refused.param(), "url");
  EXPECT_EQ(refused.message(),
            R"(url is "/v1/chat/completions" but endpoint is "/v1/embeddings": give one of them)");
  EXPECT_TRUE(refusal_of(R"("endpoint":"/v1/chat/completions","url":"/v1/chat/completions")").ok());
  EXPECT_TRUE(refusal_of(R"("endpoint":null,"url":"/v1/chat/completions")").ok());
  EXPECT_TRUE(refusal_of(R"("endpoint":"/v1/chat/completions","url":null)").ok());
}

TEST(Submit, a_batch_line_may_be_for_completions) {
  const auto line = parse_submit(
      R"({"custom_id":"a","method":"POST","url":"/v1/completions","body":{"prompt":"Hi"}})", {});
  ASSERT_TRUE(line.ok()) << line.status().to_string();
  EXPECT_EQ(line->jobs.at(0).endpoint, "/v1/completions");
}

TEST(Submit, an_endpoint_that_there_is_not_is_refused_by_the_name_that_was_given) {
  for (const std::string field : {"endpoint", "url"}) {
    for (const std::string path : {"", "/v1/embeddings"}) {
      const Status refused = refusal_of("\"" + field + "\":\"" + path + "\"");
      EXPECT_EQ(refused.param(), field) << path;
      EXPECT_EQ(refused.message(), unsupported_endpoint(path));
    }
  }
  EXPECT_EQ(refusal_of(R"("endpoint":"/v1/embeddings","url":null)").param(), "endpoint");
}

TEST(Submit, an_empty_time_is_no_time) {
  for (const std::string field : {"run_at", "deadline"}) {
    const Status refused = refusal_of("\"" + field + R"(":"")");
    EXPECT_EQ(refused.param(), field);
    EXPECT_EQ(refused.message().rfind(field + " is \"\", not a time", 0), 0u) << refused.message();
    EXPECT_TRUE(refusal_of("\"" + field + "\":null").ok()) << "left out";
  }
}

}  // namespace
}  // namespace parkd
