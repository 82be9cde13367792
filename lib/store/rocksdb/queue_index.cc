#include "lib/store/rocksdb/queue_index.h"

#include <algorithm>
#include <functional>

#include "lib/base/check.h"

namespace parkd {

QueueIndex::TenantQueue& QueueIndex::queue_of(const std::string& model, const std::string& tenant) {
  std::unique_ptr<Model>& slot = models_[model];
  if (slot == nullptr) {
    slot = std::make_unique<Model>();
    slot->name = model;
  }
  TenantQueue& queue = slot->queues[tenant];
  if (queue.model == nullptr) {
    queue.model = slot.get();
    queue.tenant = tenant;
  }
  return queue;
}

void QueueIndex::count(const Entry& entry, int64_t change) {
  Model& model = *entry.queue->model;
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
    case JobState::cancelling:
      PARKD_CHECK(false, "an embedded store ends a cancelled job at once");
  }
  entry.queue->waiting.add(entry.waits_scheduled, change);
  if (!entry.waits_scheduled) model.n_waiting_queued += change;
}

void QueueIndex::push_queued(JobId id, Model& model) {
  auto& heap = model.queued_heap;
  heap.push_back(id);
  std::push_heap(heap.begin(), heap.end(), std::greater<>());
  if (static_cast<int64_t>(heap.size()) < 2 * model.n_queued + 64) return;
  std::erase_if(heap, [&](JobId one) { return !is_queued(one, model); });
  std::sort(heap.begin(), heap.end());
  heap.erase(std::unique(heap.begin(), heap.end()), heap.end());
}

void QueueIndex::enqueue(JobId id, const Entry& entry) {
  TenantQueue& queue = *entry.queue;
  Model& model = *queue.model;
  push_queued(id, model);
  if (entry.is_critical) {
    model.with_critical.insert(&queue);
    queue.critical.add({entry.order_us, id}, entry.need_tokens);
    return;
  }
  if (queue.queued.empty()) {
    queue.tag = std::max(queue.tag, model.virtual_time);
    model.backlogged.insert(&queue);
  }
  queue.queued.add({entry.order_us, id}, entry.need_tokens);
}

