// QueueIndex: which live job comes next, in RAM.
//
// Owner: the store's state thread. Holds ids and order only, about 190 bytes a job (a node of the
// id map, a node of one order set, 8 to 16 in a heap; 40 more of a batch's member); bodies stay on
// disk. Never touches the disk. No call costs more than log of the depth a job it changes or
// answers, but list() with a filter, which is bounded, and members().
//
// Order per model: critical jobs by (order_key, id); then the tenant with the smallest tag, and in
// it by (order_key, id). Tags are start-time fair queueing (Goyal, Vin, Cheng 1996): a job starts
// at its tenant's tag, which then grows by the job's need_tokens; the virtual time is the latest
// start. A tenant that comes, or comes back, begins there: having been away earns no credit. One
// that waits and is passed over keeps its tag, so it comes next; what it is owed is one largest job
// at most, for a newcomer must not wait for more.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/job/job.h"
#include "lib/store/client_store.h"
#include "lib/store/daemon_store.h"
#include "lib/store/depth.h"
#include "lib/store/rocksdb/job_line.h"

namespace parkd {

class QueueIndex {
 public:
  static constexpr size_t kListVisits = 100'000;  // some 10 ms

  struct ModelCounts {
    std::string model;
    int64_t scheduled = 0;
    int64_t queued = 0;
    int64_t claimed = 0;
    JobId oldest_queued = 0;  // smallest queued id; 0: none
  };

  // A job that was committed; its state is derived from run_at and `now`. `is_member`: its batch_id
  // names a batch, not a label, which no verb looks for.
  void add(const Job& job, WallTime now, bool is_member = true);
  // A job that ended.
  void remove(JobId id);

  // Takes a waiting job out of the order while its end is being committed; remove() follows. Again:
  // nothing.
  void hold(JobId id);

  // Queued jobs of the model in claim order, within the limits; they become claimed. Overdue ones
  // are left for the sweep of deadlines. Costs log of the depth a job, and with limits a visit to
  // each tenant that is passed over.
  std::vector<JobId> claim(const ClaimRequest& request, WallTime now);
  // A job that is claimed already, of an index that is built anew.
  void mark_claimed(JobId id);
  // Takes back what the claim of a claimed job charged to its tenant: release() or remove()
  // follows. It is then as one that was passed over.
  void uncharge(JobId id);
  // A claimed job back to the queue; not before run_at, if given.
  void release(JobId id, std::optional<WallTime> run_at, WallTime now);

  // Scheduled jobs whose time has come are queued; returns their models.
  std::vector<std::string> promote_due(WallTime now);

  // Waiting jobs whose deadline has passed, earliest first.
  std::vector<JobId> overdue(WallTime now, size_t max_jobs) const;

  bool contains(JobId id) const { return entries_.contains(id); }
  // Requires contains(id).
  JobState state_of(JobId id) const { return entries_.at(id).state; }
  const std::string& tenant_of(JobId id) const { return entries_.at(id).queue->tenant; }
  const std::string& model_of(JobId id) const { return entries_.at(id).queue->model->name; }

  // Live jobs with this batch_id and tenant, ascending.
  std::vector<JobId> members(const std::string& batch_id, const std::string& tenant) const;

  // What waits of a model and of a tenant in it (depth.h).
  Depth depth(const std::string& model, const std::string& tenant) const;

  struct Page {
    std::vector<JobId> ids;
    std::optional<JobId> next_after{};  // empty: there is no more
  };
  // Up to `limit` ids above `after`, ascending, of the filter's tenant, model and state, and of its
  // batch where that has live members; its other fields are not known here. Looks at kListVisits
  // jobs at most.
  Page list(const ListFilter& filter, JobId after, size_t limit) const;
  bool has_members(const std::string& batch_id) const { return batches_.contains(batch_id); }

  std::vector<ModelCounts> counts();
  size_t size() const { return entries_.size(); }

 private:
  using OrderKey = std::pair<int64_t, JobId>;  // (unix us, id)
  struct Model;
  class Claiming;

  // The queued jobs of a tenant in a model.
  struct TenantQueue {
    Model* model = nullptr;
    std::string tenant;
    int64_t tag = 0;  // where its next job starts
    JobLine queued;   // without the critical ones
    JobLine critical;
    DepthAccount waiting;
  };
  struct ByTag {
    bool operator()(const TenantQueue* a, const TenantQueue* b) const {
      return std::pair(a->tag, std::string_view(a->tenant)) <
             std::pair(b->tag, std::string_view(b->tenant));
    }
  };
  struct Model {
    std::string name;
    int64_t virtual_time = 0;
    int64_t largest_need = 0;  // of the jobs that were charged
    // No job starts before.
    int64_t earliest_start() const { return virtual_time - largest_need; }
    int64_t n_scheduled = 0, n_queued = 0, n_claimed = 0;
    int64_t n_waiting_queued = 0;  // of all queues' accounts
    std::map<std::string, TenantQueue> queues;
    std::set<TenantQueue*, ByTag> backlogged;  // queues with queued jobs that are not critical
    std::set<TenantQueue*> with_critical;
    // Ids that were queued, the smallest at the front: those that are not any more leave when they
    // get there, or when they are the most.
    std::vector<JobId> queued_heap;
  };
  using Members = std::map<std::string, std::set<JobId>>;  // by batch id; none is empty
  struct Entry {
    TenantQueue* queue = nullptr;
    int64_t order_us = 0;
    int64_t created_us = 0;
    int64_t run_at_us = 0;    // 0: none
    int64_t deadline_us = 0;  // 0: none
    int64_t need_tokens = 0;
    JobState state = JobState::queued;
    bool is_critical = false;
    bool waits_scheduled = false;          // the account it waits in
    Members::value_type* batch = nullptr;  // the members of its batch; null: a single job
    bool held = false;
  };

  TenantQueue& queue_of(const std::string& model, const std::string& tenant);
  void enter(JobId id, Entry& entry);        // into the sets of its state
  void leave(JobId id, const Entry& entry);  // out of them
  void enqueue(JobId id, const Entry& entry);
  void dequeue(JobId id, const Entry& entry);
  void count(const Entry& entry, int64_t change);
  bool is_queued(JobId id, const Model& model) const;
  void push_queued(JobId id, Model& model);
  JobId oldest_queued(Model& model);

  std::map<JobId, Entry> entries_;
  std::map<std::string, std::unique_ptr<Model>> models_;
  Members batches_;
  std::set<OrderKey> scheduled_;  // by run_at
  std::set<OrderKey> deadlines_;  // of waiting jobs that have one
};

}  // namespace parkd
