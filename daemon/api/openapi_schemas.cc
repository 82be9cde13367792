#include "daemon/api/openapi_schemas.h"

#include <boost/json.hpp>
#include <cstdint>
#include <initializer_list>
#include <utility>

#include "lib/base/sampling_fields.h"
#include "lib/job/bounds.h"
#include "lib/job/endpoints.h"
#include "lib/openai/completion_response.h"

namespace parkd {
namespace {

namespace json = boost::json;
using Schema = json::object;

// --- words of JSON Schema

Schema of_type(std::string_view type) {
  return {{"type", type}};
}
Schema text() {
  return of_type("string");
}
Schema boolean() {
  return of_type("boolean");
}
Schema any_object() {
  return of_type("object");
}
// Characters, where our limit is of bytes: what has more of them is too long in any case.
Schema text_of_at_most(size_t n, size_t at_least = 0) {
  return {{"type", "string"}, {"minLength", at_least}, {"maxLength", n}};
}
Schema text_like(std::string_view pattern) {
  return {{"type", "string"}, {"pattern", pattern}};
}
Schema one_of_words(std::initializer_list<std::string_view> words) {
  json::array list;
  for (const std::string_view word : words) list.emplace_back(word);
  return {{"type", "string"}, {"enum", std::move(list)}};
}
Schema time() {
  return {{"type", "string"}, {"format", "date-time"}};
}
Schema unix_time() {
  return {{"type", "integer"}, {"description", "Unix time in seconds"}};
}
Schema whole() {
  return of_type("integer");
}
Schema whole(int64_t min) {
  return {{"type", "integer"}, {"minimum", min}};
}
Schema whole(int64_t min, int64_t max) {
  return {{"type", "integer"}, {"minimum", min}, {"maximum", max}};
}
Schema list_of(Schema item) {
  return {{"type", "array"}, {"items", std::move(item)}};
}
Schema list_of(Schema item, size_t min, size_t max) {
  return {{"type", "array"}, {"items", std::move(item)}, {"minItems", min}, {"maxItems", max}};
}
Schema ref(std::string_view name) {
  return {{"$ref", "#/components/schemas/" + std::string(name)}};
}
Schema any_of(std::initializer_list<Schema> schemas) {
  json::array list;
  for (const Schema& schema : schemas) list.emplace_back(schema);
  return {{"anyOf", std::move(list)}};
}
// Null is the same as left out.
Schema or_null(Schema schema) {
  const json::value* type = schema.if_contains("type");
  if (type == nullptr || !type->is_string() || schema.contains("enum")) {
    return any_of({std::move(schema), of_type("null")});
  }
  schema["type"] = json::array{*type, "null"};
  return schema;
}

using Members = std::initializer_list<std::pair<std::string_view, Schema>>;

// An object of an answer, which may get more members. Every one of `members` is there.
Schema answer(Members members, Members also = {}) {
  Schema properties;
  json::array required;
  for (const auto& [name, schema] : members) {
    properties.emplace(name, schema);
    required.emplace_back(name);
  }
  for (const auto& [name, schema] : also) properties.emplace(name, schema);
  return {{"type", "object"}, {"required", std::move(required)}, {"properties", properties}};
}

// One of a request: no other members. Those of `optional` may be null.
Schema request(Members required, Members optional, Schema more = {}) {
  Schema properties = std::move(more);
  json::array names;
  for (const auto& [name, schema] : required) {
    properties.emplace(name, schema);
    names.emplace_back(name);
  }
  for (const auto& [name, schema] : optional) properties.emplace(name, or_null(schema));
  Schema schema = {
      {"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  if (!names.empty()) schema.emplace("required", std::move(names));
  return schema;
}

Schema page_of(std::string_view item) {
  return answer({{"object", one_of_words({"list"})},
                 {"data", list_of(ref(item))},
                 {"first_id", or_null(text())},
                 {"last_id", or_null(text())},
                 {"has_more", boolean()}});
}

// As OpenAI's metadata.
Schema pairs() {
  return {{"type", "object"},
          {"maxProperties", kMetadataPairsMax},
          {"propertyNames", {{"maxLength", kMetadataNameMax}}},
          {"additionalProperties", {{"type", "string"}, {"maxLength", kMetadataTextMax}}}};
}

Schema file_life() {
  return request({{"anchor", one_of_words({"created_at"})},
                  {"seconds", whole(kFileLifeMin.count(), kFileLifeMax.count())}},
                 {});
}

Schema key_text() {
  return text_of_at_most(kTextBytesMax);
}

// --- bodies

// What the bodies of all endpoints share (lib/openai/body_reader.cc).
Schema body_options() {
  Schema options;
  const auto add = [&options](std::string_view name, Schema schema) {
    options.emplace(name, or_null(std::move(schema)));
  };
  add("model", text_of_at_most(kTextBytesMax, 1));  // left out: default_model
  add("max_tokens", whole(1, INT32_MAX));
  add("n", whole(1, kChoicesMax));
  add("seed", {{"type", "integer"}, {"minimum", INT64_MIN}, {"maximum", UINT64_MAX}});
  const Schema stop = text_of_at_most(kStopBytesMax, 1);
  add("stop", any_of({stop, list_of(stop, 0, kStopStringsMax)}));
  add("logit_bias",
      {{"type", "object"},
       {"maxProperties", kBiasesMax},
       {"propertyNames", {{"pattern", "^(0|[1-9][0-9]{0,9})$"}}},
       {"additionalProperties", {{"type", "number"}, {"minimum", -100}, {"maximum", 100}}}});
  add("top_k", whole(-1, INT32_MAX));
  for (const SamplingField& field : kSamplingFields) {
    Schema number = {{"type", "number"}, {"maximum", field.max}};
    number.emplace(field.min_is_out ? "exclusiveMinimum" : "minimum", field.min);
    add(field.name, std::move(number));
  }
  add("store", boolean());
  add("stream", boolean());
  add("stream_options",
      request({}, {{"include_usage", boolean()}, {"include_obfuscation", boolean()}}));
  add("response_format", request({{"type", one_of_words({"text"})}}, {}));
  // Taken, and without a meaning here.
  for (const char* name : {"user", "service_tier", "safety_identifier", "prompt_cache_key",
                           "prompt_cache_retention"}) {
    add(name, text());
  }
  add("metadata", any_object());
  return options;
}

Schema chat_message() {
  const Schema part = request({{"type", one_of_words({"text"})}, {"text", text()}}, {});
  return request({{"role", one_of_words({"system", "user", "assistant", "tool", "developer"})}},
                 {{"content", any_of({text(), list_of(part, 1, 1'000'000)})},
                  {"name", text()},
                  {"tool_call_id", text()},
                  {"tool_calls", list_of(ref("ToolCall"))},
                  {"reasoning", text()},
                  {"reasoning_content", text()}});
}

Schema tool_name() {
  return text_like("^[a-zA-Z0-9_-]{1," + std::to_string(kToolNameBytesMax) + "}$");
}

Schema chat_body() {
  const Schema function = request(
      {{"name", tool_name()}},
      {{"description", text()}, {"parameters", any_object()}, {"strict", {{"const", false}}}});
  const Schema tool = request({{"type", one_of_words({"function"})}, {"function", function}}, {});
  return request({{"messages", list_of(ref("ChatMessage"), 1, 1'000'000)}},
                 {{"max_completion_tokens", whole(1, INT32_MAX)},
                  {"logprobs", boolean()},
                  {"top_logprobs", whole(0, kTopLogprobsMax)},
                  {"tools", list_of(tool, 0, kToolsMax)},
                  {"tool_choice", one_of_words({"none", "auto"})},
                  {"parallel_tool_calls", boolean()},
                  {"chat_template_kwargs", any_object()},
                  {"enable_thinking", boolean()},
                  {"add_generation_prompt", boolean()},
                  {"continue_final_message", boolean()},
                  {"modalities", list_of(one_of_words({"text"}), 1, 1)}},
                 body_options());
}

Schema completion_body() {
  const Schema prompt = text_of_at_most(kChatBodyBytesMax, 1);
  const Schema ids = list_of(whole(0, INT32_MAX), 1, kChatBodyBytesMax);
  return request(
      {{"prompt", any_of({prompt, ids, list_of(any_of({prompt, ids}), 1, kAnswerChoicesMax)})}},
      {{"logprobs", whole(0, kTopLogprobsMax)},
       {"best_of", whole(1, kChoicesMax)},
       {"echo", {{"const", false}}},
       {"suffix", {{"const", ""}}}},
      body_options());
}

// Whatever a field is of, none of it.
Schema nothing() {
  return {{"type", json::array{"array", "object", "null"}}, {"maxItems", 0}, {"maxProperties", 0}};
}
Schema only_null() {
  return {{"enum", json::array{nullptr}}};
}

// Messages, and with them the output of an earlier answer as it was.
Schema response_input() {
  const Schema part =
      request({{"type", one_of_words({"input_text", "output_text"})}, {"text", text()}},
              {{"annotations", nothing()}, {"logprobs", nothing()}});
  const Schema message = request(
      {{"role", one_of_words({"system", "user", "assistant", "developer"})},
       {"content", any_of({text(), list_of(part, 1, 1'000'000)})}},
      {{"type", one_of_words({"message"})}, {"id", text()}, {"status", text()}, {"phase", text()}});
  const Schema thought =
      request({{"type", one_of_words({"reasoning_text"})}, {"text", text()}}, {});
  const Schema reasoning = request({{"type", one_of_words({"reasoning"})}},
                                   {{"id", text()},
                                    {"status", text()},
                                    {"summary", nothing()},
                                    {"encrypted_content", nothing()},
                                    {"content", any_of({text(), nothing(), list_of(thought)})}});
  return any_of({text(), list_of(any_of({message, reasoning}), 1, 1'000'000)});
}

Schema response_body() {
  Schema options = body_options();
  for (const char* name :
       {"max_tokens", "n", "response_format", "stream", "stream_options", "metadata"}) {
    options.erase(name);
  }
  const Schema off = {{"const", false}};
  const Schema format = request({{"type", one_of_words({"text"})}}, {});
  return request({{"input", response_input()}},
                 {{"instructions", text()},
                  {"max_output_tokens", whole(1, INT32_MAX)},
                  {"metadata", pairs()},
                  {"text", request({}, {{"format", format}, {"verbosity", only_null()}})},
                  {"reasoning", request({}, {{"effort", only_null()}, {"summary", only_null()}})},
                  {"tools", list_of(any_object(), 0, 0)},
                  {"tool_choice", one_of_words({"none", "auto"})},
                  {"parallel_tool_calls", boolean()},
                  {"include", list_of(any_object(), 0, 0)},
                  {"truncation", one_of_words({"disabled"})},
                  {"top_logprobs", {{"const", 0}}},
                  {"stream", off},
                  {"background", off},
                  {"previous_response_id", only_null()},
                  {"conversation", only_null()},
                  {"prompt", only_null()},
                  {"max_tool_calls", only_null()}},
                 std::move(options));
}

// --- jobs

Schema endpoint_path() {
  json::array paths;
  for (const EndpointPath& endpoint : kEndpoints) paths.emplace_back(endpoint.path);
  return {{"type", "string"}, {"enum", std::move(paths)}};
}

Schema job_request() {
  return request({{"body", any_of({ref("ChatBody"), ref("CompletionBody"), ref("ResponseBody")})}},
                 {{"model", key_text()},
                  {"tenant", key_text()},
                  {"mailbox_key", key_text()},
                  {"custom_id", key_text()},
                  {"batch_id", key_text()},
                  {"idempotency_key", key_text()},
                  {"endpoint", endpoint_path()},
                  {"url", endpoint_path()},
                  {"method", one_of_words({"POST"})},
                  {"priority", one_of_words({"critical", "high", "normal", "low"})},
                  {"metadata", {{"type", "object"}, {"maxProperties", kMetadataPairsMax}}},
                  {"run_at", time()},
                  {"deadline", time()},
                  {"run_timeout_s", whole(kRunTimeoutMin.count(), kRunTimeoutMax.count())},
                  {"retention_s", whole(kRetentionMin.count(), kRetentionMax.count())},
                  {"max_attempts", whole(1, kAttemptsMax)}});
}

Schema submitted() {
  return answer(
      {{"id", whole(1)}, {"mailbox_key", text()}, {"existed", boolean()}, {"finished", boolean()}});
}

Schema live_job() {
  return answer({{"id", whole(1)},
                 {"state", text()},
                 {"waits_for", or_null(text())},
                 {"custom_id", or_null(text())},
                 {"mailbox_key", text()},
                 {"batch_id", or_null(text())},
                 {"tenant", text()},
                 {"model", text()},
                 {"endpoint", text()},
                 {"priority", text()},
                 {"prompt_tokens", whole(0)},
                 {"max_new_tokens", whole(0)},
                 {"attempts", whole(0)},
                 {"metadata", or_null(any_object())},
                 {"created_at", time()},
                 {"run_at", or_null(time())},
                 {"deadline", or_null(time())}},
                {{"units", whole(0)}});
}

// What every end of a job has, its message taken or not.
Schema message() {
  return answer(
      {{"id", whole(1)},
       {"custom_id", or_null(text())},
       {"mailbox_key", text()},
       {"batch_id", or_null(text())},
       {"tenant", text()},
       {"model", text()},
       {"outcome", ref("Outcome")},
       {"response",
        or_null(answer(
            {{"status_code", whole(100, 599)}, {"request_id", text()}, {"body", any_object()}}))},
       {"error",
        or_null(answer({{"code", text()}, {"message", text()}, {"param", or_null(text())}}))},
       {"prompt_tokens", whole(0)},
       {"completion_tokens", whole(0)},
       {"units", whole(0)},
       {"queue_ms", whole(0)},
       {"run_ms", whole(0)},
       {"attempts", whole(0)},
       {"metadata", or_null(any_object())},
       {"created_at", time()},
       {"finished_at", time()},
       {"expires_at", time()},
       {"cursor", text_like("^c[0-9a-f]{16}$")}});
}

Schema history() {
  return answer({{"id", whole(1)},
                 {"custom_id", or_null(text())},
                 {"tenant", text()},
                 {"model", text()},
                 {"outcome", ref("Outcome")},
                 {"error_code", or_null(text())},
                 {"prompt_tokens", whole(0)},
                 {"completion_tokens", whole(0)},
                 {"created_at", time()},
                 {"finished_at", time()},
                 {"message", text()}});
}

void add_jobs(Schema& all) {
  all["Outcome"] =
      one_of_words({"completed", "failed", "cancelled", "deadline_missed", "quarantined"});
  all["JobRequest"] = job_request();
  all["Submission"] = any_of(
      {ref("JobRequest"), request({{"jobs", list_of(ref("JobRequest"), 1, kSubmitJobsMax)}}, {})});
  all["Submitted"] = submitted();
  all["SubmittedJobs"] = any_of({ref("Submitted"), answer({{"jobs", list_of(ref("Submitted"))}})});
  all["LiveJob"] = live_job();
  all["Message"] = message();
  all["FinishedJob"] = history();
  all["Job"] = any_of({ref("LiveJob"), ref("Message"), ref("FinishedJob")});
  all["Jobs"] = answer(
      {{"jobs", list_of(ref("LiveJob"))}, {"next_after", whole(0)}, {"has_more", boolean()}});
  all["Cancelled"] =
      answer({{"id", whole(1)},
              {"cancel",
               one_of_words({"cancelled", "cancel_requested", "cancelling", "already_finished"})}});
  all["RequeueRequest"] =
      request({}, {{"ids", list_of(whole(0), 1, kRequeueIdsMax)},
                   {"failed_with", any_of({text(), list_of(text(), 1, kRequeueCodesMax)})},
                   {"batch_id", text()},
                   {"model", text()},
                   {"limit", whole(1, kRequeueIdsMax)}});
  all["Requeued"] = answer({{"jobs", list_of(answer({{"requeued_from", whole(1)},
                                                     {"id", whole(1)},
                                                     {"mailbox_key", or_null(text())},
                                                     {"existed", boolean()}}))}});
  all["Messages"] = answer(
      {{"messages", list_of(ref("Message"))}},
      {{"next_cursor", text()}, {"damaged", answer({{"after", text()}, {"through", text()}})}});
  all["TakeRequest"] =
      request({}, {{"limit", whole(1, kMessagesMax)},
                   {"cursors", list_of(text_like("^c[0-9a-f]{16}$"), 1, size_t{kMessagesMax})}});
}

// --- answers of models

void add_completions(Schema& all) {
  all["ToolCall"] =
      request({{"id", text_of_at_most(kTextBytesMax, 1)},
               {"type", one_of_words({"function"})},
               {"function", request({{"name", tool_name()}, {"arguments", text()}}, {})}},
              {{"index", whole()}});
  all["ChatMessage"] = chat_message();
  all["ChatBody"] = chat_body();
  all["CompletionBody"] = completion_body();
  all["ResponseBody"] = response_body();
  all["Usage"] = answer({{"prompt_tokens", whole(0)},
                         {"completion_tokens", whole(0)},
                         {"total_tokens", whole(0)},
                         {"prompt_tokens_details", answer({{"cached_tokens", whole(0)}})}},
                        {{"completion_tokens_details", answer({{"reasoning_tokens", whole(0)}})}});
  const Schema chat_answer =
      answer({{"role", one_of_words({"assistant"})}, {"content", or_null(text())}},
             {{"reasoning", text()}, {"tool_calls", list_of(ref("ToolCall"))}});
  const Schema finish = one_of_words({"stop", "length", "tool_calls", "cancelled"});
  const auto completion = [](std::string_view object, Schema choice, Members also = {}) {
    return answer({{"id", text()},
                   {"object", one_of_words({object})},
                   {"created", unix_time()},
                   {"model", text()},
                   {"system_fingerprint", or_null(text())},
                   {"choices", list_of(std::move(choice))},
                   {"usage", ref("Usage")},
                   {"parkd", any_object()}},
                  std::move(also));
  };
  all["ChatCompletion"] = completion("chat.completion",
                                     answer({{"index", whole(0)},
                                             {"message", chat_answer},
                                             {"logprobs", or_null(any_object())},
                                             {"finish_reason", finish}}),
                                     {{"service_tier", one_of_words({kServiceTier})}});
  all["Completion"] = completion("text_completion", answer({{"index", whole(0)},
                                                            {"text", text()},
                                                            {"logprobs", or_null(any_object())},
                                                            {"finish_reason", finish}}));
}

void add_response(Schema& all) {
  const Schema status = one_of_words({"completed", "incomplete", "cancelled"});
  const auto item = [](std::string_view type, std::string_view part, Schema item_status) {
    return answer(
        {{"type", one_of_words({type})},
         {"id", text()},
         {"status", std::move(item_status)},
         {"content", list_of(answer({{"type", one_of_words({part})}, {"text", text()}}))}});
  };
  const Schema item_status = one_of_words({"completed", "incomplete"});
  all["Response"] = answer(
      {{"id", text()},
       {"object", one_of_words({"response"})},
       {"created_at", unix_time()},
       {"status", status},
       {"background", {{"const", false}}},
       {"error", of_type("null")},
       {"incomplete_details", or_null(answer({{"reason", one_of_words({"max_output_tokens"})}}))},
       {"model", text()},
       {"system_fingerprint", or_null(text())},
       {"service_tier", one_of_words({kServiceTier})},
       {"instructions", or_null(text())},
       {"max_output_tokens", or_null(whole(1))},
       {"metadata", pairs()},
       {"previous_response_id", of_type("null")},
       {"parallel_tool_calls", boolean()},
       {"tool_choice", one_of_words({"none", "auto"})},
       {"tools", list_of(any_object(), 0, 0)},
       {"reasoning", any_object()},
       {"temperature", of_type("number")},
       {"top_p", of_type("number")},
       {"text", any_object()},
       {"truncation", one_of_words({"disabled"})},
       {"output", list_of(any_of({item("message", "output_text", item_status),
                                  item("reasoning", "reasoning_text", item_status)}))},
       {"usage", answer({{"input_tokens", whole(0)},
                         {"output_tokens", whole(0)},
                         {"output_tokens_details", answer({{"reasoning_tokens", whole(0)}})},
                         {"total_tokens", whole(0)},
                         {"input_tokens_details", answer({{"cached_tokens", whole(0)},
                                                          {"cache_write_tokens", whole(0)}})}})},
       {"parkd", any_object()}});
}

// --- batches and files

Schema file_batch() {
  const auto at = [] { return or_null(unix_time()); };
  const Schema fault = answer({{"code", text()},
                               {"line", or_null(whole(1))},
                               {"message", text()},
                               {"param", or_null(text())}});
  const Schema counts =
      answer({{"total", whole(0)}, {"completed", whole(0)}, {"failed", whole(0)}});
  const Schema usage = answer({{"input_tokens", whole(0)},
                               {"input_tokens_details", answer({{"cached_tokens", whole(0)}})},
                               {"output_tokens", whole(0)},
                               {"output_tokens_details", answer({{"reasoning_tokens", whole(0)}})},
                               {"total_tokens", whole(0)}});
  const Schema webhook = answer({{"url", text()},
                                 {"status", one_of_words({"pending", "delivered", "given_up"})},
                                 {"attempts", whole(0)},
                                 {"next_attempt_at", at()},
                                 {"delivered_at", at()},
                                 {"last_error", or_null(text())}});
  return answer(
      {{"id", text()},
       {"object", one_of_words({"batch"})},
       {"endpoint", text()},
       {"model", or_null(text())},
       {"errors", or_null(answer({{"object", one_of_words({"list"})}, {"data", list_of(fault)}}))},
       {"input_file_id", text()},
       {"completion_window", text()},
       {"status", one_of_words({"validating", "failed", "in_progress", "finalizing", "completed",
                                "expired", "cancelling", "cancelled"})},
       {"output_file_id", or_null(text())},
       {"error_file_id", or_null(text())},
       {"created_at", unix_time()},
       {"in_progress_at", at()},
       {"expires_at", at()},
       {"finalizing_at", at()},
       {"completed_at", at()},
       {"failed_at", at()},
       {"expired_at", at()},
       {"cancelling_at", at()},
       {"cancelled_at", at()},
       {"output_expires_at", at()},
       {"request_counts", counts},
       {"usage", or_null(usage)},
       {"metadata", or_null(any_object())},
       {"tenant", text()},
       {"retried_from", or_null(text())},
       {"webhook", or_null(webhook)}});
}

Schema job_batch() {
  const auto at = [] { return or_null(time()); };
  return answer({{"id", text()},
                 {"name", or_null(text())},
                 {"tenant", text()},
                 {"status", text()},
                 {"total", whole(0)},
                 {"completed", whole(0)},
                 {"failed", whole(0)},
                 {"cancelled", whole(0)},
                 {"deadline_missed", whole(0)},
                 {"quarantined", whole(0)},
                 {"truncated", whole(0)},
                 {"unfinished", whole(0)},
                 {"created_at", at()},
                 {"sealed_at", at()},
                 {"cancel_at", at()},
                 {"finished_at", at()},
                 {"deadline", at()},
                 {"metadata", or_null(any_object())}},
                {{"scheduled", whole(0)},
                 {"queued", whole(0)},
                 {"claimed", whole(0)},
                 {"cancelling", whole(0)},
                 {"retention_s", whole(1)}});
}

Schema window() {
  return text_like("^[1-9][0-9]{0,2}h$");
}

void add_batches(Schema& all) {
  const Schema of_a_file = request(
      {{"input_file_id", text()}, {"endpoint", endpoint_path()}, {"completion_window", window()}},
      {{"metadata", pairs()},
       {"output_expires_after", file_life()},
       {"webhook_url", text_of_at_most(kWebhookUrlBytesMax)},
       {"idempotency_key", key_text()}});
  const Schema of_jobs =
      request({}, {{"name", text_of_at_most(kBatchNameBytesMax)},
                   {"metadata", any_object()},
                   {"deadline", time()},
                   {"retention_s", whole(kRetentionMin.count(), kRetentionMax.count())},
                   {"idempotency_key", key_text()}});
  all["BatchRequest"] = any_of({of_a_file, of_jobs});
  all["RetryRequest"] = request({}, {{"max_tokens", whole(1, INT32_MAX)},
                                     {"completion_window", window()},
                                     {"webhook_url", text_of_at_most(kWebhookUrlBytesMax)},
                                     {"metadata", pairs()},
                                     {"idempotency_key", key_text()}});
  all["FileBatch"] = file_batch();
  all["JobBatch"] = job_batch();
  all["Batch"] = any_of({ref("FileBatch"), ref("JobBatch")});
  all["Batches"] = page_of("Batch");
  all["File"] = answer({{"id", text()},
                        {"object", one_of_words({"file"})},
                        {"bytes", whole(0)},
                        {"created_at", unix_time()},
                        {"expires_at", unix_time()},
                        {"filename", text()},
                        {"purpose", text()},
                        {"status", text()}});
  all["Files"] = page_of("File");
  all["DeletedFile"] =
      answer({{"id", text()}, {"object", one_of_words({"file"})}, {"deleted", {{"const", true}}}});
  all["FileForm"] = {
      {"type", "object"},
      {"required", {"file", "purpose"}},
      {"properties",
       {{"file", {{"type", "string"}, {"format", "binary"}}},
        {"purpose", one_of_words({"batch"})},
        {"expires_after[anchor]", one_of_words({"created_at"})},
        {"expires_after[seconds]", whole(kFileLifeMin.count(), kFileLifeMax.count())}}},
      {"additionalProperties", false}};
}

// --- the daemon

void add_status(Schema& all) {
  all["Model"] = answer({{"id", text()},
                         {"object", one_of_words({"model"})},
                         {"created", unix_time()},
                         {"owned_by", text()},
                         {"state", text()},
                         {"in_memory", boolean()},
                         {"loads", whole(0)}});
  all["Models"] = answer({{"object", one_of_words({"list"})}, {"data", list_of(ref("Model"))}});
  all["Pool"] = answer({{"draining", boolean()},
                        {"store_trouble", boolean()},
                        {"unstored_endings", whole(0)},
                        {"models", list_of(answer({{"model", text()},
                                                   {"state", text()},
                                                   {"capacity_units", whole(0)},
                                                   {"in_use_units", whole(0)},
                                                   {"parked", whole(0)},
                                                   {"running", whole(0)}}))}});
  all["Health"] = answer({{"status", one_of_words({"ok"})}});
  all["Readiness"] =
      answer({{"ready", boolean()},
              {"degraded", boolean()},
              {"failed_models", list_of(text())},
              {"stopping", boolean()},
              {"store_healthy", boolean()},
              {"models", list_of(ref("Model"))}},
             {{"notices",
               list_of(answer({{"code", text()}, {"text", text()}, {"not_ready", boolean()}}))}});
  // By TCP a POST needs its Content-Type in any case; what comes is not read.
  all["Empty"] = Schema{{"description", "nothing is expected, {} is fine"}};
  all["Error"] = answer({{"error", answer({{"message", text()},
                                           {"type", text()},
                                           {"param", or_null(text())},
                                           {"code", or_null(text())}})}});
}

Schema flag() {
  return whole(0, 1);
}

}  // namespace

json::object api_schemas() {
  Schema all;
  add_jobs(all);
  add_completions(all);
  add_response(all);
  add_batches(all);
  add_status(all);
  return all;
}

json::object query_schema(std::string_view path, std::string_view name) {
  const bool is_of_jobs = path == "/v1/jobs";
  if (name == "limit") return whole(1, path == "/v1/files" ? kFilesListedMax : kJobsListedMax);
  if (name == "after" && is_of_jobs) return whole(0, INT64_MAX);
  if (name == "state") return one_of_words({"scheduled", "queued", "claimed", "cancelling"});
  if (name == "of") return one_of_words({"files", "jobs"});
  if (name == "order") return one_of_words({"asc", "desc"});
  if (name == "include_usage" || name == "skip_damaged") return flag();
  if (name == "wait_s") return whole(0, kWaitMax.count());
  if (name == "job") return whole(0, INT64_MAX);
  if (name == "cursor") return text_like("^c[0-9a-f]{16}$");
  return text();
}

}  // namespace parkd
