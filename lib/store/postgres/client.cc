#include "lib/store/postgres/client.h"

#include <algorithm>
#include <map>
#include <span>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/job/job_texts.h"
#include "lib/store/batch_rules.h"
#include "lib/store/postgres/client_statements.h"
#include "lib/store/postgres/dsn.h"
#include "lib/store/postgres/migrator.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/read_verbs.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;

// How often an empty mailbox is looked at: soon at first, then at the slower pace; the slower one
// alone where the database announces results.
constexpr milliseconds kPollFirst{50};
constexpr milliseconds kPollMax{1000};

Connection::Options session(const std::string& dsn) {
  Connection::Options options;
  options.dsn = dsn;
  options.application_name = "jobctl";
  options.prepare = false;
  return options;
}

// A job as parkd.submit reads it: the client's columns of parkd.jobs. What is empty is left out.
void write_submit(JsonWriter& json, const JobSpec& spec) {
  const auto text = [&](std::string_view key, std::string_view value) {
    if (!value.empty()) json.member(key, value);
  };
  const auto raw = [&](const char* key, std::string_view value) {
    if (!value.empty()) json.member(key, RawJson{value});
  };
  const auto seconds = [&](const char* key, const std::optional<std::chrono::seconds>& value) {
    if (value) json.member(key, std::to_string(value->count()) + " seconds");
  };
  json.begin_object();
  for (const auto& [name, field] : kJobTexts) text(name, spec.*field);
  text("priority", to_string(spec.priority));
  raw("metadata", spec.metadata);
  raw("body", spec.body);
  if (spec.run_at) text("run_at", to_rfc3339(*spec.run_at));
  if (spec.deadline) text("deadline", to_rfc3339(*spec.deadline));
  seconds("run_timeout", spec.run_timeout);
  seconds("retention", spec.retention);
  json.member("max_attempts", spec.max_attempts).end_object();
}

std::string submit_json(std::span<const JobSpec> jobs) {
  JsonWriter json;
  json.begin_array();
  for (const JobSpec& job : jobs) write_submit(json, job);
  return json.end_array().take();
}

}  // namespace

PostgresClient::PostgresClient(std::string dsn, std::string tenant)
    : dsn_(std::move(dsn)), tenant_(std::move(tenant)), connection_(session(dsn_)) {}

// --- the session

Status PostgresClient::open() {
  if (connection_.connected() && checked_) return {};
  checked_ = false;
  listening_ = false;
  if (const Status status = connection_.connect(); !status.ok()) return with_target(status, dsn_);
  if (const Status status = check_schema(connection_, embedded_migrations()); !status.ok()) {
    return explain(status);
  }
  checked_ = true;
  return {};
}

Result<pqxx::result> PostgresClient::run(const Statement& statement, const Params& params) {
  PARKD_RETURN_IF_ERROR(open());
  auto rows = connection_.run_alone(statement, params);
  if (!rows.ok()) return explain(rows.status());
  return rows;
}

// The server's words without their "ERROR:", with its hint, under the code a client acts by; with
// database and login, where they are what is wrong.
Status PostgresClient::explain(const Status& status) const {
  const std::string& sqlstate = connection_.sqlstate();
  StatusCode code = status.code();
  std::string hint = connection_.hint();
  bool of_database = code == StatusCode::unavailable || sqlstate.empty();
  if (sqlstate == "42501") {
    code = StatusCode::denied;
    of_database = true;
    if (hint.empty())
      hint = "An administrator may GRANT parkd_submitter (or parkd_reader) to this login.";
  } else if (sqlstate == "53400") {
    code = StatusCode::exhausted;
    of_database = false;
  } else if (sqlstate == "23505" || sqlstate == "55000") {
    code = StatusCode::conflict;
  } else if (sqlstate == "42883" || sqlstate == "42P01" || sqlstate == "3F000") {
    code = StatusCode::conflict;
    of_database = true;
    hint = "Run jobctl migrate check.";
  }
  std::string message = status.message();
  for (const std::string_view prefix : {"ERROR:  ", "FATAL:  "}) {
    if (message.rfind(prefix, 0) == 0) message.erase(0, prefix.size());
  }
  if (!sqlstate.empty() && !hint.empty()) message += ". " + hint;
  while (!message.empty() && message.back() == '.') message.pop_back();
  const Status explained = Status(code, message).with_param(status.param());
  return of_database ? with_target(explained, dsn_) : explained;
}

