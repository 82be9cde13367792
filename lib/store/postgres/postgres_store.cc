#include "lib/store/postgres/postgres_store.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "lib/base/inbox.h"
#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/base/thread.h"
#include "lib/store/postgres/batch_verbs.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/depth_estimate.h"
#include "lib/store/postgres/listener.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"
#include "lib/store/postgres/storable.h"
#include "lib/store/postgres/verbs.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kSubmitRowsMax = 2000;           // rows of one coalesced submit
constexpr size_t kFinishRowsMax = 500;            // items of one coalesced finish
constexpr std::chrono::minutes kUpkeepLimit{10};  // of a statement of housekeeping: a vacuum
constexpr std::chrono::minutes kPileWarningEvery{10};

// Of waiting for a lock: a submitter that idles in a transaction may keep it for hours, and
// everybody else's calls stand behind this one.
constexpr milliseconds kLockLimit{200};
constexpr milliseconds kHeldRetry{100};  // between looks at what such a submitter holds up

struct SubmitCall {
  std::vector<JobSpec> jobs;
  Completion<std::vector<SubmittedJob>> done;
  steady_clock::time_point give_up_at{};
};
template <class Item, class Answer>
struct EndCallOf {
  std::vector<Item> items;
  Completion<std::vector<Answer>> done;
  std::vector<std::optional<Answer>> answers{};  // so far; as many as items once it was sent
};
using FinishCall = EndCallOf<FinishItem, FinishAnswer>;
using ReleaseCall = EndCallOf<ReleaseItem, ReleaseAnswer>;
using EndCall = std::variant<FinishCall, ReleaseCall>;
using Task = std::function<void(Connection&)>;

Status stopped() {
  return unavailable("the store has stopped");
}

bool all_keyed(const std::vector<JobSpec>& jobs) {
  return std::all_of(jobs.begin(), jobs.end(),
                     [](const JobSpec& job) { return !job.idempotency_key.empty(); });
}

class PostgresStore final : public JobStore {
 public:
  PostgresStore(PostgresOptions options, StoreOptions store)
      : options_(std::move(options)),
        store_(std::move(store)),
        submit_connection_(session("parkd-submit")),
        claim_connection_(session("parkd-claim")),
        end_connection_(session("parkd-finish")),
        read_connection_(session("parkd-read")),
        upkeep_connection_(upkeep_session()),
        listener_(options_, events()) {}
  ~PostgresStore() override { stop(); }

  Status start() {
    PARKD_RETURN_IF_ERROR(
        listener_.start({&submit_connection_, &claim_connection_, &end_connection_,
                         &read_connection_, &upkeep_connection_}));
    submit_thread_ = Thread({"pg-submit", 0}, [this] { submit_loop(); });
    claim_thread_ = Thread({"pg-claim", 0}, [this] { task_loop(claims_, claim_connection_); });
    end_thread_ = Thread({"pg-finish", 0}, [this] { end_loop(); });
    read_thread_ = Thread({"pg-read", 0}, [this] { task_loop(reads_, read_connection_); });
    upkeep_thread_ = Thread({"pg-upkeep", 0}, [this] { task_loop(upkeep_, upkeep_connection_); });
    return {};
  }

  void set_observer(StoreObserver observer) override {
    const std::lock_guard lock(mutex_);
    observer_ = std::make_shared<const StoreObserver>(std::move(observer));
  }

