#include "lib/pool/parking_lot.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <utility>
#include <vector>

namespace parkd {
namespace {

using JobId = uint64_t;

using std::chrono::seconds;

constexpr Micros kOvertakeMax = seconds(5);

LotLimits lot_of(int32_t places) {
  return {.places = places, .overtake_max = kOvertakeMax, .block_size = 1};
}

PoolSize pool_of(int64_t blocks, int32_t sequences = 1000, double reserve = 0) {
  return {{{Blocks{blocks}, sequences}}, reserve};
}

ParkedJob job(JobId id, int64_t cost, int64_t order_s = 0) {
  return {.ticket = id + 1000,
          .id = id,
          .critical = false,
          .tenant = "t",
          .order_key = WallTime(seconds(order_s)),
          .cost = {cost},
          .need_tokens = cost,
          .sequences = 1,
          .weight = 1};
}

SteadyTime at(int64_t s) {
  return SteadyTime(seconds(s));
}

// The ids that start at `now`, in order; their charges are appended to `charges`.
std::vector<JobId> admit_all(ParkingLot& lot, ResourcePool& pool, std::vector<Charge>& charges,
                             SteadyTime now, int32_t free_sequences = 1000) {
  std::vector<JobId> ids;
  const int32_t too_many = std::max(0, pool.free_sequences(Purse::all) - free_sequences);
  const auto taken = pool.try_charge(Blocks{0}, too_many, Purse::all);
  while (auto admission = lot.admit_next(pool, now)) {
    ids.push_back(admission->job.id);
    charges.push_back(std::move(admission->charge));
  }
  return ids;
}

TEST(ParkingLot, jobs_start_critical_first_then_by_order_key_then_by_id) {
  ResourcePool pool(pool_of(100));
  ParkingLot lot(lot_of(10));
  lot.park(job(5, 1, 20));
  lot.park(job(4, 1, 10));
  lot.park(job(3, 1, 10));
  ParkedJob critical = job(9, 1, 900);
  critical.critical = true;
  lot.park(critical);
  std::vector<Charge> charges;
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)), (std::vector<JobId>{9, 3, 4, 5}));
}

TEST(ParkingLot, ten_units_coming_back_wake_as_many_small_jobs_as_fit) {  // A7
  ResourcePool pool(pool_of(10));
  ParkingLot lot(lot_of(10));
  std::vector<Charge> charges;
  lot.park(job(1, 10));
  ASSERT_EQ(admit_all(lot, pool, charges, at(0)).size(), 1u);
  for (JobId id = 2; id <= 5; ++id) lot.park(job(id, 3));
  EXPECT_TRUE(admit_all(lot, pool, charges, at(0)).empty());
  charges.clear();
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)), (std::vector<JobId>{2, 3, 4}));
  charges.pop_back();
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)), (std::vector<JobId>{5}));
}

TEST(ParkingLot, a_job_that_does_not_fit_is_overtaken_only_for_a_bounded_time) {  // B5
  ResourcePool pool(pool_of(10));
  ParkingLot lot(lot_of(10));
  std::vector<Charge> charges;
  lot.park(job(1, 4));
  ASSERT_EQ(admit_all(lot, pool, charges, at(0)).size(), 1u);
  lot.park(job(2, 8));
  lot.park(job(3, 2));
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)), (std::vector<JobId>{3}));
  lot.park(job(4, 2));
  EXPECT_EQ(admit_all(lot, pool, charges, at(4)), (std::vector<JobId>{4})) << "still in its time";
  lot.park(job(5, 2));
  EXPECT_TRUE(admit_all(lot, pool, charges, at(5)).empty()) << "room is held for job 2 now";
  EXPECT_EQ(lot.why_waiting(1005, pool), "room is held for job 2, whose turn it is");
  EXPECT_EQ(lot.why_waiting(1002, pool), "needs 8 units, 2 of 10 are free");
  charges.clear();
  EXPECT_EQ(admit_all(lot, pool, charges, at(6)), (std::vector<JobId>{2, 5}));
}

