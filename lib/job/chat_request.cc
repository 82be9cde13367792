#include "lib/job/chat_request.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>

#include "lib/job/json_memory.h"

namespace parkd {
namespace {

namespace json = boost::json;

// Builds a json::value like boost's own parser, and refuses what that one lets pass: an object that
// names a member twice (the last would win silently) and numbers past the largest double.
class StrictHandler {
 public:
  static constexpr std::size_t max_object_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_array_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_key_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_string_size = std::numeric_limits<std::size_t>::max();
  using Error = boost::system::error_code;

  json::value_stack values;
  std::string why;  // a refusal of our own
  std::string at;   // and the member it is about

  // Nothing it allocates comes from elsewhere than `memory`.
  explicit StrictHandler(JsonMemory* memory)
      : values(json::storage_ptr(memory)), allocator_(memory) {
    values.reset(json::storage_ptr(memory));
  }
  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) {
    keys_.emplace_back(allocator_);
    return true;
  }
  bool on_object_end(std::size_t n, Error&) {
    keys_.pop_back();
    values.push_object(n);
    return true;
  }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(std::size_t n, Error&) {
    values.push_array(n);
    return true;
  }
  bool on_key_part(json::string_view text, std::size_t, Error&) {
    key_.append(text.data(), text.size());
    values.push_chars(text);
    return true;
  }
  bool on_key(json::string_view text, std::size_t, Error& error) {
    key_.append(text.data(), text.size());
    if (!keys_.back().emplace(key_.data(), key_.size()).second) {
      why = "is given twice in one object";
      at = shown_name(key_);
      error = json::error::syntax;
      return false;
    }
    key_.clear();
    values.push_key(text);
    return true;
  }
  bool on_string_part(json::string_view text, std::size_t, Error&) {
    values.push_chars(text);
    return true;
  }
  bool on_string(json::string_view text, std::size_t, Error&) {
    values.push_string(text);
    return true;
  }
  bool on_number_part(json::string_view, Error&) { return true; }
  bool on_int64(int64_t number, json::string_view, Error&) {
    values.push_int64(number);
    return true;
  }
  bool on_uint64(uint64_t number, json::string_view, Error&) {
    values.push_uint64(number);
    return true;
  }
  bool on_double(double number, json::string_view, Error& error) {
    if (!std::isfinite(number)) {
      why = "holds a number too large for a double";
      error = json::error::exponent_overflow;
      return false;
    }
    values.push_double(number);
    return true;
  }
  bool on_bool(bool truth, Error&) {
    values.push_bool(truth);
    return true;
  }
  bool on_null(Error&) {
    values.push_null();
    return true;
  }
  bool on_comment_part(json::string_view, Error&) { return true; }
  bool on_comment(json::string_view, Error&) { return true; }

 private:
  using Key = std::basic_string<char, std::char_traits<char>, json::polymorphic_allocator<char>>;
  using Keys = std::set<Key, std::less<>, json::polymorphic_allocator<Key>>;

