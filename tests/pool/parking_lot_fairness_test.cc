// The lot's promise between tenants, over long runs: what is started for two that both wait differs
// by (L_f + C)/w_f + (L_m + C)/w_m at most (parking_lot.h), however many jobs are held and passed.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "lib/pool/parking_lot.h"

namespace parkd {
namespace {

constexpr int64_t kCapacity = 100;
constexpr int32_t kBlockSize = 10;
constexpr int32_t kSequences = 16;

struct Tenant {
  std::string name;
  std::vector<int64_t> sizes;  // in units, in turn; empty: random
  double weight = 1;
  bool awaited = false;

  size_t n_made = 0;
  double started = 0;  // tokens over weight
  int64_t largest = 0;
};

// Tenants of which each has three jobs parked at any time, so that all always wait. The clock
// stands: nothing is passed by time.
class Contest {
 public:
  Contest(std::vector<Tenant> tenants, uint32_t seed, double reserve = 0)
      : tenants_(std::move(tenants)),
        random_(seed),
        pool_({{{Blocks{kCapacity}, kSequences}}, reserve}),
        lot_({.places = static_cast<int32_t>(3 * tenants_.size()),
              .overtake_max = std::chrono::seconds(5),
              .block_size = kBlockSize}) {
    for (size_t t = 0; t < tenants_.size(); ++t) {
      for (int i = 0; i < 3; ++i) park(t);
    }
    start();
  }

  // `n` jobs end, one after the other, and what fits then starts. Returns the greatest difference,
  // over all pairs of tenants and all intervals, as a part of what is promised to the pair.
  double run(int n, bool oldest_first) {
    for (int i = 0; i < n; ++i) {
      const size_t which = oldest_first ? 0 : random_() % running_.size();
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(which));
      start();
    }
    double worst = 0;
    for (const auto& [pair, seen] : seen_) {
      const double promised = bound_of(tenants_[pair.first]) + bound_of(tenants_[pair.second]);
      worst = std::max(worst, (seen.second - seen.first) / promised);
    }
    return worst;
  }

 private:
  static double bound_of(const Tenant& tenant) {
    return static_cast<double>(tenant.largest + kCapacity * kBlockSize) / tenant.weight;
  }

  void park(size_t t) {
    Tenant& tenant = tenants_[t];
    const int64_t cost =
        tenant.sizes.empty() ? heavy_tailed() : tenant.sizes[tenant.n_made % tenant.sizes.size()];
    ++tenant.n_made;
    const int64_t need = cost * kBlockSize - static_cast<int64_t>(random_() % kBlockSize);
    tenant.largest = std::max(tenant.largest, need);
    const uint64_t ticket = next_ticket_++;
    tenant_of_[ticket] = t;
    lot_.park({.ticket = ticket,
               .id = ticket,
               .tenant = tenant.name,
               .cost = {cost},
               .need_tokens = need,
               .sequences = 1 + static_cast<int32_t>(random_() % 10 == 0 ? random_() % 16 : 0),
               .weight = tenant.weight,
               .awaited = tenant.awaited});
  }

  int64_t heavy_tailed() {
    const double u = std::uniform_real_distribution<double>(0.0, 1.0)(random_);
    return std::min<int64_t>(kCapacity, static_cast<int64_t>(1.0 / (1.0 - 0.999 * u)));
  }

  void start() {
    while (auto admission = lot_.admit_next(pool_, SteadyTime{})) {
      const size_t t = tenant_of_.at(admission->job.ticket);
      tenants_[t].started +=
          static_cast<double>(admission->job.need_tokens) / admission->job.weight;
      running_.push_back(std::move(admission->charge));
      park(t);
      for (size_t f = 0; f < tenants_.size(); ++f) {
        for (size_t m = f + 1; m < tenants_.size(); ++m) {
          const double ahead = tenants_[f].started - tenants_[m].started;
          auto& [least, most] = seen_[{f, m}];
          least = std::min(least, ahead);
          most = std::max(most, ahead);
        }
      }
    }
  }

  std::vector<Tenant> tenants_;
  std::mt19937 random_;
  ResourcePool pool_;
  ParkingLot lot_;
  std::vector<Charge> running_;  // in the order of their starts
  uint64_t next_ticket_ = 1;
  std::map<uint64_t, size_t> tenant_of_;                                 // by ticket
  std::map<std::pair<size_t, size_t>, std::pair<double, double>> seen_;  // least and most ahead
};

uint32_t fresh_seed() {
  const uint32_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  return seed;
}

TEST(ParkingLotFairness, what_passes_held_jobs_does_not_add_up_from_one_to_the_next) {
  const uint32_t seed = fresh_seed();
  for (const bool oldest_first : {true, false}) {
    Contest contest({{"a", {1, 1, 30, 51}}, {"b", {7}}}, seed);
    EXPECT_LE(contest.run(60'000, oldest_first), 1) << "oldest first: " << oldest_first;
  }
}

TEST(ParkingLotFairness, heavy_tailed_tenants_of_any_weight_stay_within_the_bound) {
  const uint32_t seed = fresh_seed();
  std::mt19937 random(seed);
  for (const size_t n_tenants : {2u, 3u, 10u}) {
    std::vector<Tenant> tenants;
    for (size_t t = 0; t < n_tenants; ++t) {
      Tenant tenant{"t" + std::to_string(t), {}};
      tenant.weight = t % 2 == 0 ? 1 : 0.5 + static_cast<double>(random() % 8);
      if (t % 3 == 1) tenant.sizes = {static_cast<int64_t>(1 + random() % 9)};
      tenants.push_back(tenant);
    }
    Contest contest(tenants, seed);
    EXPECT_LE(contest.run(20'000, n_tenants == 3), 1) << n_tenants << " tenants";
  }
}

// Their share is an eighth and less, what is kept for them a quarter.
TEST(ParkingLotFairness, callers_that_wait_are_charged_and_stay_within_the_bound) {
  const uint32_t seed = fresh_seed();
  for (const size_t n_tenants : {2u, 10u}) {
    std::vector<Tenant> tenants = {{"chat", {6}, 1, true}};
    for (size_t t = 1; t < n_tenants; ++t) {
      tenants.push_back({"batch" + std::to_string(t),
                         t % 2 == 0 ? std::vector<int64_t>{} : std::vector<int64_t>{7, 30}});
    }
    Contest contest(tenants, seed, 0.25);
    EXPECT_LE(contest.run(20'000, n_tenants == 2), 1) << n_tenants << " tenants";
  }
}

}  // namespace
}  // namespace parkd
