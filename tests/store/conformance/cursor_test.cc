// What a reader who follows a cursor sees while others write: every message, once, in order.
#include <array>
#include <atomic>
#include <set>
#include <thread>

#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

// Retentions that fall into different periods of expiry, in no order of length: neighbours in one
// commit lie apart.
constexpr std::array<int, 8> kRetentionHours = {240, 1, 20, 5, 700, 2, 47, 30};

// Follows one cursor until a page that was asked for after `all_stored` is empty.
struct CursorReader {
  std::vector<JobId> seen;
  std::string trouble;

  void follow(StoreDriver& driver, int32_t limit, const std::atomic<bool>& all_stored) {
    uint64_t cursor = 0;
    for (;;) {
      const bool is_last = all_stored;
      const auto page = driver.fetch({"default", "box", cursor, limit});
      if (!page.ok()) {
        trouble = page.status().to_string();
        return;
      }
      for (const Message& message : page->messages) {
        if (message.sequence <= cursor) trouble = "a page goes back";
        cursor = message.sequence;
        seen.push_back(message.job_id);
      }
      if (page->messages.empty() && is_last) return;
    }
  }
};

// Submits, claims and ends jobs in commits that span many periods; some are members of a batch.
struct Writer {
  std::string model;
  std::vector<JobId> ended;
  std::string trouble;

  void write(StoreDriver& driver, ManualClock& clock, const std::string& batch_id, int n_rounds) {
    for (int round = 0; round < n_rounds && trouble.empty(); ++round) {
      std::vector<JobSpec> specs;
      for (const int n_hours : kRetentionHours) {
        JobSpec spec;
        spec.model = model;
        spec.mailbox_key = "box";
        spec.body = "{}";
        spec.retention = hours(n_hours);
        specs.push_back(spec);
        spec.retention.reset();
        spec.batch_id = batch_id;
        specs.push_back(spec);
      }
      const auto submitted = driver.submit(specs);
      const auto claimed = driver.claim(model, static_cast<int32_t>(specs.size()));
      if (!submitted.ok() || !claimed.ok() || claimed->size() != specs.size()) {
        trouble = "submit: " + submitted.status().to_string() +
                  ", claim: " + claimed.status().to_string();
        return;
      }
      std::vector<FinishItem> items;
      for (const Job& job : *claimed) {
        items.push_back({job.id, job.lease, {}});
        ended.push_back(job.id);
      }
      if (const auto finished = driver.finish(std::move(items)); !finished.ok()) {
        trouble = "finish: " + finished.status().to_string();
      }
      clock.advance(seconds(10));
    }
  }
};

TEST_P(StoreConformance, no_cursor_of_a_concurrent_reader_ever_skips) {
  constexpr int kRounds = 40;
  // In the middle of it an hour ends for periods, and one of them passes and is dropped.
  clock_.advance(hours(1) - clock_.now().time_since_epoch() % hours(1) - minutes(61));
  JobSpec early = spec();
  early.mailbox_key = "elsewhere";
  submit_one(early);
  finish_one(claim_one());
  clock_.advance(minutes(55));
  BatchSpec batch;
  batch.deadline = clock_.now() + hours(30);
  const std::string batch_id = open_one(batch);

  std::array<CursorReader, 3> readers;
  std::array<Writer, 2> writers = {{{"m", {}, {}}, {"n", {}, {}}}};
  std::atomic<bool> all_stored{false};
  std::atomic<bool> all_read{false};
  std::vector<std::thread> reading;
  for (size_t i = 0; i < readers.size(); ++i) {
    reading.emplace_back([&, i] {
      readers[i].follow(*driver_, i == 0 ? 1000 : static_cast<int32_t>(5 * i), all_stored);
    });
  }
  std::thread sweeping([&] {
    while (!all_read) (void)driver_->purge();
  });
  std::vector<std::thread> writing;
  for (Writer& writer : writers) {
    writing.emplace_back([&] { writer.write(*driver_, clock_, batch_id, kRounds); });
  }
  for (std::thread& thread : writing) thread.join();
  all_stored = true;
  for (std::thread& thread : reading) thread.join();
  all_read = true;
  sweeping.join();

  std::set<JobId> stored;
  for (const Writer& writer : writers) {
    EXPECT_EQ(writer.trouble, "");
    stored.insert(writer.ended.begin(), writer.ended.end());
  }
  ASSERT_EQ(stored.size(), writers.size() * kRounds * 2 * kRetentionHours.size());
  for (const CursorReader& reader : readers) {
    EXPECT_EQ(reader.trouble, "");
    std::set<JobId> passed_over = stored;
    for (const JobId id : reader.seen) passed_over.erase(id);
    EXPECT_TRUE(passed_over.empty()) << passed_over.size() << ", job " << *passed_over.begin();
    EXPECT_EQ(reader.seen.size(), stored.size()) << "a message came twice";
  }
}

// Jobs end while their list is made: a pager that stops at the first empty page must have met those
// that stay, which come after them.
TEST_P(StoreConformance, a_pager_of_live_jobs_never_stops_before_the_last_one) {
  constexpr int kRounds = 30;
  constexpr int kPassing = 24;
  for (int round = 0; round < kRounds; ++round) {
    must(driver_->submit(std::vector<JobSpec>(kPassing, spec("passing"))));
    const JobId stays = submit_one(spec("stays"));
    std::vector<FinishItem> items;
    for (const Job& job : must(driver_->claim("passing", kPassing))) {
      items.push_back(finish_item(job));
    }
    std::atomic<bool> ended{false};
    std::thread finishing([&] {
      must(driver_->finish(std::move(items)));
      ended = true;
    });
    JobId last = stays;
    for (bool is_last_time = false; !is_last_time && last == stays;) {
      is_last_time = ended;
      last = 0;
      ListFilter filter;
      filter.limit = 2;
      for (auto page = must(driver_->list(filter)); !page.empty();
           page = must(driver_->list(filter))) {
        filter.after = last = page.back().id;
      }
    }
    finishing.join();
    ASSERT_EQ(last, stays) << "round " << round;
    finish_one(claim_one("stays"));
  }
}

}  // namespace
}  // namespace parkd