  const json::polymorphic_allocator<Key> allocator_;
  std::vector<Keys> keys_;  // of the objects that are open
  std::string key_;         // the part of a key that has come
};

Status bad_body(const std::string& why) {
  return invalid_param("body", "the body " + why);
}

Result<json::value> parse_json(std::string_view body, JsonMemory& memory) {
  if (body.size() > kChatBodyBytesMax) {
    return bad_body("has " + std::to_string(body.size()) + " bytes; the limit is " +
                    std::to_string(kChatBodyBytesMax));
  }
  json::parse_options options;
  options.max_depth = kChatJsonDepthMax;
  try {
    json::basic_parser<StrictHandler> parser(options, &memory);
    boost::system::error_code error;
    const size_t used = parser.write_some(false, body.data(), body.size(), error);
    const StrictHandler& handler = parser.handler();
    if (!handler.why.empty()) {
      if (handler.at.empty()) return bad_body(handler.why);
      return invalid_param(handler.at, "\"" + handler.at + "\" " + handler.why);
    }
    if (error == json::error::too_deep) {
      return bad_body("is nested deeper than " + std::to_string(kChatJsonDepthMax) + " levels");
    }
    if (error || used < body.size()) {
      const std::string what = error ? error.message() : "extra data";
      return bad_body("is not valid JSON: " + what + " at byte " + std::to_string(used));
    }
    return parser.handler().values.release();
  } catch (const std::bad_alloc&) {
    if (!memory.refusal().ok()) return bad_body("is refused: " + memory.refusal().message());
    return unavailable("parkd has no memory left to read a body");
  } catch (const std::exception& e) {  // length_error
    return bad_body(std::string("could not be read: ") + e.what());
  }
}

// --- leaves: one value of a named field

// The value as people write it, shortened for a message. (Boost.JSON writes 9.0 as 9E0.)
std::string shown(const json::value& value) {
  if (value.is_double()) {
    std::array<char, 32> digits{};
    std::snprintf(digits.data(), digits.size(), "%.10g", value.get_double());
    return digits.data();
  }
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

// 64 and 64.0 are the same JSON number.
Status read_int(const std::string& field, const json::value& value, int32_t min, int32_t max,
                int32_t& out) {
  const auto number = number_of(value);
  if (!number || *number != std::floor(*number) || *number < min || *number > max) {
    return wrong(field, value,
                 "an integer from " + std::to_string(min) + " to " + std::to_string(max));
  }
  out = static_cast<int32_t>(*number);
  return {};
}

struct FloatRange {
  double min;
  double max;
  bool min_is_out;
  const char* words;
};

Status read_float(const std::string& field, const json::value& value, const FloatRange& range,
                  float& out) {
  const auto number = number_of(value);
  if (!number || *number < range.min || *number > range.max ||
      (range.min_is_out && *number == range.min)) {
    return wrong(field, value, range.words);
  }
  const auto narrowed = static_cast<float>(*number);
  // 1e-60 is above 0 as a double and 0 as a float.
  out = range.min_is_out && narrowed <= static_cast<float>(range.min)
            ? std::numeric_limits<float>::min()
            : narrowed;
  return {};
}

Status read_bool(const std::string& field, const json::value& value, bool& out) {
  if (!value.is_bool()) return wrong(field, value, "true or false");
  out = value.get_bool();
  return {};
}

Status read_seed(const std::string& field, const json::value& value, std::optional<uint64_t>& out) {
  if (value.is_int64()) {
    out = static_cast<uint64_t>(value.get_int64());
  } else if (value.is_uint64()) {
    out = value.get_uint64();
  } else {
    return wrong(field, value, "an integer of at most 64 bits");
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

constexpr FloatRange kBias{-100, 100, false, "a number from -100 to 100"};

Status read_logit_bias(const std::string& field, const json::value& value,
                       std::vector<ChatBias>& out) {
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
    ChatBias bias{*token, 0};
    PARKD_RETURN_IF_ERROR(
        read_float(field + "." + std::to_string(*token), member.value(), kBias, bias.bias));
    out.push_back(bias);
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

Status read_message(const std::string& field, const json::value& value, ChatMessage& out) {
  static constexpr std::array<std::string_view, 6> kUnsupported = {
      "name", "tool_calls", "tool_call_id", "function_call", "audio", "refusal"};
  if (!value.is_object()) return wrong(field, value, "an object with role and content");
  bool has_role = false;
  bool has_content = false;
  for (const auto& member : value.get_object()) {
    const std::string_view key(member.key().data(), member.key().size());
    const std::string name = field + "." + std::string(key);
    if (key == "role") {
      has_role = true;
      PARKD_RETURN_IF_ERROR(read_role(name, member.value(), out.role));
    } else if (key == "content") {
      has_content = true;
      PARKD_RETURN_IF_ERROR(read_content(name, member.value(), out.content));
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
  static constexpr std::array<std::string_view, 26> kUnsupported = {"tools",
                                                                    "tool_choice",
                                                                    "functions",
                                                                    "function_call",
                                                                    "audio",
                                                                    "prediction",
                                                                    "reasoning_effort",
                                                                    "verbosity",
                                                                    "web_search_options",
                                                                    "stream_options",
                                                                    "best_of",
                                                                    "min_tokens",
                                                                    "ignore_eos",
                                                                    "stop_token_ids",
                                                                    "echo",
                                                                    "suffix",
                                                                    "guided_json",
                                                                    "guided_regex",
                                                                    "guided_choice",
                                                                    "json_schema",
                                                                    "grammar",
                                                                    "mirostat",
                                                                    "typical_p",
                                                                    "chat_template",
                                                                    "chat_template_kwargs",
                                                                    "add_generation_prompt"};
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
  const bool none = (field == "tool_choice" || field == "function_call") && value == "none";
  return off(none || is_empty_or_null(value));
}

constexpr FloatRange kTemperature{0, 2, false, "a number from 0 to 2"};
constexpr FloatRange kTopP{0, 1, true, "a number above 0 and at most 1"};
constexpr FloatRange kMinP{0, 1, false, "a number from 0 to 1"};
constexpr FloatRange kPenalty{-2, 2, false, "a number from -2 to 2"};
// vLLM and Hugging Face take all above 0; within these no logit can become infinite.
constexpr FloatRange kRepetitionPenalty{0.01, 100, false, "a number from 0.01 to 100"};

Status read_field(const std::string& field, const json::value& value, ChatRequest& request,
                  bool& max_tokens_given) {
  if (field == "messages") return read_messages(field, value, request.messages);
  if (field == "model") {
    if (!value.is_string() || value.get_string().empty()) {
      return wrong(field, value, "the name of a model");
    }
    request.model = std::string(value.get_string());
    return {};
  }
  if (field == "max_tokens" || field == "max_completion_tokens") {
    return read_max_tokens(field, value, request, max_tokens_given);
  }
  if (field == "n") return read_int(field, value, 1, kChoicesMax, request.n);
  if (field == "temperature") return read_float(field, value, kTemperature, request.temperature);
  if (field == "top_p") return read_float(field, value, kTopP, request.top_p);
  if (field == "min_p") return read_float(field, value, kMinP, request.min_p);
  if (field == "presence_penalty") {
    return read_float(field, value, kPenalty, request.presence_penalty);
  }
  if (field == "frequency_penalty") {
    return read_float(field, value, kPenalty, request.frequency_penalty);
  }
  if (field == "repetition_penalty") {
    return read_float(field, value, kRepetitionPenalty, request.repetition_penalty);
  }
  if (field == "logit_bias") return read_logit_bias(field, value, request.logit_bias);
  if (field == "top_k") {
    if (is_number(value, -1)) {  // vLLM's word for "off"
      request.top_k = 0;
      return {};
    }
    return read_int(field, value, 0, std::numeric_limits<int32_t>::max(), request.top_k);
  }
  if (field == "seed") return read_seed(field, value, request.seed);
  if (field == "stop") return read_stop(field, value, request.stop);
  if (field == "logprobs") return read_bool(field, value, request.logprobs);
  if (field == "top_logprobs") {
    return read_int(field, value, 0, kTopLogprobsMax, request.top_logprobs);
  }
  if (is_accepted(field)) return {};
  if (auto answer = read_unsupported(field, value)) return *answer;
  return unknown("", field);
}

bool is_known(const std::string& field) {
  static constexpr std::array<std::string_view, 17> kRead = {"messages",
                                                             "model",
                                                             "max_tokens",
                                                             "max_completion_tokens",
                                                             "n",
                                                             "temperature",
                                                             "top_p",
                                                             "min_p",
                                                             "presence_penalty",
                                                             "frequency_penalty",
                                                             "repetition_penalty",
                                                             "logit_bias",
                                                             "top_k",
                                                             "seed",
                                                             "stop",
                                                             "logprobs",
                                                             "top_logprobs"};
  return std::find(kRead.begin(), kRead.end(), field) != kRead.end() || is_accepted(field) ||
         read_unsupported(field, json::value()).has_value();
}

}  // namespace

Result<ChatRequest> parse_chat_request(std::string_view body, const ChatDefaults& defaults) {
  JsonMemory memory(body.size());
  PARKD_ASSIGN_OR_RETURN(const json::value root, parse_json(body, memory));
  if (!root.is_object()) return bad_body("must be a JSON object");
  ChatRequest request;
  request.max_tokens = defaults.max_tokens;
  request.temperature = defaults.temperature;
  request.top_p = defaults.top_p;
  request.top_k = defaults.top_k;
  request.min_p = defaults.min_p;
  request.presence_penalty = defaults.presence_penalty;
  request.frequency_penalty = defaults.frequency_penalty;
  bool max_tokens_given = false;
  for (const auto& member : root.get_object()) {
    const std::string field(member.key());
    if (member.value().is_null()) {  // null means left out, of a field there is
      if (!is_known(field)) return unknown("", field);
      continue;
    }
    PARKD_RETURN_IF_ERROR(read_field(field, member.value(), request, max_tokens_given));
  }
  if (request.messages.empty()) {
    return invalid_param("messages", "messages is missing; at least one message is needed");
  }
  if (request.top_logprobs > 0 && !request.logprobs) {
    return invalid_param("top_logprobs", "top_logprobs is " + std::to_string(request.top_logprobs) +
                                             "; it needs logprobs to be true");
  }
  return request;
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
