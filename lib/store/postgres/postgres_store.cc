#include "lib/store/postgres/postgres_store.h"

#include <utility>

#include "lib/base/kill_point.h"
#include "lib/store/job_store.h"
#include "lib/store/postgres/awaited_keys.h"
#include "lib/store/postgres/batch_verbs.h"
#include "lib/store/postgres/caller_verbs.h"
#include "lib/store/postgres/claim_session.h"
#include "lib/store/postgres/depth_estimate.h"
#include "lib/store/postgres/file_batch_verbs.h"
#include "lib/store/postgres/finish_session.h"
#include "lib/store/postgres/held_claims.h"
#include "lib/store/postgres/listener.h"
#include "lib/store/postgres/read_verbs.h"
#include "lib/store/postgres/shared_state.h"
#include "lib/store/postgres/submit_session.h"
#include "lib/store/postgres/task_session.h"
#include "lib/store/postgres/upkeep_session.h"
#include "lib/store/postgres/upkeep_verbs.h"
#include "lib/store/postgres/verbs.h"

namespace parkd {
namespace {

// Owns the sessions and the listener, starts and stops them. Submit, claim, finish and upkeep are
// their sessions'; the verbs that are one statement for one caller are here, on the read session.
class PostgresStore final : public JobStore {
 public:
  PostgresStore(PostgresOptions options, StoreOptions store)
      : shared_(std::move(options), std::move(store)),
        listener_(shared_.options(), events()),
        submit_(shared_, held_, depth_, listener_),
        claim_(shared_, held_, depth_, listener_),
        finish_(shared_, held_),
        read_(shared_, "pg-read", shared_.connection_options("parkd-read")),
        upkeep_(shared_) {}
  ~PostgresStore() override { stop(); }

  Status start() {
    PARKD_RETURN_IF_ERROR(
        listener_.start({&submit_.connection(), &claim_.connection(), &finish_.connection(),
                         &read_.connection(), &upkeep_.connection()}));
    submit_.start();
    claim_.start();
    finish_.start();
    read_.start();
    upkeep_.start();
    return {};
  }

  void stop() override {
    shared_.begin_stop();
    submit_.close();
    claim_.close();
    finish_.close();
    read_.close();
    upkeep_.close();
    upkeep_.interrupt();
    submit_.join();
    claim_.join();
    finish_.join();
    read_.join();
    upkeep_.join();
    listener_.stop();
  }

  void set_observer(StoreObserver observer) override { shared_.set_observer(std::move(observer)); }

  // --- the sessions' verbs

  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override {
    submit_.submit(std::move(jobs), std::move(done));
  }
  void submit_and_claim(JobSpec job, Completion<SubmittedAndClaimed> done) override {
    submit_.submit_and_claim(std::move(job), std::move(done));
  }
  void claim(ClaimRequest request, Completion<std::vector<Job>> done) override {
    claim_.claim(std::move(request), std::move(done));
  }
  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done) override {
    finish_.finish(std::move(items), std::move(done));
  }
  void release(std::vector<ReleaseItem> items,
               Completion<std::vector<ReleaseAnswer>> done) override {
    finish_.release(std::move(items), [this, done = std::move(done)](auto answer) {
      depth_.look_again();
      done(std::move(answer));
    });
  }
  void purge(Completion<PurgeAnswer> done) override {
    upkeep_.purge([this, done = std::move(done)](Result<PurgeAnswer> answer) {
      if (answer.ok() && answer->deadlines_missed > 0) depth_.look_again();
      done(std::move(answer));
    });
  }

  // --- the read session's

  void note_deaths(DeathReport report, Completion<DeathsAnswer> done) override {
    read<DeathsAnswer>(std::move(done), [this, report = std::move(report)](Connection& c) {
      Wakeups wakeups;
      auto answer = parkd::note_deaths(c, report, now(), wakeups);
      depth_.look_again();
      if (answer.ok()) shared_.count_commit();
      shared_.tell(wakeups);
      return answer;
    });
  }

