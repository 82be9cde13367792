#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

TEST_P(StoreConformance, a_page_is_bounded_by_its_bytes) {
  const auto of_size = [](size_t n) { return R"({"x":")" + std::string(n - 8, 'x') + R"("})"; };
  for (const size_t size : {100, 100, 100, 900, 100}) {
    JobSpec job = spec();
    job.retention = hours(size / 10);  // of several periods
    submit_one(job);
    ASSERT_EQ(finish_one(claim_one(), of_size(size)), FinishAnswer::finished_now);
  }
  FetchRequest request{"default", "box", 0, 10, false, 250};
  std::vector<std::pair<size_t, bool>> pages;
  for (int i = 0; i < 9; ++i) {
    const FetchAnswer page = must(driver_->fetch(request));
    pages.emplace_back(page.messages.size(), page.is_full);
    request.after_sequence = page.next_sequence;
    if (!page.is_full) break;
  }
  EXPECT_EQ(pages,
            (std::vector<std::pair<size_t, bool>>{{2, true}, {1, true}, {1, true}, {1, false}}));
  request = {"default", "box", 0, 5, false, 1300};
  EXPECT_TRUE(must(driver_->fetch(request)).is_full) << "by its limit";
  EXPECT_EQ(must(driver_->fetch(request)).messages.size(), 5u);
}

TEST_P(StoreConformance, a_cursor_pages_through_a_key_in_order) {
  std::vector<JobId> ids;
  for (int i = 0; i < 10; ++i) {
    ids.push_back(submit_one(spec()));
    JobSpec other = spec();
    other.mailbox_key = "box2";
    submit_one(other);
  }
  const auto jobs = driver_->claim("m", 20);
  for (const Job& job : *jobs) finish_one(job);

  std::vector<JobId> seen;
  FetchRequest request{"default", "box", 0, 3};
  for (;;) {
    const auto page = driver_->fetch(request);
    ASSERT_TRUE(page.ok());
    if (page->messages.empty()) {
      EXPECT_EQ(page->next_sequence, request.after_sequence);
      break;
    }
    EXPECT_LE(page->messages.size(), 3u);
    for (const Message& message : page->messages) {
      EXPECT_GT(message.sequence, request.after_sequence);
      seen.push_back(message.job_id);
    }
    EXPECT_EQ(page->next_sequence, page->messages.back().sequence);
    request.after_sequence = page->next_sequence;
  }
  EXPECT_EQ(seen, ids);
}

TEST_P(StoreConformance, a_cursor_never_skips_a_message_that_commits_later) {
  for (int i = 0; i < 6; ++i) {
    JobSpec job = spec();
    job.retention = i % 2 == 0 ? hours(1) : hours(200);  // in different periods of expiry
    submit_one(job);
  }
  const auto jobs = driver_->claim("m", 6);
  uint64_t cursor = 0;
  for (auto job = jobs->rbegin(); job != jobs->rend(); ++job) {
    finish_one(*job);
    const auto page = driver_->fetch({"default", "box", cursor, 100});
    ASSERT_EQ(page->messages.size(), 1u);
    EXPECT_EQ(page->messages[0].job_id, job->id);
    cursor = page->next_sequence;
  }
}

TEST_P(StoreConformance, keys_that_look_alike_are_different_mailboxes) {
  const std::vector<std::pair<std::string, std::string>> places = {
      {"a", "bc"}, {"ab", "c"}, {"a", "b"}, {"a", std::string("b\0c", 3)}, {"a", "bcd"}};
  for (const auto& [tenant, key] : places) {
    JobSpec job = spec();
    job.tenant = tenant;
    job.mailbox_key = key;
    submit_one(job);
  }
  const auto jobs = driver_->claim("m", 10);
  for (const Job& job : *jobs) finish_one(job);
  for (const auto& [tenant, key] : places) EXPECT_EQ(messages(key, tenant).size(), 1u);
  EXPECT_TRUE(messages("", "a").empty());
}