TEST(ParkingLot, tenants_take_turns_by_what_they_started) {
  ResourcePool pool(pool_of(100));
  ParkingLot lot(lot_of(20));
  const auto job_of = [](JobId id, const char* tenant, int64_t need) {
    ParkedJob parked = job(id, 1);
    parked.tenant = tenant;
    parked.need_tokens = need;
    return parked;
  };
  for (JobId id = 1; id <= 6; ++id) lot.park(job_of(id, "a", 10));
  for (JobId id = 11; id <= 13; ++id) lot.park(job_of(id, "b", 20));
  std::vector<Charge> charges;
  // Of equal tags the first name; b's jobs are twice as long, so a has two for each.
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)),
            (std::vector<JobId>{1, 11, 2, 3, 12, 4, 5, 13, 6}));
}

TEST(ParkingLot, who_comes_back_has_no_credit_and_no_debt_beyond_what_it_started) {
  ResourcePool pool(pool_of(100));
  ParkingLot lot(lot_of(20));
  const auto park = [&](JobId id, const char* tenant) {
    ParkedJob parked = job(id, 1);
    parked.tenant = tenant;
    parked.need_tokens = 10;
    lot.park(parked);
  };
  std::vector<Charge> charges;
  for (JobId id = 1; id <= 10; ++id) park(id, "a");
  EXPECT_EQ(admit_all(lot, pool, charges, at(0), 8).size(), 8u);
  for (JobId id = 21; id <= 24; ++id) park(id, "late");
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)), (std::vector<JobId>{21, 9, 22, 10, 23, 24}));
}

TEST(ParkingLot, who_is_on_its_way_waits_as_one_that_is_here) {
  for (const bool expected : {true, false}) {
    ResourcePool pool(pool_of(100));
    ParkingLot lot(lot_of(20));
    const auto park = [&](JobId id, const char* tenant) {
      ParkedJob parked = job(id, 1);
      parked.tenant = tenant;
      parked.need_tokens = 10;
      lot.park(parked);
    };
    for (JobId id = 1; id <= 6; ++id) park(id, "a");
    park(21, "b");
    if (expected) lot.expect({"b"});
    std::vector<Charge> charges;
    ASSERT_EQ(admit_all(lot, pool, charges, at(0), 5), (std::vector<JobId>{1, 21, 2, 3, 4}));
    for (JobId id = 22; id <= 25; ++id) park(id, "b");
    EXPECT_EQ(admit_all(lot, pool, charges, at(0)),
              expected ? (std::vector<JobId>{22, 23, 24, 5, 25, 6})
                       : (std::vector<JobId>{22, 5, 23, 6, 24, 25}));
  }
}

TEST(ParkingLot, who_is_on_its_way_is_owed_two_capacities_of_the_smaller_weight) {
  ResourcePool pool(pool_of(100));
  ParkingLot lot(lot_of(100));
  const auto park = [&](JobId id, const char* tenant, double weight) {
    ParkedJob parked = job(id, 1);
    parked.tenant = tenant;
    parked.need_tokens = 10;
    parked.weight = weight;
    lot.park(parked);
  };
  park(1, "heavy", 1);
  for (JobId id = 11; id <= 40; ++id) park(id, "light", 0.1);
  lot.expect({"heavy"});
  std::vector<Charge> charges;
  ASSERT_EQ(admit_all(lot, pool, charges, at(0)).size(), 31u);
  // What light started is worth 3,000 tokens of heavy, which is owed 2,000 of them.
  charges.clear();
  for (JobId id = 101; id <= 140; ++id) park(id, "heavy", 1);
  park(41, "light", 0.1);
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)).back(), 41u);
}