void QueueIndex::dequeue(JobId id, const Entry& entry) {
  TenantQueue& queue = *entry.queue;
  Model& model = *queue.model;
  if (entry.is_critical) {
    queue.critical.erase({entry.order_us, id}, entry.need_tokens);
    if (queue.critical.empty()) model.with_critical.erase(&queue);
    return;
  }
  queue.queued.erase({entry.order_us, id}, entry.need_tokens);
  if (queue.queued.empty()) model.backlogged.erase(&queue);
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

void QueueIndex::add(const Job& job, WallTime now, bool is_member) {
  Entry& entry = entries_.try_emplace(entries_.end(), job.id)->second;  // ids mostly ascend
  PARKD_CHECK(entry.queue == nullptr, "a job enters the index once");
  entry.queue = &queue_of(job.spec.model, job.spec.tenant);
  entry.order_us = to_unix_us(job.order_key);
  entry.created_us = to_unix_us(job.created_at);
  entry.run_at_us = job.spec.run_at ? to_unix_us(*job.spec.run_at) : 0;
  entry.deadline_us = job.spec.deadline ? to_unix_us(*job.spec.deadline) : 0;
  entry.need_tokens = job.spec.need_tokens();
  entry.is_critical = job.spec.priority == Priority::critical;
  entry.waits_scheduled = is_scheduled(job);
  if (is_member && !job.spec.batch_id.empty()) {
    entry.batch = &*batches_.try_emplace(job.spec.batch_id).first;
    entry.batch->second.insert(job.id);
  }
  entry.state = entry.run_at_us > to_unix_us(now) ? JobState::scheduled : JobState::queued;
  enter(job.id, entry);
}

void QueueIndex::remove(JobId id) {
  const auto found = entries_.find(id);
  PARKD_CHECK(found != entries_.end(), "a job leaves the index once");
  leave(id, found->second);
  if (Members::value_type* batch = found->second.batch) {
    batch->second.erase(id);
    if (batch->second.empty()) batches_.erase(batches_.find(batch->first));
  }
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
  PARKD_CHECK(entry.state != JobState::claimed, "only a waiting job is held");
  if (entry.held) return;
  leave(id, entry);
  entry.held = true;
  count(entry, 1);
}

// One claim under way. A tenant that has no room left, or nothing that fits, is passed over for the
// rest of it: neither comes back. It stays where it is, so it is the first to be asked next time.
class QueueIndex::Claiming {
 public:
  Claiming(QueueIndex& index, Model& model, const ClaimRequest& request, WallTime now)
      : index_(index), model_(model), request_(request), now_us_(to_unix_us(now)) {}

  std::vector<JobId> run() {
    if (!request_.only.empty()) {
      take_named();
      return std::move(ids_);
    }
    if (!model_.with_critical.empty()) take_critical();
    take_fairly();
    return std::move(ids_);
  }

 private:
  static constexpr int kLooksOfTenant = 64;  // lib/store/README.md, "Order, and claims with limits"
  static constexpr int kLooksMax = 1024;

  bool is_full() const { return static_cast<int64_t>(ids_.size()) >= request_.max_jobs; }

  bool has_room(const TenantQueue& queue) const {
    if (!rooms_limited_) return true;
    const auto given = n_given_.find(&queue);
    return (given == n_given_.end() ? 0 : given->second) < request_.room_of(queue.tenant);
  }

  // The next job of a line that fits. Overdue ones leave the order here and wait in deadlines_
  // alone: no later claim meets them.
  std::optional<JobLine::Place> next_of(JobLine& line) {
    while (const std::optional<JobLine::Place> place = first_of(line)) {
      const Entry& entry = index_.entries_.at(place->second);
      if (entry.deadline_us == 0 || entry.deadline_us > now_us_) return place;
      line.erase(*place, entry.need_tokens);
    }
    return std::nullopt;
  }

  std::optional<JobLine::Place> first_of(const JobLine& line) {
    if (!request_.need_tokens_max) return line.first();
    const int allowed = std::min(kLooksOfTenant, looks_left_);
    int looks = allowed;
    const auto place = line.first_within(*request_.need_tokens_max, looks, [&](JobId id) {
      return index_.entries_.at(id).need_tokens;
    });
    looks_left_ -= allowed - looks;
    return place;
  }

  void take(const TenantQueue& queue, JobId id) {
    index_.mark_claimed(id);
    ids_.push_back(id);
    if (rooms_limited_) ++n_given_[&queue];
  }

  // Each is charged as the next one of its tenant; the virtual time stays, for no tenant's turn has
  // come.
  void take_named() {
    for (const JobId id : request_.only) {
      const auto found = index_.entries_.find(id);
      if (is_full()) return;
      if (found == index_.entries_.end()) continue;
      const Entry& entry = found->second;
      const bool overdue = entry.deadline_us != 0 && entry.deadline_us <= now_us_;
      if (entry.queue->model != &model_ || entry.state != JobState::queued || entry.held ||
          overdue) {
        continue;
      }
      TenantQueue& queue = *entry.queue;
      if (!entry.is_critical) {
        model_.backlogged.erase(&queue);
        model_.largest_need = std::max(model_.largest_need, entry.need_tokens);
        queue.tag = std::max(queue.tag, model_.earliest_start()) + entry.need_tokens;
      }
      take(queue, id);
      if (!queue.queued.empty()) model_.backlogged.insert(&queue);
    }
  }

  // By (order_key, id) of all tenants; none is charged. Only tenants that were granted it
  // have critical jobs, so there are few.
  void take_critical() {
    std::set<std::pair<JobLine::Place, TenantQueue*>> heads;
    const auto put_head = [&](TenantQueue* queue) {
      const auto place = has_room(*queue) ? next_of(queue->critical) : std::nullopt;
      if (place) heads.emplace(*place, queue);
    };
    const std::vector<TenantQueue*> queues(model_.with_critical.begin(),
                                           model_.with_critical.end());
    for (TenantQueue* queue : queues) put_head(queue);
    while (!is_full() && !heads.empty()) {
      const auto [place, queue] = *heads.begin();
      heads.erase(heads.begin());
      take(*queue, place.second);
      put_head(queue);
    }
    for (TenantQueue* queue : queues) {
      if (queue->critical.empty()) model_.with_critical.erase(queue);
    }
  }

  void take_fairly() {
    const ByTag before;
    auto& backlogged = model_.backlogged;
    for (auto it = backlogged.begin(); it != backlogged.end() && !is_full();) {
      TenantQueue* const queue = *it;
      const auto place = has_room(*queue) ? next_of(queue->queued) : std::nullopt;
      if (!place) {
        it = queue->queued.empty() ? backlogged.erase(it) : std::next(it);
        continue;
      }
      it = backlogged.erase(it);
      const int64_t need = index_.entries_.at(place->second).need_tokens;
      model_.largest_need = std::max(model_.largest_need, need);
      const int64_t start = std::max(queue->tag, model_.earliest_start());
      model_.virtual_time = std::max(model_.virtual_time, start);
      queue->tag = start + need;
      take(*queue, place->second);
      if (queue->queued.empty()) continue;
      const auto again = backlogged.insert(queue).first;
      if (it == backlogged.end() || before(queue, *it)) it = again;
    }
  }

  QueueIndex& index_;
  Model& model_;
  const ClaimRequest& request_;
  const int64_t now_us_;
  const bool rooms_limited_ = !request_.tenant_room.empty() || request_.others_room;
  int looks_left_ = kLooksMax;
  std::map<const TenantQueue*, int32_t> n_given_;
  std::vector<JobId> ids_;
};

std::vector<JobId> QueueIndex::claim(const ClaimRequest& request, WallTime now) {
  const auto found = models_.find(request.model);
  if (found == models_.end()) return {};
  return Claiming(*this, *found->second, request, now).run();
}

void QueueIndex::mark_claimed(JobId id) {
  Entry& entry = entries_.at(id);
  PARKD_CHECK(entry.state != JobState::claimed && !entry.held, "only a waiting job is claimed");
  leave(id, entry);
  entry.state = JobState::claimed;
  enter(id, entry);
}

void QueueIndex::uncharge(JobId id) {
  const Entry& entry = entries_.at(id);
  PARKD_CHECK(entry.state == JobState::claimed, "only a claim has charged something");
  TenantQueue& queue = *entry.queue;
  Model& model = *queue.model;
  if (entry.is_critical) return;
  const bool waits = model.backlogged.erase(&queue) > 0;
  queue.tag = std::min(queue.tag, std::max(queue.tag - entry.need_tokens, model.earliest_start()));
  if (waits) model.backlogged.insert(&queue);
}

void QueueIndex::release(JobId id, std::optional<WallTime> run_at, WallTime now) {
  Entry& entry = entries_.at(id);
  PARKD_CHECK(entry.state == JobState::claimed, "only a claimed job is released");
  leave(id, entry);
  if (run_at) {
    entry.run_at_us = to_unix_us(*run_at);
    entry.waits_scheduled = entry.run_at_us > entry.created_us;
  }
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
    models.insert(entry.queue->model->name);
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

Depth QueueIndex::depth(const std::string& model, const std::string& tenant) const {
  const auto found = models_.find(model);
  if (found == models_.end()) return {};
  const auto queue = found->second->queues.find(tenant);
  return {queue == found->second->queues.end() ? DepthAccount() : queue->second.waiting,
          found->second->n_waiting_queued};
}

QueueIndex::Page QueueIndex::list(const ListFilter& filter, JobId after, size_t limit) const {
  Page page;
  size_t n_visits = 0;
  // Whether the walk goes on behind this one.
  const auto visit = [&](JobId id, const Entry& entry) {
    const bool fits = (!filter.tenant || *filter.tenant == entry.queue->tenant) &&
                      (!filter.model || *filter.model == entry.queue->model->name) &&
                      (!filter.state || *filter.state == entry.state);
    if (fits) page.ids.push_back(id);
    if (page.ids.size() < limit && ++n_visits < kListVisits) return true;
    page.next_after = id;
    return false;
  };
  const auto batch = filter.batch_id ? batches_.find(*filter.batch_id) : batches_.end();
  if (limit == 0) {
    page.next_after = after;
  } else if (batch != batches_.end()) {
    const std::set<JobId>& members = batch->second;
    for (auto it = members.upper_bound(after); it != members.end(); ++it) {
      if (!visit(*it, entries_.at(*it))) break;
    }
  } else {
    for (auto it = entries_.upper_bound(after); it != entries_.end(); ++it) {
      if (!visit(it->first, it->second)) break;
    }
  }
  return page;
}

bool QueueIndex::is_queued(JobId id, const Model& model) const {
  const auto found = entries_.find(id);
  return found != entries_.end() && found->second.state == JobState::queued &&
         found->second.queue->model == &model;
}

JobId QueueIndex::oldest_queued(Model& model) {
  auto& heap = model.queued_heap;
  while (!heap.empty() && !is_queued(heap.front(), model)) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
  }
  return heap.empty() ? 0 : heap.front();
}

std::vector<QueueIndex::ModelCounts> QueueIndex::counts() {
  std::vector<ModelCounts> all;
  for (const auto& [name, model] : models_) {
    if (model->n_scheduled + model->n_queued + model->n_claimed == 0) continue;
    all.push_back(
        {name, model->n_scheduled, model->n_queued, model->n_claimed, oldest_queued(*model)});
  }
  return all;
}

}  // namespace parkd
