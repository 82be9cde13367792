// Somebody who does more than submit, for the fault tests: until SIGTERM he submits jobs of every
// kind (fault_oracle.h) under a mailbox key of his own, singly and in batches that he seals or
// cancels, cancels some, takes their messages, and requeues what did not complete, by number and by
// code. His journal says what he was told.
//   postgres_fault_user DSN JOURNAL NAME user_sql|user_verbs BATCH
// user_sql: the functions of migrations 0009 and 0010, one session. user_verbs: a store's verbs.
#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <pqxx/pqxx>
#include <stdexcept>
#include <thread>

#include "tests/store/postgres/fault_clock.h"
#include "tests/store/postgres/fault_host.h"
#include "tests/support/store_driver.h"

namespace {

using parkd::FaultHost;
using parkd::told_to_stop;
using std::chrono::milliseconds;
using Numbers = std::vector<int64_t>;

// `certain`: the server said that nothing was done.
struct NotDone : std::runtime_error {
  NotDone(const std::string& what, bool is_certain)
      : std::runtime_error(what), certain(is_certain) {}
  bool certain;
};

// What he does, by one way or the other. Each throws NotDone.
class Door {
 public:
  virtual ~Door() = default;
  virtual Numbers submit(const std::vector<std::string>& ids, const std::string& box,
                         const std::string& batch) = 0;
  // Whether it ended there and then.
  virtual bool cancel(int64_t job) = 0;
  // Up to three of the oldest messages; `about_to` is told of them before the commit.
  virtual Numbers take(const std::string& box,
                       const std::function<void(const Numbers&)>& about_to) = 0;
  virtual Numbers not_completed(const std::string& box) = 0;
  // By number, or by code alone: who became whom.
  virtual std::vector<std::pair<int64_t, int64_t>> requeue(const Numbers& jobs,
                                                           const std::string& code) = 0;
  virtual std::string open_batch(const std::string& key) = 0;
  virtual void seal(const std::string& batch) = 0;
  virtual void cancel_batch(const std::string& batch) = 0;
};

// --- by SQL

class SqlDoor final : public Door {
 public:
  explicit SqlDoor(std::string dsn) : dsn_(std::move(dsn)) {}

  Numbers submit(const std::vector<std::string>& ids, const std::string& box,
                 const std::string& batch) override {
    std::string sql =
        "INSERT INTO parkd.jobs (model, body, custom_id, mailbox_key, batch_id) VALUES";
    for (const std::string& id : ids) {
      sql += (id == ids.front() ? " (" : ", (") + ("'m', '{}', '" + id) + "', '" + box + "', " +
             (batch.empty() ? "NULL" : "'" + batch + "'") + ")";
    }
    return numbers(run(sql + " RETURNING id"));
  }
  bool cancel(int64_t job) override {
    return std::string(run("SELECT parkd.cancel(" + std::to_string(job) + ")")[0][0].c_str()) ==
           "cancelling";
  }
  Numbers take(const std::string& box,
               const std::function<void(const Numbers&)>& about_to) override {
    run("BEGIN");
    const Numbers jobs = numbers(run("SELECT job_id FROM parkd.take('" + box + "', 3)"));
    about_to(jobs);
    run("COMMIT");
    return jobs;
  }
  Numbers not_completed(const std::string& box) override {
    return numbers(run("SELECT id FROM parkd.results WHERE mailbox_key = '" + box +
                       "' AND outcome <> 'completed' ORDER BY sequence LIMIT 2"));
  }
  std::vector<std::pair<int64_t, int64_t>> requeue(const Numbers& jobs,
                                                   const std::string& code) override {
    std::string ids;
    for (const int64_t job : jobs) ids += (ids.empty() ? "" : ",") + std::to_string(job);
    std::vector<std::pair<int64_t, int64_t>> became;
    for (const auto& row : run("SELECT requeued_from, id FROM parkd.requeue('{" + ids + "}', '" +
                               code + "', NULL, 2)")) {
      became.emplace_back(row[0].as<int64_t>(), row[1].as<int64_t>());
    }
    return became;
  }
  std::string open_batch(const std::string& key) override {
    return run("SELECT parkd.open_batch(p_idempotency_key => '" + key + "')")[0][0].c_str();
  }
  void seal(const std::string& batch) override { run("SELECT parkd.seal_batch('" + batch + "')"); }
  void cancel_batch(const std::string& batch) override {
    run("SELECT parkd.cancel_batch('" + batch + "')");
  }

