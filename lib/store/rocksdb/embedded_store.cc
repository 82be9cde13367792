#include "lib/store/rocksdb/embedded_store.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/disk_space.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

constexpr std::chrono::seconds kHealEvery{1};
constexpr int64_t kRoomToHeal = int64_t{1} << 20;       // more than there was on the full disk
constexpr std::chrono::seconds kHealFullDiskEvery{30};  // it may lack something else, an inode
constexpr std::chrono::minutes kTimeMarkEvery{10};      // a sync of its own in a store that idles

Status stopped() {
  return unavailable("the store has stopped");
}

}  // namespace

// --- any thread

EmbeddedStore::EmbeddedStore(RocksDbStoreOptions options, RocksDbTesting testing, Clock& clock)
    : options_(std::move(options)), testing_(testing), clock_(clock) {}

Status EmbeddedStore::start() {
  const Status opened = load();
  if (!opened.ok()) {
    // The outbox announces the epoch of an opening to the database: it needs a real one.
    if (opened.code() != StatusCode::exhausted || has_outbox()) return opened;
    failure_ = unavailable("the store cannot be opened for writing: " + opened.message());
    must_reopen_ = true;
    serve_readers_only();
    if (database_ == nullptr) return opened;
    log_error("store.read_only", {{"dir", options_.dir}, {"why", opened.message()}});
  }
  PARKD_ASSIGN_OR_RETURN(outbox_identity_, read_outbox_identity());
  if (!has_outbox() && !outbox_identity_.is_empty) {
    log_warn("store.outbox_is_left",
             {{"dir", options_.dir},
              {"why", "messages wait for a PostgreSQL mailbox, and none is configured"}});
  }
  accepting_ = true;
  sync_thread_ = Thread({"store-sync", 0}, [this] { sync_loop(); });
  state_thread_ = Thread({"store", 0}, [this] { run(); });
  return {};
}

void EmbeddedStore::set_observer(StoreObserver observer) {
  observer_ = std::move(observer);
}

void EmbeddedStore::push(Request request) {
  {
    const std::lock_guard lock(accepting_mutex_);
    if (accepting_) {
      inbox_.push(std::move(request));
      return;
    }
  }
  request.refuse(stopped());
}

template <class T>
void EmbeddedStore::push_read(Completion<T> done, std::function<void(const Completion<T>&)> verb) {
  Request request;
  request.refuse = [done](const Status& why) { done(why); };
  request.read = [done, verb = std::move(verb)] { verb(done); };
  push(std::move(request));
}

template <class T>
void EmbeddedStore::push_write(Completion<T> done,
                               std::function<bool(const Completion<T>&, Commit&)> verb) {
  Request request;
  request.refuse = [done](const Status& why) { done(why); };
  request.write = [done, verb = std::move(verb)](Commit& commit) { return verb(done, commit); };
  push(std::move(request));
}

void EmbeddedStore::submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) {
  auto specs = std::make_shared<std::vector<JobSpec>>(std::move(jobs));
  push_write<std::vector<SubmittedJob>>(std::move(done),
                                        [this, specs](const auto& completion, Commit& commit) {
                                          return build_submit(*specs, completion, commit);
                                        });
}

void EmbeddedStore::register_model(ModelRegistration model, Completion<ModelRegistered> done) {
  push_read<ModelRegistered>(std::move(done),
                             [hash = std::move(model.content_hash)](const auto& completion) {
                               completion(ModelRegistered{true, hash});
                             });
}

void EmbeddedStore::claim(ClaimRequest request, Completion<std::vector<Job>> done) {
  push_read<std::vector<Job>>(
      std::move(done), [this, request](const auto& completion) { do_claim(request, completion); });
}

void EmbeddedStore::finish(std::vector<FinishItem> items,
                           Completion<std::vector<FinishAnswer>> done) {
  auto shared = std::make_shared<std::vector<FinishItem>>(std::move(items));
  push_write<std::vector<FinishAnswer>>(std::move(done),
                                        [this, shared](const auto& completion, Commit& commit) {
                                          return build_finish(*shared, completion, commit);
                                        });
}

void EmbeddedStore::release(std::vector<ReleaseItem> items,
                            Completion<std::vector<ReleaseAnswer>> done) {
  push_write<std::vector<ReleaseAnswer>>(
      std::move(done), [this, items = std::move(items)](const auto& completion, Commit& commit) {
        return build_release(items, completion, commit);
      });
}

