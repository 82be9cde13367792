#include "daemon/api/openapi_parts.h"
#include "lib/base/sampling_fields.h"
#include "lib/job/bounds.h"
#include "lib/openai/completion_response.h"

namespace parkd::schema {
namespace {

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

// --- answers

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

}  // namespace

void add_models(Schema& all) {
  add_completions(all);
  add_response(all);
}

}  // namespace parkd::schema
