#include "lib/openai/chat_request.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <limits>

#include "lib/base/json_reader.h"
#include "lib/base/raw_json.h"
#include "lib/base/sampling_fields.h"
#include "lib/base/text.h"
#include "lib/jinja/json_value.h"

namespace parkd {
namespace {

namespace json = boost::json;

Status bad_body(const std::string& why) {
  return invalid_param("body", "the body " + why);
}

Result<json::value> parse_json(std::string_view body, JsonMemory& memory) {
  if (body.size() > kChatBodyBytesMax) {
    return bad_body("has " + std::to_string(body.size()) + " bytes; the limit is " +
                    std::to_string(kChatBodyBytesMax));
  }
  auto value = read_json(body, "the body", kChatJsonDepthMax, memory);
  if (value.ok() || value.status().code() != StatusCode::invalid ||
      !value.status().param().empty()) {
    return value;
  }
  return value.status().with_param("body");
}

// --- leaves: one value of a named field

// The value as people write it, shortened for a message. (Boost.JSON writes 9.0 as 9E0.)
std::string shown(const json::value& value) {
  if (value.is_double()) return number_text(value.get_double());
  return shown_json(value);
}

Status wrong(const std::string& field, const json::value& value, const std::string& must) {
  return invalid_param(field, field + " is " + shown(value) + "; it must be " + must);
}

// A name the sender made up, shortened like a value.
Status unknown(const std::string& parent, std::string_view name) {
  const std::string field = parent + shown_name(name);
  return invalid_param(field, (field.empty() ? "\"\"" : field) + " is not a known field");
}

// A field of the body that another API has; empty: none that we know.
std::string word_here(std::string_view name) {
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"system", "a system prompt is a message of role system"},
      {"stop_sequences", "it is stop here"},
      {"prompt", "a prompt is a message of role user in messages"},
      {"input", "a prompt is a message of role user in messages"},
      {"instructions", "instructions are a message of role system"},
      {"max_output_tokens", "it is max_tokens here"},
      {"max_new_tokens", "it is max_tokens here"},
      {"n_predict", "it is max_tokens here"},
      {"repeat_penalty", "it is repetition_penalty here"},
      {"generation_config", "its fields stand in the body itself here"},
      {"options", "its fields stand in the body itself here"}};
  for (const auto& [word, here] : kWords) {
    if (word == name) return std::string("; ") + std::string(here);
  }
  return {};
}

Status unknown_field(std::string_view name) {
  const Status status = unknown("", name);
  return invalid_param(status.param(), status.message() + word_here(name));
}

Status unsupported(const std::string& field) {
  return invalid_param(field, field + " is not supported yet");
}

std::optional<double> number_of(const json::value& value) {
  if (value.is_double()) return value.get_double();
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  return std::nullopt;
}

bool is_number(const json::value& value, double expected) {
  const auto number = number_of(value);
  return number && *number == expected;
}

// 64 and 64.0 are the same JSON number (whole_number).
Status read_int(const std::string& field, const json::value& value, int32_t min, int32_t max,
                int32_t& out) {
  const auto number = whole_number(value);
  if (!number || *number < min || *number > max) {
    return wrong(field, value,
                 "an integer from " + std::to_string(min) + " to " + std::to_string(max));
  }
  out = static_cast<int32_t>(*number);
  return {};
}

std::string range_of(const SamplingField& field) {
  return field.min_is_out
             ? "a number above " + number_text(field.min) + " and at most " + number_text(field.max)
             : "a number from " + number_text(field.min) + " to " + number_text(field.max);
}

Status read_sampling(const SamplingField& field, const json::value& value, SamplingParams& out) {
  const auto number = number_of(value);
  if (!number || !is_within(field, *number)) {
    return wrong(std::string(field.name), value, range_of(field));
  }
  out.*field.member = narrowed(field, *number);
  return {};
}

