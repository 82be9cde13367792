#include "lib/openai/body_reader.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <limits>

#include "lib/base/json_reader.h"
#include "lib/base/sampling_fields.h"
#include "lib/base/text.h"
#include "lib/job/bounds.h"
#include "lib/openai/body_values.h"

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

std::string range_of(const SamplingField& field) {
  return field.min_is_out
             ? "a number above " + number_text(field.min) + " and at most " + number_text(field.max)
             : "a number from " + number_text(field.min) + " to " + number_text(field.max);
}

Status read_sampling(const SamplingField& field, const json::value& value, SamplingParams& out) {
  const auto number = number_of(value);
  if (!number || !is_within(field, *number)) {
    return wrong_value(std::string(field.name), value, range_of(field));
  }
  out.*field.member = narrowed(field, *number);
  return {};
}

Status read_seed(const std::string& field, const json::value& value, std::optional<uint64_t>& out) {
  if (value.is_uint64()) {
    out = value.get_uint64();
  } else if (const auto number = whole_number(value)) {
    out = static_cast<uint64_t>(*number);
  } else {
    return wrong_value(
        field, value,
        "an integer of at most 64 bits (without point and exponent where it is beyond "
        "2^53)");
  }
  return {};
}

Status read_stop_string(const std::string& field, const json::value& value,
                        std::vector<std::string>& out) {
  if (!value.is_string() || value.get_string().empty()) {
    return wrong_value(field, value, "a string that is not empty");
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
  if (!value.is_object()) return wrong_value(field, value, "an object of token ids and numbers");
  const json::object& biases = value.get_object();
  if (biases.size() > kBiasesMax) {
    return invalid_param(field, field + " has " + std::to_string(biases.size()) +
                                    " tokens; the limit is " + std::to_string(kBiasesMax));
  }
  for (const auto& member : biases) {
    const auto token = read_token_id({member.key().data(), member.key().size()});
    if (!token) {
      return invalid_param(field, field + " names " + shown_value(json::value(member.key())) +
                                      "; it must name token ids");
    }
    const auto bias = number_of(member.value());
    if (!bias || !(std::abs(*bias) <= kBiasMax)) {
      return wrong_value(field + "." + std::to_string(*token), member.value(),
                         "a number from -100 to 100");
    }
    out.push_back({*token, static_cast<float>(*bias)});
  }
  return {};
}

// --- the fields that all endpoints share

struct Reading {
  RequestOptions& options;
  bool max_tokens_given = false;
};

// A limit on generated tokens may be given under either name, but not as two different numbers.
Status read_max_tokens(const std::string& field, const json::value& value, Reading& out) {
  int32_t asked = 0;
  PARKD_RETURN_IF_ERROR(read_int(field, value, 1, std::numeric_limits<int32_t>::max(), asked));
  std::optional<int32_t>& max_tokens = out.options.max_tokens;
  if (out.max_tokens_given && max_tokens != asked) {
    return invalid_param(field, "max_tokens and max_completion_tokens differ (" +
                                    std::to_string(*max_tokens) + " and " + std::to_string(asked) +
                                    "); give one");
  }
  out.max_tokens_given = true;
  max_tokens = asked;
  return {};
}

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Cannot change the output.
bool is_accepted(std::string_view field) {
  static constexpr std::array<std::string_view, 6> kAccepted = {"user",
                                                                "metadata",
                                                                "service_tier",
                                                                "safety_identifier",
                                                                "prompt_cache_key",
                                                                "prompt_cache_retention"};
  return is_one_of(kAccepted, field);
}

// Known to others, not served yet.
std::optional<Status> read_unsupported(const std::string& field, const json::value& value) {
  static constexpr std::array<std::string_view, 13> kUnsupported = {
      "stream_options", "best_of",      "min_tokens",     "ignore_eos",  "stop_token_ids",
      "guided_json",    "guided_regex", "guided_choice",  "json_schema", "grammar",
      "mirostat",       "typical_p",    "prompt_logprobs"};
  if (field == "stream") {
    if (value.is_null() || (value.is_bool() && !value.get_bool())) return Status();
    return invalid_param(
        field, "stream is " + shown_value(value) +
                   "; a job's answer comes into its mailbox as a whole: leave it out (POST "
                   "/v1/chat/completions and /v1/completions stream)");
  }
  if (field == "response_format") {
    const json::object* format = value.if_object();
    const json::value* type = format == nullptr ? nullptr : format->if_contains("type");
    return off_or_unsupported(field,
                              type != nullptr && type->is_string() && type->get_string() == "text");
  }
  if (field == "skip_special_tokens") {
    return off_or_unsupported(field, value.is_bool() && value.get_bool());
  }
  if (!is_one_of(kUnsupported, field)) return std::nullopt;
  return off_or_unsupported(field, is_empty_or_null(value));
}

Status read_model(const std::string& field, const json::value& value, Reading& out) {
  if (!value.is_string() || value.get_string().empty()) {
    return wrong_value(field, value, "the name of a model");
  }
  out.options.model = std::string(value.get_string());
  return {};
}

Status read_top_k(const std::string& field, const json::value& value, Reading& out) {
  int32_t& top_k = out.options.sampling.top_k;
  if (is_number(value, -1)) {  // vLLM's word for "off"
    top_k = 0;
    return {};
  }
  return read_int(field, value, 0, std::numeric_limits<int32_t>::max(), top_k);
}

struct OptionField {
  std::string_view name;
  Status (*read)(const std::string& field, const json::value& value, Reading& out);
};

// What is read besides kSamplingFields.
constexpr OptionField kOptionFields[] = {
    {"model", read_model},
    {"n", [](const std::string& field, const json::value& value,
             Reading& out) { return read_int(field, value, 1, kChoicesMax, out.options.n); }},
    {"logit_bias",
     [](const std::string& field, const json::value& value, Reading& out) {
       return read_logit_bias(field, value, out.options.sampling.logit_bias);
     }},
    {"top_k", read_top_k},
    {"seed", [](const std::string& field, const json::value& value,
                Reading& out) { return read_seed(field, value, out.options.seed); }},
    {"stop", [](const std::string& field, const json::value& value,
                Reading& out) { return read_stop(field, value, out.options.stop); }},
    {"store", [](const std::string& field, const json::value& value,
                 Reading& out) { return read_bool(field, value, out.options.store); }},
};

// Nothing: the field is none that all endpoints share. Null means left out.
std::optional<Status> read_option(const std::string& field, const json::value& value,
                                  const EndpointFields& endpoint, Reading& out) {
  const bool is_left_out = value.is_null();
  if (is_one_of(endpoint.without, field)) return std::nullopt;
  if (is_one_of(endpoint.max_tokens_names, field)) {
    return is_left_out ? Status() : read_max_tokens(field, value, out);
  }
  for (const OptionField& known : kOptionFields) {
    if (known.name == field) return is_left_out ? Status() : known.read(field, value, out);
  }
  if (const SamplingField* known = find_sampling_field(field)) {
    SamplingParams& sampling = out.options.sampling;
    if (is_left_out) return Status();
    if (field == "top_p" && is_number(value, 0)) {  // nothing but the likeliest: check_together
      sampling.top_p = 0;
      return Status();
    }
    return read_sampling(*known, value, sampling);
  }
  if (is_accepted(field)) return Status();
  if (auto answer = read_unsupported(field, value)) return is_left_out ? Status() : *answer;
  return std::nullopt;
}

Status unknown_field(std::string_view name, const EndpointFields& endpoint) {
  const Status status = unknown_member("", name);
  const std::string here = endpoint.word_here == nullptr ? "" : endpoint.word_here(name);
  return invalid_param(status.param(), status.message() + here);
}

// What depends on more than one field.
Status check_together(RequestOptions& options) {
  SamplingParams& sampling = options.sampling;
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

}  // namespace

Status off_or_unsupported(const std::string& field, bool is_off) {
  return is_off ? Status() : unsupported_field(field);
}

Status read_body(std::string_view body, const EndpointFields& endpoint, RequestOptions& out) {
  JsonMemory memory(body.size());
  PARKD_ASSIGN_OR_RETURN(const json::value root, parse_json(body, memory));
  if (!root.is_object()) return bad_body("must be a JSON object");
  Reading reading{out};
  for (const auto& member : root.get_object()) {
    const std::string field(member.key());
    std::optional<Status> answer = endpoint.read(field, member.value());
    if (!answer) answer = read_option(field, member.value(), endpoint, reading);
    if (!answer) return unknown_field(field, endpoint);
    PARKD_RETURN_IF_ERROR(*answer);
  }
  return check_together(out);
}

}  // namespace parkd