void EmbeddedStore::note_deaths(DeathReport report, Completion<DeathsAnswer> done) {
  push_write<DeathsAnswer>(
      std::move(done), [this, report = std::move(report)](const auto& completion, Commit& commit) {
        return build_note_deaths(report, completion, commit);
      });
}

void EmbeddedStore::cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) {
  push_write<CancelAnswer>(std::move(done), [this, id, tenant = std::move(tenant)](
                                                const auto& completion, Commit& commit) {
    return build_cancel(id, tenant, completion, commit);
  });
}

void EmbeddedStore::take(std::string tenant, std::string mailbox_key,
                         std::vector<uint64_t> sequences, Completion<std::vector<Message>> done) {
  push_write<std::vector<Message>>(
      std::move(done), [this, tenant = std::move(tenant), mailbox_key = std::move(mailbox_key),
                        sequences = std::move(sequences)](const auto& completion, Commit& commit) {
        return build_take(tenant, mailbox_key, sequences, completion, commit);
      });
}

void EmbeddedStore::purge(Completion<PurgeAnswer> done) {
  push_write<PurgeAnswer>(std::move(done), [this](const auto& completion, Commit& commit) {
    return build_purge(completion, commit);
  });
}

void EmbeddedStore::requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) {
  push_write<std::vector<RequeuedJob>>(
      std::move(done),
      [this, request = std::move(request)](const auto& completion, Commit& commit) {
        return build_requeue(request, completion, commit);
      });
}

void EmbeddedStore::open_batch(BatchSpec spec, Completion<OpenedBatch> done) {
  push_write<OpenedBatch>(std::move(done),
                          [this, spec = std::move(spec)](const auto& completion, Commit& commit) {
                            return build_open_batch(spec, completion, commit);
                          });
}

void EmbeddedStore::seal_batch(std::string id, std::string tenant, Completion<Batch> done) {
  push_write<Batch>(std::move(done), [this, id = std::move(id), tenant = std::move(tenant)](
                                         const auto& completion, Commit& commit) {
    return build_seal_batch(id, tenant, completion, commit);
  });
}

void EmbeddedStore::cancel_batch(std::string id, std::string tenant, Completion<Batch> done) {
  push_write<Batch>(std::move(done), [this, id = std::move(id), tenant = std::move(tenant)](
                                         const auto& completion, Commit& commit) {
    return build_cancel_batch(id, tenant, completion, commit);
  });
}

void EmbeddedStore::get_batch(std::string id, std::string tenant, Completion<Batch> done) {
  push_read<Batch>(std::move(done),
                   [this, id = std::move(id), tenant = std::move(tenant)](const auto& completion) {
                     completion(do_get_batch(id, tenant));
                   });
}

void EmbeddedStore::list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) {
  push_read<std::vector<Batch>>(std::move(done),
                                [this, filter = std::move(filter)](const auto& completion) {
                                  completion(do_list_batches(filter));
                                });
}

void EmbeddedStore::get(JobId id, std::string tenant, Completion<JobRecord> done) {
  push_read<JobRecord>(std::move(done),
                       [this, id, tenant = std::move(tenant)](const auto& completion) {
                         completion(do_get(id, tenant));
                       });
}

void EmbeddedStore::list(ListFilter filter, Completion<ListAnswer> done) {
  push_read<ListAnswer>(
      std::move(done),
      [this, filter = std::move(filter)](const auto& completion) { completion(do_list(filter)); });
}

void EmbeddedStore::fetch(FetchRequest request, Completion<FetchAnswer> done) {
  push_read<FetchAnswer>(std::move(done),
                         [this, request = std::move(request)](const auto& completion) {
                           completion(do_fetch(request));
                         });
}

void EmbeddedStore::stats(Completion<StoreStats> done) {
  push_read<StoreStats>(std::move(done),
                        [this](const auto& completion) { completion(do_stats()); });
}

void EmbeddedStore::read_outbox(size_t messages_max, size_t bytes_max,
                                Completion<OutboxPage> done) {
  push_read<OutboxPage>(std::move(done), [this, messages_max, bytes_max](const auto& completion) {
    completion(do_read_outbox(messages_max, bytes_max));
  });
}

