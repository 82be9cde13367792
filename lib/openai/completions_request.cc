#include "lib/openai/completions_request.h"

#include <boost/json.hpp>
#include <limits>
#include <optional>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/job/bounds.h"
#include "lib/job/endpoints.h"
#include "lib/openai/body_reader.h"
#include "lib/openai/body_values.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr const char* kPrompts = "a text, an array of token ids, or an array of such";

std::string word_here(std::string_view name) {
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"messages", "it is prompt here; messages are for endpoint "},
      {"input", "it is prompt here; input is for endpoint "},
      {"max_completion_tokens", "it is max_tokens here"},
      {"max_new_tokens", "it is max_tokens here"},
      {"max_output_tokens", "it is max_tokens here"},
      {"n_predict", "it is max_tokens here"},
      {"stop_sequences", "it is stop here"},
      {"top_logprobs", "it is logprobs here, a number"},
      {"n_probs", "it is logprobs here"},
      {"repeat_penalty", "it is repetition_penalty here"}};
  for (const auto& [word, here] : kWords) {
    if (word != name) continue;
    std::string other;
    if (name == "messages") other = path_of(Endpoint::chat);
    if (name == "input") other = path_of(Endpoint::responses);
    return "; " + std::string(here) + other;
  }
  return {};
}

Status read_token_ids(const std::string& field, const json::array& ids, CompletionPrompt& out) {
  std::vector<TokenId> tokens;
  tokens.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto id = whole_number(ids[i]);
    if (!id || *id < 0 || *id > std::numeric_limits<TokenId>::max()) {
      return wrong_value(field + "[" + std::to_string(i) + "]", ids[i], "a token id");
    }
    tokens.push_back(static_cast<TokenId>(*id));
  }
  out = std::move(tokens);
  return {};
}

// `must` says what the field may be.
Status read_one_prompt(const std::string& field, const json::value& value, const std::string& must,
                       CompletionPrompt& out) {
  if (value.is_string()) {
    if (value.get_string().empty()) return wrong_value(field, value, "a text that is not empty");
    out = std::string(value.get_string());
    return {};
  }
  if (!value.is_array() || value.get_array().empty()) return wrong_value(field, value, must);
  return read_token_ids(field, value.get_array(), out);
}

Status read_prompts(const std::string& field, const json::value& value, CompletionsRequest& out) {
  const json::array* list = value.if_array();
  out.prompt_is_list =
      list != nullptr && !list->empty() && (list->front().is_string() || list->front().is_array());
  if (!out.prompt_is_list)
    return read_one_prompt(field, value, kPrompts, out.prompts.emplace_back());
  if (list->size() > kAnswerChoicesMax) {
    return invalid_param(field, field + " has " + std::to_string(list->size()) +
                                    " prompts; the limit is " + std::to_string(kAnswerChoicesMax) +
                                    ": submit several jobs");
  }
  out.prompts.reserve(list->size());
  for (size_t i = 0; i < list->size(); ++i) {
    PARKD_RETURN_IF_ERROR(read_one_prompt(field + "[" + std::to_string(i) + "]", (*list)[i],
                                          "a text or an array of token ids",
                                          out.prompts.emplace_back()));
  }
  return {};
}

// How many of the likeliest tokens are shown beside each; 0: the token's own alone.
Status read_logprobs(const std::string& field, const json::value& value, SamplingParams& out) {
  PARKD_RETURN_IF_ERROR(read_int(field, value, 0, kTopLogprobsMax, out.top_logprobs));
  out.logprobs = true;
  return {};
}

struct Reading {
  CompletionsRequest request;
  std::optional<int32_t> best_of;
};

Status check_choices(CompletionsRequest& request) {
  if (request.prompts.empty()) {
    return invalid_param("prompt", "prompt is missing; it must be " + std::string(kPrompts));
  }
  request.n_prompts = static_cast<int32_t>(request.prompts.size());
  const int32_t n_choices = request.n_prompts * request.n;
  if (n_choices <= kAnswerChoicesMax) return {};
  return invalid_param("prompt", "prompt has " + std::to_string(request.n_prompts) +
                                     " prompts and n is " + std::to_string(request.n) + ", " +
                                     std::to_string(n_choices) + " choices in all; the limit is " +
                                     std::to_string(kAnswerChoicesMax) +
                                     ": submit several jobs, or lower n");
}

// So many as are answered: there is nothing to choose from.
Status check_best_of(const Reading& reading) {
  const int32_t n = reading.request.n;
  const int32_t best_of = reading.best_of.value_or(n);
  if (best_of == n) return {};
  const std::string is = "best_of is " + std::to_string(best_of) + " and n is " + std::to_string(n);
  if (best_of < n) return invalid_param("best_of", is + "; best_of must be at least n");
  return invalid_param("best_of",
                       is + "; choosing the best of more is not supported yet: leave best_of out, "
                            "and ask for n choices");
}

std::optional<Status> read_own(const std::string& field, const json::value& value,
                               Reading& reading) {
  CompletionsRequest& out = reading.request;
  const bool is_left_out = value.is_null();
  if (field == "prompt") return is_left_out ? Status() : read_prompts(field, value, out);
  if (field == "logprobs")
    return is_left_out ? Status() : read_logprobs(field, value, out.sampling);
  if (field == "echo") {
    if (is_left_out || (value.is_bool() && !value.get_bool())) return Status();
    return invalid_param(field, "echo is " + shown_value(value) +
                                    "; it is not supported yet: the answer is without the prompt, "
                                    "put it before the text where you want it");
  }
  if (field == "suffix") {
    if (is_left_out || value == "") return Status();
    return invalid_param(field,
                         "suffix is not supported yet: text is only written behind a prompt");
  }
  if (field == "best_of") {
    if (is_left_out) return Status();
    return read_int(field, value, 1, kChoicesMax, reading.best_of.emplace());
  }
  return std::nullopt;
}

}  // namespace

Result<CompletionsRequest> parse_completions_request(std::string_view body,
                                                     const RequestDefaults& defaults) {
  Reading reading;
  CompletionsRequest& request = reading.request;
  request.max_tokens = defaults.max_tokens.value_or(kCompletionTokensDefault);
  request.sampling = defaults.sampling;
  EndpointFields fields;
  fields.read = [&reading](const std::string& field, const json::value& value) {
    return read_own(field, value, reading);
  };
  fields.word_here = word_here;
  PARKD_RETURN_IF_ERROR(read_body(body, fields, request));
  PARKD_RETURN_IF_ERROR(check_best_of(reading));
  PARKD_RETURN_IF_ERROR(check_choices(request));
  return std::move(reading.request);
}

}  // namespace parkd
