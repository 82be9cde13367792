#include "lib/job/job.h"

#include <gtest/gtest.h>

#include <set>

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(Job, words_of_enums_read_back) {
  for (const Priority p : {Priority::critical, Priority::high, Priority::normal, Priority::low}) {
    EXPECT_EQ(priority_from_string(to_string(p)), p);
  }
  EXPECT_EQ(priority_from_string("urgent"), std::nullopt);
  for (const Outcome o : {Outcome::completed, Outcome::failed, Outcome::cancelled,
                          Outcome::deadline_missed, Outcome::quarantined}) {
    EXPECT_EQ(outcome_from_string(to_string(o)), o);
  }
  EXPECT_EQ(outcome_from_string(""), std::nullopt);
}

TEST(Job, the_order_key_is_priority_and_ageing_in_one) {
  const WallTime t0 = from_unix_us(1'800'000'000'000'000);
  JobSpec low;
  low.priority = Priority::low;
  JobSpec normal;
  JobSpec high;
  high.priority = Priority::high;
  EXPECT_LT(order_key_of(high, t0), order_key_of(normal, t0));
  EXPECT_LT(order_key_of(normal, t0), order_key_of(low, t0));
  EXPECT_LT(order_key_of(low, t0), order_key_of(normal, t0 + hours(6)))
      << "a low job that waited long goes before a fresh normal one: nothing starves";
  EXPECT_EQ(order_key_of(high, t0), t0 + minutes(10));
}

TEST(Job, a_later_run_at_is_where_waiting_starts) {
  const WallTime t0 = from_unix_us(1'800'000'000'000'000);
  JobSpec spec;
  spec.priority = Priority::critical;
  spec.run_at = t0 + seconds(90);
  EXPECT_EQ(order_key_of(spec, t0), t0 + seconds(90));
  spec.run_at = t0 - seconds(90);
  EXPECT_EQ(order_key_of(spec, t0), t0);
}

TEST(Job, need_counts_every_choice_whole) {
  JobSpec spec;
  spec.n_choices = 128;
  spec.prompt_tokens = 2'000'000'000;
  spec.max_new_tokens = 2'000'000'000;
  EXPECT_EQ(spec.need_tokens(), 128 * int64_t{4'000'000'000});
}

TEST(Job, only_three_failure_codes_are_retried) {
  const std::set<std::string_view> retried = {failure::kInternal, failure::kDeviceLost,
                                              failure::kOutOfResources};
  for (const EndingCode& known : kEndingCodes) {
    EXPECT_EQ(is_retryable(known.code), retried.count(known.code) > 0) << known.code;
  }
  EXPECT_FALSE(is_retryable("a code of another version"));
}

TEST(Job, every_code_is_of_one_ending) {
  std::set<std::string_view> codes;
  for (const EndingCode& known : kEndingCodes) {
    EXPECT_TRUE(codes.insert(known.code).second) << known.code << " is there twice";
    EXPECT_NE(known.outcome, Outcome::completed) << known.code;
    // What did not fail has its outcome's word for a code.
    if (known.outcome != Outcome::failed) {
      EXPECT_EQ(known.code, to_string(known.outcome));
    }
    EXPECT_FALSE(known.is_retryable && known.outcome != Outcome::failed) << known.code;
    const Ending ending = ended_as(known.code, "why");
    EXPECT_EQ(ending.error_code, known.code);
    EXPECT_EQ(ending.outcome, known.outcome);
    EXPECT_EQ(ending.status_code, known.http_status);
    EXPECT_EQ(ending.error_message, "why");
  }
}

TEST(Job, a_job_is_for_the_first_endpoint_where_it_names_none) {
  EXPECT_EQ(JobSpec().endpoint, kEndpoints[0].path);
  EXPECT_EQ(kEndpoints[0].path, "/v1/chat/completions");
  EXPECT_EQ(find_endpoint(kEndpoints[0].path), &kEndpoints[0]);
  EXPECT_EQ(find_endpoint(""), nullptr);
  EXPECT_EQ(unsupported_endpoint("/v1/embeddings"),
            "endpoint /v1/embeddings is not supported yet; there are /v1/chat/completions, "
            "/v1/completions, /v1/responses");
  EXPECT_EQ(unstreamed_endpoint("/v1/responses"),
            "an answer of /v1/responses comes as a whole; those of /v1/chat/completions and "
            "/v1/completions can be streamed");
}

}  // namespace
}  // namespace parkd