void EmbeddedStore::drop_delivered(uint64_t through, Completion<int64_t> done) {
  push_write<int64_t>(std::move(done), [this, through](const auto& completion, Commit& commit) {
    return build_drop_delivered(through, completion, commit);
  });
}

void EmbeddedStore::forget_requests(std::vector<RequestPlace> places, Completion<int64_t> done) {
  push_write<int64_t>(std::move(done),
                      [this, places = std::move(places)](const auto& completion, Commit& commit) {
                        return build_forget_requests(places, completion, commit);
                      });
}

void EmbeddedStore::find_message(JobId id, Completion<std::optional<MessagePlace>> done) {
  push_read<std::optional<MessagePlace>>(
      std::move(done), [this, id](const auto& completion) { completion(do_find_message(id)); });
}

void EmbeddedStore::stop() {
  const std::lock_guard one_at_a_time(stop_mutex_);
  {
    const std::lock_guard lock(accepting_mutex_);
    if (!accepting_) return;
    accepting_ = false;
    Request request;
    request.is_stop = true;
    inbox_.push(std::move(request));
  }
  state_thread_.join();
  to_sync_.close();
  sync_thread_.join();
  database_.reset();
}

// --- failure

// Whether a failed commit is on disk is unknown: its bytes may be in the log without a sync, and
// then a crash would bring it back. Building on such ground could store a second message for a
// job. So nothing is written until heal() has opened the database again, which decides what the
// log holds.
void EmbeddedStore::fail(const Status& why) {
  must_reopen_ = true;
  failure_ = unavailable("the store cannot write: " + why.to_string());
  next_heal_ = clock_.steady_now() + kHealEvery;
  if (why.code() == StatusCode::exhausted) wait_for_room();
  logged_failure_ = failure_.message();
  log_error("store.commit_failed", {{"dir", options_.dir}, {"error", why.to_string()}});
}

// Opening the database again on a disk that is as full as before would only take it from readers.
void EmbeddedStore::wait_for_room() {
  if (testing_.env != nullptr) return;  // its disk is not one that can be asked
  const auto disk = disk_space(options_.dir);
  room_needed_bytes_ = (disk ? disk->free_bytes : 0) + kRoomToHeal;
  heal_anyway_ = clock_.steady_now() + kHealFullDiskEvery;
}

bool EmbeddedStore::may_heal() {
  const SteadyTime now = clock_.steady_now();
  if (now < next_heal_) return false;
  if (room_needed_bytes_ == 0 || now >= heal_anyway_) return true;
  next_heal_ = now + kHealEvery;
  const auto disk = disk_space(options_.dir);
  return disk && disk->free_bytes >= room_needed_bytes_;
}

// Nothing in it allocates.
void EmbeddedStore::tear() {
  is_torn_ = true;
  if (failure_.ok()) failure_ = out_of_memory();
  if (!must_reopen_) next_heal_ = clock_.steady_now();
}

Status EmbeddedStore::usable() {
  if (failure_.ok() || !may_heal()) return failure_;
  if (caught("heal", [this] { heal(); }).ok()) return failure_;
  if (must_reopen_) database_.reset();  // half loaded
  tear();
  next_heal_ = clock_.steady_now() + kHealEvery;
  return failure_;
}

// Requires that no commit is under way. DB::Resume() is not used: it does not say what became of
// the write that failed, and refuses fatal errors.
void EmbeddedStore::heal() {
  next_heal_ = clock_.steady_now() + kHealEvery;
  if (must_reopen_) database_.reset();
  const Status loaded = must_reopen_ ? load() : load_rows();
  if (!loaded.ok()) {
    must_reopen_ = true;
    failure_ = unavailable("the store cannot be opened again: " + loaded.to_string());
    if (failure_.message() != std::exchange(logged_failure_, failure_.message())) {
      log_error("store.heal_failed", {{"dir", options_.dir}, {"error", loaded.to_string()}});
    }
    if (loaded.code() == StatusCode::exhausted) serve_readers_only();
    return;
  }
  failure_ = {};
  must_reopen_ = false;
  is_torn_ = false;
  logged_failure_.clear();
  room_needed_bytes_ = 0;
  log_warn("store.healed", {{"dir", options_.dir}, {"jobs", index_.size()}});
  Wakeups wakeups;  // the dispatcher's last claim may have been refused
  for (const QueueIndex::ModelCounts& counts : index_.counts()) {
    if (counts.queued > 0) wakeups.models.insert(counts.model);
  }
  tell(observer_, wakeups);
}

