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

using Prompt = decltype(CompletionsRequest::prompt);

constexpr const char* kPrompt = "a text, an array of token ids, or an array of one of them";

std::string word_here(std::string_view name) {
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"messages", "it is prompt here; messages are for endpoint "},
      {"input", "it is prompt here"},
      {"max_completion_tokens", "it is max_tokens here"},
      {"max_new_tokens", "it is max_tokens here"},
      {"n_predict", "it is max_tokens here"},
      {"stop_sequences", "it is stop here"},
      {"top_logprobs", "it is logprobs here, a number"},
      {"n_probs", "it is logprobs here"},
      {"repeat_penalty", "it is repetition_penalty here"}};
  for (const auto& [word, here] : kWords) {
    if (word != name) continue;
    return "; " + std::string(here) + (name == "messages" ? path_of(Endpoint::chat) : "");
  }
  return {};
}

Status read_token_ids(const std::string& field, const json::array& ids, Prompt& out) {
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

Status read_one_prompt(const std::string& field, const json::value& value, Prompt& out) {
  if (value.is_string()) {
    if (value.get_string().empty()) return wrong_value(field, value, "a text that is not empty");
    out = std::string(value.get_string());
    return {};
  }
  if (!value.is_array() || value.get_array().empty()) return wrong_value(field, value, kPrompt);
  return read_token_ids(field, value.get_array(), out);
}

Status read_prompt(const std::string& field, const json::value& value, Prompt& out) {
  const json::array* list = value.if_array();
  const bool is_list =
      list != nullptr && !list->empty() && (list->front().is_string() || list->front().is_array());
  if (!is_list) return read_one_prompt(field, value, out);
  if (list->size() > 1) {
    return invalid_param(field, field + " has " + std::to_string(list->size()) +
                                    " prompts; a job runs one: submit a job for each");
  }
  return read_one_prompt(field + "[0]", list->front(), out);
}

// How many of the likeliest tokens are shown beside each; 0: the token's own alone.
Status read_logprobs(const std::string& field, const json::value& value, SamplingParams& out) {
  PARKD_RETURN_IF_ERROR(read_int(field, value, 0, kTopLogprobsMax, out.top_logprobs));
  out.logprobs = true;
  return {};
}

std::optional<Status> read_own(const std::string& field, const json::value& value,
                               CompletionsRequest& out) {
  const bool is_left_out = value.is_null();
  if (field == "prompt") return is_left_out ? Status() : read_prompt(field, value, out.prompt);
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
  if (field == "best_of") {  // as many as are answered: nothing to choose from
    if (is_left_out || is_number(value, 1)) return Status();
    return invalid_param(field,
                         "best_of is " + shown_value(value) +
                             "; it is not supported yet: leave it out, and ask for n choices");
  }
  return std::nullopt;
}

}  // namespace

Result<CompletionsRequest> parse_completions_request(std::string_view body,
                                                     const RequestDefaults& defaults) {
  CompletionsRequest request;
  request.max_tokens = defaults.max_tokens.value_or(kCompletionTokensDefault);
  request.sampling = defaults.sampling;
  EndpointFields fields;
  fields.read = [&request](const std::string& field, const json::value& value) {
    return read_own(field, value, request);
  };
  fields.word_here = word_here;
  PARKD_RETURN_IF_ERROR(read_body(body, fields, request));
  const auto* text = std::get_if<std::string>(&request.prompt);
  if (text != nullptr && text->empty()) {
    return invalid_param("prompt", "prompt is missing; it must be " + std::string(kPrompt));
  }
  return request;
}

}  // namespace parkd
