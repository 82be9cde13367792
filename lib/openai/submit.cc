#include "lib/openai/submit.h"

#include <algorithm>
#include <boost/json.hpp>
#include <set>

#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/base/raw_json.h"
#include "lib/base/rfc3339.h"
#include "lib/base/text.h"
#include "lib/job/job_texts.h"

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
    for (const auto& [name, field] : kJobTexts) {
      if (field != &JobSpec::endpoint) text(name, spec_.*field);
    }
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

}  // namespace parkd
