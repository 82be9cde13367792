// PostgresClient: what a submitting host does with the database itself, without a daemon.
//
// Goes through the functions and views made for people (migrations 0009 and 0010), so the role
// parkd_submitter suffices and the tenant is the login's; members of parkd_admin and parkd_daemon
// may name another. One thread, one session, opened at the first call and again after a loss; no
// prepared statements, so that any pooler will do.
//
// Errors of every verb: unavailable (the call may be repeated: a submit only with idempotency
// keys); conflict (the schema is not one this parkd knows, a key of another content, a sealed
// batch), denied (this login may not), exhausted (a limit), invalid (what was given). Messages
// carry the server's hint and name database and login, never a password.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/batch.h"
#include "lib/store/client_store.h"
#include "lib/store/postgres/connection.h"

namespace parkd {

class PostgresClient {
 public:
  // A live job, with what its daemon last said of it.
  struct LiveJob {
    Job job;
    std::string state;   // scheduled, queued, claimed, or the daemon's parked, running ...
    int64_t units = -1;  // -1: not priced yet
    std::string waits_for;
  };
  using Found = std::variant<std::monostate, LiveJob, Message, HistoryRow>;

  struct Model {
    std::string name;
    std::string content_hash;
    int64_t context_tokens = 0;
    bool paused = false;
  };

  // `tenant` empty: the login's own; any, where the login may and a verb names a job by id.
  PostgresClient(std::string dsn, std::string tenant);

  // All or none. A spec without a model gets the database's only one. A submit refused for one of
  // several jobs names it in the error's param, "jobs[3]".
  Result<std::vector<SubmittedJob>> submit(std::vector<JobSpec> jobs);
  Result<Found> find(JobId id);
  struct Page {
    std::vector<LiveJob> jobs;
    std::optional<JobId> next_after;  // as ListAnswer's
  };
  Result<Page> list(const ListFilter& filter);
  Result<CancelAnswer> cancel(JobId id);
  Result<std::vector<RequeuedJob>> requeue(const RequeueRequest& request);

  // Messages later than `after_sequence`; where none is there, waits up to `wait` for one: by
  // LISTEN where the database announces results (parkd.settings.notify_results), and by polling.
  Result<FetchAnswer> fetch(const std::string& mailbox_key, uint64_t after_sequence, int32_t limit,
                            std::chrono::milliseconds wait);
  // Removes the oldest messages of a key. `keep` gets them first; when it fails, or this process
  // dies in it, they stay.
  Status take(const std::string& mailbox_key, int32_t limit,
              const std::function<Status(const std::vector<Message>&)>& keep);

  // The tenant is the login's, whatever the spec says.
  Result<Batch> open_batch(const BatchSpec& spec);
  Result<Batch> batch(const std::string& id);
  Result<Batch> seal_batch(const std::string& id);
  Result<Batch> cancel_batch(const std::string& id);

  Result<std::vector<Model>> models();
  // False when the name stands for files with another hash.
  Result<bool> register_model(const Model& model);

 private:
  Status open();
  Result<pqxx::result> run(const Statement& statement, const Params& params);
  Result<std::vector<LiveJob>> live_jobs(const Statement& statement, const Params& params);
  Status explain(const Status& status) const;
  Status first_refusal(const std::vector<JobSpec>& jobs);
  Status fill_in_model(std::vector<JobSpec>& jobs);
  Result<FetchAnswer> fetch_now(const std::string& mailbox_key, uint64_t after_sequence,
                                int32_t limit);
  void listen_for_results(const std::string& mailbox_key);
  Status wait_for_news(std::chrono::milliseconds limit);

  const std::string dsn_;
  const std::string tenant_;
  Connection connection_;
  bool checked_ = false;      // this session's schema
  bool listening_ = false;    // in this session
  std::string listened_for_;  // the payload that is for us
  bool heard_ = false;        // one of them, since the last look
};

}  // namespace parkd