 private:
  pqxx::result run(const std::string& sql) {
    try {
      if (!session_ || !session_->is_open()) session_ = std::make_unique<pqxx::connection>(dsn_);
      return pqxx::nontransaction(*session_).exec(sql);
    } catch (const pqxx::sql_error& error) {
      session_.reset();
      throw NotDone(error.what(), parkd::certainly_not_stored(error.sqlstate()));
    } catch (const std::exception& error) {
      session_.reset();
      throw NotDone(error.what(), false);
    }
  }
  static Numbers numbers(const pqxx::result& rows) {
    Numbers all;
    for (const auto& row : rows) all.push_back(row[0].as<int64_t>());
    return all;
  }

  const std::string dsn_;
  std::unique_ptr<pqxx::connection> session_;
};

// --- by the verbs of a store

class VerbDoor final : public Door {
 public:
  explicit VerbDoor(parkd::JobStore& store) : driver_(store) {}

  Numbers submit(const std::vector<std::string>& ids, const std::string& box,
                 const std::string& batch) override {
    std::vector<parkd::JobSpec> jobs;
    for (const std::string& id : ids) {
      parkd::JobSpec job;
      job.custom_id = id;
      job.model = "m";
      job.mailbox_key = box;
      job.body = "{}";
      job.batch_id = batch;
      if (!batch.empty()) job.deadline = done(driver_.get_batch(batch, "")).spec.deadline;
      jobs.push_back(std::move(job));
    }
    Numbers numbers;
    for (const auto& job : done(driver_.submit(std::move(jobs)))) {
      numbers.push_back(static_cast<int64_t>(job.id));
    }
    return numbers;
  }
  bool cancel(int64_t job) override {
    return done(driver_.cancel(static_cast<parkd::JobId>(job), "")) ==
           parkd::CancelAnswer::cancelled;
  }
  Numbers take(const std::string& box,
               const std::function<void(const Numbers&)>& about_to) override {
    std::vector<uint64_t> sequences;
    Numbers seen;
    for (const auto& message : done(driver_.fetch({"default", box, 0, 3})).messages) {
      sequences.push_back(message.sequence);
      seen.push_back(static_cast<int64_t>(message.job_id));
    }
    if (seen.empty()) return {};
    about_to(seen);
    Numbers taken;
    for (const auto& message : done(driver_.take("default", box, sequences))) {
      taken.push_back(static_cast<int64_t>(message.job_id));
    }
    return taken;
  }
  Numbers not_completed(const std::string& box) override {
    Numbers jobs;
    for (const auto& message : done(driver_.fetch({"default", box, 0, 20})).messages) {
      if (message.ending.outcome == parkd::Outcome::completed || jobs.size() == 2) continue;
      jobs.push_back(static_cast<int64_t>(message.job_id));
    }
    return jobs;
  }
  std::vector<std::pair<int64_t, int64_t>> requeue(const Numbers& jobs,
                                                   const std::string& code) override {
    parkd::RequeueRequest request;
    for (const int64_t job : jobs) request.ids.push_back(static_cast<parkd::JobId>(job));
    if (!code.empty()) request.error_codes = {code};
    request.limit = 2;
    std::vector<std::pair<int64_t, int64_t>> became;
    for (const auto& job : done(driver_.requeue(std::move(request)))) {
      became.emplace_back(static_cast<int64_t>(job.requeued_from), static_cast<int64_t>(job.id));
    }
    return became;
  }
  std::string open_batch(const std::string& key) override {
    parkd::BatchSpec spec;
    spec.idempotency_key = key;
    return done(driver_.open_batch(spec)).batch.id;
  }
  void seal(const std::string& batch) override { done(driver_.seal_batch(batch, "")); }
  void cancel_batch(const std::string& batch) override { done(driver_.cancel_batch(batch, "")); }