// --- submit

Status PostgresClient::fill_in_model(std::vector<JobSpec>& jobs) {
  const auto is_missing = [](const JobSpec& job) { return job.model.empty(); };
  if (std::none_of(jobs.begin(), jobs.end(), is_missing)) return {};
  PARKD_ASSIGN_OR_RETURN(const std::vector<Model> known, models());
  if (known.size() != 1) {
    return invalid_param("model", "model is missing, and the database knows " +
                                      std::to_string(known.size()) + " models, not one");
  }
  for (JobSpec& job : jobs) {
    if (job.model.empty()) job.model = known.front().name;
  }
  return {};
}

// Tries them one after the other in a transaction that comes to nothing: why the first that is
// refused is, param = jobs[i]. ok: none is.
Status PostgresClient::first_refusal(const std::vector<JobSpec>& jobs) {
  PARKD_RETURN_IF_ERROR(run(client_sql::kBegin, {}).status());
  Status refusal;
  for (size_t at = 0; refusal.ok() && at < jobs.size(); ++at) {
    const auto tried =
        connection_.run_alone(client_sql::kSubmitJson, Params().add(submit_json({&jobs[at], 1})));
    if (tried.ok()) continue;
    refusal = explain(tried.status());
    if (connection_.connected()) refusal.with_param("jobs[" + std::to_string(at) + "]");
  }
  connection_.close();  // which ends it
  return refusal;
}

Result<std::vector<SubmittedJob>> PostgresClient::submit(std::vector<JobSpec> jobs) {
  PARKD_RETURN_IF_ERROR(fill_in_model(jobs));
  for (JobSpec& job : jobs) {
    if (job.tenant.empty()) job.tenant = tenant_;
  }
  Params params;
  params.add(submit_json(jobs));
  auto rows = run(client_sql::kSubmitJson, params);
  // Another session was storing the same key at the same moment: now it is there to be found.
  if (!rows.ok() && connection_.sqlstate() == "23505") rows = run(client_sql::kSubmitJson, params);
  if (!rows.ok()) {
    const Status status = rows.status();
    const bool of_one_job = status.code() == StatusCode::invalid ||
                            status.code() == StatusCode::conflict ||
                            status.code() == StatusCode::denied;
    if (!of_one_job || jobs.size() == 1) return status;
    const Status refusal = first_refusal(jobs);
    return refusal.ok() ? status : refusal;
  }
  std::vector<SubmittedJob> submitted;
  ArrayText existing;
  bool any_existed = false;
  for (const auto& row : *rows) {
    submitted.push_back({field(row, "id").id(), text(row, "mailbox_key"), flag(row, "existed")});
    if (!submitted.back().existed) continue;
    existing.add(integer(row, "id"));
    any_existed = true;
  }
  if (!any_existed) return submitted;
  // In a later statement: a job that is not live by now had finished, or has since.
  PARKD_ASSIGN_OR_RETURN(const pqxx::result live,
                         run(client_sql::kStillLive, Params().add(existing.take())));
  for (SubmittedJob& job : submitted) {
    job.finished = job.existed && std::none_of(live.begin(), live.end(), [&](const auto& row) {
                     return field(row, "id").id() == job.id;
                   });
  }
  return submitted;
}

// --- jobs

Result<PostgresClient::Found> PostgresClient::find(JobId id) {
  const auto number = static_cast<int64_t>(id);
  PARKD_ASSIGN_OR_RETURN(
      std::vector<LiveJob> live,
      live_jobs(sql::kGetJob, Params().add_null().add(number).add(encode_text(tenant_))));
  if (!live.empty()) return Found(std::move(live[0]));
  Params params;
  params.add(number).add(encode_text(tenant_));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result messages, run(client_sql::kFindMessage, params));
  if (!messages.empty()) return Found(parse_message(messages[0]));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result past, run(client_sql::kFindPast, params));
  if (!past.empty()) return Found(parse_history(past[0]));
  return Found();
}

Result<PostgresClient::Page> PostgresClient::list(const ListFilter& filter) {
  std::optional<std::string> tenant;
  if (!tenant_.empty()) tenant = tenant_;
  std::optional<int64_t> until;
  if (walks_past_others(filter, tenant.has_value())) {
    Params place;
    place.add(static_cast<int64_t>(filter.after)).add(kListVisits);
    PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, run(sql::kListUntil, place));
    until = until_of(rows);
  }
  Page page;
  PARKD_ASSIGN_OR_RETURN(page.jobs, live_jobs(client_sql::kListJobs,
                                              list_params(filter, tenant, until, std::nullopt)));
  page.next_after =
      end_page(page.jobs, filter, until, [](const LiveJob& live) { return live.job.id; });
  return page;
}

