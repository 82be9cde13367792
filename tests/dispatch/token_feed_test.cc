// TokenFeed: what runs have written, for who listens; and which runs the dispatcher says it of.
#include "lib/dispatch/token_feed.h"

#include <atomic>
#include <thread>

#include "tests/dispatch/world.h"

namespace parkd {
namespace {

TokenEvent event_of(RequestId run, std::string_view text, int32_t choice = 0) {
  TokenEvent event;
  event.id = run;
  event.choice = choice;
  event.text = text;
  return event;
}

void push(TokenFeed& feed, const TokenEvent& event) {
  feed.push({&event, 1});
}

TEST(TokenFeed, keeps_what_a_run_wrote_for_who_comes_late) {
  int n_wakes = 0;
  TokenFeed feed([&] { ++n_wakes; });
  push(feed, event_of(7, "nobody said that it began"));
  feed.run_began(1, 100, 2);
  push(feed, event_of(1, "Hel"));
  push(feed, event_of(1, "Bye", 1));
  push(feed, event_of(1, "lo"));
  EXPECT_EQ(n_wakes, 1) << "until it is drained";
  EXPECT_EQ(feed.find(100), nullptr);
  feed.drain();
  ASSERT_NE(feed.find(100), nullptr);
  EXPECT_EQ(feed.find(100)->choices[0].text, "Hello");
  EXPECT_EQ(feed.find(100)->choices[1].text, "Bye");
  int n_news = 0;
  const TokenFeed::Listener listener = feed.listen(100, [&] { ++n_news; });
  push(feed, event_of(1, "!"));
  EXPECT_EQ(n_wakes, 2);
  feed.drain();
  EXPECT_EQ(n_news, 1);
  EXPECT_EQ(feed.find(100)->choices[0].text, "Hello!");
  feed.run_ended(1);
  push(feed, event_of(1, "late"));
  feed.drain();
  EXPECT_EQ(feed.find(100), nullptr);
}

TEST(TokenFeed, a_later_run_of_a_job_begins_anew_and_hears_nothing_of_the_first) {
  TokenFeed feed([] {});
  feed.run_began(1, 100, 1);
  push(feed, event_of(1, "first"));
  feed.drain();
  feed.run_began(2, 100, 1);
  push(feed, event_of(1, " goes on"));
  push(feed, event_of(2, "second"));
  feed.run_ended(1);
  feed.drain();
  ASSERT_NE(feed.find(100), nullptr);
  EXPECT_EQ(feed.find(100)->run, 2u);
  EXPECT_EQ(feed.find(100)->choices[0].text, "second");
}

TEST(TokenFeed, what_a_cancelled_choice_held_back_is_not_told) {
  TokenFeed feed([] {});
  feed.run_began(1, 100, 1);
  push(feed, event_of(1, "said"));
  TokenEvent held = event_of(1, " held back");
  held.finish_reason = FinishReason::cancelled;
  push(feed, held);
  feed.drain();
  EXPECT_EQ(feed.find(100)->choices[0].text, "said");
}

TEST(TokenFeed, many_listeners_come_and_go) {
  TokenFeed feed([] {});
  for (JobId job = 0; job < 1000; ++job) {
    const auto gone = feed.listen(job, [] { ADD_FAILURE() << "it has left"; });
  }
  int n_news = 0;
  std::vector<TokenFeed::Listener> stay;
  for (int i = 0; i < 3; ++i) stay.push_back(feed.listen(5, [&] { ++n_news; }));
  feed.run_began(1, 5, 1);
  push(feed, event_of(1, "a"));
  feed.drain();
  EXPECT_EQ(n_news, 3);
  stay.pop_back();
  push(feed, event_of(1, "b"));
  feed.drain();
  EXPECT_EQ(n_news, 5);
}

TEST(TokenFeed, takes_what_several_workers_push_at_once) {
  constexpr int kWorkers = 4;
  constexpr int kTokens = 2000;
  constexpr std::string_view kLetters = "abcd";
  std::atomic<int> wakes{0};
  TokenFeed feed([&] { ++wakes; });
  for (int i = 0; i < kWorkers; ++i) feed.run_began(i + 1, 100 + i, 1);
  std::vector<std::thread> workers;
  for (int i = 0; i < kWorkers; ++i) {
    workers.emplace_back([&feed, kLetters, i] {
      for (int n = 0; n < kTokens; ++n) push(feed, event_of(i + 1, kLetters.substr(i, 1)));
    });
  }
  size_t n_text = 0;
  while (n_text < size_t{kWorkers} * kTokens) {
    feed.drain();
    n_text = 0;
    for (int i = 0; i < kWorkers; ++i) {
      if (const RunTokens* run = feed.find(100 + i)) n_text += run->choices[0].text.size();
    }
  }
  for (std::thread& worker : workers) worker.join();
  for (int i = 0; i < kWorkers; ++i) {
    EXPECT_EQ(feed.find(100 + i)->choices[0].text, std::string(kTokens, kLetters[i]));
  }
}

// A batch pays nothing for callers that it does not have.
TEST(TokenFeed, the_runs_of_jobs_that_a_caller_may_wait_for_are_told_of) {
  TokenFeed feed([] {});
  DispatcherOptions options;
  options.token_feed = &feed;
  World world(100, 8, 16, options);
  world.ready();
  JobSpec spec = job_of(2);
  const JobId normal = world.submit(spec);
  spec.priority = Priority::high;
  const JobId high = world.submit(spec);
  world.flush();
  feed.drain();
  EXPECT_EQ(feed.find(normal), nullptr);
  ASSERT_NE(feed.find(high), nullptr);
  push(feed, event_of(feed.find(high)->run, "a"));
  feed.drain();
  EXPECT_EQ(feed.find(high)->choices[0].text, "a");
  world.complete_all();
  feed.drain();
  EXPECT_EQ(feed.find(high), nullptr);
}

TEST(TokenFeed, a_run_that_is_not_ours_any_more_is_told_no_further) {
  TokenFeed feed([] {});
  DispatcherOptions options;
  options.token_feed = &feed;
  World world(100, 8, 16, options);
  world.engine.answer_cancels = false;
  world.ready();
  JobSpec spec = job_of(2);
  spec.priority = Priority::high;
  const JobId id = world.submit(spec);
  world.flush();
  feed.drain();
  ASSERT_NE(feed.find(id), nullptr);
  const RequestId run = feed.find(id)->run;
  world.dispatcher.ownership_lost();
  world.settle();
  push(feed, event_of(run, "of a lost run"));
  feed.drain();
  EXPECT_EQ(feed.find(id), nullptr);
}

}  // namespace
}  // namespace parkd