 private:
  template <class T>
  static T done(parkd::Result<T> result) {
    if (!result.ok()) {
      throw NotDone(result.status().to_string(),
                    result.status().code() != parkd::StatusCode::unavailable);
    }
    return std::move(result).value();
  }
  parkd::StoreDriver driver_;
};

// --- what he does

class User {
 public:
  User(FaultHost& host, Door& door) : host_(host), door_(door), box_("box-" + host.name) {}

  void live() {
    for (uint64_t round = 0; !told_to_stop(); ++round) {
      attempt([&] {
        submit({host_.next_id("c"), host_.next_id("f"), host_.next_id("r"), host_.next_id("s")},
               "");
      });
      attempt([&] { cancel(); });
      attempt([&] { requeue(door_.not_completed(box_), ""); });
      if (round % 3 == 0) attempt([&] { requeue({}, "run_timeout"); });
      attempt([&] { take(); });
      if (round % 4 == 0) attempt([&] { batch(round % 8 == 0); });
      std::this_thread::sleep_for(milliseconds(5));
    }
  }

 private:
  template <class Act>
  void attempt(Act act) {
    if (told_to_stop()) return;
    try {
      act();
    } catch (const NotDone&) {
      std::this_thread::sleep_for(milliseconds(20));
    }
  }
  // What may be sent again, until it is answered.
  template <class Act>
  void insist(Act act) {
    for (bool answered = false; !answered && !told_to_stop();) {
      attempt([&] {
        act();
        answered = true;
      });
    }
  }

  void submit(const std::vector<std::string>& ids, const std::string& batch) {
    try {
      const Numbers jobs = door_.submit(ids, box_, batch);
      host_.say("ack", ids);
      jobs_.insert(jobs_.end(), jobs.begin(), jobs.end());
      while (jobs_.size() > 40) jobs_.pop_front();
    } catch (const NotDone& error) {
      if (error.certain) host_.say("never", ids);
      throw;
    }
  }

  // Of a young one and an old one: waiting, running or gone.
  void cancel() {
    for (const bool young : {true, false}) {
      if (jobs_.empty()) return;
      const int64_t job = young ? jobs_.back() : jobs_.front();
      young ? jobs_.pop_back() : jobs_.pop_front();
      const std::string name = std::to_string(job);
      host_.say("cancel", {name});
      if (door_.cancel(job)) host_.say("cancelled", {name});
    }
  }

  void requeue(const Numbers& jobs, const std::string& code) {
    if (jobs.empty() && code.empty()) return;
    const auto say = [&] {
      for (const auto& [from, to] : door_.requeue(jobs, code)) {
        host_.say("requeued", {std::to_string(from) + " " + std::to_string(to)});
      }
    };
    code.empty() ? insist(say) : say();  // by code it would be others the second time
  }

  void take() {
    const auto say = [&](const char* word, const Numbers& jobs) {
      std::vector<std::string> names;
      for (const int64_t job : jobs) names.push_back(std::to_string(job));
      host_.say(word, names);
    };
    say("took", door_.take(box_, [&](const Numbers& jobs) { say("taking", jobs); }));
  }

  void batch(bool and_cancel) {
    std::string batch;
    const std::string key = host_.name + "-batch" + std::to_string(n_batches_++);
    insist([&] { batch = door_.open_batch(key); });
    if (batch.empty()) return;
    for (int i = 0; i < 2; ++i) {
      attempt([&] { submit({host_.next_id("c"), host_.next_id("f"), host_.next_id("s")}, batch); });
    }
    if (and_cancel) {
      host_.say("cancel_batch", {batch});
      insist([&] { door_.cancel_batch(batch); });
      if (told_to_stop()) return;
    }
    insist([&] {
      door_.seal(batch);
      host_.say("sealed", {batch});
    });
  }

  FaultHost& host_;
  Door& door_;
  const std::string box_;
  std::deque<int64_t> jobs_;  // his latest, that he may cancel
  int n_batches_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  told_to_stop();  // from here on it listens
  parkd::jump_clock_on_signals();
  FaultHost host{argv[1], parkd::Journal(argv[2]), argv[3]};
  if (std::string(argv[4]) == "user_sql") {
    SqlDoor door(host.dsn);
    User(host, door).live();
    return 0;
  }
  const auto store = parkd::open_impatient_store(host.dsn);
  if (!store) return 0;
  VerbDoor door(*store);
  User(host, door).live();
  return 0;
}
