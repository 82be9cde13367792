#include <gtest/gtest.h>

#include <thread>

#include "lib/base/clock.h"
#include "lib/base/inbox.h"
#include "lib/base/keyed_hash.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/base/text.h"
#include "lib/base/thread.h"
#include "lib/base/units.h"

namespace parkd {
namespace {

TEST(Status, a_failed_result_gives_its_status_and_field) {
  const Result<int> failed = invalid_param("temperature", "temperature is 3, the limit is 2");
  EXPECT_FALSE(failed.ok());
  EXPECT_EQ(failed.status().param(), "temperature");
  EXPECT_EQ(failed.status().to_string(), "invalid: temperature is 3, the limit is 2 (temperature)");
}

TEST(StatusDeathTest, reading_a_value_that_is_not_there_aborts) {
  const Result<int> failed = not_found("no job 7");
  EXPECT_DEATH((void)failed.value(), "no job 7");
}

// The vectors of the reference implementation: key 00 01 .. 0f, input 00 01 ...
TEST(KeyedHash, is_siphash_2_4) {
  const HashKey key{0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};
  std::string input;
  for (char c = 0; c < 15; ++c) input += c;
  EXPECT_EQ(keyed_hash(key, ""), 0x726fdb47dd0e0e31ull);
  EXPECT_EQ(keyed_hash(key, std::string(1, '\0')), 0x74f839c593dc67fdull);
  EXPECT_EQ(keyed_hash(key, input.substr(0, 8)), 0x93f5f5799a932462ull);
  EXPECT_EQ(keyed_hash(key, input), 0xa129ca6149be45e5ull);
  EXPECT_NE(keyed_hash(random_hash_key(), input), keyed_hash(random_hash_key(), input));
}

TEST(Units, ceil_div_rounds_up) {
  EXPECT_EQ(ceil_div(0, 32), 0);
  EXPECT_EQ(ceil_div(1, 32), 1);
  EXPECT_EQ(ceil_div(32, 32), 1);
  EXPECT_EQ(ceil_div(33, 32), 2);
}

TEST(Clock, rfc3339_of_known_instants) {
  EXPECT_EQ(to_rfc3339(from_unix_us(0)), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(to_rfc3339(from_unix_us(1'700'000'000'123'456)), "2023-11-14T22:13:20.123456Z");
  EXPECT_EQ(to_rfc3339(from_unix_us(-1)), "1969-12-31T23:59:59.999999Z");
}

TEST(Clock, system_clock_never_steps_backwards) {
  SystemClock clock;
  WallTime last = clock.now();
  for (int i = 0; i < 1000; ++i) {
    const WallTime now = clock.now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(Clock, a_small_step_back_is_not_seen_and_time_goes_on_when_the_clock_has_caught_up) {
  ManualClock clock(from_unix_us(1'800'000'000'000'000));
  const WallTime before = clock.now();
  clock.step_wall(-std::chrono::seconds(5));
  EXPECT_EQ(clock.now(), before);
  EXPECT_EQ(clock.skew().behind, std::chrono::seconds(5));
  clock.advance(std::chrono::seconds(4));
  EXPECT_EQ(clock.now(), before);
  clock.advance(std::chrono::seconds(3));
  EXPECT_EQ(clock.now(), before + std::chrono::seconds(2));
  EXPECT_EQ(clock.skew().behind.count(), 0);
  EXPECT_EQ(clock.skew().n_followed, 0);
}

TEST(Clock, a_leap_that_is_corrected_does_not_freeze_time_for_longer_than_a_minute) {
  ManualClock clock(from_unix_us(1'800'000'000'000'000));
  const WallTime true_start = clock.now();
  clock.step_wall(std::chrono::hours(30 * 24));
  const WallTime wrong = clock.now();
  clock.step_wall(-std::chrono::hours(30 * 24));
  clock.advance(WallKeeper::kHeldMax);
  EXPECT_EQ(clock.now(), wrong) << "held";
  clock.advance(std::chrono::seconds(1));
  EXPECT_EQ(clock.now(), true_start + WallKeeper::kHeldMax + std::chrono::seconds(1)) << "followed";
  EXPECT_EQ(clock.skew().n_followed, 1);
  clock.advance(std::chrono::seconds(1));
  EXPECT_EQ(clock.now(), true_start + WallKeeper::kHeldMax + std::chrono::seconds(2));
}

TEST(Clock, boot_time_passes_and_the_boot_has_a_name) {
  SystemClock clock;
  const SteadyTime before = clock.boot_now();
  EXPECT_GT(before.time_since_epoch().count(), 0);
  EXPECT_GE(clock.boot_now(), before);
  EXPECT_FALSE(clock.boot_id().empty());
  EXPECT_EQ(clock.boot_id(), SystemClock().boot_id());
}

TEST(Inbox, every_message_of_every_sender_arrives_in_its_order) {
  Inbox<std::pair<int, int>> inbox;
  constexpr int kSenders = 4;
  constexpr int kMessages = 1000;
  std::vector<Thread> senders;
  for (int sender = 0; sender < kSenders; ++sender) {
    senders.emplace_back(Thread::Options{"sender", 0}, [&inbox, sender] {
      for (int i = 0; i < kMessages; ++i) inbox.push({sender, i});
    });
  }
  int received = 0;
  std::vector<int> next(kSenders, 0);
  while (received < kSenders * kMessages) {
    for (const auto& [sender, i] : inbox.wait_all()) {
      ASSERT_EQ(i, next[static_cast<size_t>(sender)]++);
      ++received;
    }
  }
}

TEST(Inbox, a_closed_inbox_refuses_and_wakes) {
  Inbox<int> inbox;
  EXPECT_TRUE(inbox.push(1));
  inbox.close();
  EXPECT_FALSE(inbox.push(2));
  EXPECT_EQ(inbox.wait_all(), std::vector<int>{1});
  EXPECT_TRUE(inbox.wait_all().empty());
}

TEST(Text, utf8_is_checked_as_rfc_3629_says) {
  EXPECT_TRUE(is_valid_utf8("grüße 🌍"));
  EXPECT_FALSE(is_valid_utf8("\xc0\xaf"));          // overlong
  EXPECT_FALSE(is_valid_utf8("\xed\xa0\x80"));      // surrogate
  EXPECT_FALSE(is_valid_utf8("\xf4\x90\x80\x80"));  // past U+10FFFF
  EXPECT_EQ(valid_utf8_prefix("ab\xe2\x82"), 2u);   // cut in the middle
  EXPECT_EQ(repair_utf8("a\xff"
                        "b"),
            "a\xef\xbf\xbd"
            "b");
}

TEST(Text, each_maximal_part_of_a_broken_character_becomes_one_replacement) {
  const std::string r = "\xef\xbf\xbd";
  // Unicode 15, section 3.9: table 3-8 and the examples around it (3-9: surrogates, 3-10: overlong,
  // 3-11: cut short).
  const std::pair<std::string, std::string> cases[] = {
      {"a\xf1\x80\x80\xe1\x80\xc2"
       "b\x80"
       "c\x80\xbf"
       "d",
       "a" + r + r + r + "b" + r + "c" + r + r + "d"},
      {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82"
       "A",
       r + r + r + r + r + r + r + r + "A"},
      {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf"
       "A",
       r + r + r + r + r + r + r + r + "A"},
      {"\xf4\x91\x92\x93\xff"
       "A\x80\xbf"
       "B",
       r + r + r + r + r + "A" + r + r + "B"},
      {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
       "A",
       r + r + r + r + "A"},
      {"ok \xe2\x82", "ok " + r},
      {"\xf0\x9f\x98", r},
      {"\xf0\x9f\x98\x80\xf0", "\xf0\x9f\x98\x80" + r},
  };
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(repair_utf8(bytes), text) << ::testing::PrintToString(bytes);
    std::string json;
    append_json_string(json, bytes);
    EXPECT_EQ(json, '"' + text + '"') << ::testing::PrintToString(bytes);
  }
}

TEST(Text, unfinished_is_what_may_still_become_a_character) {
  for (const char* character :
       {"é", "€", "\xe0\xa0\x80", "\xed\x9f\xbf", "😀", "\xf4\x8f\xbf\xbf"}) {
    const std::string whole = character;
    for (size_t n = 1; n <= whole.size(); ++n) {
      EXPECT_EQ(unfinished_utf8("a" + whole.substr(0, n)), n < whole.size() ? n : 0) << whole;
    }
  }
  for (const char* never : {"", "a", "\x80", "\xff", "\xc0", "\xf5", "\xe0\x80", "\xed\xa0",
                            "\xf4\x90", "\xf0\x8f\xbf", "\xc3\x28", "é\xbf"}) {
    EXPECT_EQ(unfinished_utf8(never), 0U) << ::testing::PrintToString(never);
  }
}

TEST(Text, numbers_are_shown_as_people_write_them) {
  EXPECT_EQ(number_text(0.1), "0.1");
  EXPECT_EQ(number_text(9), "9");
  EXPECT_EQ(number_text(-2.5), "-2.5");
  EXPECT_EQ(number_text(1234567.5), "1234567.5");
  EXPECT_EQ(number_text(1e-60), "1e-60");
}

TEST(Text, json_strings_are_escaped) {
  std::string out;
  append_json_string(out, "a\"b\\c\n\x01 é");
  EXPECT_EQ(out, "\"a\\\"b\\\\c\\n\\u0001 é\"");
}

TEST(Log, a_line_is_an_event_and_its_fields) {
  EXPECT_EQ(format_log_line(LogFormat::text, "job.finished",
                            {{"id", 42}, {"model", "a b"}, {"ok", true}, {"share", 0.5}}),
            "job.finished id=42 model=\"a b\" ok=true share=0.5");
  EXPECT_EQ(format_log_line(LogFormat::json, "job.finished", {{"id", 42}, {"model", "m"}}),
            R"({"event":"job.finished","id":42,"model":"m"})");
}

}  // namespace
}  // namespace parkd
