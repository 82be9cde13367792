#include "tools/jobctl/database_client.h"

#include <boost/json.hpp>

#include "lib/base/json_writer.h"
#include "lib/base/rfc3339.h"
#include "lib/openai/batch_json.h"
#include "lib/openai/request_options.h"
#include "lib/openai/submit.h"
#include "lib/openai/wire.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

Status check_range(const char* name, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return {};
  return invalid_param(name, std::string(name) + " is " + std::to_string(value) +
                                 ", it must be from " + std::to_string(min) + " to " +
                                 std::to_string(max));
}

// What the daemon would refuse of a body before it accepts it. Its prompt is counted when the job
// is first claimed: there is no tokenizer here.
Status check_body(const JobSpec& spec) {
  return read_request_options(spec.endpoint, spec.body).status();
}

std::string render(const PostgresClient::LiveJob& live) {
  return render_job(live.job, live.state, live.units, live.waits_for);
}

std::string render(const SubmittedJob& job) {
  return render_submitted(job.id, job.mailbox_key, job.existed, job.finished);
}

Result<Answer> answer_of(const Result<Batch>& batch) {
  if (!batch.ok()) return batch.status();
  return make_answer(render_batch(*batch));
}

}  // namespace

DatabaseClient::DatabaseClient(std::string dsn, std::string tenant)
    : database_(std::move(dsn), std::move(tenant)) {}

Result<Answer> DatabaseClient::submit(const std::string& request) {
  SubmitLimits limits;
  limits.body_bytes_max = kChatBodyBytesMax;
  PARKD_ASSIGN_OR_RETURN(ParsedSubmit parsed, parse_submit(request, limits));
  const bool many = parsed.many;
  for (size_t i = 0; i < parsed.jobs.size(); ++i) {
    Status status = check_body(parsed.jobs[i]);
    if (status.ok()) continue;
    if (!many) return status;
    const std::string param = status.param().empty() ? "" : "." + status.param();
    return status.with_param("jobs[" + std::to_string(i) + "]" + param);
  }
  PARKD_ASSIGN_OR_RETURN(const std::vector<SubmittedJob> submitted,
                         database_.submit(std::move(parsed.jobs)));
  if (!many) return make_answer(render(submitted.front()));
  JsonWriter answer;
  answer.begin_object().begin_array("jobs");
  for (const SubmittedJob& job : submitted) answer.element(RawJson{render(job)});
  return make_answer(answer.end_array().end_object().take());
}

Result<Answer> DatabaseClient::job(int64_t id) {
  PARKD_ASSIGN_OR_RETURN(const PostgresClient::Found found, database_.find(static_cast<JobId>(id)));
  if (const auto* live = std::get_if<PostgresClient::LiveJob>(&found)) {
    return make_answer(render(*live));
  }
  if (const auto* message = std::get_if<Message>(&found)) {
    return make_answer(render_message(*message));
  }
  if (const auto* row = std::get_if<HistoryRow>(&found)) return make_answer(render_history(*row));
  return not_found("there is no job " + std::to_string(id));
}

Result<Answer> DatabaseClient::list(const ListRequest& request) {
  PARKD_RETURN_IF_ERROR(check_range("limit", request.limit, 1, kJobsListedMax));
  ListFilter filter;
  filter.after = static_cast<JobId>(request.after);
  filter.limit = static_cast<int32_t>(request.limit);
  if (!request.batch_id.empty()) filter.batch_id = request.batch_id;
  if (!request.mailbox_key.empty()) filter.mailbox_key = request.mailbox_key;
  if (!request.custom_id.empty()) filter.custom_id = request.custom_id;
  if (!request.model.empty()) filter.model = request.model;
  if (!request.state.empty()) {
    PARKD_ASSIGN_OR_RETURN(filter.state, parse_job_state(request.state));
  }
  PARKD_ASSIGN_OR_RETURN(const PostgresClient::Page page, database_.list(filter));
  const JobId last = page.jobs.empty() ? filter.after : page.jobs.back().job.id;
  JsonWriter answer;
  answer.begin_object().begin_array("jobs");
  for (const PostgresClient::LiveJob& live : page.jobs) answer.element(RawJson{render(live)});
  answer.end_array().member("next_after", page.next_after.value_or(last));
  return make_answer(answer.member("has_more", page.next_after.has_value()).end_object().take());
}

