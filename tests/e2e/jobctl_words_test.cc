// Words of jobctl's command line: times, durations, and what is mistyped.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/nearest_word.h"
#include "tests/e2e/child_process.h"
#include "tools/jobctl/time_option.h"

namespace parkd::testing {
namespace {

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
  const JobctlResult order = run_jobctl(
      {"submit", "--prompt", "x", "--deadline", "2090-01-01", "--run-at", "2090-01-02T00:00:00Z"});
  EXPECT_EQ(order.exit_code, 2);
  EXPECT_NE(order.err.find("--run-at 2090-01-02T00:00:00Z"), std::string::npos) << order.err;
  EXPECT_NE(order.err.find("is not before --deadline 2090-01-01"), std::string::npos) << order.err;
}

}  // namespace
}  // namespace parkd::testing
