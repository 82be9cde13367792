#include "lib/model/model_defaults.h"

#include <boost/json.hpp>
#include <limits>
#include <optional>

#include "lib/base/json_reader.h"
#include "lib/base/sampling_fields.h"
#include "lib/base/text.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr size_t kDepthMax = 32;  // of a generation_config.json

// The sampling fields that a file may recommend, and what it calls them.
struct Word {
  std::string_view field;  // of kSamplingFields
  std::string_view gguf;
  std::string_view hub;
};
constexpr Word kWords[] = {
    {"temperature", "general.sampling.temp", "temperature"},
    {"top_p", "general.sampling.top_p", "top_p"},
    {"min_p", "general.sampling.min_p", "min_p"},
    {"repetition_penalty", "general.sampling.penalty_repeat", "repetition_penalty"},
};
constexpr std::string_view kGgufTopK = "general.sampling.top_k";
constexpr std::string_view kHubTopK = "top_k";

// What is wrong with the value; empty: nothing, and it is in `out`.
std::string put(const Word& word, std::string_view key, double value, ModelDefaults& out) {
  const SamplingField& field = *find_sampling_field(word.field);
  if (!is_within(field, value)) {
    return std::string(key) + " is " + number_text(value) + ", it must be from " +
           number_text(field.min) + (field.min_is_out ? " (not included)" : "") + " to " +
           number_text(field.max);
  }
  out.sampling[field.name] = value;
  return {};
}

std::string put_top_k(std::string_view key, int64_t value, ModelDefaults& out) {
  if (value < -1 || value > std::numeric_limits<int32_t>::max()) {
    return std::string(key) + " is " + std::to_string(value) + ", it must be from -1 to " +
           std::to_string(std::numeric_limits<int32_t>::max());
  }
  out.top_k = value == -1 ? 0 : static_cast<int32_t>(value);
  return {};
}

std::optional<double> number_of(const json::value& value) {
  if (!value.is_number()) return std::nullopt;
  return value.to_number<double>();
}

}  // namespace

Result<ModelDefaults> read_gguf_defaults(const GgufFile& file) {
  ModelDefaults defaults;
  for (const Word& word : kWords) {
    if (!file.has(word.gguf)) continue;
    PARKD_ASSIGN_OR_RETURN(const double value, file.number(word.gguf));
    if (const std::string why = put(word, word.gguf, value, defaults); !why.empty()) {
      return invalid(file.error_text(why));
    }
  }
  if (file.has(kGgufTopK)) {
    PARKD_ASSIGN_OR_RETURN(const int64_t value, file.integer(kGgufTopK));
    if (const std::string why = put_top_k(kGgufTopK, value, defaults); !why.empty()) {
      return invalid(file.error_text(why));
    }
  }
  return defaults;
}

Result<ModelDefaults> read_generation_config(std::string_view text, const std::string& name) {
  const auto wrong = [&name](const std::string& why) { return invalid(name + ": " + why); };
  JsonMemory memory(text.size());
  const auto parsed = read_json(text, name, kDepthMax, memory);
  if (!parsed.ok()) return corrupt(parsed.status().message());
  if (!parsed->is_object()) return corrupt(name + ": it must be a JSON object");
  const json::object& fields = parsed->get_object();
  // Null is how Transformers writes that nothing is recommended.
  const auto given = [&fields](std::string_view key) -> const json::value* {
    const json::value* value = fields.if_contains(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  };
  ModelDefaults defaults;
  for (const Word& word : kWords) {
    const json::value* value = given(word.hub);
    if (value == nullptr) continue;
    const auto number = number_of(*value);
    if (!number) {
      return wrong(std::string(word.hub) + " is " + shown_json(*value) + ", it must be a number");
    }
    const std::string why = put(word, word.hub, *number, defaults);
    if (!why.empty()) return wrong(why);
  }
  if (const json::value* value = given(kHubTopK)) {
    const auto number = whole_number(*value);
    if (!number) return wrong("top_k is " + shown_json(*value) + ", it must be a whole number");
    const std::string why = put_top_k(kHubTopK, *number, defaults);
    if (!why.empty()) return wrong(why);
  }
  return defaults;
}

}  // namespace parkd