  void submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) override {
    if (!submits_.push({std::move(jobs), done, *verb_limit()})) done(stopped());
  }

  void claim(ClaimRequest request, Completion<std::vector<Job>> done) override {
    const auto stop_answer = done;
    if (!claims_.push([this, request = std::move(request), done](Connection& connection) {
          done(claim_now(connection, request));
        })) {
      stop_answer(stopped());
    }
  }

  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done) override {
    if (!ends_.push(EndCall(FinishCall{std::move(items), done}))) done(stopped());
  }
  void release(std::vector<ReleaseItem> items,
               Completion<std::vector<ReleaseAnswer>> done) override {
    if (!ends_.push(EndCall(ReleaseCall{std::move(items), done}))) done(stopped());
  }

  void note_deaths(DeathReport report, Completion<DeathsAnswer> done) override {
    read<DeathsAnswer>(std::move(done), [this, report = std::move(report)](Connection& c) {
      return note_deaths_now(c, report);
    });
  }

  void register_model(ModelRegistration model, Completion<ModelRegistered> done) override {
    read<ModelRegistered>(std::move(done), [model = std::move(model)](Connection& c) {
      return parkd::register_model(c, model);
    });
  }

  void cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) override {
    read<CancelAnswer>(std::move(done), [this, id, tenant = std::move(tenant)](Connection& c) {
      return cancel_now(c, id, tenant);
    });
  }
  void requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) override {
    read<std::vector<RequeuedJob>>(std::move(done),
                                   [this, request = std::move(request)](Connection& c) {
                                     News news;
                                     auto requeued = requeue_jobs(c, request, now(), news);
                                     if (requeued.ok() && !news.models.empty()) count_commit();
                                     tell(news);
                                     return requeued;
                                   });
  }
  void open_batch(BatchSpec spec, Completion<OpenedBatch> done) override {
    const bool repeatable = !spec.idempotency_key.empty();
    push_task<OpenedBatch>(reads_, std::move(done), repeatable,
                           [this, spec = std::move(spec)](Connection& c) -> Result<OpenedBatch> {
                             auto opened = open_batch_row(c, spec, store_, about_now(), now());
                             if (opened.ok() && !opened->existed) count_commit();
                             return opened;
                           });
  }
  void seal_batch(std::string id, std::string tenant, Completion<Batch> done) override {
    read<Batch>(std::move(done),
                [this, id = std::move(id), tenant = std::move(tenant)](Connection& c) {
                  auto sealed = seal_batch_row(c, id, tenant, now());
                  if (sealed.ok()) count_commit();
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
  void get(JobId id, std::string tenant, Completion<JobRecord> done) override {
    read<JobRecord>(std::move(done), [this, id, tenant = std::move(tenant)](Connection& c) {
      return get_record(c, id, tenant, store_, now());
    });
  }
  void list(ListFilter filter, Completion<std::vector<Job>> done) override {
    read<std::vector<Job>>(std::move(done), [this, filter = std::move(filter)](Connection& c) {
      return list_jobs(c, filter, now());
    });
  }
  void fetch(FetchRequest request, Completion<FetchAnswer> done) override {
    read<FetchAnswer>(std::move(done), [this, request = std::move(request)](Connection& c) {
      return fetch_messages(c, request, now());
    });
  }
  void take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
            Completion<std::vector<Message>> done) override {
    read<std::vector<Message>>(
        std::move(done),
        [this, tenant = std::move(tenant), key = std::move(mailbox_key),
         sequences = std::move(sequences), doubt = std::make_shared<TakeInDoubt>()](Connection& c) {
          auto taken = take_messages(c, tenant, key, sequences, now(), *doubt);
          if (taken.ok() && !taken->empty()) count_commit();
          return taken;
        });
  }
  void purge(Completion<PurgeAnswer> done) override {
    push_task<PurgeAnswer>(upkeep_, std::move(done), true,
                           [this](Connection& c) { return purge_now(c); });
  }
  void stats(Completion<StoreStats> done) override {
    // At once while the database is away: the read lane may be waiting for it.
    if (const std::string trouble = listener_.trouble(); !trouble.empty()) {
      StoreStats away = own_stats();
      away.health_error = trouble;
      away.healthy = false;
      return done(away);
    }
    const auto stop_answer = done;
    if (!reads_.push([this, done](Connection& connection) { done(stats_now(connection)); })) {
      stop_answer(stopped());
    }
  }

  void stop() override {
    {
      const std::lock_guard lock(mutex_);
      if (!stop_by_) stop_by_ = steady_clock::now() + options_.stop_limit;
    }
    submits_.close();
    claims_.close();
    ends_.close();
    reads_.close();
    upkeep_.close();
    upkeep_connection_.interrupt();  // a vacuum may take minutes, and is begun anew some day
    for (Thread* thread :
         {&submit_thread_, &claim_thread_, &end_thread_, &read_thread_, &upkeep_thread_}) {
      thread->join();
    }
    listener_.stop();
    for (Connection* connection : {&submit_connection_, &claim_connection_, &end_connection_,
                                   &read_connection_, &upkeep_connection_}) {
      connection->close();
    }
  }

 private:
  // --- small things every lane uses

  Connection::Options session(const std::string& name) const {
    Connection::Options session;
    session.dsn = options_.dsn;
    session.application_name = name;
    session.prepare = !options_.transaction_pooling;
    session.statement_limit = options_.statement_limit;
    session.lock_limit = kLockLimit;
    return session;
  }

  Connection::Options upkeep_session() const {
    Connection::Options upkeep = session("parkd-upkeep");
    upkeep.statement_limit = kUpkeepLimit;
    return upkeep;
  }

  Now now() const {
    if (options_.test_clock == nullptr) return std::nullopt;
    return to_unix_us(options_.test_clock->now());
  }
  // For checks before the database is asked. Its time, not ours: our clock may jump. Before it is
  // known no deadline has passed.
  WallTime about_now() {
    if (options_.test_clock != nullptr) return options_.test_clock->now();
    return listener_.database_now().value_or(WallTime());
  }

  std::shared_ptr<const StoreObserver> observer() const {
    const std::lock_guard lock(mutex_);
    return observer_;
  }
  void tell_work(const std::string& model) const {
    const auto observer = this->observer();
    if (observer && observer->work_available) observer->work_available(model);
  }
  void tell_message(const std::string& tenant, const std::string& key) const {
    const auto observer = this->observer();
    if (observer && observer->message_stored) observer->message_stored(tenant, key);
  }
  void tell_cancel(JobId id, RunLease lease) const {
    const auto observer = this->observer();
    if (observer && observer->cancel_requested) observer->cancel_requested(id, lease);
  }
  void tell(const News& news) const {
    for (const std::string& model : news.models) tell_work(model);
    for (const auto& [tenant, key] : news.messages) tell_message(tenant, key);
  }

  Listener::Events events() {
    Listener::Events events;
    events.work = [this](const std::string& model) { tell_work(model); };
    events.reconnected = [this] { claims_in_doubt_ = true; };
    events.look = [this] {
      for (const std::string& model : hungry_models()) tell_work(model);
    };
    events.cancel = [this](JobId id, RunLease lease) { tell_cancel(id, lease); };
    events.message = [this](const std::string& tenant, const std::string& key) {
      tell_message(tenant, key);
    };
    events.lost = [this] {
      {
        const std::lock_guard lock(mutex_);
        claimed_.clear();
      }
      if (options_.ownership_lost) options_.ownership_lost();
    };
    return events;
  }

  // Models whose last claim found less than it asked for.
  std::set<std::string> hungry_models() const {
    const std::lock_guard lock(mutex_);
    return hungry_;
  }

  void count_commit() {
    ++n_commits_;
    ++n_syncs_;
  }

  void note(const Status& status) {
    const std::lock_guard lock(mutex_);
    last_error_ = status.code() == StatusCode::unavailable ? status.message() : "";
  }

  // Waits before another try; false when it is time to give up: `give_up_at`, or the stop's limit.
  bool wait_to_retry(milliseconds& backoff, std::optional<steady_clock::time_point> give_up_at) {
    std::optional<steady_clock::time_point> stop_by;
    {
      const std::lock_guard lock(mutex_);
      stop_by = stop_by_;
    }
    const auto wake = steady_clock::now() + backoff;
    if (give_up_at && wake > *give_up_at) return false;
    if (stop_by && wake > *stop_by) return false;
    std::this_thread::sleep_for(backoff);
    backoff = std::min(backoff * 2, milliseconds(500));
    return true;
  }
  std::optional<steady_clock::time_point> verb_limit() const {
    return steady_clock::now() + options_.verb_limit;
  }

  // Runs `verb` until it is done or answers something other than "the database is away". With
  // repeatable = false it is not tried again once it may have been committed.
  template <class T, class Verb>
  Result<T> with_retries(Connection& connection, bool repeatable,
                         std::optional<steady_clock::time_point> give_up_at, Verb verb) {
    milliseconds backoff{20};
    for (;;) {
      Result<T> result = verb(connection);
      note(result.status());
      if (result.ok() || result.status().code() != StatusCode::unavailable) return result;
      if (connection.in_doubt() && !repeatable) {
        return unavailable("the connection was lost before the database answered: " +
                           result.status().message());
      }
      // Waiting for it here would keep the whole lane.
      if (connection.sqlstate() == kLockNotAvailable) return result;
      if (!wait_to_retry(backoff, give_up_at)) return result;
    }
  }

  template <class T, class Verb>
  void read(Completion<T> done, Verb verb) {
    push_task<T>(reads_, std::move(done), true, std::move(verb));
  }
  template <class T, class Verb>
  void push_task(Inbox<Task>& lane, Completion<T> done, bool repeatable, Verb verb) {
    const auto stop_answer = done;
    // From now, not from its turn: a hundred readers wait for a database that is away together.
    if (!push_try<T>(lane, std::move(done), repeatable, verb_limit(), std::move(verb))) {
      stop_answer(stopped());
    }
  }
  template <class T, class Verb>
  bool push_try(Inbox<Task>& lane, Completion<T> done, bool repeatable,
                std::optional<steady_clock::time_point> give_up_at, Verb verb) {
    return lane.push([=, this, &lane](Connection& c) {
      auto result = with_retries<T>(c, repeatable, give_up_at, verb);
      // What somebody's open transaction holds comes again behind what others have asked meanwhile.
      const bool held = !result.ok() && c.sqlstate() == kLockNotAvailable;
      if (held && steady_clock::now() < *give_up_at &&
          push_try<T>(lane, done, repeatable, give_up_at, verb)) {
        return;
      }
      done(std::move(result));
    });
  }

  static void task_loop(Inbox<Task>& inbox, Connection& connection) {
    for (;;) {
      const std::vector<Task> tasks = inbox.wait_all();
      if (tasks.empty() && inbox.closed()) return;
      for (const Task& task : tasks) task(connection);
    }
  }

  // --- submit

  void submit_loop() {
    std::vector<SubmitCall> held;  // their key or batch is in somebody's open transaction
    for (;;) {
      std::vector<SubmitCall> calls =
          held.empty() ? submits_.wait_all() : submits_.wait_all(kHeldRetry);
      const bool stopping = submits_.closed();
      if (calls.empty() && held.empty() && stopping) return;
      // While somebody holds something nobody waits for it with others in tow.
      const Locked locked = held.empty() ? Locked::wait : Locked::skip;
      std::vector<SubmitCall> good = std::exchange(held, {});
      size_t n_rows = 0;
      std::map<std::string, int64_t> pending;  // singles of this statement, not yet in the estimate
      for (SubmitCall& call : calls) {
        Status status = check_submission(call.jobs, store_, about_now());
        if (status.ok()) status = check_storable(call.jobs);
        if (status.ok()) status = check_depth(call.jobs, pending);
        if (!status.ok()) {
          call.done(status);
          continue;
        }
        n_rows += call.jobs.size();
        good.push_back(std::move(call));
        if (n_rows < kSubmitRowsMax) continue;
        submit_together(good, locked, held);
        good.clear();
        pending.clear();
        n_rows = 0;
      }
      if (!good.empty()) submit_together(good, locked, held);
      const auto now = steady_clock::now();
      const auto waits = [&](const SubmitCall& call) { return !stopping && now < call.give_up_at; };
      for (const SubmitCall& call : held) {
        if (!waits(call)) call.done(unavailable("its key or batch is in an open transaction"));
      }
      held.erase(std::stable_partition(held.begin(), held.end(), waits), held.end());
    }
  }

  Status check_depth(const std::vector<JobSpec>& jobs, std::map<std::string, int64_t>& pending) {
    std::map<std::string, int64_t> n_new;
    for (const JobSpec& job : jobs) {
      if (job.batch_id.empty() && store_.depth_max(job.model)) ++n_new[job.model];
    }
    for (const auto& [model, n] : n_new) {
      const int64_t limit = *store_.depth_max(model);
      std::optional<int64_t> depth = depth_.of(model);
      if (!depth) {
        Params params;
        params.add(encode_text(model)).add(limit + 1);
        const auto rows = submit_connection_.run(sql::kWaitingSingles, params);
        if (!rows.ok()) return rows.status();
        depth = integer((*rows)[0], 0);
        depth_.sampled(model, *depth);
      }
      *depth += pending[model];
      if (*depth + n > limit) return queue_is_full(model, *depth, n, limit);
    }
    for (const auto& [model, n] : n_new) pending[model] += n;
    return {};
  }

  void submit_together(std::vector<SubmitCall>& calls, Locked locked,
                       std::vector<SubmitCall>& held) {
    std::vector<const std::vector<JobSpec>*> groups;
    bool repeatable = true;
    for (const SubmitCall& call : calls) {
      groups.push_back(&call.jobs);
      repeatable = repeatable && all_keyed(call.jobs);
    }
    using Answers = std::vector<GroupAnswer>;
    const auto send = [&] {
      return with_retries<Answers>(
          submit_connection_, repeatable, verb_limit(),
          [&](Connection& c) { return submit_groups(c, groups, store_, locked, now()); });
    };
    PARKD_KILL_POINT("submit.before_commit");
    auto answers = send();
    if (!answers.ok() && locked == Locked::wait &&
        submit_connection_.sqlstate() == kLockNotAvailable) {
      locked = Locked::skip;
      answers = send();
    }
    PARKD_KILL_POINT("submit.after_commit");
    if (!answers.ok() && answers.status().code() == StatusCode::invalid && calls.size() > 1) {
      for (SubmitCall& call : calls) {  // one of them is bad: each alone
        std::vector<SubmitCall> one;
        one.push_back(std::move(call));
        submit_together(one, locked, held);
      }
      return;
    }
    if (answers.ok()) count_commit();
    for (size_t i = 0; i < calls.size(); ++i) {
      if (!answers.ok()) {
        Status status = answers.status();
        // What is left for PostgreSQL to refuse is JSON that is none.
        if (status.code() == StatusCode::invalid) {
          status.with_param(calls[i].jobs.size() == 1 ? "jobs[0].body" : "jobs");
        }
        calls[i].done(status);
        continue;
      }
      const GroupAnswer& answer = (*answers)[i];
      if (!answer) {
        held.push_back(std::move(calls[i]));
        continue;
      }
      tell_submitted(calls[i].jobs, *answer);
      calls[i].done(*answer);
    }
  }

  void tell_submitted(const std::vector<JobSpec>& jobs,
                      const Result<std::vector<SubmittedJob>>& answer) {
    if (!answer.ok()) return;
    std::set<std::string> models;
    const WallTime now = about_now();
    for (size_t i = 0; i < jobs.size(); ++i) {
      if (answer->at(i).existed) continue;
      if (jobs[i].batch_id.empty()) depth_.add(jobs[i].model, 1);
      if (!jobs[i].run_at || *jobs[i].run_at <= now) models.insert(jobs[i].model);
    }
    for (const std::string& model : models) tell_work(model);
  }

  // --- claim

  Result<std::vector<Job>> claim_now(Connection& connection, const ClaimRequest& request) {
    if (request.max_jobs <= 0) return std::vector<Job>();
    const int64_t daemon_id = listener_.daemon_id();
    if (daemon_id == 0) return unavailable("not registered: " + listener_.trouble());
    if (claims_in_doubt_) PARKD_RETURN_IF_ERROR(give_back_unknown(connection, daemon_id));
    auto jobs = claim_jobs(connection, daemon_id, request, options_.listen, now());
    note(jobs.status());
    if (!jobs.ok()) {
      if (connection.sqlstate() == "PK001") {
        listener_.was_declared_gone(daemon_id);
        return unavailable(jobs.status().message());
      }
      if (connection.in_doubt()) claims_in_doubt_ = true;
      return jobs;
    }
    ++n_commits_;
    PARKD_KILL_POINT("claim.after");
    const std::lock_guard lock(mutex_);
    if (static_cast<int64_t>(jobs->size()) < request.max_jobs) {
      hungry_.insert(request.model);
    } else {
      hungry_.erase(request.model);
    }
    for (const Job& job : *jobs) {
      claimed_.insert(job.id);
      if (job.spec.batch_id.empty()) depth_.add(job.spec.model, -1);
    }
    return jobs;
  }

  // The answer to a claim was lost, or the database is a copy from before some of our finishes:
  // what it believes to be claimed and we do not know of, nobody runs.
  Status give_back_unknown(Connection& connection, int64_t daemon_id) {
    ArrayText known;
    {
      const std::lock_guard lock(mutex_);
      for (const JobId id : claimed_) known.add(static_cast<int64_t>(id));
    }
    Params params;
    params.add(daemon_id).add(known.take()).add(now());
    claims_in_doubt_ = false;  // before it is asked: a doubt that comes meanwhile stays
    const auto rows = connection.run(sql::kReturnUnknownClaims, params);
    if (!rows.ok()) {
      claims_in_doubt_ = true;
      return rows.status();
    }
    const int64_t n_jobs = integer((*rows)[0], 0);
    if (integer((*rows)[0], 1) > 0) claims_in_doubt_ = true;  // somebody holds some of them
    if (n_jobs > 0) log_info("postgres.claims_given_back", {{"jobs", n_jobs}});
    return {};
  }

  // --- finish and release

  // Everything that is there in few statements. What is not answered, because the database is away
  // or somebody's open transaction holds a job or its batch, is kept and sent again, without a
  // limit but the stop's: a finished result is not given up. The others' answers do not wait for
  // it.
  void end_loop() {
    std::vector<EndCall> calls;
    Locked locked = Locked::wait;
    milliseconds backoff{20};
    milliseconds pause{0};
    for (;;) {
      std::vector<EndCall> more = calls.empty() ? ends_.wait_all() : ends_.wait_all(pause);
      pause = milliseconds(0);
      if (calls.empty() && more.empty() && ends_.closed()) return;
      std::move(more.begin(), more.end(), std::back_inserter(calls));
      const Status status = send_ends(calls, locked);
      if (calls.empty()) {
        locked = Locked::wait;
        backoff = milliseconds(20);
        continue;
      }
      if (locked == Locked::wait && end_connection_.sqlstate() == kLockNotAvailable) {
        locked = Locked::skip;
        continue;
      }
      if (status.ok() && !ends_.closed()) {  // held: what comes meanwhile is sent at once
        pause = kHeldRetry;
        continue;
      }
      if (wait_to_retry(backoff, std::nullopt)) continue;
      const Status why = status.ok() ? unavailable("an open transaction holds it") : status;
      for (const EndCall& call : calls) {
        std::visit([&](const auto& ended) { ended.done(why); }, call);
      }
      calls.clear();
    }
  }

  // Sends what has no answer yet, answers the calls that are complete and removes them.
  Status send_ends(std::vector<EndCall>& calls, Locked locked) {
    Status status;
    std::vector<FinishCall*> finishes;
    size_t n_items = 0;
    const auto flush = [&] {
      if (!finishes.empty()) keep_first(status, send_items(finishes, locked));
      finishes.clear();
      n_items = 0;
    };
    for (EndCall& call : calls) {
      if (auto* release = std::get_if<ReleaseCall>(&call)) {
        keep_first(status, send_items(std::vector<ReleaseCall*>{release}, locked));
        continue;
      }
      finishes.push_back(&std::get<FinishCall>(call));
      n_items += finishes.back()->items.size();
      if (n_items >= kFinishRowsMax) flush();
    }
    flush();
    const auto complete = [](EndCall& call) {
      return std::visit(
          [](auto& ended) {
            return ended.answers.size() == ended.items.size() &&
                   std::all_of(ended.answers.begin(), ended.answers.end(),
                               [](const auto& answer) { return answer.has_value(); });
          },
          call);
    };
    const auto kept = std::stable_partition(calls.begin(), calls.end(),
                                            [&](EndCall& call) { return !complete(call); });
    for (auto call = kept; call != calls.end(); ++call) {
      std::visit([](auto& ended) { answer_all(ended); }, *call);
    }
    calls.erase(kept, calls.end());
    return status;
  }

  template <class Item, class Answer>
  static void answer_all(EndCallOf<Item, Answer>& call) {
    std::vector<Answer> answers;
    for (const auto& answer : call.answers) answers.push_back(*answer);
    call.done(std::move(answers));
  }
  static void keep_first(Status& status, const Status& next) {
    if (status.ok()) status = next;
  }

  Ended<FinishAnswer> end_items(const std::vector<const FinishItem*>& items, Locked locked,
                                News& news) {
    PARKD_KILL_POINT("finish.before_commit");
    auto ended = finish_jobs(end_connection_, items, locked, now(), news);
    if (end_connection_.in_doubt()) ++n_finishes_in_doubt_;
    if (ended.status.ok()) PARKD_KILL_POINT("finish.after_commit");
    return ended;
  }
  Ended<ReleaseAnswer> end_items(const std::vector<const ReleaseItem*>& items, Locked locked,
                                 News& news) {
    auto ended = release_jobs(end_connection_, items, locked, now(), news);
    if (ended.status.ok()) PARKD_KILL_POINT("release.after_commit");
    return ended;
  }

  template <class Item, class Answer>
  Status send_items(const std::vector<EndCallOf<Item, Answer>*>& calls, Locked locked) {
    std::vector<const Item*> items;
    std::vector<std::optional<Answer>*> places;
    for (EndCallOf<Item, Answer>* call : calls) {
      call->answers.resize(call->items.size());
      for (size_t i = 0; i < call->items.size(); ++i) {
        if (call->answers[i]) continue;
        items.push_back(&call->items[i]);
        places.push_back(&call->answers[i]);
      }
    }
    if (items.empty()) return {};
    News news;
    const Ended<Answer> ended = end_items(items, locked, news);
    note(ended.status);
    bool any = false;
    for (size_t i = 0; i < items.size(); ++i) {
      *places[i] = ended.answers[i];
      if (!ended.answers[i]) continue;
      any = true;
      forget(items[i]->id);
    }
    if (any) count_commit();
    tell(news);
    if (ended.status.ok() || ended.status.code() == StatusCode::unavailable) return ended.status;
    // Of no use to send it again.
    for (EndCallOf<Item, Answer>* call : calls) refuse(*call, ended.status);
    return {};
  }
  template <class Item, class Answer>
  void refuse(EndCallOf<Item, Answer>& call, const Status& why) {
    for (const Item& item : call.items) forget(item.id);
    const auto done = call.done;
    call.items.clear();
    call.answers.clear();
    call.done = [](const Result<std::vector<Answer>>&) {};
    done(why);
  }

  void forget(JobId id) {
    const std::lock_guard lock(mutex_);
    claimed_.erase(id);
  }

  // --- the rest

  Result<DeathsAnswer> note_deaths_now(Connection& connection, const DeathReport& report) {
    News news;
    auto answer = parkd::note_deaths(connection, report, now(), news);
    if (answer.ok()) count_commit();
    tell(news);
    return answer;
  }

  Result<CancelAnswer> cancel_now(Connection& connection, JobId id, const std::string& tenant) {
    News news;
    PARKD_ASSIGN_OR_RETURN(const Cancelled cancelled,
                           cancel_job(connection, id, tenant, store_, now(), news));
    if (cancelled.answer == CancelAnswer::cancelled ||
        cancelled.answer == CancelAnswer::cancel_requested) {
      count_commit();
    }
    PARKD_KILL_POINT("cancel.after_commit");
    tell(news);
    // Another daemon's claim hears of it by NOTIFY, or with its next heartbeat.
    if (cancelled.daemon_id != 0 && cancelled.daemon_id == listener_.daemon_id()) {
      tell_cancel(id, cancelled.lease);
    }
    return cancelled.answer;
  }

  Result<Batch> cancel_batch_now(Connection& connection, const std::string& id,
                                 const std::string& tenant) {
    News news;
    PARKD_ASSIGN_OR_RETURN(const std::vector<AskedToCancel> asked,
                           cancel_batch_members(connection, id, tenant, now(), news));
    if (!asked.empty() || !news.messages.empty()) count_commit();
    tell(news);
    for (const AskedToCancel& job : asked) {
      if (job.daemon_id == listener_.daemon_id()) tell_cancel(job.id, job.lease);
    }
    PARKD_ASSIGN_OR_RETURN(Batch batch, get_batch_row(connection, id, tenant, now()));
    batch.live.reset();
    return batch;
  }

  Result<PurgeAnswer> purge_now(Connection& connection) {
    News news;
    PARKD_ASSIGN_OR_RETURN(const Upkeep upkeep, maintain(connection, store_, now(), news));
    PARKD_KILL_POINT("purge.mid");
    tell(news);
    for (const std::string& table : upkeep.to_vacuum) {
      const Status cleaned = vacuum(connection, table);
      log_info("postgres.vacuumed", {{"table", table}, {"status", cleaned.to_string()}});
    }
    const auto steady_now = steady_clock::now();
    if (!upkeep.piled_up.empty() && steady_now >= next_pile_warning_) {
      next_pile_warning_ = steady_now + kPileWarningEvery;
      log_warn("postgres.dead_rows_pile_up", {{"why", upkeep.piled_up}});
    }
    return upkeep.answer;
  }

  // What needs no database.
  StoreStats own_stats() const {
    StoreStats stats;
    stats.syncs = n_syncs_;
    stats.commits = n_commits_;
    stats.open_epoch = listener_.epoch();
    stats.fence_epoch = listener_.fence_epoch();
    stats.finishes_in_doubt = n_finishes_in_doubt_;
    stats.sessions = listener_.opened();
    for (const Connection* connection : {&submit_connection_, &claim_connection_, &end_connection_,
                                         &read_connection_, &upkeep_connection_}) {
      stats.sessions += connection->opened();
    }
    return stats;
  }

  Result<StoreStats> stats_now(Connection& connection) {
    StoreStats stats = own_stats();
    Status status = sample_depth(connection);
    if (status.ok()) {
      Params params;
      params.add(now());
      const auto rows = connection.run(sql::kDepths, params);
      status = rows.status();
      if (status.ok()) read_depths(*rows, stats);
    }
    {
      const std::lock_guard lock(mutex_);
      stats.health_error = !status.ok() ? status.message() : last_error_;
    }
    if (stats.health_error.empty()) stats.health_error = listener_.trouble();
    stats.healthy = stats.health_error.empty();
    return stats;
  }

  Status sample_depth(Connection& connection) {
    Params params;
    params.add(now());
    // None: a test that wants the very number.
    options_.depth_sample.count() == 0
        ? params.add_null()
        : params.add(std::to_string(static_cast<double>(options_.depth_sample.count()) / 1000.0));
    return connection.run(sql::kSampleDepth, params).status();
  }

  static void read_depths(const pqxx::result& rows, StoreStats& stats) {
    for (const auto& row : rows) {
      stats.messages = integer(row, 5);
      if (row[0].is_null()) continue;
      ModelDepth depth;
      depth.model = text(row, 0);
      depth.scheduled = integer(row, 1);
      depth.queued = integer(row, 2);
      depth.claimed = integer(row, 3);
      if (!row[4].is_null()) depth.oldest_created_at = from_unix_us(integer(row, 4));
      stats.models.push_back(std::move(depth));
    }
  }

  const PostgresOptions options_;
  const StoreOptions store_;

  Inbox<SubmitCall> submits_;
  Inbox<Task> claims_;
  Inbox<EndCall> ends_;
  Inbox<Task> reads_;
  Inbox<Task> upkeep_;
  Connection submit_connection_;  // each of its lane's thread
  Connection claim_connection_;
  Connection end_connection_;
  Connection read_connection_;
  Connection upkeep_connection_;
  DepthEstimate depth_;
  std::atomic<bool> claims_in_doubt_{false};  // whether the database may believe in more of them
  steady_clock::time_point next_pile_warning_{};  // upkeep lane
  std::atomic<int64_t> n_commits_{0};
  std::atomic<int64_t> n_syncs_{0};
  std::atomic<int64_t> n_finishes_in_doubt_{0};

  mutable std::mutex mutex_;  // guards all below: lanes and callers look at them for an instant
  std::shared_ptr<const StoreObserver> observer_;
  std::set<JobId> claimed_;
  std::set<std::string> hungry_;
  std::string last_error_;
  std::optional<steady_clock::time_point> stop_by_;

  Listener listener_;
  Thread submit_thread_;
  Thread claim_thread_;
  Thread end_thread_;
  Thread read_thread_;
  Thread upkeep_thread_;
};

}  // namespace

Result<std::unique_ptr<JobStore>> open_postgres_store(PostgresOptions options, StoreOptions store) {
  auto opened = std::make_unique<PostgresStore>(std::move(options), std::move(store));
  PARKD_RETURN_IF_ERROR(opened->start());
  return std::unique_ptr<JobStore>(std::move(opened));
}

}  // namespace parkd