Status read_bool(const std::string& field, const json::value& value, bool& out) {
  if (!value.is_bool()) return wrong(field, value, "true or false");
  out = value.get_bool();
  return {};
}

Status read_seed(const std::string& field, const json::value& value, std::optional<uint64_t>& out) {
  if (value.is_uint64()) {
    out = value.get_uint64();
  } else if (const auto number = whole_number(value)) {
    out = static_cast<uint64_t>(*number);
  } else {
    return wrong(field, value,
                 "an integer of at most 64 bits (without point and exponent where it is beyond "
                 "2^53)");
  }
  return {};
}

Status read_stop_string(const std::string& field, const json::value& value,
                        std::vector<std::string>& out) {
  if (!value.is_string() || value.get_string().empty()) {
    return wrong(field, value, "a string that is not empty");
  }
  if (value.get_string().size() > kStopBytesMax) {
    return invalid_param(field, field + " has " + std::to_string(value.get_string().size()) +
                                    " bytes; the limit is " + std::to_string(kStopBytesMax));
  }
  out.emplace_back(value.get_string());
  return {};
}

Status read_stop(const std::string& field, const json::value& value,
                 std::vector<std::string>& out) {
  if (!value.is_array()) return read_stop_string(field, value, out);
  const json::array& strings = value.get_array();
  if (strings.size() > kStopStringsMax) {
    return invalid_param(field, field + " has " + std::to_string(strings.size()) +
                                    " strings; the limit is " + std::to_string(kStopStringsMax));
  }
  for (size_t i = 0; i < strings.size(); ++i) {
    PARKD_RETURN_IF_ERROR(read_stop_string(field + "[" + std::to_string(i) + "]", strings[i], out));
  }
  return {};
}

// A token id as OpenAI's API writes it, as the name of a member: digits, without leading zeros, so
// that a token has one name.
std::optional<int32_t> read_token_id(std::string_view name) {
  int32_t token = 0;
  const char* end = name.data() + name.size();
  const auto read = std::from_chars(name.data(), end, token);
  if (read.ec != std::errc() || read.ptr != end || std::to_string(token) != name || token < 0) {
    return std::nullopt;
  }
  return token;
}

constexpr double kBiasMax = 100;  // either way

Status read_logit_bias(const std::string& field, const json::value& value,
                       std::vector<TokenBias>& out) {
  if (!value.is_object()) return wrong(field, value, "an object of token ids and numbers");
  const json::object& biases = value.get_object();
  if (biases.size() > kBiasesMax) {
    return invalid_param(field, field + " has " + std::to_string(biases.size()) +
                                    " tokens; the limit is " + std::to_string(kBiasesMax));
  }
  for (const auto& member : biases) {
    const auto token = read_token_id({member.key().data(), member.key().size()});
    if (!token) {
      return invalid_param(
          field, field + " names " + shown(json::value(member.key())) + "; it must name token ids");
    }
    const auto bias = number_of(member.value());
    if (!bias || !(std::abs(*bias) <= kBiasMax)) {
      return wrong(field + "." + std::to_string(*token), member.value(),
                   "a number from -100 to 100");
    }
    out.push_back({*token, static_cast<float>(*bias)});
  }
  return {};
}

// --- messages

Status read_content_part(const std::string& field, const json::value& value, std::string& out) {
  if (!value.is_object()) return wrong(field, value, "an object with type and text");
  const json::object& part = value.get_object();
  const json::value* type = part.if_contains("type");
  if (type == nullptr || !type->is_string()) {
    return invalid_param(field + ".type", field + ".type is missing; it must be \"text\"");
  }
  if (type->get_string() != "text") {
    return invalid_param(field + ".type",
                         field + ".type " + shown(*type) + " is not supported yet; only \"text\"");
  }
  for (const auto& member : part) {
    if (member.key() != "type" && member.key() != "text") {
      return unknown(field + ".", {member.key().data(), member.key().size()});
    }
  }
  const json::value* text = part.if_contains("text");
  if (text == nullptr || !text->is_string()) {
    return invalid_param(field + ".text", field + ".text is missing; it must be a string");
  }
  out.append(text->get_string().data(), text->get_string().size());
  return {};
}

