#include "lib/openai/wire.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <set>

#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/base/raw_json.h"
#include "lib/base/text.h"
#include "lib/openai/completion_response.h"

namespace parkd {
namespace {

namespace json = boost::json;

// Reads one job's fields; the first thing wrong is kept.
class JobReader {
 public:
  // `raw`: the text that `fields` were read from.
  JobReader(const json::object& fields, std::string_view raw, std::string prefix)
      : fields_(fields), raw_(raw), prefix_(std::move(prefix)) {}

  Result<JobSpec> read(const SubmitLimits& limits) {
    read_body(limits);
    text("model", spec_.model);
    text("tenant", spec_.tenant);
    text("mailbox_key", spec_.mailbox_key);
    text("custom_id", spec_.custom_id);
    text("batch_id", spec_.batch_id);
    text("idempotency_key", spec_.idempotency_key);
    read_endpoint();
    read_priority();
    read_metadata();
    instant("run_at", spec_.run_at);
    instant("deadline", spec_.deadline);
    seconds("run_timeout_s", kRunTimeoutMin.count(), kRunTimeoutMax.count(), spec_.run_timeout);
    seconds("retention_s", kRetentionMin.count(), kRetentionMax.count(), spec_.retention);
    if (const auto attempts = number("max_attempts", 1, kAttemptsMax)) {
      spec_.max_attempts = static_cast<int32_t>(*attempts);
    }
    refuse_unknown();
    if (!failure_.ok()) return failure_;
    return std::move(spec_);
  }

