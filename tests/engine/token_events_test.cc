// What the engine tells of requests that stream: together it is the result, however a choice ends,
// and who does not stream pays nothing for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lib/base/text.h"
#include "lib/engine/kv_cache.h"
#include "lib/engine/sequence.h"
#include "tests/engine/counted_new.h"
#include "tests/engine/local_engine_rig.h"
#include "tests/support/engine_runner.h"
#include "tests/support/fake_backend.h"

namespace parkd {
namespace {

using testing::add_prompt;
using testing::allocations_of_this_thread;
using testing::FakeEngine;
using testing::Options;
using testing::options_of;
using testing::request_of;
using testing::result_bytes;
using testing::Way;

// All that was told of one choice, put together.
struct HeardChoice {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<SampledToken> logprobs;
  std::vector<int32_t> positions;
  std::optional<FinishReason> finish_reason;
};

// Hears an engine: checks the order of what comes, and puts it together.
class Listener {
 public:
  void attach(Options& options) {
    options.on_tokens = [this](std::span<const TokenEvent> events) { hear(events); };
    options.on_end = [this](RequestId id) {
      const std::lock_guard lock(mutex_);
      ended_.insert(id);
    };
  }

  // `cancel`, on the thread that tells, once so many events of that request were heard.
  void cancel_after(RequestId id, int n_events) {
    const std::lock_guard lock(mutex_);
    to_cancel_[id] = n_events;
  }
  std::function<void(RequestId)> cancel;

  HeardChoice of(RequestId id, int32_t choice) {
    const std::lock_guard lock(mutex_);
    return heard_[{id, choice}];
  }
  int64_t n_calls() const { return n_calls_; }
  int64_t n_events() const { return n_events_; }

