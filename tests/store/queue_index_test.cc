// The index against what it costs: a queue of half a million jobs is asked as fast as one of a
// hundred, counted in looks at the jobs' needs or shown by what it finds.
#include "lib/store/rocksdb/queue_index.h"

#include <gtest/gtest.h>

#include <random>

#include "lib/store/rocksdb/job_line.h"

namespace parkd {
namespace {

const WallTime kNow = from_unix_us(int64_t{1'790'000'000} * 1'000'000);

TEST(JobLine, finds_the_first_that_fits_behind_any_number_of_larger_ones) {
  JobLine line;
  constexpr int64_t kDeep = 200'000;
  for (int64_t i = 0; i < kDeep; ++i) line.add({i, static_cast<JobId>(i)}, 1000 + i % 1000);
  line.add({kDeep, 1}, 63);
  line.add({kDeep + 1, 2}, 5);
  int n_looked = 0;
  const auto need_of = [&](JobId) {
    ++n_looked;
    return int64_t{1000};
  };
  int looks = 64;
  EXPECT_EQ(line.first_within(100, looks, need_of)->first, kDeep);
  EXPECT_EQ(line.first_within(62, looks, need_of)->first, kDeep + 1);
  EXPECT_EQ(line.first_within(4, looks, need_of), std::nullopt);
  EXPECT_EQ(line.first_within(-1, looks, need_of), std::nullopt);
  EXPECT_LE(n_looked, 2) << "in the class of the limit alone";
  EXPECT_EQ(line.first_within(1000, looks, need_of)->first, 0);
  n_looked = 0;
  looks = 64;
  EXPECT_EQ(line.first_within(900, looks, need_of)->first, kDeep)
      << "what is sure, if not the first";
  EXPECT_EQ(n_looked, 64) << "no more than it may";
}

TEST(JobLine, answers_as_a_plain_list_does) {
  std::mt19937 random(7);
  JobLine line;
  std::map<JobLine::Place, int64_t> plain;
  for (int step = 0; step < 20'000; ++step) {
    const JobId id = random() % 400;
    const JobLine::Place place{static_cast<int64_t>(id / 8), id};
    const auto known = plain.find(place);
    if (known != plain.end() && random() % 3 != 0) {
      line.erase(place, known->second);
      plain.erase(known);
    } else if (known == plain.end()) {
      const auto need = static_cast<int64_t>(random() % (step % 2 == 0 ? 20 : 3000));
      line.add(place, need);
      plain[place] = need;
    }
    const auto limit = static_cast<int64_t>(random() % 4000) - 10;
    const auto first_of = [&](int64_t most) -> std::optional<JobLine::Place> {
      for (const auto& [one, need] : plain) {
        if (need <= most) return one;
      }
      return std::nullopt;
    };
    int looks = 1'000'000;
    ASSERT_EQ(line.first(), first_of(1'000'000));
    ASSERT_EQ(line.empty(), plain.empty());
    const auto need_of = [&](JobId one) { return plain.at({static_cast<int64_t>(one / 8), one}); };
    ASSERT_EQ(line.first_within(limit, looks, need_of), first_of(limit)) << limit;
  }
}

Job job(JobId id, const std::string& tenant, const std::string& model = "m") {
  Job made;
  made.id = id;
  made.spec.model = model;
  made.spec.tenant = tenant;
  made.spec.prompt_tokens = 10;
  made.order_key = made.created_at = kNow + Micros(static_cast<int64_t>(id));
  return made;
}

TEST(QueueIndex, knows_the_oldest_queued_job_through_every_change) {
  std::mt19937 random(3);
  QueueIndex index;
  std::map<JobId, JobState> plain;
  JobId next = 1;
  for (int step = 0; step < 20'000; ++step) {
    const auto any = [&](JobState state) -> JobId {
      for (auto it = plain.lower_bound(random() % next); it != plain.end(); ++it) {
        if (it->second == state) return it->first;
      }
      return 0;
    };
    switch (random() % 6) {
      case 0:
      case 1:
        index.add(job(next, "t" + std::to_string(random() % 3)), kNow);
        plain[next++] = JobState::queued;
        break;
      case 2:
      case 3:
        for (const JobId id : index.claim({"m", static_cast<int32_t>(random() % 3)}, kNow)) {
          plain[id] = JobState::claimed;
        }
        break;
      case 4:
        if (const JobId id = any(JobState::claimed)) {
          if (random() % 2 == 0) {
            index.release(id, std::nullopt, kNow);
            plain[id] = JobState::queued;
          } else {
            index.remove(id);
            plain.erase(id);
          }
        }
        break;
      default:
        if (const JobId id = any(JobState::queued); id != 0 && random() % 2 == 0) {
          index.remove(id);
          plain.erase(id);
        }
    }
    if (random() % 4 != 0 || plain.empty()) continue;
    JobId oldest = 0;
    for (const auto& [id, state] : plain) {
      if (state != JobState::queued) continue;
      oldest = id;
      break;
    }
    ASSERT_EQ(index.counts().at(0).oldest_queued, oldest) << "step " << step;
  }
}

TEST(QueueIndex, counts_do_not_walk_past_what_waits_for_its_time) {
  QueueIndex index;
  constexpr JobId kDeep = 300'000;
  for (JobId id = 1; id <= kDeep; ++id) {
    Job later = job(id, "t");
    later.spec.run_at = kNow + std::chrono::hours(1);
    index.add(later, kNow);
  }
  index.add(job(kDeep + 1, "t"), kNow);
  // A walk over them a thousand times is minutes.
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(index.counts().at(0).oldest_queued, kDeep + 1);
  EXPECT_EQ(index.counts().at(0).scheduled, static_cast<int64_t>(kDeep));
}

TEST(QueueIndex, a_claim_passes_over_half_a_million_jobs) {
  QueueIndex index;
  constexpr JobId kDeep = 500'000;
  for (JobId id = 1; id <= kDeep; ++id) {
    Job crowd = job(id, "crowd");
    crowd.spec.prompt_tokens = 1000;
    if (id % 10 == 0) crowd.spec.priority = Priority::critical;
    index.add(crowd, kNow);
  }
  for (JobId id = kDeep + 1; id <= kDeep + 4000; ++id) index.add(job(id, "late"), kNow);
  // Walking past them each time is minutes.
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(index.claim({"m", 4, {{"crowd", 0}}, {}}, kNow).size(), 4u);
    ASSERT_EQ(index.claim({"m", 4, {}, {}, 100}, kNow).size(), 4u);
    ASSERT_EQ(index.claim({"m", 4, {{"late", 0}}, {}, 999}, kNow).size(), 0u);
  }
}

}  // namespace
}  // namespace parkd