Status read_content(const std::string& field, const json::value& value, std::string& out) {
  if (value.is_string()) {
    out = std::string(value.get_string());
    return {};
  }
  if (!value.is_array() || value.get_array().empty()) {
    return wrong(field, value, "a string or an array of text parts");
  }
  const json::array& parts = value.get_array();
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += '\n';
    PARKD_RETURN_IF_ERROR(read_content_part(field + "[" + std::to_string(i) + "]", parts[i], out));
  }
  return {};
}

Status read_role(const std::string& field, const json::value& value, std::string& out) {
  const std::string must = "system, user, assistant or developer";
  if (!value.is_string()) return wrong(field, value, must);
  const std::string role(value.get_string());
  if (role == "tool" || role == "function") {
    return invalid_param(field, field + " \"" + role + "\" is not supported yet");
  }
  if (role != "system" && role != "user" && role != "assistant" && role != "developer") {
    return wrong(field, value, must);
  }
  out = role == "developer" ? "system" : role;
  return {};
}

bool is_empty_or_null(const json::value& value) {
  return value.is_null() || (value.is_array() && value.get_array().empty()) ||
         (value.is_object() && value.get_object().empty());
}

// Keeps what a template may read as `name`.
Status read_more(const std::string& field, const json::value& value, std::string_view name,
                 ChatMessage& out) {
  if (value.is_null()) return {};
  if (!value.is_string()) return wrong(field, value, "a string");
  out.more.emplace_back(name, std::string_view(value.get_string()));
  return {};
}

Status read_message(const std::string& field, const json::value& value, ChatMessage& out) {
  static constexpr std::array<std::string_view, 6> kUnsupported = {
      "tool_calls", "tool_call_id", "function_call", "audio", "refusal", "annotations"};
  if (!value.is_object()) return wrong(field, value, "an object with role and content");
  const json::object& message = value.get_object();
  // Before the content, which is null beside them.
  for (const std::string_view call : {"tool_calls", "function_call"}) {
    const json::value* calls = message.if_contains(call);
    if (calls != nullptr && !is_empty_or_null(*calls)) {
      const std::string name = field + "." + std::string(call);
      return invalid_param(name, name +
                                     " is not supported yet: no tools are; write what it says "
                                     "into content, or leave the message out");
    }
  }
  bool has_role = false;
  bool has_content = false;
  for (const auto& member : message) {
    const std::string_view key(member.key().data(), member.key().size());
    const std::string name = field + "." + std::string(key);
    if (key == "role") {
      has_role = true;
      PARKD_RETURN_IF_ERROR(read_role(name, member.value(), out.role));
    } else if (key == "content") {
      has_content = true;
      PARKD_RETURN_IF_ERROR(read_content(name, member.value(), out.content));
    } else if (key == "name") {
      PARKD_RETURN_IF_ERROR(read_more(name, member.value(), key, out));
    } else if (key == "reasoning" || key == "reasoning_content") {  // vLLM's two words
      PARKD_RETURN_IF_ERROR(read_more(name, member.value(), "reasoning_content", out));
    } else if (std::find(kUnsupported.begin(), kUnsupported.end(), key) != kUnsupported.end()) {
      if (!is_empty_or_null(member.value())) return unsupported(name);
    } else {
      return unknown(field + ".", key);
    }
  }
  if (!has_role) return invalid_param(field + ".role", field + ".role is missing");
  if (!has_content) return invalid_param(field + ".content", field + ".content is missing");
  return {};
}