  void register_model(ModelRegistration model, Completion<ModelRegistered> done) override {
    read<ModelRegistered>(std::move(done), [this, model = std::move(model)](Connection& c) {
      auto registered = parkd::register_model(c, model);
      if (registered.ok() && registered->same) upkeep_.keep_model(model);
      return registered;
    });
  }

  void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) override {
    read<CancelAnswer>(std::move(done), [this, id, tenant = std::move(tenant)](Connection& c) {
      return cancel_now(c, id, tenant);
    });
  }

  void attach(JobId id, std::optional<std::chrono::seconds> grace,
              Completion<std::optional<std::chrono::seconds>> done) override {
    read<std::optional<std::chrono::seconds>>(std::move(done), [this, id, grace](Connection& c) {
      return attach_job(c, listener_.daemon_id(), id, grace);
    });
  }

  void detach(JobId id, std::string tenant, Completion<std::optional<CancelAnswer>> done) override {
    using Answer = std::optional<CancelAnswer>;
    read<Answer>(
        std::move(done), [this, id, tenant = std::move(tenant)](Connection& c) -> Result<Answer> {
          PARKD_ASSIGN_OR_RETURN(const bool is_alone, detach_job(c, listener_.daemon_id(), id));
          if (!is_alone) return Answer();
          PARKD_ASSIGN_OR_RETURN(const CancelAnswer answer, cancel_now(c, id, tenant));
          return Answer(answer);
        });
  }

  void keep(JobId id, Completion<bool> done) override {
    read<bool>(std::move(done), [id](Connection& c) { return keep_job(c, id); });
  }

  void adopt(Completion<std::vector<AttachedJob>> done) override {
    read<std::vector<AttachedJob>>(
        std::move(done), [this](Connection& c) { return adopt_jobs(c, listener_.daemon_id()); });
  }