Result<Answer> DatabaseClient::cancel(int64_t id) {
  PARKD_ASSIGN_OR_RETURN(const CancelAnswer answer, database_.cancel(static_cast<JobId>(id)));
  if (answer == CancelAnswer::not_found) {
    return not_found("there is no job " + std::to_string(id));
  }
  const char* word = answer == CancelAnswer::cancelled          ? "cancelled"
                     : answer == CancelAnswer::cancelling       ? "cancelling"
                     : answer == CancelAnswer::cancel_requested ? "cancel_requested"
                                                                : "already_finished";
  return make_answer(render_cancel(static_cast<JobId>(id), word));
}

Result<Answer> DatabaseClient::requeue(const Requeue& what) {
  RequeueRequest request;
  for (const int64_t id : what.ids) request.ids.push_back(static_cast<JobId>(id));
  request.error_codes = what.failed_with;
  request.batch_id = what.batch_id;
  request.model = what.model;
  PARKD_ASSIGN_OR_RETURN(const std::vector<RequeuedJob> requeued, database_.requeue(request));
  return make_answer(render_requeued(requeued));
}

Status DatabaseClient::can_stream() const {
  return invalid(
      "--stream: the database has no answers that are being written: ask a daemon (--socket), or "
      "give --wait");
}

Status DatabaseClient::stream(int64_t, const std::string&,
                              const std::function<void(const StreamEvent&)>&) {
  return can_stream();
}

Result<Answer> DatabaseClient::mailbox(const MailboxRequest& request) {
  PARKD_RETURN_IF_ERROR(check_range("limit", request.limit, 1, kMessagesMax));
  PARKD_RETURN_IF_ERROR(check_range("wait_s", request.wait_s, 0, kWaitMax.count()));
  uint64_t after = 0;
  if (!request.cursor.empty()) {
    const auto sequence = parse_cursor(request.cursor);
    if (!sequence) {
      return invalid_param("cursor", "cursor is \"" + request.cursor + "\", which no answer gave");
    }
    after = *sequence;
  }
  PARKD_ASSIGN_OR_RETURN(const FetchAnswer page,
                         database_.fetch(request.key, after, static_cast<int32_t>(request.limit),
                                         std::chrono::seconds(request.wait_s)));
  return make_answer(render_page(page.messages, page.next_sequence, std::nullopt));
}

Status DatabaseClient::take(const std::string& key, int64_t limit,
                            const std::function<Status(const Answer&)>& keep) {
  PARKD_RETURN_IF_ERROR(check_range("limit", limit, 1, kMessagesMax));
  return database_.take(key, static_cast<int32_t>(limit),
                        [&keep](const std::vector<Message>& messages) {
                          const auto answer = make_answer(render_messages(messages));
                          return answer.ok() ? keep(*answer) : answer.status();
                        });
}

Result<Answer> DatabaseClient::open_batch(const json::object& request) {
  BatchSpec spec;
  spec.name = text_at(request, "name");
  spec.idempotency_key = text_at(request, "idempotency_key");
  if (const json::value* metadata = request.if_contains("metadata")) {
    spec.metadata = json::serialize(*metadata);
  }
  if (const int64_t retention_s = number_at(request, "retention_s"); retention_s > 0) {
    spec.retention = std::chrono::seconds(retention_s);
  }
  if (request.contains("deadline")) {
    const std::string deadline = text_at(request, "deadline");
    spec.deadline = parse_rfc3339(deadline);
    if (!spec.deadline) return invalid_param("deadline", "deadline " + not_a_time(deadline));
  }
  return answer_of(database_.open_batch(spec));
}

Result<Answer> DatabaseClient::batch(const std::string& id) {
  return answer_of(database_.batch(id));
}

Result<Answer> DatabaseClient::seal_batch(const std::string& id) {
  return answer_of(database_.seal_batch(id));
}

Result<Answer> DatabaseClient::cancel_batch(const std::string& id) {
  return answer_of(database_.cancel_batch(id));
}

Result<Answer> DatabaseClient::models() {
  PARKD_ASSIGN_OR_RETURN(const std::vector<PostgresClient::Model> models, database_.models());
  JsonWriter answer;
  answer.begin_object().member("object", "list").begin_array("data");
  for (const PostgresClient::Model& model : models) {
    answer.begin_object().member("id", model.name).member("object", "model");
    answer.member("state", model.paused ? "paused" : "registered");
    answer.member("context_tokens", model.context_tokens);
    answer.member("system_fingerprint", model.content_hash).end_object();
  }
  return make_answer(answer.end_array().end_object().take());
}

}  // namespace parkd::jobctl
