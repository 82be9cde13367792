#include "lib/model/hub_json.h"

#include "lib/base/json_reader.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr size_t kJsonBytesMax = size_t{16} << 20;
constexpr size_t kJsonDepth = 16;

}  // namespace

Result<JsonFile> read_json_file(const ModelFolder& folder, std::string_view name) {
  const std::string_view text = folder.text_of(name).value_or("");
  if (text.size() > kJsonBytesMax) {
    return invalid(folder.error_text_of(name, "is " + std::to_string(text.size()) +
                                                  " bytes long, the limit is " +
                                                  std::to_string(kJsonBytesMax)));
  }
  JsonFile file;
  file.name = name;
  file.memory = std::make_unique<JsonMemory>(text.size());
  PARKD_ASSIGN_OR_RETURN(
      file.value, read_json(text, folder.error_text_of(name, "it"), kJsonDepth, *file.memory));
  if (!file.value.is_object()) return corrupt(folder.error_text_of(name, "is not a JSON object"));
  return file;
}

const json::value* JsonFields::find(std::string_view name) const {
  const json::value* found = object_->if_contains(name);
  return found == nullptr || found->is_null() ? nullptr : found;
}

Result<int32_t> JsonFields::integer(std::string_view name, int64_t low, int64_t high) const {
  const json::value* value = find(name);
  if (value == nullptr) return damaged(field(name) + " is missing");
  const std::optional<int64_t> number = whole_number(*value);
  if (!number || *number < low || *number > high) {
    return damaged(field(name) + " is " + shown_json(*value) + ", it must be from " +
                   std::to_string(low) + " to " + std::to_string(high));
  }
  return static_cast<int32_t>(*number);
}

Result<int32_t> JsonFields::integer_or(std::string_view name, int64_t low, int64_t high,
                                       int32_t otherwise) const {
  if (!has(name)) return otherwise;
  return integer(name, low, high);
}

Result<double> JsonFields::number_or(std::string_view name, double low, double high,
                                     double otherwise) const {
  const json::value* value = find(name);
  if (value == nullptr) return otherwise;
  const double number = value->is_number() ? value->to_number<double>() : -1;
  if (!value->is_number() || !(number >= low && number <= high)) {
    return damaged(field(name) + " is " + shown_json(*value) + ", it must be from " +
                   shown_json(low) + " to " + shown_json(high));
  }
  return number;
}

Result<std::vector<float>> JsonFields::numbers(std::string_view name, size_t n, double low,
                                               double high) const {
  const json::value* value = find(name);
  if (value == nullptr) return damaged(field(name) + " is missing");
  const json::array* array = value->if_array();
  if (array == nullptr) return damaged(field(name) + " is not an array");
  if (array->size() != n) {
    return damaged(field(name) + " has " + std::to_string(array->size()) +
                   " entries, it must have " + std::to_string(n));
  }
  std::vector<float> result;
  for (const json::value& each : *array) {
    const double number = each.is_number() ? each.to_number<double>() : low - 1;
    if (!(number >= low && number <= high)) {
      return damaged(field(name) + " has " + shown_json(each) + ", it must be from " +
                     shown_json(low) + " to " + shown_json(high));
    }
    result.push_back(static_cast<float>(number));
  }
  return result;
}

Result<bool> JsonFields::flag_or(std::string_view name, bool otherwise) const {
  const json::value* value = find(name);
  if (value == nullptr) return otherwise;
  if (!value->is_bool()) return damaged(field(name) + " is not true or false");
  return value->get_bool();
}

Result<std::string> JsonFields::word_or(std::string_view name, std::string_view otherwise) const {
  const json::value* value = find(name);
  if (value == nullptr) return std::string(otherwise);
  if (!value->is_string()) return damaged(field(name) + " is not a string");
  return std::string(shown_name(value->get_string()));
}

Result<std::optional<JsonFields>> JsonFields::object(std::string_view name) const {
  const json::value* value = find(name);
  if (value == nullptr) return std::optional<JsonFields>();
  if (!value->is_object()) return damaged(field(name) + " is not an object");
  return std::optional<JsonFields>(
      JsonFields(*folder_, file_, value->get_object(), prefix_ + std::string(name) + "."));
}

Status JsonFields::unsupported(std::string_view name, const std::string& what) const {
  return invalid(folder_->error_text_of(file_, field(name) + " " + what));
}

Status JsonFields::damaged(const std::string& what) const {
  return corrupt(folder_->error_text_of(file_, what));
}

std::string JsonFields::shown(std::string_view name) const {
  const json::value* value = find(name);
  return value == nullptr ? "null" : shown_json(*value);
}

}  // namespace parkd