Status read_messages(const std::string& field, const json::value& value,
                     std::vector<ChatMessage>& out) {
  if (!value.is_array() || value.get_array().empty()) {
    return wrong(field, value, "an array of at least one message");
  }
  const json::array& messages = value.get_array();
  for (size_t i = 0; i < messages.size(); ++i) {  // one by one: "{}" is shorter than a ChatMessage
    ChatMessage message;
    PARKD_RETURN_IF_ERROR(
        read_message(field + "[" + std::to_string(i) + "]", messages[i], message));
    out.push_back(std::move(message));
  }
  return {};
}

// --- the fields of the body

// A limit on generated tokens may be given under either name, but not as two different numbers.
Status read_max_tokens(const std::string& field, const json::value& value, ChatRequest& request,
                       bool& was_given) {
  int32_t asked = 0;
  PARKD_RETURN_IF_ERROR(read_int(field, value, 1, std::numeric_limits<int32_t>::max(), asked));
  if (was_given && request.max_tokens != asked) {
    return invalid_param(field, "max_tokens and max_completion_tokens differ (" +
                                    std::to_string(*request.max_tokens) + " and " +
                                    std::to_string(asked) + "); give one");
  }
  was_given = true;
  request.max_tokens = asked;
  return {};
}

// Cannot change the output.
bool is_accepted(std::string_view field) {
  static constexpr std::array<std::string_view, 8> kAccepted = {"user",
                                                                "metadata",
                                                                "store",
                                                                "service_tier",
                                                                "safety_identifier",
                                                                "prompt_cache_key",
                                                                "parallel_tool_calls",
                                                                "prompt_cache_retention"};
  return std::find(kAccepted.begin(), kAccepted.end(), field) != kAccepted.end();
}

// Known to others, not served yet. The values that mean "off" are let through.
std::optional<Status> read_unsupported(const std::string& field, const json::value& value) {
  static constexpr std::array<std::string_view, 25> kUnsupported = {
      "tools",          "skip_special_tokens",
      "tool_choice",    "functions",
      "function_call",  "audio",
      "prediction",     "reasoning_effort",
      "verbosity",      "web_search_options",
      "stream_options", "best_of",
      "min_tokens",     "ignore_eos",
      "stop_token_ids", "echo",
      "suffix",         "guided_json",
      "guided_regex",   "guided_choice",
      "json_schema",    "grammar",
      "mirostat",       "typical_p",
      "chat_template"};
  const auto off = [&](bool is_off) { return is_off ? Status() : unsupported(field); };
  if (field == "stream") {
    if (value.is_bool() && !value.get_bool()) return Status();
    return invalid_param(
        field, "stream is " + shown(value) + "; a queued job cannot stream: leave it out");
  }
  if (field == "response_format") {
    const json::object* format = value.if_object();
    const json::value* type = format == nullptr ? nullptr : format->if_contains("type");
    return off(type != nullptr && type->is_string() && type->get_string() == "text");
  }
  if (field == "modalities") {
    const json::array* list = value.if_array();
    return off(list != nullptr && list->size() == 1 && list->front() == "text");
  }
  if (std::find(kUnsupported.begin(), kUnsupported.end(), field) == kUnsupported.end()) {
    return std::nullopt;
  }
  if (field == "skip_special_tokens") return off(value.is_bool() && value.get_bool());
  const bool none = (field == "tool_choice" || field == "function_call") && value == "none";
  return off(none || is_empty_or_null(value));
}

struct Reading {
  ChatRequest request;
  std::string_view body;
  bool max_tokens_given = false;
  std::optional<bool> add_generation_prompt;
  std::optional<bool> enable_thinking;
};

struct BodyField {
  std::string_view name;
  Status (*read)(const std::string& field, const json::value& value, Reading& out);
};

Status read_model(const std::string& field, const json::value& value, Reading& out) {
  if (!value.is_string() || value.get_string().empty()) {
    return wrong(field, value, "the name of a model");
  }
  out.request.model = std::string(value.get_string());
  return {};
}

Status read_limit(const std::string& field, const json::value& value, Reading& out) {
  return read_max_tokens(field, value, out.request, out.max_tokens_given);
}