  void requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) override {
    read<std::vector<RequeuedJob>>(std::move(done),
                                   [this, request = std::move(request)](Connection& c) {
                                     Wakeups wakeups;
                                     auto requeued = requeue_jobs(c, request, now(), wakeups);
                                     depth_.look_again();
                                     if (requeued.ok() && !wakeups.models.empty())
                                       shared_.count_commit();
                                     shared_.tell(wakeups);
                                     return requeued;
                                   });
  }

  void open_batch(BatchSpec spec, Completion<OpenedBatch> done) override {
    const Repeatable repeatable = spec.idempotency_key.empty() ? Repeatable::no : Repeatable::yes;
    read_.retried<OpenedBatch>(
        std::move(done), repeatable,
        [this, spec = std::move(spec)](Connection& c) -> Result<OpenedBatch> {
          auto opened = open_batch_row(c, spec, shared_.store(), listener_.about_now(), now());
          if (opened.ok() && !opened->existed) shared_.count_commit();
          return opened;
        });
  }

  void seal_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    read<Batch>(std::move(done),
                [this, id = std::move(id), tenant = std::move(tenant)](Connection& c) {
                  auto sealed = seal_batch_row(c, id, tenant, now());
                  if (sealed.ok()) shared_.count_commit();
                  return sealed;
                });
  }

  void cancel_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    read<Batch>(std::move(done), [this, id = std::move(id), tenant = std::move(tenant)](
                                     Connection& c) { return cancel_batch_now(c, id, tenant); });
  }

  void get_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    read<Batch>(std::move(done),
                [this, id = std::move(id), tenant = std::move(tenant)](Connection& c) {
                  return get_batch_row(c, id, tenant, now());
                });
  }

  void list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) override {
    read<std::vector<Batch>>(std::move(done), [this, filter = std::move(filter)](Connection& c) {
      return list_batch_rows(c, filter, now());
    });
  }

  void next_batch_work(BatchWorkRequest request, Completion<std::optional<Batch>> done) override {
    read<std::optional<Batch>>(std::move(done),
                               [this, request = std::move(request)](Connection& c) {
                                 auto next = next_batch_work_row(c, request, now());
                                 if (next.ok() && next->has_value()) shared_.count_commit();
                                 return next;
                               });
  }

  void advance_batch(std::string id, FileProgress progress, Completion<Batch> done) override {
    read<Batch>(std::move(done),
                [this, id = std::move(id), progress = std::move(progress)](Connection& c) {
                  auto batch = advance_batch_row(c, id, progress, now());
                  if (batch.ok()) shared_.count_commit();
                  return batch;
                });
  }

  void next_webhook(WebhookRequest request, Completion<std::optional<Batch>> done) override {
    read<std::optional<Batch>>(std::move(done),
                               [this, request = std::move(request)](Connection& c) {
                                 auto next = next_webhook_row(c, request, now());
                                 if (next.ok() && next->has_value()) shared_.count_commit();
                                 return next;
                               });
  }

  void note_webhook(std::string id, WebhookAttempt attempt, Completion<Batch> done) override {
    read<Batch>(std::move(done),
                [this, id = std::move(id), attempt = std::move(attempt)](Connection& c) {
                  auto batch = note_webhook_row(c, id, attempt, now());
                  if (batch.ok()) shared_.count_commit();
                  return batch;
                });
  }

  void get(JobId id, std::string tenant, Completion<JobRecord> done) override {
    read<JobRecord>(std::move(done), [this, id, tenant = std::move(tenant)](Connection& c) {
      return get_record(c, id, tenant, shared_.store(), now());
    });
  }

  void list(ListFilter filter, Completion<ListAnswer> done) override {
    read<ListAnswer>(std::move(done), [this, filter = std::move(filter)](Connection& c) {
      return list_jobs(c, filter, now());
    });
  }

  void fetch(FetchRequest request, Completion<FetchAnswer> done) override {
    read<FetchAnswer>(std::move(done), [this, request = std::move(request)](Connection& c) {
      return fetch_now(c, request);
    });
  }

  void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
            Completion<std::vector<Message>> done) override {
    read<std::vector<Message>>(
        std::move(done), [this, tenant = std::move(tenant), key = std::move(mailbox_key),
                          sequences = std::move(sequences),
                          uncertain = std::make_shared<UncertainTake>()](Connection& c) {
          auto taken = take_messages(c, tenant, key, sequences, now(), *uncertain);
          if (taken.ok() && !taken->empty()) shared_.count_commit();
          return taken;
        });
  }

  void stats(Completion<StoreStats> done) override {
    // At once while the database is away: the read session may be waiting for it.
    if (const std::string trouble = listener_.trouble(); !trouble.empty()) {
      StoreStats away = own_stats();
      away.health_error = trouble;
      away.healthy = false;
      return done(away);
    }
    read_.once<StoreStats>(std::move(done),
                           [this](Connection& c) -> Result<StoreStats> { return stats_now(c); });
  }

 private:
  Now now() const { return shared_.now(); }

  template <class T, class Verb>
  void read(Completion<T> done, Verb verb) {
    read_.retried<T>(std::move(done), Repeatable::yes, std::move(verb));
  }

  // Called once the listener was started, when the sessions are there.
  Listener::Events events() {
    Listener::Events events;
    events.work = [this](const std::string& model) { shared_.tell_work(model); };
    events.reconnected = [this] { held_.mark_uncertain(); };
    events.look = [this] {
      for (const std::string& model : held_.waiting_models()) shared_.tell_work(model);
    };
    events.cancelled = [this] { upkeep_.end_cancelled(); };
    events.cancel = [this](JobId id, RunLease lease) { shared_.tell_cancel(id, lease); };
    events.results = [this](const std::string& payload) {
      if (const auto key = awaited_.find(payload)) shared_.tell_message(key->first, key->second);
    };
    events.lost = [this] {
      held_.lost();
      if (shared_.options().ownership_lost) shared_.options().ownership_lost();
    };
    return events;
  }

  // A reader that finds nothing may wait: its key is known before the look that counts.
  Result<FetchAnswer> fetch_now(Connection& connection, const FetchRequest& request) {
    auto answer = fetch_messages(connection, request, now());
    const AwaitedKeys::Key key(request.tenant, request.mailbox_key);
    const auto steady_now = std::chrono::steady_clock::now();
    if (!answer.ok() || !answer->messages.empty() || !shared_.options().listen ||
        !awaited_.is_new(key, steady_now)) {
      return answer;
    }
    PARKD_ASSIGN_OR_RETURN(const auto payload,
                           results_payload(connection, request.tenant, request.mailbox_key));
    if (!payload) {
      awaited_.none_announced(steady_now);
      return answer;
    }
    awaited_.add(key, *payload);
    return fetch_messages(connection, request, now());
  }

  Result<CancelAnswer> cancel_now(Connection& connection, JobId id, const std::string& tenant) {
    Wakeups wakeups;
    PARKD_ASSIGN_OR_RETURN(const Cancelled cancelled,
                           cancel_job(connection, id, tenant, shared_.store(), now(), wakeups));
    if (cancelled.answer == CancelAnswer::cancelled ||
        cancelled.answer == CancelAnswer::cancel_requested) {
      shared_.count_commit();
    }
    depth_.look_again();
    PARKD_KILL_POINT("cancel.after_commit");
    // Another daemon's claim hears of it by NOTIFY, or with its next heartbeat.
    if (cancelled.daemon_id != 0 && cancelled.daemon_id == listener_.daemon_id()) {
      wakeups.cancels.emplace_back(id, cancelled.lease);
    }
    shared_.tell(wakeups);
    return cancelled.answer;
  }

  Result<Batch> cancel_batch_now(Connection& connection, const std::string& id,
                                 const std::string& tenant) {
    PARKD_ASSIGN_OR_RETURN(const std::vector<AskedToCancel> asked,
                           cancel_batch_members(connection, id, tenant, now()));
    if (!asked.empty()) shared_.count_commit();
    bool more = false;
    Wakeups running;
    for (const AskedToCancel& job : asked) {
      if (job.daemon_id == 0) {
        more = true;
      } else if (job.daemon_id == listener_.daemon_id()) {
        running.cancels.emplace_back(job.id, job.lease);
      }
    }
    shared_.tell(running);
    // In portions, for a transaction that ends jobs holds up readers. Whatever is left here,
    // because it is held or this process dies, housekeeping ends.
    for (int64_t after = 0; more;) {
      Wakeups wakeups;
      PARKD_ASSIGN_OR_RETURN(more, end_cancelled(connection, after, id, now(), wakeups));
      shared_.tell(wakeups);
    }
    depth_.look_again();
    PARKD_ASSIGN_OR_RETURN(Batch batch, get_batch_row(connection, id, tenant, now()));
    batch.live.reset();
    return batch;
  }

  // What needs no database.
  StoreStats own_stats() const {
    StoreStats stats;
    stats.syncs = shared_.syncs();
    stats.commits = shared_.commits();
    stats.open_epoch = listener_.epoch();
    stats.fence_epoch = listener_.fence_epoch();
    stats.uncertain_finishes = shared_.uncertain_finishes();
    stats.notices = upkeep_.notices();
    stats.sessions = listener_.opened();
    for (const Connection* connection :
         {&submit_.connection(), &claim_.connection(), &finish_.connection(), &read_.connection(),
          &upkeep_.connection()}) {
      stats.sessions += connection->opened();
    }
    return stats;
  }

  StoreStats stats_now(Connection& connection) {
    StoreStats stats = own_stats();
    const Status status = read_depths(connection, now(), stats);
    stats.health_error = status.ok() ? shared_.last_error() : status.message();
    if (stats.health_error.empty()) stats.health_error = listener_.trouble();
    stats.healthy = stats.health_error.empty();
    return stats;
  }

  SharedState shared_;
  HeldClaims held_;
  AwaitedKeys awaited_;
  DepthEstimate depth_;
  Listener listener_;
  SubmitSession submit_;
  ClaimSession claim_;
  FinishSession finish_;
  TaskSession read_;
  UpkeepSession upkeep_;
};

}  // namespace

Result<std::unique_ptr<JobStore>> open_postgres_store(PostgresOptions options, StoreOptions store) {
  auto opened = std::make_unique<PostgresStore>(std::move(options), std::move(store));
  PARKD_RETURN_IF_ERROR(opened->start());
  return std::unique_ptr<JobStore>(std::move(opened));
}

}  // namespace parkd