TEST(ParkingLot, past_a_held_job_at_most_one_capacity_of_units_starts) {
  ResourcePool pool(pool_of(10));
  ParkingLot lot(lot_of(100));
  std::vector<Charge> charges;
  lot.park(job(1, 5));
  ASSERT_EQ(admit_all(lot, pool, charges, at(0)).size(), 1u);
  lot.park(job(2, 8));  // held: 5 are free as long as job 1 runs
  int64_t passed = 0;
  for (JobId id = 3; id < 40; ++id) {
    lot.park(job(id, 2));
    std::vector<Charge> short_ones;
    passed += 2 * static_cast<int64_t>(admit_all(lot, pool, short_ones, at(1)).size());
  }
  EXPECT_EQ(passed, 10);
  EXPECT_EQ(lot.why_waiting(1039, pool), "room is held for job 2, whose turn it is");
  charges.clear();
  EXPECT_EQ(admit_all(lot, pool, charges, at(2)).front(), 2u);
}

TEST(ParkingLot, a_held_job_that_is_cancelled_holds_nobody_up) {
  ResourcePool pool(pool_of(10));
  ParkingLot lot(lot_of(10));
  std::vector<Charge> charges;
  lot.park(job(1, 5));
  ASSERT_EQ(admit_all(lot, pool, charges, at(0)).size(), 1u);
  lot.park(job(2, 8));
  lot.park(job(3, 2));
  ASSERT_EQ(admit_all(lot, pool, charges, at(0)), (std::vector<JobId>{3}));
  lot.park(job(4, 2));
  EXPECT_TRUE(admit_all(lot, pool, charges, at(9)).empty());
  EXPECT_TRUE(lot.remove(1002));
  EXPECT_EQ(admit_all(lot, pool, charges, at(9)), (std::vector<JobId>{4}));
}

TEST(ParkingLot, a_job_waits_for_its_sequence_slots_as_for_units) {
  ResourcePool pool(pool_of(100, 4));
  ParkingLot lot(lot_of(10));
  auto one = pool.try_charge(Blocks{1}, 1);
  ParkedJob wide = job(1, 1);
  wide.sequences = 4;
  lot.park(wide);
  std::vector<Charge> charges;
  EXPECT_TRUE(admit_all(lot, pool, charges, at(0)).empty());
  EXPECT_EQ(lot.why_waiting(1001, pool), "needs 4 sequences, 3 are free");
  one->release();
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)), (std::vector<JobId>{1}));
}

TEST(ParkingLot, a_job_waits_for_units_and_slots_of_one_device) {
  ResourcePool pool({{{Blocks{10}, 2}, {Blocks{4}, 2}}, 0});
  ParkingLot lot(lot_of(10));
  auto slots = pool.try_charge(Blocks{2}, 2);
  ASSERT_TRUE(slots);
  ASSERT_EQ(slots->part(), 0);
  lot.park(job(1, 6));
  std::vector<Charge> charges;
  EXPECT_TRUE(admit_all(lot, pool, charges, at(0)).empty()) << "8 units here, 2 slots there";
  EXPECT_EQ(lot.why_waiting(1001, pool), "needs 6 units and 1 sequences, no device has both free");
  EXPECT_EQ(lot.room_past_held(pool, at(0)), Blocks{4}) << "beside a slot";
  slots->release();
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)), (std::vector<JobId>{1}));
}

TEST(ParkingLot, past_a_wide_job_at_most_all_sequences_start_once) {
  ResourcePool pool(pool_of(100'000, 4));
  ParkingLot lot(lot_of(100));
  std::vector<Charge> charges;
  lot.park(job(1, 1));
  ASSERT_EQ(admit_all(lot, pool, charges, at(0)).size(), 1u);
  ParkedJob wide = job(2, 1);
  wide.sequences = 4;
  lot.park(wide);  // held: 3 are free as long as job 1 runs
  int64_t passed = 0;
  for (JobId id = 3; id < 20; ++id) {
    lot.park(job(id, 1));
    std::vector<Charge> short_ones;
    passed += static_cast<int64_t>(admit_all(lot, pool, short_ones, at(1)).size());
  }
  EXPECT_EQ(passed, 4);
  charges.clear();
  EXPECT_EQ(admit_all(lot, pool, charges, at(2)).front(), 2u);
}

// --- what is kept for callers that wait

ParkedJob awaited(ParkedJob job, const char* tenant = "caller") {
  job.tenant = tenant;
  job.awaited = true;
  return job;
}

TEST(ParkingLot, an_awaited_job_starts_of_what_is_kept_and_no_other_does) {
  ResourcePool pool(pool_of(16, 16, 0.25));
  ParkingLot lot(lot_of(100));
  std::vector<Charge> charges;
  for (JobId id = 1; id <= 20; ++id) lot.park(job(id, 2));
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)).size(), 6u) << "12 of 16 units";
  EXPECT_EQ(lot.why_waiting(1007, pool),
            "needs 2 units, 0 of 16 are free, 4 more are kept for callers that wait");
  lot.park(awaited(job(31, 3)));
  EXPECT_EQ(admit_all(lot, pool, charges, at(9)), (std::vector<JobId>{31})) << "no time bounds it";
  lot.park(awaited(job(32, 3)));
  EXPECT_TRUE(admit_all(lot, pool, charges, at(9)).empty()) << "1 is left";
  charges.clear();
  EXPECT_EQ(admit_all(lot, pool, charges, at(9)), (std::vector<JobId>{7, 32, 8, 9, 10}))
      << "in its turn it takes what is not kept, as others do";
  EXPECT_EQ(pool.reserve_in_use(), Blocks{0});
}