 private:
  const json::value* take(std::string_view key) {
    known_.insert(std::string(key));
    const json::value* value = fields_.if_contains(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }

  void fail(std::string_view key, std::string why) {
    if (failure_.ok()) failure_ = invalid_param(prefix_ + std::string(key), std::move(why));
  }

  void text(std::string_view key, std::string& out) {
    const json::value* value = take(key);
    if (value == nullptr) return;
    if (!value->is_string()) {
      const std::string shown = shown_json(*value);
      return fail(key, std::string(key) + " is " + shown + "; it must be a string" +
                           (value->is_number() ? ", \"" + shown + "\"" : ""));
    }
    const auto& given = value->get_string();
    if (given.size() > kTextBytesMax) {
      return fail(key, std::string(key) + " has " + std::to_string(given.size()) +
                           " bytes, the limit is " + std::to_string(kTextBytesMax));
    }
    if (std::find(given.begin(), given.end(), '\0') != given.end()) {
      return fail(key, std::string(key) + " holds a NUL character");
    }
    out.assign(given.data(), given.size());
  }

  std::optional<int64_t> number(std::string_view key, int64_t min, int64_t max) {
    const json::value* value = take(key);
    if (value == nullptr) return std::nullopt;
    const std::optional<int64_t> number = whole_number(*value);
    if (!number || *number < min || *number > max) {
      fail(key, std::string(key) + " is " + shown_json(*value) +
                    ", it must be a whole number from " + std::to_string(min) + " to " +
                    std::to_string(max));
      return std::nullopt;
    }
    return number;
  }

  void seconds(std::string_view key, int64_t min, int64_t max,
               std::optional<std::chrono::seconds>& out) {
    if (const auto count = number(key, min, max)) out = std::chrono::seconds(*count);
  }

  void instant(std::string_view key, std::optional<WallTime>& out) {
    if (take(key) == nullptr) return;
    std::string given;
    text(key, given);
    out = parse_rfc3339(given);
    if (!out) fail(key, std::string(key) + " " + not_a_time(given));
  }

  void read_body(const SubmitLimits& limits) {
    const json::value* body = take("body");
    if (body == nullptr) return fail_without_body();
    if (!body->is_object()) {
      return fail("body", "body is " + shown_json(*body) +
                              "; it must be an OpenAI request body (a JSON object" +
                              (body->is_string() ? ", not a text that holds one)" : ")"));
    }
    spec_.body = std::string(raw_member(raw_, "body"));
    if (spec_.body.size() > limits.body_bytes_max) {
      fail("body", "body has " + std::to_string(spec_.body.size()) + " bytes, the limit is " +
                       std::to_string(limits.body_bytes_max));
    }
    const json::value* model = body->get_object().if_contains("model");
    const json::value* column = fields_.if_contains("model");
    if (model != nullptr && model->is_string()) {
      if (column == nullptr || column->is_null()) {
        spec_.model = std::string(model->get_string());
      } else if (column->is_string() && column->get_string() != model->get_string()) {
        fail("body.model",
             "body.model is " + shown_json(*model) + " but model is " + shown_json(*column));
      }
    }
  }

  // Says what is expected of those who know another API.
  void fail_without_body() {
    const std::string expected =
        "; a job is {\"body\": {\"model\": ..., \"messages\": [...]}, \"custom_id\": ..., ...}";
    if (fields_.contains("messages")) {
      return fail("body",
                  "body is missing and messages stands beside it: put the chat request "
                  "into body" +
                      expected);
    }
    if (fields_.contains("params")) {
      return fail("body",
                  "body is missing: params is the word of Anthropic's batches, here it is "
                  "body, with OpenAI's fields" +
                      expected);
    }
    if (fields_.contains("request")) {
      return fail("body", "body is missing: request is called body here" + expected);
    }
    fail("body", "body is missing" + expected);
  }

  void read_endpoint() {
    text("endpoint", spec_.endpoint);
    const bool is_named = take("endpoint") != nullptr;
    const bool is_line = take("url") != nullptr;
    std::string url = spec_.endpoint;
    text("url", url);
    if (is_named && url != spec_.endpoint) {
      return fail("url", "url is " + json_string(url) + " but endpoint is " +
                             json_string(spec_.endpoint) + ": give one of them");
    }
    spec_.endpoint = std::move(url);
    if (find_endpoint(spec_.endpoint) == nullptr) {
      fail(is_line ? "url" : "endpoint", unsupported_endpoint(spec_.endpoint));
    }
    std::string method = "POST";
    text("method", method);
    if (method != "POST") fail("method", "method is " + method + ", it must be POST");
  }

  void read_priority() {
    std::string word = spec_.batch_id.empty() ? "normal" : "low";
    text("priority", word);
    const auto priority = priority_from_string(word);
    if (!priority) {
      return fail("priority",
                  "priority is \"" + word + "\", it must be critical, high, normal or low");
    }
    spec_.priority = *priority;
  }

  void read_metadata() {
    const json::value* metadata = take("metadata");
    if (metadata == nullptr) return;
    if (!metadata->is_object() || metadata->get_object().size() > kMetadataPairsMax) {
      return fail("metadata", "metadata must be an object of at most " +
                                  std::to_string(kMetadataPairsMax) + " pairs");
    }
    spec_.metadata = std::string(raw_member(raw_, "metadata"));
    if (spec_.metadata.size() > kMetadataBytesMax) {
      fail("metadata", "metadata has " + std::to_string(spec_.metadata.size()) +
                           " bytes, the limit is " + std::to_string(kMetadataBytesMax));
    }
  }

  void refuse_unknown() {
    for (const auto& field : fields_) {
      const std::string key(field.key());
      const std::string shown = shown_name(key);
      if (known_.count(key) == 0) return fail(shown, "unknown field " + shown);
    }
  }

  const json::object& fields_;
  const std::string_view raw_;
  const std::string prefix_;
  std::set<std::string> known_;
  JobSpec spec_ = [] {
    JobSpec spec;
    spec.tenant.clear();
    return spec;
  }();
  Status failure_;
};

void write_response(JsonWriter& json, const Message& message) {
  const Ending& ending = message.ending;
  const bool refused = ending.outcome == Outcome::failed && ending.body.empty() &&
                       ending.status_code >= 400 && ending.status_code < 500;
  const std::string refusal = refused ? render_error(ending.status_code, ending.error_code,
                                                     ending.error_message, ending.error_param)
                                      : "";
  const std::string& body = refused ? refusal : ending.body;
  if (body.empty()) {
    json.member("response", nullptr);
  } else {
    json.begin_object("response").member("status_code", ending.status_code);
    json.member("request_id", "job-" + std::to_string(message.job_id));
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

Result<ParsedSubmit> parse_submit(std::string_view text, const SubmitLimits& limits) {
  JsonMemory memory(text.size(), limits.grow);
  PARKD_ASSIGN_OR_RETURN(const json::value whole,
                         read_json(text, "the request", kSubmitDepthMax, memory));
  text = without_mark(text);
  const json::object* fields = whole.if_object();
  if (whole.is_array()) {
    return invalid("the request is a JSON array; send many jobs as {\"jobs\": [...]}");
  }
  if (fields == nullptr) {
    return invalid("the request is " + shown_json(whole) + "; it must be a JSON object");
  }
  ParsedSubmit parsed;
  const json::value* jobs = fields->if_contains("jobs");
  if (jobs == nullptr) {
    PARKD_ASSIGN_OR_RETURN(JobSpec spec, JobReader(*fields, text, "").read(limits));
    parsed.jobs.push_back(std::move(spec));
    return parsed;
  }
  parsed.many = true;
  if (!jobs->is_array() || jobs->get_array().empty()) {
    return invalid_param("jobs", "jobs must be an array of at least one job");
  }
  if (fields->size() != 1) return invalid("\"jobs\" stands alone: there must be no other field");
  const json::array& list = jobs->get_array();
  if (list.size() > limits.jobs_max) {
    return invalid_param("jobs", "jobs has " + std::to_string(list.size()) +
                                     " entries, the limit is " + std::to_string(limits.jobs_max));
  }
  if (limits.grow) {
    PARKD_RETURN_IF_ERROR(limits.grow(list.size() * (sizeof(JobSpec) + sizeof(std::string_view))));
  }
  const std::vector<std::string_view> raw = raw_elements(raw_member(text, "jobs"));
  parsed.jobs.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string name = "jobs[" + std::to_string(i) + "]";
    const json::object* job = list[i].if_object();
    if (job == nullptr) return invalid_param(name, name + " must be an object");
    PARKD_ASSIGN_OR_RETURN(JobSpec spec, JobReader(*job, raw.at(i), name + ".").read(limits));
    parsed.jobs.push_back(std::move(spec));
  }
  return parsed;
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

std::string not_a_time(std::string_view text) {
  return "is \"" + shown_name(text) +
         "\", not a time as RFC 3339 has it, such as 2026-12-01T18:00:00Z";
}

std::optional<WallTime> parse_rfc3339(std::string_view text) {
  const auto digits = [&](size_t at, size_t n) -> int {
    int value = -1;
    if (at + n > text.size()) return -1;
    const auto [rest, error] = std::from_chars(text.data() + at, text.data() + at + n, value);
    return error == std::errc() && rest == text.data() + at + n && text[at] != '-' ? value : -1;
  };
  const auto is = [&](size_t at, char c) { return at < text.size() && text[at] == c; };
  const int year = digits(0, 4);
  const int month = digits(5, 2);
  const int day = digits(8, 2);
  const int hour = digits(11, 2);
  const int minute = digits(14, 2);
  const int second = digits(17, 2);
  const bool separators = is(4, '-') && is(7, '-') && (is(10, 'T') || is(10, 't') || is(10, ' ')) &&
                          is(13, ':') && is(16, ':');
  if (!separators || year < 1970 || month < 1 || day < 1 || hour < 0 || hour > 23 || minute < 0 ||
      minute > 59 || second < 0 || second > 60) {
    return std::nullopt;
  }
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return std::nullopt;
  size_t at = 19;
  int64_t fraction_us = 0;
  if (is(at, '.')) {
    int64_t weight_us = 100'000;
    for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      fraction_us += (text[at] - '0') * weight_us;
      weight_us /= 10;
    }
  }
  int64_t offset_s = 0;
  if (is(at, '+') || is(at, '-')) {
    const int offset_hour = digits(at + 1, 2);
    const int offset_minute = digits(at + 4, 2);
    if (offset_hour < 0 || offset_hour > 23 || offset_minute < 0 || offset_minute > 59 ||
        !is(at + 3, ':') || at + 6 != text.size()) {
      return std::nullopt;
    }
    offset_s = (text[at] == '-' ? -1 : 1) * (offset_hour * 3600 + offset_minute * 60);
  } else if (!(is(at, 'Z') || is(at, 'z')) || at + 1 != text.size()) {
    return std::nullopt;
  }
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const int64_t unix_s = days * 86400 + hour * 3600 + minute * 60 + second - offset_s;
  return from_unix_us(unix_s * 1'000'000 + fraction_us);
}

}  // namespace parkd