Status read_top_k(const std::string& field, const json::value& value, Reading& out) {
  int32_t& top_k = out.request.sampling.top_k;
  if (is_number(value, -1)) {  // vLLM's word for "off"
    top_k = 0;
    return {};
  }
  return read_int(field, value, 0, std::numeric_limits<int32_t>::max(), top_k);
}

template <std::optional<bool> Reading::*member>
Status read_choice(const std::string& field, const json::value& value, Reading& out) {
  bool choice = false;
  PARKD_RETURN_IF_ERROR(read_bool(field, value, choice));
  out.*member = choice;
  return {};
}

// Variables of the template, as they stand in the body: their order and digits are kept.
Status read_template_arguments(const std::string& field, const json::value& value, Reading& out) {
  static constexpr std::array<std::string_view, 8> kOwn = {
      "messages",  "tools",         "documents", "add_generation_prompt",
      "bos_token", "chat_template", "tokenize",  "continue_final_message"};
  if (!value.is_object()) return wrong(field, value, "an object");
  for (const auto& member : value.get_object()) {
    const std::string_view name(member.key().data(), member.key().size());
    if (std::find(kOwn.begin(), kOwn.end(), name) == kOwn.end()) continue;
    const std::string whole = field + "." + std::string(name);
    return invalid_param(whole, whole +
                                    " is not the template's to be given: it has its own field "
                                    "in the body, or none");
  }
  auto arguments = jinja::json_value(raw_member(out.body, field), jinja::Origin::content);
  if (!arguments) return wrong(field, value, "an object");
  out.request.template_options.arguments = *std::move(arguments);
  return {};
}

// What is read besides kSamplingFields.
constexpr BodyField kBodyFields[] = {
    {"messages", [](const std::string& field, const json::value& value,
                    Reading& out) { return read_messages(field, value, out.request.messages); }},
    {"model", read_model},
    {"chat_template_kwargs", read_template_arguments},
    {"enable_thinking", read_choice<&Reading::enable_thinking>},
    {"add_generation_prompt", read_choice<&Reading::add_generation_prompt>},
    {"continue_final_message",
     [](const std::string& field, const json::value& value, Reading& out) {
       return read_bool(field, value, out.request.template_options.continue_final_message);
     }},
    {"max_tokens", read_limit},
    {"max_completion_tokens", read_limit},
    {"n", [](const std::string& field, const json::value& value,
             Reading& out) { return read_int(field, value, 1, kChoicesMax, out.request.n); }},
    {"logit_bias",
     [](const std::string& field, const json::value& value, Reading& out) {
       return read_logit_bias(field, value, out.request.sampling.logit_bias);
     }},
    {"top_k", read_top_k},
    {"seed", [](const std::string& field, const json::value& value,
                Reading& out) { return read_seed(field, value, out.request.seed); }},
    {"stop", [](const std::string& field, const json::value& value,
                Reading& out) { return read_stop(field, value, out.request.stop); }},
    {"logprobs",
     [](const std::string& field, const json::value& value, Reading& out) {
       return read_bool(field, value, out.request.sampling.logprobs);
     }},
    {"top_logprobs",
     [](const std::string& field, const json::value& value, Reading& out) {
       return read_int(field, value, 0, kTopLogprobsMax, out.request.sampling.top_logprobs);
     }},
};