// On a full disk that lets nothing be opened for writing: mailboxes and jobs are read all the same.
void EmbeddedStore::serve_readers_only() {
  wait_for_room();
  Result<std::unique_ptr<Database>> opened = Database::open_read_only(options_, testing_);
  Status loaded = opened.status();
  if (opened.ok()) {
    database_ = std::move(opened).value();
    loaded = load_rows();
  }
  is_torn_ = is_torn_ && !loaded.ok();
  if (loaded.ok()) return;
  database_.reset();
  log_error("store.unreadable", {{"dir", options_.dir}, {"error", loaded.to_string()}});
}

// While failure_ lasts.
HealthNotice EmbeddedStore::failure_notice() const {
  std::string text = failure_.message();
  if (is_torn_ && !must_reopen_) {
    text += " in the middle of a change: the store reads its state from the disk again";
  }
  text += "; nothing is accepted, claimed or stored, ";
  text += !can_read() ? "and nothing can be read" : "what is stored can be read";
  text += room_needed_bytes_ == 0
              ? ". It is tried again every second"
              : ". It goes on by itself when there is room on the disk of " + options_.dir;
  return {"store_cannot_write", std::move(text), true};
}

Status EmbeddedStore::load() {
  Result<std::unique_ptr<Database>> opened = Database::open(options_, testing_);
  if (!opened.ok()) return opened.status();
  database_ = std::move(opened).value();
  // No operator can have accepted a loss of a store that is open.
  const bool was_open = open_epoch_ != 0;
  const Status loaded =
      was_open && database_->taken_loss() ? corrupt("work was lost") : load_rows();
  if (!loaded.ok()) database_.reset();
  return loaded;
}

Status EmbeddedStore::load_rows() {
  PARKD_RETURN_IF_ERROR(load_meta());
  PARKD_RETURN_IF_ERROR(load_batches());
  return load_jobs();
}

// --- opening

// The format is checked and, at the first opening for writing of a process, the epoch counted up:
// leases of earlier processes never equal ours.
Status EmbeddedStore::load_meta() {
  PARKD_ASSIGN_OR_RETURN(const uint64_t format,
                         database_->get_count(meta_key::kFormat, kStoreFormat));
  PARKD_RETURN_IF_ERROR(check_format(options_.dir, format));
  PARKD_ASSIGN_OR_RETURN(const uint64_t epoch, database_->get_count(meta_key::kEpoch, 0));
  PARKD_ASSIGN_OR_RETURN(const uint64_t next_id, database_->get_count(meta_key::kNextId, 1));
  PARKD_ASSIGN_OR_RETURN(const uint64_t last_sequence,
                         database_->get_count(meta_key::kLastSequence, 0));
  next_id_ = std::max(next_id_, next_id);
  last_sequence_ = std::max(last_sequence_, last_sequence);
  if (!drop_clock_) load_drop_clock();
  if (open_epoch_ != 0 || database_->is_read_only()) return {};

  uint64_t open_epoch = epoch + 1;
  rocksdb::WriteBatch batch;
  const bool has_loss = database_->taken_loss().has_value();
  if (has_loss) {
    open_epoch += kLeapAfterLoss;
    next_id_ += static_cast<JobId>(kLeapAfterLoss);
    last_sequence_ += kLeapAfterLoss;
    (void)batch.Put(database_->meta(), meta_key::kNextId,
                    record::encode_count(static_cast<uint64_t>(next_id_)));
    (void)batch.Put(database_->meta(), meta_key::kLastSequence,
                    record::encode_count(last_sequence_));
  }
  put_time_mark(batch);
  (void)batch.Put(database_->meta(), meta_key::kFormat, record::encode_count(kStoreFormat));
  (void)batch.Put(database_->meta(), meta_key::kEpoch, record::encode_count(open_epoch));
  if (epoch == 0) (void)batch.Put(database_->meta(), meta_key::kUuid, random_hex(16));
  PARKD_RETURN_IF_ERROR(database_->write(&batch));
  if (has_loss) PARKD_RETURN_IF_ERROR(database_->settle_loss());
  open_epoch_ = open_epoch;
  return {};
}

