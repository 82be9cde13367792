// How many jobs of whom a claim asks for, and who gives places of the lot back. Pure functions, any
// thread.
//
// The lot's places are shared between the tenants that have jobs in it or may have more. Alone a
// tenant may use all; it grows past its share only when the last claim showed that no tenant below
// its share has more, and gives what is above its share back only after others' jobs have come, as
// many as they were and one: so nothing is given back and claimed again in turns while all have
// work. One place more than there are is kept for a tenant that has none.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/store/daemon_store.h"

namespace parkd {

// Places beyond the lot's for jobs that are claimed past a lot full of larger ones.
inline constexpr int32_t kSmallPlaces = 4;
// ... and for jobs that are claimed out of their turn, as their callers wait.
inline constexpr int32_t kAwaitedPlaces = 4;

// The jobs that are being prepared, or parked; those in places beyond the lot's left out.
struct LotPlaces {
  int32_t places = 0;                   // daemon.lot_jobs; the lot has one more
  std::map<std::string, int32_t> jobs;  // of each tenant that has some
  std::set<std::string> backlogged;     // who may have more in the queue

  int32_t free() const;                   // with the kept one; may be negative
  std::set<std::string> tenants() const;  // that have jobs in it, or may have more
  int32_t share() const;
  int32_t jobs_of(const std::string& tenant) const;
  bool is_below_share(const std::string& tenant) const { return jobs_of(tenant) < share(); }
};

// Requires: places_max >= 1, at most lot.free().
ClaimRequest plan_claim(const std::string& model, const LotPlaces& lot, int32_t places_max);

// Whether that claim has room for a tenant that may have more.
bool is_worth_asking(const LotPlaces& lot, int32_t places_max);

// Jobs of each tenant that a claim brought.
using Came = std::map<std::string, int32_t>;

// Who may have more after a claim and its answer. `before`: who might have had before it.
std::set<std::string> backlogged_after(const ClaimRequest& claim, const Came& came,
                                       const std::set<std::string>& before);

// How many places should be free after these jobs have come, if need be by giving some back; 0:
// however many are.
int32_t places_wanted(const LotPlaces& lot, const Came& came);

// The tenants above their share, the one with the most jobs first.
std::vector<std::string> who_gives_back(const LotPlaces& lot);

}  // namespace parkd
