#include "daemon/models/residency.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"

namespace parkd {

void Residency::add(const std::string& model, int64_t bytes, bool wanted) {
  PARKD_CHECK(bytes >= 0 && bytes <= rules_.budget_bytes, "a model that fits alone");
  Model& added = models_[model];
  PARKD_CHECK(added.place == Place::out, "a model's size changes while it is not loaded");
  added.bytes = bytes;
  added.wanted = wanted;
}

void Residency::remove(const std::string& model) {
  models_.erase(model);
  leaving_.erase(model);
}

void Residency::saw(const std::string& name, bool has_work, SteadyTime now) {
  const auto found = models_.find(name);
  if (found == models_.end()) return;
  Model& model = found->second;
  if (std::exchange(model.has_work, has_work) == has_work) return;
  if (model.place != Place::loading) model.since = now;
}

void Residency::load_began(const std::string& name, SteadyTime now) {
  Model& model = models_.at(name);
  PARKD_CHECK(model.place == Place::out, "a model is loaded once");
  model.place = Place::loading;
  model.wanted = false;
  model.since = now;
  if (next_ == name) {
    next_.clear();
    leaving_.clear();
  }
}

void Residency::takes(const std::string& name, int64_t bytes) {
  Model& model = models_.at(name);
  PARKD_CHECK(model.place == Place::loading, "a model's size is found while it is loading");
  PARKD_CHECK(bytes >= 0 && bytes <= rules_.budget_bytes, "a model that fits alone");
  model.bytes = bytes;
}

void Residency::load_ended(const std::string& name, SteadyTime now) {
  Model& model = models_.at(name);
  PARKD_CHECK(model.place == Place::loading, "a load ends that began");
  model.place = Place::in;
  model.load_time = now - model.since;
  model.loaded_at = now;
  model.since = now;
}

void Residency::left(const std::string& name, SteadyTime now) {
  const auto found = models_.find(name);
  if (found == models_.end()) return;
  found->second.place = Place::out;
  found->second.since = now;
  leaving_.erase(name);
}

std::vector<const Residency::Entry*> Residency::waiting() const {
  std::vector<const Entry*> all;
  for (const Entry& entry : models_) {
    if (entry.second.place == Place::out && entry.second.has_work) all.push_back(&entry);
  }
  std::stable_sort(all.begin(), all.end(), [](const Entry* a, const Entry* b) {
    return a->second.since < b->second.since;
  });
  return all;
}

bool Residency::waits_long(const Model& model, SteadyTime now) const {
  return now - model.since >= rules_.switch_wait;
}

bool Residency::may_leave(const Model& model, bool idle_only, SteadyTime now) const {
  const Micros stay = std::max<Micros>(kStayFactor * model.load_time, rules_.stay_min);
  if (model.place != Place::in || now < model.loaded_at + stay) return false;
  return !idle_only || (!model.has_work && now - model.since >= rules_.idle_grace);
}

// The fewest that are enough, the idle before the busy, who came first before who came later; none
// when all that may leave are not enough.
std::set<std::string> Residency::who_leaves_for(const Model& next, SteadyTime now) const {
  const bool idle_only = !waits_long(next, now);
  std::vector<const Entry*> may;
  for (const Entry& entry : models_) {
    if (may_leave(entry.second, idle_only, now)) may.push_back(&entry);
  }
  std::stable_sort(may.begin(), may.end(), [](const Entry* a, const Entry* b) {
    if (a->second.has_work != b->second.has_work) return b->second.has_work;
    return a->second.loaded_at < b->second.loaded_at;
  });
  int64_t room = free_bytes();
  std::vector<const Entry*> chosen;
  for (const Entry* entry : may) {
    if (room >= next.bytes) break;
    if (entry->second.bytes == 0) continue;
    room += entry->second.bytes;
    chosen.push_back(entry);
  }
  if (room < next.bytes) return {};
  std::set<std::string> leaving;
  // The last ones first: those that were enough alone let the others stay.
  for (auto entry = chosen.rbegin(); entry != chosen.rend(); ++entry) {
    if (room - (*entry)->second.bytes >= next.bytes) {
      room -= (*entry)->second.bytes;
    } else {
      leaving.insert((*entry)->first);
    }
  }
  return leaving;
}

// Who waits longest is first. Later ones pass it only while it has not waited long, or into room
// that it will not need.
std::optional<std::string> Residency::next_load(SteadyTime now) {
  const int64_t room = free_bytes();
  if (!next_.empty()) {
    const Model& next = models_.at(next_);
    if (next.bytes <= room) return next_;
    int64_t room_beside = room - next.bytes;
    for (const std::string& name : leaving_) room_beside += models_.at(name).bytes;
    for (const Entry* entry : waiting()) {
      const int64_t bytes = entry->second.bytes;
      if (entry->first != next_ && bytes <= room && bytes <= room_beside) return entry->first;
    }
    return std::nullopt;
  }
  for (const Entry* entry : waiting()) {
    if (entry->second.bytes <= room) return entry->first;
    leaving_ = who_leaves_for(entry->second, now);
    if (!leaving_.empty()) {
      next_ = entry->first;
      return std::nullopt;
    }
    if (waits_long(entry->second, now)) return std::nullopt;
  }
  for (const auto& [name, model] : models_) {
    if (model.place == Place::out && model.wanted && model.bytes <= room) return name;
  }
  return std::nullopt;
}

Residency::Plan Residency::plan(SteadyTime now) {
  // Room is made for as long as it is wanted.
  if (!next_.empty()) {
    const auto next = models_.find(next_);
    if (next == models_.end() || !next->second.has_work) {
      next_.clear();
      leaving_.clear();
    }
  }
  const bool is_loading = std::any_of(models_.begin(), models_.end(), [](const Entry& entry) {
    return entry.second.place == Place::loading;
  });
  Plan plan;
  if (!is_loading) plan.load = next_load(now);
  plan.is_switch = plan.load && *plan.load == next_;
  plan.leaving = leaving_;
  if (plan.is_switch) plan.leaving.clear();  // there is room
  for (const auto& [name, model] : models_) {
    if (model.place != Place::in || model.has_work || !rules_.idle_unload) continue;
    if (now - model.since >= *rules_.idle_unload) plan.leaving.insert(name);
  }
  return plan;
}

int64_t Residency::used_bytes() const {
  int64_t used = 0;
  for (const auto& [name, model] : models_) {
    if (model.place != Place::out) used += model.bytes;
  }
  return used;
}

std::optional<SteadyTime> Residency::waits_since(const std::string& name) const {
  const auto found = models_.find(name);
  if (found == models_.end()) return std::nullopt;
  const Model& model = found->second;
  if (model.place != Place::out || !model.has_work) return std::nullopt;
  return model.since;
}

}  // namespace parkd