 private:
  void hear(std::span<const TokenEvent> events) {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(events.empty());
    ++n_calls_;
    for (const TokenEvent& event : events) {
      ++n_events_;
      HeardChoice& heard = heard_[{event.id, event.choice}];
      EXPECT_FALSE(ended_.contains(event.id)) << "told after its result";
      EXPECT_FALSE(heard.finish_reason.has_value()) << "told after its end";
      EXPECT_TRUE(!event.text.empty() || event.finish_reason.has_value());
      EXPECT_TRUE(is_valid_utf8(event.text));
      EXPECT_TRUE(heard.positions.empty() || heard.positions.back() < event.position);
      heard.text += event.text;
      heard.tokens.insert(heard.tokens.end(), event.tokens.begin(), event.tokens.end());
      heard.logprobs.insert(heard.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
      heard.positions.push_back(event.position);
      heard.finish_reason = event.finish_reason;
      const auto counted = to_cancel_.find(event.id);
      if (counted == to_cancel_.end() || --counted->second > 0) continue;
      to_cancel_.erase(counted);
      cancel(event.id);
    }
  }

  std::mutex mutex_;  // workers tell, the test asks
  std::map<std::pair<RequestId, int32_t>, HeardChoice> heard_;
  std::set<RequestId> ended_;
  std::map<RequestId, int> to_cancel_;
  std::atomic<int64_t> n_calls_{0};
  std::atomic<int64_t> n_events_{0};
};

void expect_told(Listener& listener, const GenerationResult& result) {
  ASSERT_FALSE(result.choices.empty());
  for (size_t c = 0; c < result.choices.size(); ++c) {
    GeneratedChoice choice = result.choices[c];
    const HeardChoice heard = listener.of(result.id, static_cast<int32_t>(c));
    EXPECT_EQ(heard.text, choice.text);
    EXPECT_EQ(heard.tokens, choice.tokens);
    ASSERT_TRUE(heard.finish_reason.has_value());
    EXPECT_EQ(*heard.finish_reason, choice.finish_reason);
    const bool cancelled = choice.finish_reason == FinishReason::cancelled;
    EXPECT_EQ(heard.positions.back(), choice.n_generated - (cancelled ? 0 : 1));
    GenerationResult told;  // compared as bytes
    told.choices.push_back(choice);
    GenerationResult as_heard = told;
    as_heard.choices[0].logprobs = heard.logprobs;
    EXPECT_EQ(result_bytes(as_heard), result_bytes(told)) << "log-probabilities";
  }
}

// Bytes of characters, whole and not, and of what is none.
std::string_view bytes_of(TokenId token) {
  constexpr std::string_view kBytes[] = {"\xe2", "\x82", "\xac", "a", "b", "ab",      "\xf0\x9f",
                                         "\xff", "",     "€b",   "a", "b", "\xe2\x82"};
  return kBytes[static_cast<size_t>(token) % std::size(kBytes)];
}

std::string random_stop(std::mt19937_64& random) {
  constexpr std::string_view kParts[] = {"a", "b", "ab", "€", "\xef\xbf\xbd", "ba"};
  std::string stop;
  for (uint64_t n = 1 + random() % 3; n > 0; --n) stop += kParts[random() % std::size(kParts)];
  return stop;
}

class RandomStreams : public ::testing::TestWithParam<Way> {};

INSTANTIATE_TEST_SUITE_P(Ways, RandomStreams,
                         ::testing::Values(Way{1, 0, 64, 8, 0}, Way{3, 5, 24, 16, 0},
                                           Way{1, 0, 64, 8, 1}, Way{3, 5, 24, 16, 1}));

TEST_P(RandomStreams, are_the_result_in_pieces_and_change_no_byte_of_it) {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  Options options = options_of(GetParam());
  options.token_bytes = bytes_of;
  Listener listener;
  listener.attach(options);
  FakeEngine streams(options);
  listener.cancel = [&](RequestId id) { streams.engine().cancel(id); };
  Options quiet_options = options_of(GetParam());
  quiet_options.token_bytes = bytes_of;
  FakeEngine quiet(quiet_options);
  int64_t n_early = 0;
  int n_cut = 0;  // cancelled in mid-text
  std::map<FinishReason, int> n_ended;
  RequestId id = 0;
  for (int round = 0; round < 60; ++round) {
    std::map<RequestId, GenerationRequest> requests;
    std::set<RequestId> cancelled;
    for (int i = 0; i < 5; ++i) {
      GenerationRequest request =
          request_of(++id, static_cast<int32_t>(1 + random() % 9), int32_t(1 + random() % 40));
      request.n_choices = static_cast<int32_t>(1 + random() % 3);
      if (random() % 3 == 0) add_prompt(request, id + 1000, 5, int32_t(1 + random() % 40));
      request.sampling.temperature = 1;
      request.sampling.seed = random();
      request.sampling.logprobs = random() % 2 == 0;
      for (uint64_t n = random() % 4; n > 0; --n) request.stop.push_back(random_stop(random));
      for (uint64_t n = random() % 4; n > 0; --n) {
        request.stop_tokens.push_back(static_cast<TokenId>(random() % 255));
      }
      quiet.engine().start(request);
      request.stream = true;
      requests.emplace(id, request);
      const uint64_t fate = random() % 6;
      if (fate < 2) cancelled.insert(id);
      if (fate == 0) listener.cancel_after(id, static_cast<int>(1 + random() % 4));
      streams.engine().start(request);
      if (fate == 1) streams.engine().cancel(id);
    }
    const auto plain = quiet.wait(requests.size());
    for (const auto& [told, result] : streams.wait(requests.size())) {
      expect_told(listener, result);
      for (const GeneratedChoice& choice : result.choices) {
        ++n_ended[choice.finish_reason];
        n_cut += choice.finish_reason == FinishReason::cancelled && !choice.text.empty();
      }
      n_early += static_cast<int64_t>(listener.of(told, 0).positions.size()) - 1;
      if (cancelled.contains(told)) continue;
      EXPECT_EQ(result_bytes(result), result_bytes(plain.at(told))) << "request " << told;
    }
  }
  EXPECT_GT(n_early, 500) << "most text is told before the end";
  EXPECT_GT(n_ended[FinishReason::stop], 50);
  EXPECT_GT(n_ended[FinishReason::length], 50);
  EXPECT_GT(n_ended[FinishReason::cancelled], 20);
  EXPECT_GT(n_cut, 10) << "cancelled in mid-text";
}

// The choice's own end is told when it comes, not when the last of its request has ended.
TEST(TokenEvents, a_choice_that_ends_first_is_told_first) {
  Options options;
  std::vector<int32_t> told;  // choices, as their events come
  std::vector<int32_t> ended;
  options.on_tokens = [&](std::span<const TokenEvent> events) {
    for (const TokenEvent& event : events) {
      told.push_back(event.choice);
      if (event.finish_reason) ended.push_back(event.choice);
    }
  };
  FakeEngine fake(options);
  GenerationRequest request = request_of(1, 8, 40);
  request.n_choices = 2;
  request.sampling.temperature = 1;
  request.stream = true;
  request.stop_tokens = {testing::ids_of(testing::expected_tokens(request, 0)).at(3)};
  const GenerationResult result = fake.run(request);
  ASSERT_EQ(result.choices.at(0).finish_reason, FinishReason::stop);
  ASSERT_EQ(result.choices.at(1).n_generated, 40);
  EXPECT_EQ(ended, (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(std::count(told.begin(), told.end(), 0), result.choices.at(0).n_generated);
  EXPECT_EQ(std::count(told.begin(), told.end(), 1), 40);
  const auto last = std::find(told.rbegin(), told.rend(), 0);
  EXPECT_GT(last - told.rbegin(), 20) << "the other choice went on for long";
}

TEST(TokenEvents, a_request_that_fails_is_told_once_up_to_where_it_failed) {
  for (const int32_t steps_ahead : {0, 1}) {
    for (const Status& why : {exhausted("scripted"), unavailable("scripted")}) {
      Options options;
      options.steps_ahead = steps_ahead;
      Listener listener;
      listener.attach(options);
      options.on_collect = testing::fail_after(6, why);
      FakeEngine fake(options);
      GenerationRequest request = request_of(1, 5, 20);
      request.n_choices = 2;
      request.stream = true;
      const GenerationResult lost = fake.run(request);
      EXPECT_EQ(lost.status.code(), why.code());
      EXPECT_FALSE(lost.choices.at(0).text.empty());
      expect_told(listener, lost);
      request.id = 2;
      const GenerationResult again = fake.run(request);
      if (why.code() == StatusCode::unavailable) {
        EXPECT_TRUE(listener.of(2, 0).positions.empty()) << "it never ran";
        continue;
      }
      // A second run is told from the start, at the same positions: who heard the first knows them.
      expect_told(listener, again);
      const HeardChoice first = listener.of(1, 0);
      const HeardChoice second = listener.of(2, 0);
      ASSERT_GT(second.positions.size(), first.positions.size());
      EXPECT_TRUE(
          std::equal(first.positions.begin(), first.positions.end() - 1, second.positions.begin()));
    }
  }
}

TEST(TokenEvents, a_stop_of_the_engine_tells_the_rest_before_the_results) {
  Options options;
  Listener listener;
  listener.attach(options);
  std::map<RequestId, GenerationResult> results;
  {
    FakeEngine fake(options);
    for (RequestId id = 1; id <= 4; ++id) {
      GenerationRequest request = request_of(id, 8, 1000);
      request.stream = true;
      fake.engine().start(request);
    }
    while (fake.engine().stats().output_tokens < 40) std::this_thread::yield();
    fake.engine().stop();
    results = fake.wait(4);
  }
  for (const auto& [id, result] : results) expect_told(listener, result);
}

// --- what it costs

// Allocations of the worker's thread in the decode steps of a request of eight choices, and calls.
struct Spent {
  int64_t allocations = 0;
  int64_t calls = 0;
  int64_t events = 0;
};

Spent spend(bool stream) {
  constexpr int kFirst = 40;
  constexpr int kLast = 200;
  int n_steps = 0;  // the worker's
  int64_t at_first = 0;
  Spent spent;
  Options options;
  options.on_tokens = [&spent](std::span<const TokenEvent> events) {
    ++spent.calls;
    spent.events += static_cast<int64_t>(events.size());
  };
  {
    FakeEngine fake(options, [&](const StepBatch&) {
      ++n_steps;
      if (n_steps == kFirst) at_first = allocations_of_this_thread();
      if (n_steps == kLast) spent.allocations = allocations_of_this_thread() - at_first;
    });
    GenerationRequest request = request_of(1, 8, 300);
    request.n_choices = 8;
    request.sampling.logprobs = false;
    request.sampling.top_logprobs = 0;
    request.stop = {"## no such text"};
    request.stream = stream;
    EXPECT_TRUE(fake.run(request).status.ok());
  }
  EXPECT_GT(n_steps, kLast);
  EXPECT_LE(spent.calls, n_steps) << "one message a step";
  return spent;
}

TEST(TokenEvents, cost_a_step_one_call_and_no_allocation) {
  const Spent quiet = spend(false);
  const Spent streamed = spend(true);
  EXPECT_EQ(quiet.calls, 0);
  EXPECT_EQ(streamed.events, 8 * 300);
  EXPECT_EQ(streamed.allocations, quiet.allocations);
}

// A sequence alone: what it keeps grows by doubling, and that is all that it allocates.
TEST(TokenEvents, cost_a_token_that_nobody_hears_nothing) {
  for (const bool stream : {false, true}) {
    KvCache cache(Blocks{100}, 32, true);
    GenerationRequest request = request_of(1, 8, 2000);
    request.sampling.logprobs = false;
    request.stop = {"no such text"};
    Sequence sequence(request, 0, cache.reserve(Blocks{64}, {}));
    int64_t n_told = 0;
    const int64_t before = allocations_of_this_thread();
    for (int i = 0; i < 2000; ++i) {
      (void)sequence.begin_sample(0);
      sequence.append({TokenId{7}, 0, {}}, "ab");
      if (stream && sequence.take_event()) ++n_told;
    }
    EXPECT_LE(allocations_of_this_thread() - before, 3 * 14) << "three vectors that double";
    EXPECT_EQ(n_told, stream ? 2000 : 0);
  }
}

}  // namespace
}  // namespace parkd
