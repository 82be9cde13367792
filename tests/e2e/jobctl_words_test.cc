// Words of jobctl's command line: times, durations, and what is mistyped.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/nearest_word.h"
#include "tests/e2e/child_process.h"
#include "tools/jobctl/progress.h"
#include "tools/jobctl/time_option.h"

namespace parkd::testing {
namespace {

using jobctl::BatchCounts;
using jobctl::ending_text;
using jobctl::parse_duration;
using jobctl::parse_instant;

class JobctlTimes : public ::testing::Test {
 protected:
  void SetUp() override {
    ::setenv("TZ", "UTC-2", 1);  // two hours east
    ::tzset();
  }
  void TearDown() override {
    ::unsetenv("TZ");
    ::tzset();
  }
  static std::string instant(const std::string& text) {
    const auto parsed = parse_instant("--deadline", text, WallTime(std::chrono::hours(24)));
    return parsed.ok() ? *parsed : parsed.status().message();
  }
};

TEST_F(JobctlTimes, a_time_is_from_now_or_of_this_zone_or_of_its_own) {
  EXPECT_EQ(instant(""), "");
  for (const char* text : {"+8h", "8h", "+480m"}) {
    EXPECT_EQ(instant(text), "1970-01-02T08:00:00.000000Z") << text;
  }
  EXPECT_EQ(instant("2026-12-01"), "2026-11-30T22:00:00.000000Z");
  for (const char* text : {"2026-12-01T18:00", "2026-12-01 18:00", "2026-12-01T18:00:00",
                           "2026-12-01T16:00:00Z", "2026-12-01T16:00Z", "2026-12-01 21:00 +0500",
                           "2026-12-01T21:00:00+05:00", "2026-12-01T08:30-07:30"}) {
    EXPECT_EQ(instant(text), "2026-12-01T16:00:00.000000Z") << text;
  }
}

TEST_F(JobctlTimes, what_is_no_time_is_said_with_the_option_and_a_way_out) {
  EXPECT_EQ(instant("+8"),
            "--deadline \"8\" has no unit: 8s, 8m, 8h or 8d (seconds, minutes, hours, days)");
  for (const char* text : {"2026-13-01", "2026-02-30", "2026-12-01T25:00", "2026-12-01x",
                           "tomorrow", "2026-12-01T18:00+99:00", "18:00", "-8h"}) {
    EXPECT_EQ(instant(text).rfind("--deadline \"" + std::string(text) + "\" is not a time: +8h", 0),
              0u)
        << text << ": " << instant(text);
  }
}

TEST(JobctlDurations, have_a_unit) {
  EXPECT_EQ(parse_duration("--retention", "90s")->count(), 90);
  EXPECT_EQ(parse_duration("--retention", "2d")->count(), 2 * 24 * 3600);
  for (const char* text : {"", "60", "-1s", "1.5h", "1w", "s", "99999d", "9999999999999999999s"}) {
    const auto parsed = parse_duration("--retention", text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.status().message().rfind("--retention \"" + std::string(text) + "\" ", 0), 0u)
        << parsed.status().message();
  }
}

// What had ended before took its time before: only what ended now is counted over now's.
TEST(JobctlProgress, a_run_that_goes_on_tells_time_and_rate_of_what_ended_in_it) {
  BatchCounts counts;
  counts.done = counts.total = 20;
  counts.failed = 2;
  counts.truncated = 1;
  counts.prompt_tokens = 400;
  counts.output_tokens = 2000;
  EXPECT_EQ(ending_text(counts, {}, 10, "out"),
            "20 results in out: 18 completed, 2 failed, 1 truncated by length; 400 prompt + 2000 "
            "output tokens in 0m10s (240 tokens/s)");
  BatchCounts before = counts;
  before.done = 15;
  before.prompt_tokens = 300;
  before.output_tokens = 1500;
  EXPECT_EQ(
      ending_text(counts, before, 10, "out"),
      "20 results in out: 18 completed, 2 failed, 1 truncated by length; 400 prompt + 2000 "
      "output tokens; of these, 5 results with 100 prompt + 500 output tokens ended during this "
      "call, in 0m10s (60 tokens/s)");
  EXPECT_NE(ending_text(counts, counts, 0, "out").find("0 results with 0 prompt + 0 output tokens"),
            std::string::npos);
  EXPECT_NE(ending_text(counts, counts, 0, "out").find("in 0m00s (0 tokens/s)"), std::string::npos);
}

TEST(JobctlMistyped, distances) {
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("submt", "submit"), 1u);
  EXPECT_EQ(edit_distance("sbumit", "submit"), 1u) << "a swap is one";
  EXPECT_EQ(edit_distance("list", "list"), 0u);
}

TEST(JobctlMistyped, what_was_meant_is_said) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"submt"}, "unknown subcommand \"submt\" of jobctl: did you mean submit?"},
      {{"batch", "stats", "x"},
       "unknown subcommand \"stats\" of jobctl batch: did you mean status?"},
      {{"list", "--stat", "queued"}, "unknown option --stat of jobctl list: did you mean --state?"},
      {{"batch", "run", "a", "--otput=b"},
       "unknown option --otput of jobctl batch run: did you mean --output?"},
      {{"pool", "--tennant", "x"},
       "unknown option --tennant of jobctl pool: did you mean --tenant?"},
      {{"frobnicate"}, "unknown subcommand \"frobnicate\" of jobctl: there are submit, status"},
      {{"list", "--colour"},
       "unknown option --colour of jobctl list: jobctl list --help lists them"},
  };
  for (const auto& [words, said] : cases) {
    const JobctlResult result = run_jobctl(words);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_NE(result.err.find(said), std::string::npos) << result.err;
  }
}

// As of a variable that is not set: what was asked for is not the default.
TEST(JobctlTimeOptions, that_are_empty_are_refused_by_name) {
  const std::pair<std::vector<std::string>, std::vector<std::string>> commands[] = {
      {{"submit", "--prompt", "x"},
       {"--deadline", "--run-at", "--run-timeout", "--retention", "--wait-timeout"}},
      {{"batch", "open"}, {"--deadline", "--retention"}},
      {{"batch", "add", "batch_1", "in.jsonl"}, {"--retention"}},
      {{"batch", "run", "in.jsonl", "-o", "out.jsonl"}, {"--deadline", "--retention"}},
  };
  for (const auto& [command, options] : commands) {
    for (const std::string& option : options) {
      std::vector<std::string> words = command;
      words.insert(words.end(), {option, ""});
      const JobctlResult result = run_jobctl(words);
      EXPECT_EQ(result.exit_code, 2) << command[0] << " " << option;
      EXPECT_NE(result.err.find(option + ": \"\" is not a time"), std::string::npos) << result.err;
    }
  }
}

TEST(JobctlTimeOptions, of_which_one_is_behind_the_other_are_refused_with_both) {
  const JobctlResult order = run_jobctl(
      {"submit", "--prompt", "x", "--deadline", "2090-01-01", "--run-at", "2090-01-02T00:00:00Z"});
  EXPECT_EQ(order.exit_code, 2);
  EXPECT_NE(order.err.find("--run-at 2090-01-02T00:00:00Z"), std::string::npos) << order.err;
  EXPECT_NE(order.err.find("is not before --deadline 2090-01-01"), std::string::npos) << order.err;
}

}  // namespace
}  // namespace parkd::testing