TEST(ParkingLot, a_job_is_awaited_from_the_moment_its_caller_waits) {
  ResourcePool pool(pool_of(16, 16, 0.25));
  ParkingLot lot(lot_of(100));
  std::vector<Charge> charges;
  for (JobId id = 1; id <= 9; ++id) lot.park(job(id, 2));
  ASSERT_EQ(admit_all(lot, pool, charges, at(0)).size(), 6u);
  EXPECT_EQ(lot.last_of("t"), 1009u);
  lot.set_awaited(1009, true);
  EXPECT_EQ(lot.last_of("t"), 1008u) << "it is not given back";
  lot.set_awaited(1009, false);
  EXPECT_TRUE(admit_all(lot, pool, charges, at(0)).empty());
  lot.set_awaited(1009, true);
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)), (std::vector<JobId>{9}));
}

TEST(ParkingLot, awaited_jobs_take_nothing_from_a_held_one) {
  ResourcePool pool(pool_of(16, 16, 0.25));
  ParkingLot lot(lot_of(100));
  std::vector<Charge> running;
  lot.park(job(1, 10));
  ASSERT_EQ(admit_all(lot, pool, running, at(0)).size(), 1u);
  lot.park(job(2, 4));  // held: 2 are free and not kept
  for (JobId id = 11; id <= 30; ++id) {
    lot.park(awaited(job(id, 4), "t"));
    std::vector<Charge> short_ones;
    ASSERT_EQ(admit_all(lot, pool, short_ones, at(1)).size(), 1u) << id;
  }
  lot.park(job(31, 2));
  std::vector<Charge> passing;
  ASSERT_EQ(admit_all(lot, pool, passing, at(1)).size(), 1u) << "as many as ever may pass";
  lot.park(awaited(job(32, 4), "t"));
  std::vector<Charge> kept;
  ASSERT_EQ(admit_all(lot, pool, kept, at(9)).size(), 1u);
  running.clear();
  EXPECT_EQ(admit_all(lot, pool, running, at(9)), (std::vector<JobId>{2}));
}

TEST(ParkingLot, past_a_held_job_that_needs_what_is_kept_awaited_jobs_pass_as_others) {
  ResourcePool pool(pool_of(16, 16, 0.25));
  ParkingLot lot(lot_of(100));
  std::vector<Charge> charges;
  lot.park(job(1, 2));
  ASSERT_EQ(admit_all(lot, pool, charges, at(0)).size(), 1u);
  lot.park(job(2, 14));  // held: it can start only where nothing runs
  int64_t passed = 0;
  for (JobId id = 11; id <= 40; ++id) {
    lot.park(awaited(job(id, 2), "t"));
    std::vector<Charge> short_ones;
    passed += 2 * static_cast<int64_t>(admit_all(lot, pool, short_ones, at(1)).size());
  }
  EXPECT_EQ(passed, 16) << "one capacity";
  charges.clear();
  EXPECT_EQ(admit_all(lot, pool, charges, at(1)).front(), 2u);
}