// A mark that cannot be read is not a reason to refuse work: the clock is believed.
void EmbeddedStore::load_drop_clock() {
  std::optional<ClockMark> last;
  const Result<std::string> text = database_->get(database_->meta(), meta_key::kTime);
  if (text.ok()) {
    const Result<ClockMark> mark = ClockMark::decode(*text);
    if (mark.ok()) {
      last = *mark;
    } else {
      log_warn("store.time_mark_unreadable", {{"error", mark.status().to_string()}});
    }
  }
  drop_clock_.emplace(clock_, last);
}

void EmbeddedStore::put_time_mark(rocksdb::WriteBatch& batch) {
  (void)batch.Put(database_->meta(), meta_key::kTime, drop_clock_->mark().encode());
  mark_due_ = clock_.boot_now() + kTimeMarkEvery;
}

// After load_batches(). The index is built from the jobs alone, so it cannot disagree with them.
// Claims of this process that are still live are put back (after a failed commit); there are none
// at the first open.
Status EmbeddedStore::load_jobs() {
  const WallTime now = clock_.now();
  index_ = QueueIndex();
  flagged_.clear();
  due_low_.clear();
  outbox_low_.clear();
  std::unordered_map<JobId, Claim> claims;
  const auto iterator = database_->iterate(database_->jobs(), nullptr, nullptr);
  for (; iterator->Valid(); iterator->Next()) {
    Result<record::StoredJob> stored = record::decode_job(iterator->value().ToStringView());
    if (!stored.ok()) {
      const Result<JobId> id = record::decode_id_key(iterator->key().ToStringView());
      return corrupt("job " + (id.ok() ? std::to_string(*id) : std::string("of an unknown id")) +
                     " in " + options_.dir + ": " + stored.status().message());
    }
    const JobId id = stored->job.id;
    index_.add(stored->job, now, is_member(stored->job.spec));
    next_id_ = std::max(next_id_, id + 1);
    const auto claim = claims_.find(id);
    if (claim != claims_.end()) {
      index_.mark_claimed(id);
      claims[id] = claim->second;
      claims[id].cancel_requested = stored->cancel_requested;
    } else if (stored->cancel_requested) {
      index_.hold(id);
      flagged_.push_back(id);
    }
  }
  if (!iterator->status().ok()) return corrupt(iterator->status().ToString());
  claims_ = std::move(claims);
  if (!flagged_.empty()) {
    Request request;
    request.write = [this](Commit& commit) { return end_flagged(commit); };
    waiting_.push_front(std::move(request));
  }
  return {};
}

bool EmbeddedStore::end_flagged(Commit& commit) {
  commit.begin(0);
  const WallTime now = clock_.now();
  std::vector<JobId> ended_ids;
  for (const JobId id : flagged_) {
    if (commit.touched_jobs.contains(id)) continue;  // the state was read twice since
    Result<Ended> ended = prepare_end(id, {}, cancelled_ending(), now);
    if (!ended.ok()) continue;  // logged; stays held until the store is opened again
    write_end(*ended, now, commit);
    ended_ids.push_back(id);
  }
  commit.has_cancel = true;
  commit.steps.push_back({[this, ended_ids] {
                            for (const JobId id : ended_ids) apply_end(id);
                            flagged_.clear();
                          },
                          nullptr});
  return true;
}

Result<OpenedOutbox> open_rocksdb_store_with_outbox(RocksDbStoreOptions options, Clock& clock) {
  PARKD_CHECK(options.outbox_filled != nullptr, "an outbox without anybody to tell");
  auto store = std::make_unique<EmbeddedStore>(std::move(options), RocksDbTesting{}, clock);
  PARKD_RETURN_IF_ERROR(store->start());
  RocksDbOutbox outbox(*store, store->outbox_identity());
  return OpenedOutbox{std::move(store), std::move(outbox)};
}

Result<std::unique_ptr<JobStore>> open_rocksdb_store_for_test(RocksDbStoreOptions options,
                                                              RocksDbTesting testing,
                                                              Clock& clock) {
  auto store = std::make_unique<EmbeddedStore>(std::move(options), testing, clock);
  PARKD_RETURN_IF_ERROR(store->start());
  return std::unique_ptr<JobStore>(std::move(store));
}

Result<std::unique_ptr<JobStore>> open_rocksdb_store(RocksDbStoreOptions options, Clock& clock) {
  return open_rocksdb_store_for_test(std::move(options), {}, clock);
}

}  // namespace parkd