// The jobs that `statement` finds, with what daemons say of them and why they wait. One that ended
// in between stays as it was found.
Result<std::vector<PostgresClient::LiveJob>> PostgresClient::live_jobs(const Statement& statement,
                                                                       const Params& params) {
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, run(statement, params));
  std::vector<LiveJob> jobs;
  ArrayText ids;
  for (const auto& row : rows) {
    LiveJob job;
    job.job = parse_job(row);
    job.state = std::string(to_string(job.job.state));
    ids.add(static_cast<int64_t>(job.job.id));
    jobs.push_back(std::move(job));
  }
  if (jobs.empty()) return jobs;
  PARKD_ASSIGN_OR_RETURN(const pqxx::result said,
                         run(client_sql::kLiveStates, Params().add(ids.take())));
  std::map<JobId, pqxx::row> by_id;
  for (const auto& row : said) by_id.emplace(field(row, "id").id(), row);
  for (LiveJob& job : jobs) {
    const auto found = by_id.find(job.job.id);
    if (found == by_id.end()) continue;
    const pqxx::row& row = found->second;
    job.state = text(row, "state");
    job.units = field(row, "units").optional_integer().value_or(job.units);
    job.waits_for = text(row, "reason");
  }
  return jobs;
}

Result<CancelAnswer> PostgresClient::cancel(JobId id) {
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows,
                         run(client_sql::kCancelJob, Params().add(static_cast<int64_t>(id))));
  const std::string word = only_field(rows).text();
  if (word == "cancelling") return CancelAnswer::cancelling;
  if (word == "cancel_requested") return CancelAnswer::cancel_requested;
  if (word == "already_finished") return CancelAnswer::already_finished;
  return CancelAnswer::not_found;
}

Result<std::vector<RequeuedJob>> PostgresClient::requeue(const RequeueRequest& request) {
  ArrayText ids;
  for (const JobId id : request.ids) ids.add(static_cast<int64_t>(id));
  Params params;
  ArrayText codes;
  for (const std::string& code : request.error_codes) codes.add(encode_text(code));
  params.add(ids.take())
      .add(encode_text(request.model))
      .add(int64_t{request.limit})
      .add(encode_text(request.batch_id))
      .add(codes.take());
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, run(client_sql::kRequeueJobs, params));
  std::vector<RequeuedJob> requeued;
  for (const auto& row : rows) {
    requeued.push_back({field(row, "requeued_from").id(), field(row, "id").id(),
                        text(row, "mailbox_key"), flag(row, "existed")});
  }
  return requeued;
}

// --- the mailbox

Result<FetchAnswer> PostgresClient::fetch_now(const std::string& mailbox_key,
                                              uint64_t after_sequence, int32_t limit) {
  Params params;
  params.add(encode_text(mailbox_key))
      .add(static_cast<int64_t>(after_sequence))
      .add(int64_t{limit})
      .add(encode_text(tenant_));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, run(client_sql::kFetchPage, params));
  FetchAnswer answer;
  answer.next_sequence = after_sequence;
  for (const auto& row : rows) {
    answer.messages.push_back(parse_message(row));
    answer.next_sequence = answer.messages.back().sequence;
  }
  return answer;
}

// Opt-in, by the database: where results are not announced, or a pooler loses the announcements,
// polling alone finds them.
void PostgresClient::listen_for_results(const std::string& mailbox_key) {
  const auto told = run(client_sql::kResultsPayload,
                        Params().add(encode_text(mailbox_key)).add(encode_text(tenant_)));
  if (!told.ok() || told->empty() || only_field(*told).is_null) return;
  listened_for_ = only_field(*told).text();
  if (listening_) return;
  const auto hear = [this](const std::string& payload) {
    heard_ = heard_ || payload == listened_for_;
  };
  listening_ = connection_.listen("parkd_results", hear).ok();
}

// Until a result of the key is announced, and no longer than `limit`.
Status PostgresClient::wait_for_news(milliseconds limit) {
  SystemClock clock;
  const SteadyTime until = clock.steady_now() + limit;
  for (heard_ = false; !heard_;) {
    const auto left = std::chrono::duration_cast<milliseconds>(until - clock.steady_now());
    if (left.count() <= 0) break;
    PARKD_RETURN_IF_ERROR(connection_.wait(left));
  }
  return {};
}

