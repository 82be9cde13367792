#include "lib/store/rocksdb/queue_index.h"

#include <algorithm>

#include "lib/base/check.h"

namespace parkd {

QueueIndex::Lane& QueueIndex::lane_of(const std::string& model, const std::string& tenant) {
  std::unique_ptr<Model>& slot = models_[model];
  if (slot == nullptr) {
    slot = std::make_unique<Model>();
    slot->name = model;
  }
  Lane& lane = slot->lanes[tenant];
  if (lane.model == nullptr) {
    lane.model = slot.get();
    lane.tenant = tenant;
  }
  return lane;
}

void QueueIndex::count(const Entry& entry, int64_t change) {
  Model& model = *entry.lane->model;
  switch (entry.state) {
    case JobState::scheduled:
      model.n_scheduled += change;
      break;
    case JobState::queued:
      model.n_queued += change;
      break;
    case JobState::claimed:
      model.n_claimed += change;
      return;
  }
  if (entry.batch == nullptr) model.n_waiting_singles += change;
}

void QueueIndex::enqueue(JobId id, const Entry& entry) {
  Lane& lane = *entry.lane;
  Model& model = *lane.model;
  if (entry.is_critical) {
    model.critical.emplace(entry.order_us, id);
    return;
  }
  if (lane.queued.empty()) {
    lane.tag = std::max(lane.tag, model.virtual_time);
    model.backlogged.insert(&lane);
  }
  lane.queued.emplace(entry.order_us, id);
}

void QueueIndex::dequeue(JobId id, const Entry& entry) {
  Lane& lane = *entry.lane;
  Model& model = *lane.model;
  if (entry.is_critical) {
    model.critical.erase({entry.order_us, id});
    return;
  }
  lane.queued.erase({entry.order_us, id});
  if (lane.queued.empty()) model.backlogged.erase(&lane);
}

void QueueIndex::enter(JobId id, Entry& entry) {
  count(entry, 1);
  if (entry.state == JobState::claimed) return;
  if (entry.state == JobState::queued) enqueue(id, entry);
  if (entry.state == JobState::scheduled) scheduled_.emplace(entry.run_at_us, id);
  if (entry.deadline_us != 0) deadlines_.emplace(entry.deadline_us, id);
}

void QueueIndex::leave(JobId id, const Entry& entry) {
  count(entry, -1);
  if (entry.held || entry.state == JobState::claimed) return;
  if (entry.state == JobState::queued) dequeue(id, entry);
  if (entry.state == JobState::scheduled) scheduled_.erase({entry.run_at_us, id});
  if (entry.deadline_us != 0) deadlines_.erase({entry.deadline_us, id});
}

void QueueIndex::add(const Job& job, WallTime now) {
  Entry& entry = entries_.try_emplace(entries_.end(), job.id)->second;  // ids mostly ascend
  PARKD_CHECK(entry.lane == nullptr, "a job enters the index once");
  entry.lane = &lane_of(job.spec.model, job.spec.tenant);
  entry.order_us = to_unix_us(job.order_key);
  entry.run_at_us = job.spec.run_at ? to_unix_us(*job.spec.run_at) : 0;
  entry.deadline_us = job.spec.deadline ? to_unix_us(*job.spec.deadline) : 0;
  entry.need_tokens = job.spec.need_tokens();
  entry.is_critical = job.spec.priority == Priority::critical;
  if (!job.spec.batch_id.empty()) {
    entry.batch = &batches_[job.spec.batch_id];
    entry.batch->insert(job.id);
  }
  entry.state = entry.run_at_us > to_unix_us(now) ? JobState::scheduled : JobState::queued;
  enter(job.id, entry);
}

void QueueIndex::remove(JobId id) {
  const auto found = entries_.find(id);
  PARKD_CHECK(found != entries_.end(), "a job leaves the index once");
  leave(id, found->second);
  if (found->second.batch != nullptr) found->second.batch->erase(id);
  entries_.erase(found);
}

std::vector<JobId> QueueIndex::members(const std::string& batch_id,
                                       const std::string& tenant) const {
  std::vector<JobId> found;
  const auto batch = batches_.find(batch_id);
  if (batch == batches_.end()) return found;
  for (const JobId id : batch->second) {
    if (tenant_of(id) == tenant) found.push_back(id);
  }
  return found;
}

void QueueIndex::hold(JobId id) {
  Entry& entry = entries_.at(id);
  PARKD_CHECK(entry.state != JobState::claimed && !entry.held, "only a waiting job is held");
  leave(id, entry);
  entry.held = true;
  count(entry, 1);
}

std::optional<JobId> QueueIndex::pop_next(Model& model, WallTime now) {
  const int64_t now_us = to_unix_us(now);
  const auto is_overdue = [&](JobId id) {
    const int64_t deadline_us = entries_.at(id).deadline_us;
    return deadline_us != 0 && deadline_us <= now_us;
  };
  // An overdue job leaves the order here and waits in deadlines_ alone: no later claim meets it.
  while (!model.critical.empty()) {
    const JobId id = model.critical.begin()->second;
    model.critical.erase(model.critical.begin());
    if (!is_overdue(id)) return id;
  }
  while (!model.backlogged.empty()) {
    Lane& lane = **model.backlogged.begin();
    model.backlogged.erase(model.backlogged.begin());
    const JobId id = lane.queued.begin()->second;
    lane.queued.erase(lane.queued.begin());
    const bool overdue = is_overdue(id);
    if (!overdue) {
      model.virtual_time = std::max(lane.tag, model.virtual_time);
      lane.tag += entries_.at(id).need_tokens;
    }
    if (!lane.queued.empty()) model.backlogged.insert(&lane);
    if (!overdue) return id;
  }
  return std::nullopt;
}

std::vector<JobId> QueueIndex::claim(const std::string& model, int64_t max_jobs, WallTime now) {
  std::vector<JobId> ids;
  const auto found = models_.find(model);
  if (found == models_.end()) return ids;
  while (static_cast<int64_t>(ids.size()) < max_jobs) {
    const std::optional<JobId> id = pop_next(*found->second, now);
    if (!id) break;
    mark_claimed(*id);
    ids.push_back(*id);
  }
  return ids;
}

void QueueIndex::mark_claimed(JobId id) {
  Entry& entry = entries_.at(id);
  PARKD_CHECK(entry.state != JobState::claimed && !entry.held, "only a waiting job is claimed");
  leave(id, entry);  // erasing what pop_next took already does nothing
  entry.state = JobState::claimed;
  enter(id, entry);
}

void QueueIndex::release(JobId id, std::optional<WallTime> run_at, WallTime now) {
  Entry& entry = entries_.at(id);
  PARKD_CHECK(entry.state == JobState::claimed, "only a claimed job is released");
  leave(id, entry);
  if (run_at) entry.run_at_us = to_unix_us(*run_at);
  entry.state = run_at && *run_at > now ? JobState::scheduled : JobState::queued;
  enter(id, entry);
}

std::vector<std::string> QueueIndex::promote_due(WallTime now) {
  std::set<std::string> models;
  while (!scheduled_.empty() && scheduled_.begin()->first <= to_unix_us(now)) {
    const JobId id = scheduled_.begin()->second;
    Entry& entry = entries_.at(id);
    leave(id, entry);
    entry.state = JobState::queued;
    enter(id, entry);
    models.insert(entry.lane->model->name);
  }
  return {models.begin(), models.end()};
}

std::vector<JobId> QueueIndex::overdue(WallTime now, size_t max_jobs) const {
  std::vector<JobId> ids;
  for (const auto& [deadline_us, id] : deadlines_) {
    if (deadline_us > to_unix_us(now) || ids.size() >= max_jobs) break;
    ids.push_back(id);
  }
  return ids;
}

int64_t QueueIndex::waiting_singles(const std::string& model) const {
  const auto found = models_.find(model);
  return found == models_.end() ? 0 : found->second->n_waiting_singles;
}

std::vector<JobId> QueueIndex::list(const std::optional<std::string>& tenant,
                                    const std::optional<std::string>& model,
                                    std::optional<JobState> state, JobId after,
                                    size_t limit) const {
  std::vector<JobId> ids;
  for (auto it = entries_.upper_bound(after); it != entries_.end() && ids.size() < limit; ++it) {
    const Entry& entry = it->second;
    if (tenant && *tenant != entry.lane->tenant) continue;
    if (model && *model != entry.lane->model->name) continue;
    if (state && *state != entry.state) continue;
    ids.push_back(it->first);
  }
  return ids;
}

std::vector<QueueIndex::ModelCounts> QueueIndex::counts() const {
  std::vector<ModelCounts> all;
  std::map<const Model*, size_t> seeking;  // models whose oldest queued job is not found yet
  for (const auto& [name, model] : models_) {
    if (model->n_scheduled + model->n_queued + model->n_claimed == 0) continue;
    if (model->n_queued > 0) seeking[model.get()] = all.size();
    all.push_back({name, model->n_scheduled, model->n_queued, model->n_claimed, 0});
  }
  for (auto it = entries_.begin(); it != entries_.end() && !seeking.empty(); ++it) {
    if (it->second.state != JobState::queued) continue;
    const auto found = seeking.find(it->second.lane->model);
    if (found == seeking.end()) continue;
    all[found->second].oldest_queued = it->first;
    seeking.erase(found);
  }
  return all;
}

}  // namespace parkd
