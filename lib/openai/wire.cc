#include "lib/openai/wire.h"

#include <charconv>

#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/base/raw_json.h"
#include "lib/base/text.h"
#include "lib/openai/errors.h"

namespace parkd {
namespace {

void write_response(JsonWriter& json, const Message& message) {
  const Ending& ending = message.ending;
  const bool refused = is_refusal(ending);
  const std::string refusal = refused ? render_refusal(ending) : "";
  const std::string& body = refused ? refusal : ending.body;
  if (body.empty()) {
    json.member("response", nullptr);
  } else {
    json.begin_object("response").member("status_code", ending.status_code);
    json.member("request_id", request_id_of(message.job_id));
    json.member("body", RawJson{body}).end_object();
  }
  if (ending.outcome == Outcome::completed || refused) {
    json.member("error", nullptr);
    return;
  }
  json.begin_object("error");
  json.member("code", ending.error_code.empty() ? to_string(ending.outcome) : ending.error_code);
  json.member("message", ending.error_message);
  json.member("param", TextOrNull{ending.error_param}).end_object();
}

void write_message(JsonWriter& json, const Message& message) {
  const Ending& ending = message.ending;
  json.begin_object().member("id", message.job_id);
  json.member("custom_id", TextOrNull{message.custom_id});
  json.member("mailbox_key", message.mailbox_key);
  json.member("batch_id", TextOrNull{message.batch_id});
  json.member("tenant", message.tenant);
  json.member("model", message.model);
  json.member("outcome", to_string(ending.outcome));
  write_response(json, message);
  json.member("prompt_tokens", ending.prompt_tokens);
  json.member("completion_tokens", ending.completion_tokens);
  json.member("units", ending.units);
  json.member("queue_ms", ending.queue_us / 1000);
  json.member("run_ms", ending.run_us / 1000);
  json.member("attempts", message.attempts);
  json.member("metadata", RawJson{message.metadata});
  json.member("created_at", to_rfc3339(message.created_at));
  json.member("finished_at", to_rfc3339(message.finished_at));
  json.member("expires_at", to_rfc3339(message.expires_at));
  json.member("cursor", render_cursor(message.sequence));
  json.end_object();
}

void write_messages(JsonWriter& json, const std::vector<Message>& messages) {
  json.begin_array("messages");
  for (const Message& message : messages) write_message(json, message);
  json.end_array();
}

}  // namespace

bool is_refusal(const Ending& ending) {
  return ending.outcome == Outcome::failed && ending.body.empty() && ending.status_code >= 400 &&
         ending.status_code < 500 && ending.error_code != failure::kRunTimeout;
}

std::string render_refusal(const Ending& ending) {
  return render_error(ending.status_code, ending.error_code, ending.error_message,
                      ending.error_param);
}

std::string request_id_of(JobId id) {
  return "job-" + std::to_string(id);
}

std::string render_message(const Message& message) {
  JsonWriter json;
  write_message(json, message);
  return json.take();
}

std::string render_messages(const std::vector<Message>& messages) {
  JsonWriter json;
  json.begin_object();
  write_messages(json, messages);
  return json.end_object().take();
}

std::string render_page(const std::vector<Message>& messages, uint64_t next_sequence,
                        const DamagedCursors& damaged) {
  JsonWriter json;
  json.begin_object();
  write_messages(json, messages);
  json.member("next_cursor", render_cursor(next_sequence));
  if (damaged) {
    json.begin_object("damaged").member("after", render_cursor(damaged->first));
    json.member("through", render_cursor(damaged->second)).end_object();
  }
  return json.end_object().take();
}

std::string render_submitted(JobId id, std::string_view mailbox_key, bool existed, bool finished) {
  JsonWriter json;
  json.begin_object().member("id", id).member("mailbox_key", mailbox_key);
  json.member("existed", existed).member("finished", finished);
  return json.end_object().take();
}

std::string render_cancel(JobId id, std::string_view word) {
  return JsonWriter().begin_object().member("id", id).member("cancel", word).end_object().take();
}

std::string render_job(const Job& job, std::string_view state, int64_t units,
                       std::string_view waits_for) {
  const JobSpec& spec = job.spec;
  JsonWriter json;
  json.begin_object().member("id", job.id);
  json.member("state", state);
  json.member("waits_for", TextOrNull{waits_for});
  json.member("custom_id", TextOrNull{spec.custom_id});
  json.member("mailbox_key", spec.mailbox_key);
  json.member("batch_id", TextOrNull{spec.batch_id});
  json.member("tenant", spec.tenant);
  json.member("model", spec.model);
  json.member("endpoint", spec.endpoint);
  json.member("priority", to_string(spec.priority));
  json.member("prompt_tokens", spec.prompt_tokens);
  json.member("max_new_tokens", spec.max_new_tokens);
  if (units >= 0) json.member("units", units);
  json.member("attempts", job.attempts);
  json.member("metadata", RawJson{spec.metadata});
  json.member("created_at", to_rfc3339(job.created_at));
  json.member("run_at", TextOrNull{spec.run_at ? to_rfc3339(*spec.run_at) : ""});
  json.member("deadline", TextOrNull{spec.deadline ? to_rfc3339(*spec.deadline) : ""});
  return json.end_object().take();
}

std::string render_history(const HistoryRow& row) {
  JsonWriter json;
  json.begin_object().member("id", row.job_id);
  json.member("custom_id", TextOrNull{row.custom_id});
  json.member("tenant", row.tenant);
  json.member("model", row.model);
  json.member("outcome", to_string(row.outcome));
  json.member("error_code", TextOrNull{row.error_code});
  json.member("prompt_tokens", row.prompt_tokens);
  json.member("completion_tokens", row.completion_tokens);
  json.member("created_at", to_rfc3339(row.created_at));
  json.member("finished_at", to_rfc3339(row.finished_at));
  json.member("message", "the result was taken or has expired");
  return json.end_object().take();
}

std::string render_cursor(uint64_t sequence) {
  return "c" + to_hex(sequence);
}

Result<JobState> parse_job_state(std::string_view word) {
  for (const JobState known :
       {JobState::scheduled, JobState::queued, JobState::claimed, JobState::cancelling}) {
    if (to_string(known) == word) return known;
  }
  return invalid_param("state", "state is \"" + shown_name(word) +
                                    "\", it must be scheduled, queued, claimed or cancelling");
}

std::optional<uint64_t> parse_cursor(std::string_view cursor) {
  if (cursor.size() != 17 || cursor.front() != 'c') return std::nullopt;
  uint64_t sequence = 0;
  const char* end = cursor.data() + cursor.size();
  const auto [rest, error] = std::from_chars(cursor.data() + 1, end, sequence, 16);
  if (error != std::errc() || rest != end) return std::nullopt;
  return sequence;
}

}  // namespace parkd