TEST_P(StoreConformance, of_two_takers_one_gets_a_message) {
  submit_one(spec());
  finish_one(claim_one());
  const uint64_t sequence = messages("box").at(0).sequence;
  const auto first = driver_->take("default", "box", {sequence, sequence});
  const auto second = driver_->take("default", "box", {sequence});
  ASSERT_EQ(first->size(), 1u);
  EXPECT_EQ(first->at(0).sequence, sequence);
  EXPECT_TRUE(second->empty());
  EXPECT_TRUE(messages("box").empty());
  EXPECT_EQ(driver_->stats()->messages, 0);
}

TEST_P(StoreConformance, of_two_takes_under_way_at_once_one_gets_a_message) {
  for (int i = 0; i < 20; ++i) {
    submit_one(spec());
    finish_one(claim_one());
    const uint64_t sequence = messages("box").at(0).sequence;
    std::vector<std::future<size_t>> futures;
    for (int k = 0; k < 3; ++k) {
      auto promise = std::make_shared<std::promise<size_t>>();
      futures.push_back(promise->get_future());
      store_->take("default", "box", {sequence}, [promise](Result<std::vector<Message>> taken) {
        promise->set_value(taken.value().size());
      });
    }
    size_t n_taken = 0;
    for (auto& future : futures) n_taken += future.get();
    EXPECT_EQ(n_taken, 1u);
  }
}

TEST_P(StoreConformance, take_is_of_the_named_key_only) {
  submit_one(spec());
  finish_one(claim_one());
  const uint64_t sequence = messages("box").at(0).sequence;
  EXPECT_TRUE(driver_->take("default", "other", {sequence})->empty());
  EXPECT_TRUE(driver_->take("default", "box", {sequence + 1})->empty());
  EXPECT_TRUE(driver_->take("default", "box", {})->empty());
  EXPECT_EQ(messages("box").size(), 1u);
}

TEST_P(StoreConformance, a_message_expires_at_the_exact_microsecond) {
  const JobId id = submit_one(spec());
  finish_one(claim_one());
  const uint64_t sequence = messages("box").at(0).sequence;
  clock_.advance(kRetention - Micros(1));
  EXPECT_EQ(messages("box").size(), 1u);
  EXPECT_TRUE(std::holds_alternative<Message>(get(id)));
  clock_.advance(Micros(1));
  EXPECT_TRUE(messages("box").empty());
  EXPECT_TRUE(driver_->take("default", "box", {sequence})->empty());
  EXPECT_TRUE(std::holds_alternative<HistoryRow>(get(id))) << "done differs from never existed";
}

TEST_P(StoreConformance, each_message_has_its_own_retention) {
  for (const int n_hours : {1, 5, 20, 47, 49, 24 * 10, 24 * 30}) {
    JobSpec job = spec();
    job.retention = hours(n_hours);
    job.custom_id = std::to_string(n_hours);
    submit_one(job);
  }
  const auto jobs = driver_->claim("m", 10);
  for (const Job& job : *jobs) finish_one(job);
  int n_left = 7;
  int at_hours = 0;
  for (const int n_hours : {1, 5, 20, 47, 49, 24 * 10, 24 * 30}) {
    clock_.advance(hours(n_hours - at_hours) - Micros(1));
    must(driver_->purge());
    EXPECT_EQ(messages("box").size(), static_cast<size_t>(n_left)) << "before " << n_hours << " h";
    clock_.advance(Micros(1));
    must(driver_->purge());
    --n_left;
    EXPECT_EQ(messages("box").size(), static_cast<size_t>(n_left)) << "at " << n_hours << " h";
    at_hours = n_hours;
  }
}