const BodyField* find_body_field(std::string_view name) {
  for (const BodyField& field : kBodyFields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

Status read_field(const std::string& field, const json::value& value, Reading& out) {
  SamplingParams& sampling = out.request.sampling;
  if (const BodyField* known = find_body_field(field)) return known->read(field, value, out);
  if (field == "top_p" && is_number(value, 0)) {  // nothing but the likeliest: check_together
    sampling.top_p = 0;
    return {};
  }
  if (const SamplingField* known = find_sampling_field(field)) {
    return read_sampling(*known, value, sampling);
  }
  if (is_accepted(field)) return {};
  if (auto answer = read_unsupported(field, value)) return *answer;
  return unknown_field(field);
}

// How the template is to be rendered, of several fields.
Status resolve_template_options(Reading& reading) {
  ChatTemplateOptions& options = reading.request.template_options;
  if (options.continue_final_message && reading.add_generation_prompt.value_or(false)) {
    return invalid_param("continue_final_message",
                         "continue_final_message and add_generation_prompt are both true; a turn "
                         "goes on or a new one begins: leave one out");
  }
  options.add_generation_prompt =
      reading.add_generation_prompt.value_or(!options.continue_final_message);
  if (!reading.enable_thinking) return {};
  std::vector<std::pair<jinja::Value, jinja::Value>> entries;
  if (options.arguments.is_dict()) entries = options.arguments.as_dict().entries;
  for (const auto& entry : entries) {
    if (entry.first.as_bytes() != "enable_thinking") continue;
    return invalid_param("enable_thinking",
                         "enable_thinking is given twice: here and in chat_template_kwargs");
  }
  entries.emplace_back(jinja::Value::text("enable_thinking", jinja::Origin::literal),
                       jinja::Value::boolean(*reading.enable_thinking));
  options.arguments = jinja::Value::dict(std::move(entries));
  return {};
}

// What depends on more than one field.
Status check_together(ChatRequest& request) {
  SamplingParams& sampling = request.sampling;
  if (request.messages.empty()) {
    return invalid_param("messages", "messages is missing; at least one message is needed");
  }
  if (sampling.top_logprobs > 0 && !sampling.logprobs) {
    return invalid_param("top_logprobs", "top_logprobs is " +
                                             std::to_string(sampling.top_logprobs) +
                                             "; it needs logprobs to be true");
  }
  if (sampling.top_p == 0) {
    if (sampling.temperature > 0) {
      return invalid_param("top_p", "top_p is 0; it must be " +
                                        range_of(*find_sampling_field("top_p")) +
                                        " (0 is taken where temperature is 0, too)");
    }
    sampling.top_p = 1;  // temperature 0 takes the likeliest token of any set
  }
  return {};
}

bool is_known(const std::string& field) {
  return find_body_field(field) != nullptr || find_sampling_field(field) != nullptr ||
         is_accepted(field) || read_unsupported(field, json::value()).has_value();
}

}  // namespace

Result<ChatRequest> parse_chat_request(std::string_view body, const ChatDefaults& defaults) {
  JsonMemory memory(body.size());
  PARKD_ASSIGN_OR_RETURN(const json::value root, parse_json(body, memory));
  if (!root.is_object()) return bad_body("must be a JSON object");
  Reading reading;
  reading.body = without_mark(body);
  ChatRequest& request = reading.request;
  request.max_tokens = defaults.max_tokens;
  request.sampling = defaults.sampling;
  for (const auto& member : root.get_object()) {
    const std::string field(member.key());
    if (member.value().is_null()) {  // null means left out, of a field there is
      if (!is_known(field)) return unknown_field(field);
      continue;
    }
    PARKD_RETURN_IF_ERROR(read_field(field, member.value(), reading));
  }
  PARKD_RETURN_IF_ERROR(resolve_template_options(reading));
  PARKD_RETURN_IF_ERROR(check_together(request));
  return std::move(reading.request);
}

Result<int32_t> resolve_max_new_tokens(std::optional<int32_t> asked, int32_t prompt_tokens,
                                       int32_t context_tokens) {
  if (prompt_tokens >= context_tokens) {
    return invalid_param("messages", "the prompt has " + std::to_string(prompt_tokens) +
                                         " tokens; the model's context of " +
                                         std::to_string(context_tokens) +
                                         " tokens must hold it and at least one more");
  }
  const int32_t wanted = asked ? *asked : std::clamp(context_tokens / 5, 128, 16384);
  return std::min(wanted, context_tokens - prompt_tokens);
}

}  // namespace parkd