Result<FetchAnswer> PostgresClient::fetch(const std::string& mailbox_key, uint64_t after_sequence,
                                          int32_t limit, milliseconds wait) {
  SystemClock clock;
  const SteadyTime until = clock.steady_now() + wait;
  if (wait.count() > 0) {
    PARKD_RETURN_IF_ERROR(open());
    listen_for_results(mailbox_key);  // before the first look, so that nothing falls between
  }
  milliseconds pause = listening_ ? kPollMax : kPollFirst;
  for (;;) {
    PARKD_ASSIGN_OR_RETURN(FetchAnswer answer, fetch_now(mailbox_key, after_sequence, limit));
    const auto left = std::chrono::duration_cast<milliseconds>(until - clock.steady_now());
    if (!answer.messages.empty() || left.count() <= 0) return answer;
    PARKD_RETURN_IF_ERROR(wait_for_news(std::min(pause, left)));
    pause = std::min(2 * pause, kPollMax);
  }
}

Status PostgresClient::take(const std::string& mailbox_key, int32_t limit,
                            const std::function<Status(const std::vector<Message>&)>& keep) {
  PARKD_RETURN_IF_ERROR(run(client_sql::kBegin, {}).status());
  const auto taken =
      run(client_sql::kTakeOldest,
          Params().add(encode_text(mailbox_key)).add(int64_t{limit}).add(encode_text(tenant_)));
  Status status = taken.status();
  if (status.ok()) {
    std::vector<Message> messages;
    for (const auto& row : *taken) messages.push_back(parse_message(row));
    status = keep(messages);
  }
  if (status.ok() && connection_.connected()) {
    const auto committed = connection_.run_alone(client_sql::kCommit, {});
    return committed.ok() ? Status() : explain(committed.status());
  }
  connection_.close();  // and the messages stay
  return status;
}

// --- batches

Result<Batch> PostgresClient::open_batch(const BatchSpec& spec) {
  Params params;
  spec.metadata.empty() ? params.add_null() : params.add(spec.metadata);
  spec.deadline ? params.add(to_unix_us(*spec.deadline)) : params.add_null();
  spec.name.empty() ? params.add_null() : params.add(encode_text(spec.name));
  spec.retention ? params.add(spec.retention->count()) : params.add_null();
  spec.idempotency_key.empty() ? params.add_null() : params.add(encode_text(spec.idempotency_key));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, run(client_sql::kOpenBatch, params));
  return batch(only_field(rows).text());
}

Result<Batch> PostgresClient::batch(const std::string& id) {
  PARKD_ASSIGN_OR_RETURN(
      const pqxx::result rows,
      run(client_sql::kBatch, Params().add(encode_text(id)).add(encode_text(tenant_))));
  if (rows.empty()) return no_such_batch(id);
  Batch batch = parse_batch(rows[0]);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result live,
                         run(client_sql::kLiveMembers, Params().add(encode_text(id))));
  batch.live = parse_live_members(live[0]);
  return batch;
}

Result<Batch> PostgresClient::seal_batch(const std::string& id) {
  PARKD_RETURN_IF_ERROR(batch(id).status());  // with not_found for another tenant's
  PARKD_RETURN_IF_ERROR(run(client_sql::kSealBatch, Params().add(encode_text(id))).status());
  return batch(id);
}

Result<Batch> PostgresClient::cancel_batch(const std::string& id) {
  PARKD_RETURN_IF_ERROR(batch(id).status());
  PARKD_RETURN_IF_ERROR(run(client_sql::kCancelBatch, Params().add(encode_text(id))).status());
  return batch(id);
}

// --- models

Result<std::vector<PostgresClient::Model>> PostgresClient::models() {
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, run(client_sql::kModels, {}));
  std::vector<Model> models;
  for (const auto& row : rows) {
    models.push_back({text(row, "name"), text(row, "content_hash"), integer(row, "context_tokens"),
                      flag(row, "paused")});
  }
  return models;
}

Result<bool> PostgresClient::register_model(const Model& model) {
  Params params;
  params.add(encode_text(model.name)).add(model.content_hash).add(model.context_tokens);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, run(client_sql::kRegisterModel, params));
  return only_field(rows).flag();
}

}  // namespace parkd