TEST_P(StoreConformance, purge_forgets_what_has_long_expired) {
  for (int i = 0; i < 5; ++i) submit_one(spec());
  const auto jobs = driver_->claim("m", 5);
  for (const Job& job : *jobs) finish_one(job);
  clock_.advance(kRetention + hours(24));
  const auto purged = driver_->purge();
  EXPECT_EQ(purged->messages, 5);
  EXPECT_EQ(driver_->stats()->messages, 0);
  EXPECT_EQ(driver_->purge()->messages, 0);
}

// A wall clock that is set a month ahead by mistake, and back.
TEST_P(StoreConformance, a_clock_that_leaps_forward_deletes_nothing) {
  for (int i = 0; i < 5; ++i) submit_one(spec());
  const auto jobs = driver_->claim("m", 5);
  for (const Job& job : *jobs) finish_one(job);
  clock_.step_wall(hours(30 * 24) + kRetention);
  for (int i = 0; i < 3; ++i) {
    const auto purged = driver_->purge();
    EXPECT_EQ(purged->messages, 0);
    EXPECT_EQ(purged->history_rows, 0);
    clock_.advance(std::chrono::seconds(2));
  }
  EXPECT_EQ(messages("box").size(), 0u) << "expired by the clock there is: unreadable";
  clock_.step_wall(-hours(30 * 24) - kRetention);
  clock_.advance(WallKeeper::kHeldMax + std::chrono::seconds(1));
  EXPECT_EQ(messages("box").size(), 5u) << "the clock was followed back, and nothing was gone";
  clock_.advance(kRetention);
  must(driver_->purge());
  EXPECT_EQ(messages("box").size(), 0u);
  clock_.advance(hours(24));
  must(driver_->purge());
  EXPECT_EQ(driver_->stats()->messages, 0) << "time that has passed deletes";
}

TEST_P(StoreConformance, a_history_row_stays_after_the_message_for_its_own_time) {
  const JobId id = submit_one(spec());
  finish_one(claim_one());
  clock_.advance(kRetention + options_.history_retention - Micros(1));
  EXPECT_EQ(driver_->purge()->history_rows, 0);
  const JobRecord record = get(id, "default");
  ASSERT_TRUE(std::holds_alternative<HistoryRow>(record));
  const HistoryRow& row = std::get<HistoryRow>(record);
  EXPECT_EQ(row.job_id, id);
  EXPECT_EQ(row.outcome, Outcome::completed);
  EXPECT_EQ(row.completion_tokens, 5);
  EXPECT_EQ(*driver_->cancel(id, ""), CancelAnswer::already_finished);
  clock_.advance(Micros(1));
  EXPECT_TRUE(std::holds_alternative<std::monostate>(get(id)));
  EXPECT_EQ(driver_->purge()->history_rows, 1);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(get(id)));
  EXPECT_EQ(*driver_->cancel(id, ""), CancelAnswer::not_found);
}

TEST_P(StoreConformance, a_batch_members_message_stays_past_the_deadline_of_its_batch) {
  JobSpec member = spec();
  member.batch_id = "b";
  member.deadline = clock_.now() + hours(24);
  const WallTime deadline = *member.deadline;
  submit_one(member);
  finish_one(claim_one());
  EXPECT_EQ(messages("box").at(0).expires_at, deadline + kRetention);
}

TEST_P(StoreConformance, an_unknown_job_is_nothing) {
  EXPECT_TRUE(std::holds_alternative<std::monostate>(get(4711)));
  EXPECT_TRUE(std::holds_alternative<std::monostate>(get(0)));
  EXPECT_TRUE(messages("nobody").empty());
}

TEST_P(StoreConformance, a_fetch_of_nothing_keeps_the_cursor) {
  EXPECT_EQ(driver_->fetch({"default", "box", 17, 10})->next_sequence, 17u);
  submit_one(spec());
  finish_one(claim_one());
  EXPECT_TRUE(driver_->fetch({"default", "box", 0, 0})->messages.empty());
  constexpr uint64_t kLast = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(driver_->fetch({"default", "box", kLast, 10})->next_sequence, kLast);
}

}  // namespace
}  // namespace parkd