TEST(ParkingLot, an_awaited_job_is_charged_and_its_tenant_is_not_far_ahead) {
  ResourcePool pool(pool_of(16, 16, 0.25));
  ParkingLot lot(lot_of(100));
  std::vector<Charge> charges;
  for (JobId id = 1; id <= 7; ++id) lot.park(job(id, 2));
  ASSERT_EQ(admit_all(lot, pool, charges, at(0)).size(), 6u);
  int64_t started = 0;
  for (JobId id = 11; id <= 40; ++id) {
    lot.park(awaited(job(id, 4)));
    std::vector<Charge> short_ones;
    started += 4 * static_cast<int64_t>(admit_all(lot, pool, short_ones, at(1)).size());
  }
  EXPECT_LE(started, 16 + 4 + 4) << "a capacity and a job beyond who waits";
  EXPECT_GE(started, 16);
}

TEST(ParkingLot, a_removed_job_is_gone_and_frees_its_place) {
  ResourcePool pool(pool_of(1));
  ParkingLot lot(lot_of(1));
  lot.park(job(1, 1));
  EXPECT_TRUE(lot.remove(1001));
  EXPECT_FALSE(lot.remove(1001));
  lot.park(job(2, 1));
  std::vector<Charge> charges;
  EXPECT_EQ(admit_all(lot, pool, charges, at(0)), (std::vector<JobId>{2}));
}

TEST(ParkingLotDeathTest, parking_more_than_there_are_places_is_a_bug) {
  ParkingLot lot(lot_of(1));
  lot.park(job(1, 1));
  EXPECT_DEATH(lot.park(job(2, 1)), "full");
}

// B3: 10,000 random jobs through a small lot and pool; jobs end in random order. Never over the
// capacity, nobody passed after its bounded time, everybody started.
TEST(ParkingLot, ten_thousand_random_jobs_never_exceed_capacity_and_none_starves) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr int64_t kCapacity = 64;
  constexpr int32_t kSequences = 8;
  constexpr JobId kJobs = 10'000;
  ResourcePool pool(pool_of(kCapacity, kSequences));
  ParkingLot lot(lot_of(16));
  struct Running {
    int64_t ends_at;
    int64_t cost;
    Charge charge;
  };
  std::vector<Running> running;
  std::vector<int64_t> parked_at(kJobs + 1, 0);
  JobId next_id = 1;
  JobId started = 0;
  int64_t longest_wait = 0;
  for (int64_t now = 0; started < kJobs; ++now) {
    ASSERT_LT(now, 10'000'000) << "somebody starves";
    const auto over = std::partition(running.begin(), running.end(),
                                     [now](const Running& r) { return r.ends_at > now; });
    running.erase(over, running.end());
    while (next_id <= kJobs && lot.size() < lot.places()) {
      const bool large = random() % 10 == 0;
      const int64_t cost =
          static_cast<int64_t>(large ? kCapacity - random() % 4 : 1 + random() % 12);
      parked_at[next_id] = now;
      lot.park(job(next_id, cost, static_cast<int64_t>(next_id)));
      ++next_id;
    }
    while (auto admission = lot.admit_next(pool, at(now))) {
      ++started;
      longest_wait = std::max(longest_wait, now - parked_at[admission->job.id]);
      running.push_back({now + 1 + static_cast<int64_t>(random() % 5), admission->job.cost.count,
                         std::move(admission->charge)});
    }
    int64_t sum = 0;
    for (const Running& r : running) sum += r.cost;
    ASSERT_EQ(pool.in_use().count, sum);
    ASSERT_LE(sum, kCapacity);
    ASSERT_LE(running.size(), size_t{kSequences});
  }
  // In the lot stand at most 15 jobs before it; each is in the way at most 5 s and then runs after
  // all others have ended (at most 5 s): 16 * (5 + 5) s bound the wait.
  EXPECT_LE(longest_wait, 160);
  EXPECT_LE(pool.peak(), pool.capacity());
}

}  // namespace
}  // namespace parkd
