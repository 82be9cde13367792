#include "lib/openai/body_values.h"

#include <boost/json.hpp>

#include "lib/base/json_reader.h"
#include "lib/base/text.h"
#include "lib/job/bounds.h"

namespace parkd {

namespace json = boost::json;

std::string shown_value(const json::value& value) {
  if (value.is_double()) return number_text(value.get_double());
  return shown_json(value);
}

Status wrong_value(const std::string& field, const json::value& value, const std::string& must) {
  return invalid_param(field, field + " is " + shown_value(value) + "; it must be " + must);
}

Status unknown_member(const std::string& parent, std::string_view name) {
  const std::string field = parent + shown_name(name);
  return invalid_param(field, (field.empty() ? "\"\"" : field) + " is not a known field");
}

Status unsupported_field(const std::string& field) {
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

Status read_int(const std::string& field, const json::value& value, int32_t min, int32_t max,
                int32_t& out) {
  const auto number = whole_number(value);
  if (!number || *number < min || *number > max) {
    return wrong_value(field, value,
                       "an integer from " + std::to_string(min) + " to " + std::to_string(max));
  }
  out = static_cast<int32_t>(*number);
  return {};
}

Status read_bool(const std::string& field, const json::value& value, bool& out) {
  if (!value.is_bool()) return wrong_value(field, value, "true or false");
  out = value.get_bool();
  return {};
}

std::string why_no_pairs(const json::value& value) {
  const json::object* pairs = value.if_object();
  if (pairs == nullptr || pairs->size() > kMetadataPairsMax) {
    return "must be an object of at most " + std::to_string(kMetadataPairsMax) + " pairs";
  }
  for (const auto& pair : *pairs) {
    const std::string_view name(pair.key().data(), pair.key().size());
    const json::string* text = pair.value().if_string();
    if (text != nullptr && characters_in(name) <= kMetadataNameMax &&
        characters_in({text->data(), text->size()}) <= kMetadataTextMax) {
      continue;
    }
    return "must have names of at most " + std::to_string(kMetadataNameMax) +
           " characters and texts of at most " + std::to_string(kMetadataTextMax) + ": " +
           shown_name(name) + " is not so";
  }
  return {};
}

bool is_empty_or_null(const json::value& value) {
  return value.is_null() || (value.is_array() && value.get_array().empty()) ||
         (value.is_object() && value.get_object().empty());
}

}  // namespace parkd
