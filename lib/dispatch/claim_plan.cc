#include "lib/dispatch/claim_plan.h"

#include <algorithm>

namespace parkd {

int32_t LotPlaces::free() const {
  int32_t taken = 0;
  for (const auto& [tenant, n] : jobs) taken += n;
  return places + 1 - taken;
}

std::set<std::string> LotPlaces::tenants() const {
  std::set<std::string> names = backlogged;
  for (const auto& [tenant, n] : jobs) names.insert(tenant);
  return names;
}

int32_t LotPlaces::share() const {
  size_t n_tenants = jobs.size();
  for (const std::string& tenant : backlogged) n_tenants += jobs.contains(tenant) ? 0 : 1;
  return std::max(1, places / std::max(1, static_cast<int32_t>(n_tenants)));
}

int32_t LotPlaces::jobs_of(const std::string& tenant) const {
  const auto found = jobs.find(tenant);
  return found == jobs.end() ? 0 : found->second;
}

namespace {

bool others_may_have_more(const LotPlaces& lot, const std::string& tenant) {
  return std::any_of(lot.backlogged.begin(), lot.backlogged.end(), [&](const std::string& other) {
    return other != tenant && lot.is_below_share(other);
  });
}

}  // namespace

ClaimRequest plan_claim(const std::string& model, const LotPlaces& lot, int32_t places_max) {
  // Who comes next finds the kept place.
  if (lot.jobs.empty()) return {model, std::clamp(places_max, 1, lot.places)};
  ClaimRequest claim{model, places_max};
  const int32_t share = lot.share();
  const bool some_give_back = !who_gives_back(lot).empty();
  for (const auto& [tenant, n] : lot.jobs) {
    // Below its share it may have the kept place, too, where another is made free for it.
    const bool kept_too = some_give_back && n < share;
    int32_t room = kept_too ? places_max : places_max - 1;
    if (others_may_have_more(lot, tenant) || kept_too) room = std::min(room, share - n);
    claim.tenant_room.emplace(tenant, std::max(room, 0));
  }
  const auto n_with_next = static_cast<int32_t>(lot.tenants().size()) + 1;
  claim.others_room = std::max(1, std::min(places_max - 1, lot.places / n_with_next));
  return claim;
}

bool is_worth_asking(const LotPlaces& lot, int32_t places_max) {
  if (places_max < 1) return false;
  const ClaimRequest claim = plan_claim({}, lot, places_max);
  return std::any_of(lot.backlogged.begin(), lot.backlogged.end(),
                     [&](const std::string& tenant) { return claim.room_of(tenant) > 0; });
}

std::set<std::string> backlogged_after(const ClaimRequest& claim, const Came& came,
                                       const std::set<std::string>& before) {
  Came got = came;
  int32_t n_jobs = 0;
  for (const auto& [tenant, n] : came) n_jobs += n;
  for (const auto& [tenant, room] : claim.tenant_room) got.try_emplace(tenant, 0);
  for (const std::string& tenant : before) got.try_emplace(tenant, 0);
  std::set<std::string> backlogged;
  for (const auto& [tenant, n] : got) {
    // A claim that was filled says nothing of who got less than there was room for.
    const bool unknown = n_jobs >= claim.max_jobs && (n > 0 || before.contains(tenant));
    if (n >= claim.room_of(tenant) || unknown) backlogged.insert(tenant);
  }
  return backlogged;
}

int32_t places_wanted(const LotPlaces& lot, const Came& came) {
  if (who_gives_back(lot).empty()) return 0;
  int32_t wanted = 0;
  for (const auto& [tenant, n] : came) {
    const int32_t missing = lot.share() - lot.jobs_of(tenant);
    if (missing < 0) continue;
    wanted = std::max(wanted, 1);
    if (lot.backlogged.contains(tenant)) wanted += std::min(n, missing);
  }
  return wanted;
}

std::vector<std::string> who_gives_back(const LotPlaces& lot) {
  std::vector<std::string> tenants;
  for (const auto& [tenant, n] : lot.jobs) {
    if (n > lot.share()) tenants.push_back(tenant);
  }
  std::stable_sort(tenants.begin(), tenants.end(), [&](const std::string& a, const std::string& b) {
    return lot.jobs_of(a) > lot.jobs_of(b);
  });
  return tenants;
}

}  // namespace parkd
